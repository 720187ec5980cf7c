//! Compiles a checked tree to instructions.

use std::{collections::BTreeSet, sync::Arc};

use regex::bytes::Regex;

use crate::{
    ast::{BinaryOperator, Builtin, Node, NodeKind, UnaryOperator},
    budget::MAX_PATTERNS,
    builtins::{self, Call},
    check::{
        self,
        types::{Kind, Type},
    },
    error::Fault,
    scope::{Function, Nature, Scope},
    value::{Key, List, ListKind, Value},
};

/// One of the variables of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Environment,
    Arguments,
    CommandLine,
}

impl Variable {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "env" => Self::Environment,
            "args" => Self::Arguments,
            "cmdline" => Self::CommandLine,
            _ => return None,
        })
    }
}

/// One instruction of a machine with a stack. Jumps name their target.
#[derive(Clone, Debug)]
pub(crate) enum Instruction {
    Push(Value),
    /// Pushes the result of a test, which the loop leaves on the stack. See `Compiler::each_from_end`.
    Leave(bool),
    Pop,
    Store(usize),
    Load(usize),
    Variable(Variable),
    /// One variable of the environment, without making the whole map.
    EnvironmentVariable(Arc<str>),
    /// One argument, without making the whole list.
    Argument(i64),
    /// A variable of the scope.
    ScopeVariable(&'static str),
    /// All variables: those of the command, if it has them, and those of the scope.
    AllVariables(bool, &'static [(&'static str, Nature)]),
    Fetch,
    Not,
    Negate,
    Equal,
    EqualInts,
    EqualStrings,
    Jump(usize),
    JumpIfTrue(usize),
    JumpIfFalse(usize),
    JumpIfNil(usize),
    JumpIfNotNil(usize),
    /// The same as `JumpIfNotNil`, but an absent variable counts as nil.
    JumpIfPresent(usize),
    JumpIfEnd(usize),
    Arithmetic(BinaryOperator),
    Compare(BinaryOperator),
    In,
    InSet(Arc<ConstantSet>),
    Range,
    Matches,
    MatchesConstant(Regex),
    Contains,
    StartsWith,
    EndsWith,
    Length,
    Slice,
    Call(usize),
    Builtin(Call, usize),
    /// A function of the scope.
    ScopeFunction(&'static Function),
    Array(usize),
    Map(usize),
    Throw(&'static str),
    /// Starts a loop over a list.
    Begin,
    End,
    Item,
    Index,
    Accumulator,
    SetAccumulator,
    Count,
    IncrementCount,
    IncrementIndex,
    /// Moves the index to the last element.
    IndexFromEnd,
    /// Moves the index down. Jumps back if there is one more element.
    DecrementIndex(usize),
    /// Jumps if the count has reached a number.
    JumpIfCounted(i64, usize),
    /// Ends the loop. Makes a list of the counted values.
    CollectCounted,
    /// Ends the loop. Makes a list of one value for each element.
    CollectAll,
    GroupBy,
    GroupsEnd,
    /// Takes the order of a sort.
    SortStart,
    SortBy,
    SortEnd,
}

/// The right side of `in`, if it is a list of literals.
#[derive(Debug)]
pub(crate) struct ConstantSet {
    pub(crate) keys: BTreeSet<Key>,
    pub(crate) strings: bool,
}

/// The instructions of an expression.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) instructions: Vec<Instruction>,
    /// The place in the source of each instruction.
    pub(crate) offsets: Vec<usize>,
    pub(crate) slots: usize,
    pub(crate) uses_environment: bool,
}

/// Compiles a checked tree.
pub(crate) fn compile(scope: &Scope, node: &Node) -> Result<Code, Fault> {
    let code = Code { instructions: Vec::new(), offsets: Vec::new(), slots: 0, uses_environment: false };
    let mut compiler = Compiler { scope, code, names: Vec::new(), chains: Vec::new(), offset: 0, patterns: 0 };
    compiler.node(node)?;
    Ok(compiler.code)
}

struct Compiler<'a> {
    scope: &'a Scope,
    code: Code,
    names: Vec<(String, usize)>,
    /// The jumps to the end of each open chain.
    chains: Vec<Vec<usize>>,
    offset: usize,
    /// The cost of all patterns.
    patterns: usize,
}

type Done = Result<(), Fault>;

/// The target of a jump that is not known yet.
const LATER: usize = usize::MAX;

impl Compiler<'_> {
    fn emit(&mut self, instruction: Instruction) -> usize {
        self.code.instructions.push(instruction);
        self.code.offsets.push(self.offset);
        self.code.instructions.len() - 1
    }

    fn here(&self) -> usize {
        self.code.instructions.len()
    }

    /// Lets a jump lead to the next instruction.
    fn land(&mut self, jump: usize) {
        use Instruction as I;
        let here = self.here();
        if let Some(
            I::Jump(target)
            | I::JumpIfTrue(target)
            | I::JumpIfFalse(target)
            | I::JumpIfNil(target)
            | I::JumpIfNotNil(target)
            | I::JumpIfPresent(target)
            | I::JumpIfEnd(target)
            | I::JumpIfCounted(_, target),
        ) = self.code.instructions.get_mut(jump)
        {
            *target = here;
        }
    }

    fn push(&mut self, value: Value) {
        self.emit(Instruction::Push(value));
    }

    fn node(&mut self, node: &Node) -> Done {
        let outer = std::mem::replace(&mut self.offset, node.offset);
        let done = self.inner(node);
        self.offset = outer;
        done
    }

    fn inner(&mut self, node: &Node) -> Done {
        match &node.kind {
            NodeKind::Nil => self.push(Value::Nil),
            NodeKind::Identifier(name) => self.identifier(name),
            NodeKind::Integer(_) | NodeKind::Float(_) | NodeKind::Bool(_) | NodeKind::String(_) => {
                self.push(literal(node));
            }
            NodeKind::Bytes(bytes) => self.push(Value::Bytes(bytes.clone())),
            NodeKind::ConstantList(items) => {
                let list = List::new(ListKind::Any, items.iter().map(literal).collect())?;
                self.push(Value::List(list));
            }
            // It is only on the right side of `in`.
            NodeKind::ConstantSet(_) => self.push(Value::Nil),
            NodeKind::Unary(operator, operand) => {
                self.node(operand)?;
                match operator {
                    UnaryOperator::Not => {
                        self.emit(Instruction::Not);
                    }
                    UnaryOperator::Minus => {
                        self.emit(Instruction::Negate);
                    }
                    UnaryOperator::Plus => {}
                }
            }
            NodeKind::Binary(operator, left, right) => self.binary(*operator, left, right)?,
            NodeKind::Chain(inner) => {
                self.chain(inner)?;
                // A list can equal nil (see `Value::is_nil`). Here it becomes nil itself.
                let jump = self.emit(Instruction::JumpIfNotNil(LATER));
                self.emit(Instruction::Pop);
                self.push(Value::Nil);
                self.land(jump);
            }
            NodeKind::Member { object, property, optional, .. } => self.member(object, property, *optional)?,
            NodeKind::Slice { object, from, to } => {
                self.node(object)?;
                match to {
                    Some(to) => self.node(to)?,
                    None => {
                        self.emit(Instruction::Length);
                    }
                }
                match from {
                    Some(from) => self.node(from)?,
                    None => self.push(Value::Int(0)),
                }
                self.emit(Instruction::Slice);
            }
            NodeKind::Call { callee, arguments } => {
                for argument in arguments {
                    self.node(argument)?;
                }
                match self.scope_function(callee) {
                    Some(function) => {
                        self.emit(Instruction::ScopeFunction(function));
                    }
                    None => {
                        self.node(callee)?;
                        self.emit(Instruction::Call(arguments.len()));
                    }
                }
            }
            NodeKind::Builtin(builtin) => self.builtin(builtin)?,
            NodeKind::Predicate(body) => self.node(body)?,
            NodeKind::Pointer(name) => {
                self.emit(match name.as_str() {
                    "index" => Instruction::Index,
                    "acc" => Instruction::Accumulator,
                    _ => Instruction::Item,
                });
            }
            NodeKind::Let { name, value, body } => {
                self.node(value)?;
                let slot = self.code.slots;
                self.code.slots += 1;
                self.emit(Instruction::Store(slot));
                self.names.push((name.clone(), slot));
                self.node(body)?;
                self.names.pop();
            }
            NodeKind::Sequence(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.emit(Instruction::Pop);
                    }
                    self.node(node)?;
                }
            }
            NodeKind::Conditional { condition, then, otherwise, .. } => {
                self.node(condition)?;
                let no = self.emit(Instruction::JumpIfFalse(LATER));
                self.emit(Instruction::Pop);
                self.node(then)?;
                let end = self.emit(Instruction::Jump(LATER));
                self.land(no);
                self.emit(Instruction::Pop);
                self.node(otherwise)?;
                self.land(end);
            }
            NodeKind::Array(nodes) => {
                for node in nodes {
                    self.node(node)?;
                }
                self.emit(Instruction::Array(nodes.len()));
            }
            NodeKind::Map(pairs) => {
                for (key, value) in pairs {
                    self.node(key)?;
                    self.node(value)?;
                }
                self.emit(Instruction::Map(pairs.len()));
            }
        }
        Ok(())
    }

    fn chain(&mut self, inner: &Node) -> Done {
        self.chains.push(Vec::new());
        self.node(inner)?;
        for jump in self.chains.pop().unwrap_or_default() {
            self.land(jump);
        }
        Ok(())
    }

    /// A side of `??`. Here, values that equal nil do not change.
    fn coalesced(&mut self, node: &Node) -> Done {
        match &node.kind {
            NodeKind::Chain(inner) => self.chain(inner),
            _ => self.node(node),
        }
    }

    /// The function of the scope that a call names.
    fn scope_function(&self, callee: &Node) -> Option<&'static Function> {
        let NodeKind::Identifier(name) = &callee.kind else { return None };
        let is_taken = self.names.iter().any(|(known, _)| known == name);
        self.scope.function(name).filter(|_| !is_taken)
    }

    fn identifier(&mut self, name: &str) {
        if let Some((_, slot)) = self.names.iter().rev().find(|(known, _)| known == name) {
            let slot = *slot;
            self.emit(Instruction::Load(slot));
        } else if name == check::ALL_VARIABLES {
            self.code.uses_environment |= self.scope.has_command;
            self.emit(Instruction::AllVariables(self.scope.has_command, self.scope.variables));
        } else if let Some(variable) = Variable::of(name).filter(|_| self.scope.has_command) {
            self.code.uses_environment |= variable == Variable::Environment;
            self.emit(Instruction::Variable(variable));
        } else if let Some(name) = self.scope.more(name) {
            self.emit(Instruction::ScopeVariable(name));
        } else {
            // The name of a function is not a value.
            self.push(Value::Nil);
        }
    }

    fn member(&mut self, object: &Node, property: &Node, optional: bool) -> Done {
        if let (Some(name), true) = (property.as_string(), object.is_identifier("env")) {
            self.code.uses_environment = true;
            self.emit(Instruction::EnvironmentVariable(name.into()));
            return Ok(());
        }
        if let (NodeKind::Integer(index), true) = (&property.kind, object.is_identifier("args")) {
            self.emit(Instruction::Argument(*index));
            return Ok(());
        }
        self.node(object)?;
        if optional && !self.chains.is_empty() {
            let jump = self.emit(Instruction::JumpIfNil(LATER));
            if let Some(chain) = self.chains.last_mut() {
                chain.push(jump);
            }
        }
        self.node(property)?;
        self.emit(Instruction::Fetch);
        Ok(())
    }

    fn binary(&mut self, operator: BinaryOperator, left: &Node, right: &Node) -> Done {
        use BinaryOperator as Op;
        use Instruction as I;
        let short = match operator {
            Op::Or => Some(I::JumpIfTrue(LATER)),
            Op::And => Some(I::JumpIfFalse(LATER)),
            Op::Coalesce => Some(I::JumpIfPresent(LATER)),
            _ => None,
        };
        if operator == Op::Coalesce {
            self.coalesced(left)?
        } else {
            self.node(left)?
        }
        if let Some(short) = short {
            let end = self.emit(short);
            self.emit(I::Pop);
            if operator == Op::Coalesce {
                self.coalesced(right)?
            } else {
                self.node(right)?
            }
            self.land(end);
            return Ok(());
        }
        match (operator, &right.kind) {
            (Op::Matches, NodeKind::String(pattern)) => {
                let invalid = |reason| Fault::types(self.offset, format!("invalid regular expression: {reason}"));
                let pattern = crate::regex::Pattern::new(pattern).map_err(invalid)?;
                self.patterns += pattern.cost;
                if self.patterns > MAX_PATTERNS {
                    return Err(Fault::budget("the regular expressions are too large").at(self.offset));
                }
                let regex = pattern.compile().map_err(invalid)?;
                self.emit(I::MatchesConstant(regex));
                return Ok(());
            }
            (Op::In, NodeKind::ConstantSet(items)) => {
                let keys = items.iter().map(|item| Key::new(&literal(item))).collect::<Result<_, _>>()?;
                let strings = items.first().is_some_and(|item| item.as_string().is_some());
                self.emit(I::InSet(Arc::new(ConstantSet { keys, strings })));
                return Ok(());
            }
            _ => self.node(right)?,
        }
        self.emit(match operator {
            Op::Equal | Op::NotEqual => equality(&left.nature, &right.nature),
            Op::Less | Op::Greater | Op::LessOrEqual | Op::GreaterOrEqual => I::Compare(operator),
            Op::In => I::In,
            Op::Matches => I::Matches,
            Op::Contains => I::Contains,
            Op::StartsWith => I::StartsWith,
            Op::EndsWith => I::EndsWith,
            Op::Range => I::Range,
            _ => I::Arithmetic(operator),
        });
        if operator == Op::NotEqual {
            self.emit(I::Not);
        }
        Ok(())
    }

    fn builtin(&mut self, builtin: &Builtin) -> Done {
        if let Some(call) = builtins::find(builtin.name).and_then(|known| known.call) {
            for argument in &builtin.arguments {
                self.node(argument)?;
            }
            self.emit(Instruction::Builtin(call, builtin.arguments.len()));
            return Ok(());
        }
        let Some((list, rest)) = builtin.arguments.split_first() else { return Ok(()) };
        self.node(list)?;
        self.emit(Instruction::Begin);
        self.predicate_loop(builtin, rest.first(), rest.get(1))
    }

    /// A loop over all elements.
    fn each(&mut self, body: impl FnOnce(&mut Self) -> Done) -> Done {
        let start = self.here();
        let end = self.emit(Instruction::JumpIfEnd(LATER));
        body(self)?;
        self.emit(Instruction::IncrementIndex);
        self.emit(Instruction::Jump(start));
        self.land(end);
        Ok(())
    }

    /// A loop over all elements, the last one first.
    ///
    /// `[1, findLast([2], true)]` is `[true, 2]`, as in the reference. At each test whether the loop ends, the
    /// reference pushes the result of the test, and never takes it from the stack. It stays below the result of the
    /// loop. So a list around the loop takes it as an element.
    fn each_from_end(&mut self, body: impl FnOnce(&mut Self) -> Done) -> Done {
        let end = self.emit(Instruction::JumpIfEnd(LATER));
        self.emit(Instruction::IndexFromEnd);
        let start = self.here();
        self.emit(Instruction::Leave(true));
        body(self)?;
        self.emit(Instruction::DecrementIndex(start));
        self.land(end);
        self.emit(Instruction::Leave(false));
        Ok(())
    }

    /// Runs a body if the value on the stack is true. Takes the value.
    fn if_true(&mut self, body: impl FnOnce(&mut Self) -> Done) -> Done {
        let no = self.emit(Instruction::JumpIfFalse(LATER));
        self.emit(Instruction::Pop);
        body(self)?;
        let end = self.emit(Instruction::Jump(LATER));
        self.land(no);
        self.emit(Instruction::Pop);
        self.land(end);
        Ok(())
    }

    /// The predicate, or the element itself.
    fn predicate_or_item(&mut self, predicate: Option<&Node>) -> Done {
        match predicate {
            Some(predicate) => self.node(predicate),
            None => {
                self.emit(Instruction::Item);
                Ok(())
            }
        }
    }

    fn predicate_loop(&mut self, builtin: &Builtin, predicate: Option<&Node>, third: Option<&Node>) -> Done {
        use Instruction as I;
        match builtin.name {
            "all" | "none" | "any" => {
                let mut found = 0;
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    if builtin.name == "none" {
                        this.emit(I::Not);
                    }
                    found = this.emit(if builtin.name == "any" { I::JumpIfTrue(LATER) } else { I::JumpIfFalse(LATER) });
                    this.emit(I::Pop);
                    Ok(())
                })?;
                self.push(Value::Bool(builtin.name != "any"));
                self.land(found);
                self.emit(I::End);
            }
            "one" => {
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.if_true(|this| {
                        this.emit(I::IncrementCount);
                        Ok(())
                    })
                })?;
                self.emit(I::Count);
                self.push(Value::Int(1));
                self.emit(I::EqualInts);
                self.emit(I::End);
            }
            "filter" => {
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.if_true(|this| {
                        this.emit(I::IncrementCount);
                        this.predicate_or_item(builtin.map.as_deref())
                    })
                })?;
                self.emit(I::CollectCounted);
            }
            "map" => {
                self.each(|this| this.predicate_or_item(predicate))?;
                self.emit(I::CollectAll);
            }
            "count" => {
                let mut counted = None;
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.if_true(|this| {
                        this.emit(I::IncrementCount);
                        counted = builtin.threshold.map(|threshold| this.emit(I::JumpIfCounted(threshold, LATER)));
                        Ok(())
                    })
                })?;
                if let Some(counted) = counted {
                    self.land(counted);
                }
                self.emit(I::Count);
                self.emit(I::End);
            }
            "sum" => {
                self.push(Value::Int(0));
                self.emit(I::SetAccumulator);
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.emit(I::Accumulator);
                    this.emit(I::Arithmetic(BinaryOperator::Add));
                    this.emit(I::SetAccumulator);
                    Ok(())
                })?;
                self.emit(I::Accumulator);
                self.emit(I::End);
            }
            "find" | "findIndex" | "findLast" | "findLastIndex" => self.find(builtin, predicate)?,
            "groupBy" => {
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.emit(I::GroupBy);
                    Ok(())
                })?;
                self.emit(I::GroupsEnd);
            }
            "sortBy" => {
                match third {
                    Some(order) => self.node(order)?,
                    None => self.push("asc".into()),
                }
                self.emit(I::SortStart);
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.emit(I::SortBy);
                    Ok(())
                })?;
                self.emit(I::SortEnd);
            }
            _ => {
                match third {
                    Some(initial) => self.node(initial)?,
                    None => {
                        let empty = self.emit(I::JumpIfEnd(LATER));
                        self.emit(I::Item);
                        self.emit(I::IncrementIndex);
                        let start = self.emit(I::Jump(LATER));
                        self.land(empty);
                        self.emit(I::Throw("reduce needs an initial value for an empty list"));
                        self.land(start);
                    }
                }
                self.emit(I::SetAccumulator);
                self.each(|this| {
                    this.predicate_or_item(predicate)?;
                    this.emit(I::SetAccumulator);
                    Ok(())
                })?;
                self.emit(I::Accumulator);
                self.emit(I::End);
            }
        }
        Ok(())
    }

    fn find(&mut self, builtin: &Builtin, predicate: Option<&Node>) -> Done {
        use Instruction as I;
        let mut found = 0;
        let index = builtin.name.ends_with("Index");
        let body = |this: &mut Self| {
            this.predicate_or_item(predicate)?;
            let no = this.emit(I::JumpIfFalse(LATER));
            this.emit(I::Pop);
            if index {
                this.emit(I::Index);
            } else {
                this.predicate_or_item(builtin.map.as_deref())?;
            }
            found = this.emit(I::Jump(LATER));
            this.land(no);
            this.emit(I::Pop);
            Ok(())
        };
        if builtin.name.starts_with("findLast") {
            self.each_from_end(body)?
        } else {
            self.each(body)?
        }
        if builtin.throws {
            self.emit(I::Throw("no element matches, so the index is out of range"));
        } else {
            self.push(Value::Nil);
        }
        self.land(found);
        self.emit(I::End);
        Ok(())
    }
}

/// The comparison for two types. For two integers or two strings, the reference has an instruction that fails with
/// other types.
fn equality(left: &Type, right: &Type) -> Instruction {
    match (left, right) {
        (Type::Int, Type::Int) => Instruction::EqualInts,
        _ if left.kind() == Kind::String && right.kind() == Kind::String => Instruction::EqualStrings,
        _ => Instruction::Equal,
    }
}

fn literal(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Integer(value) => Value::Int(*value),
        NodeKind::Float(value) => Value::Float(*value),
        NodeKind::Bool(value) => Value::Bool(*value),
        NodeKind::String(text) => Value::String(text.clone()),
        _ => Value::Nil,
    }
}
