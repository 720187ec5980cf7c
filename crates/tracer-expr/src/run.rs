//! Runs the instructions of an expression.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    budget::Budget,
    builtins::{self, SortKey},
    compile::{Code, Instruction, Variable},
    error::Fault,
    input::Input,
    operate::{self, needed},
    scope::Nature,
    time::methods,
    value::{Key, List, ListKind, Map, MapKind, Value},
};

/// Evaluates an expression.
pub(crate) fn run(code: &Code, input: &Input<'_>) -> Result<Value, Fault> {
    // A literal needs no machine.
    if let [Instruction::Push(value)] = code.instructions.as_slice() {
        return Ok(value.clone());
    }
    let mut machine = Machine {
        input,
        at: 0,
        stack: Vec::with_capacity(8),
        scopes: Vec::new(),
        slots: vec![Value::Nil; code.slots],
        budget: Budget::default(),
        pattern: None,
    };
    while let Some(instruction) = code.instructions.get(machine.at) {
        machine.at += 1;
        if let Err(fault) = machine.step(instruction) {
            return Err(fault.at(code.offsets.get(machine.at - 1).copied().unwrap_or_default()));
        }
    }
    Ok(machine.stack.pop().unwrap_or(Value::Nil))
}

struct Machine<'a> {
    input: &'a Input<'a>,
    at: usize,
    stack: Vec<Value>,
    scopes: Vec<Scope>,
    slots: Vec<Value>,
    budget: Budget,
    /// The last pattern that was not a literal.
    pattern: Option<(Arc<str>, regex::bytes::Regex)>,
}

/// One loop.
struct Scope {
    items: Value,
    length: usize,
    index: usize,
    count: i64,
    accumulator: Value,
    groups: BTreeMap<Key, Vec<Value>>,
    descending: bool,
    sorted: Vec<SortKey>,
}

/// The result of an error in the compiler. No input causes it.
fn broken() -> Fault {
    Fault::evaluation("the instructions are inconsistent")
}

impl Machine<'_> {
    fn pop(&mut self) -> Result<Value, Fault> {
        self.stack.pop().ok_or_else(broken)
    }

    /// The two operands of an operator.
    fn operands(&mut self) -> Result<(Value, Value), Fault> {
        let right = self.pop()?;
        Ok((self.pop()?, right))
    }

    fn top(&self) -> Result<&Value, Fault> {
        self.stack.last().ok_or_else(broken)
    }

    fn top_bool(&self) -> Result<bool, Fault> {
        boolean(self.top()?)
    }

    fn scope(&mut self) -> Result<&mut Scope, Fault> {
        self.scopes.last_mut().ok_or_else(|| Fault::evaluation("`#` only works in a predicate"))
    }

    fn end_scope(&mut self) -> Result<Scope, Fault> {
        self.scopes.pop().ok_or_else(broken)
    }

    fn jump_if(&mut self, condition: bool, target: usize) {
        if condition {
            self.at = target;
        }
    }

    /// The last values of the stack.
    fn take(&mut self, count: usize) -> Result<Vec<Value>, Fault> {
        let start = self.stack.len().checked_sub(count).ok_or_else(broken)?;
        Ok(self.stack.split_off(start))
    }

    fn step(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        use Instruction as I;
        self.budget.steps(1)?;
        let value = match instruction {
            I::Push(value) => value.clone(),
            I::Leave(value) => {
                self.budget.bytes(size_of::<Value>())?;
                Value::Bool(*value)
            }
            I::Pop => {
                self.pop()?;
                return Ok(());
            }
            I::Store(slot) => {
                let value = self.pop()?;
                *self.slots.get_mut(*slot).ok_or_else(broken)? = value;
                return Ok(());
            }
            I::Load(slot) => self.slots.get(*slot).ok_or_else(broken)?.clone(),
            I::Variable(Variable::Environment) => self.input.environment(),
            I::Variable(Variable::Arguments) => self.input.arguments(),
            I::Variable(Variable::CommandLine) => self.input.command_line(),
            I::EnvironmentVariable(name) => self.input.environment_variable(name),
            I::Argument(index) => self.input.argument(*index)?,
            I::AllVariables(has_command, more) => self.all_variables(*has_command, more)?,
            I::ScopeVariable(name) => self.input.variable(name),
            I::Fetch => {
                let (object, property) = self.operands()?;
                operate::fetch(&object, &property)?
            }
            I::Not => Value::Bool(!boolean(&self.pop()?)?),
            I::Negate => operate::negate(&self.pop()?)?,
            I::Equal => {
                let (left, right) = self.operands()?;
                Value::Bool(operate::equal(&left, &right, &mut self.budget)?)
            }
            I::EqualInts => match self.operands()? {
                (Value::Int(left), Value::Int(right)) => Value::Bool(left == right),
                (left, right) => return Err(mistyped(&left, &right, "an integer")),
            },
            I::EqualStrings => {
                let (left, right) = self.operands()?;
                match (left.as_str(), right.as_str()) {
                    (Some(left), Some(right)) => {
                        self.budget.steps(left.len().min(right.len()) / 16)?;
                        Value::Bool(left == right)
                    }
                    _ => return Err(mistyped(&left, &right, "a string")),
                }
            }
            I::Jump(target) => {
                self.at = *target;
                return Ok(());
            }
            I::JumpIfTrue(target) => {
                self.jump_if(self.top_bool()?, *target);
                return Ok(());
            }
            I::JumpIfFalse(target) => {
                self.jump_if(!self.top_bool()?, *target);
                return Ok(());
            }
            I::JumpIfNil(target) => {
                self.jump_if(self.top()?.is_nil(), *target);
                return Ok(());
            }
            I::JumpIfNotNil(target) => {
                self.jump_if(!self.top()?.is_nil(), *target);
                return Ok(());
            }
            I::JumpIfPresent(target) => {
                let top = self.top()?;
                self.jump_if(!top.is_nil() && !matches!(top, Value::Absent), *target);
                return Ok(());
            }
            I::Arithmetic(operator) => {
                let (left, right) = self.operands()?;
                operate::arithmetic(*operator, &left, &right, &mut self.budget)?
            }
            I::Compare(operator) => {
                let (left, right) = self.operands()?;
                Value::Bool(operate::compare(*operator, &left, &right)?)
            }
            I::In => {
                let (needle, within) = self.operands()?;
                Value::Bool(operate::contains(&needle, &within, &mut self.budget)?)
            }
            I::InSet(set) => {
                let key = match self.pop()? {
                    // The reference looks for the zero value of the keys' type.
                    Value::Nil if set.strings => Key::String("".into()),
                    Value::Nil => Key::Int(0),
                    value => Key::new(&value)?,
                };
                match key {
                    Key::String(_) if set.strings => {}
                    Key::Int(_) if !set.strings => {}
                    _ => return Err(Fault::evaluation("`in` compares values of different types")),
                }
                Value::Bool(set.keys.contains(&key))
            }
            I::Range => {
                let (from, to) = self.operands()?;
                let (from, to) = (operate::to_int(&from)?, operate::to_int(&to)?);
                let length = usize::try_from(to.wrapping_sub(from).wrapping_add(1)).unwrap_or(0);
                self.budget.elements(length)?;
                Value::List(List::range(from, length))
            }
            I::Matches => {
                let (value, pattern) = self.operands()?;
                Value::Bool(self.matches(&value, &pattern)?)
            }
            I::MatchesConstant(regex) => {
                let value = self.pop()?;
                Value::Bool(is_match(regex, &value, &mut self.budget)?)
            }
            I::Contains => self.text_test(|text, part| text.contains(part))?,
            I::StartsWith => self.text_test(|text, part| text.starts_with(part))?,
            I::EndsWith => self.text_test(|text, part| text.ends_with(part))?,
            I::Length => Value::Int(operate::sliceable_length(self.top()?)? as i64),
            I::Slice => {
                let from = self.pop()?;
                let (object, to) = self.operands()?;
                operate::slice(&object, &from, &to, &mut self.budget)?
            }
            I::Call(count) => {
                let callee = self.pop()?;
                let arguments: Vec<Value> = self.take(*count)?.into_iter().map(Value::present).collect();
                match callee {
                    Value::Method(method) => methods::call(&method.0, method.1, &arguments)?,
                    _ => return Err(Fault::evaluation(format!("{} cannot be called", callee.type_name()))),
                }
            }
            I::Builtin(call, count) => {
                let arguments: Vec<Value> = self.take(*count)?.into_iter().map(Value::present).collect();
                let now = self.input.now();
                call(&arguments, &mut builtins::Context { budget: &mut self.budget, now })?
            }
            I::ScopeFunction(function) => {
                let arguments: Vec<Value> =
                    self.take(function.parameters.len())?.into_iter().map(Value::present).collect();
                (function.call)(&arguments)
            }
            I::Array(count) => self.list(*count)?,
            I::Map(count) => self.map(*count)?,
            I::Throw(reason) => return Err(Fault::evaluation(*reason)),
            _ => return self.loop_step(instruction),
        };
        self.stack.push(value);
        Ok(())
    }

    /// The instructions of loops.
    fn loop_step(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        use Instruction as I;
        let value = match instruction {
            I::JumpIfEnd(target) => {
                let scope = self.scope()?;
                let ended = scope.index >= scope.length;
                self.jump_if(ended, *target);
                return Ok(());
            }
            I::Begin => {
                let items = self.pop()?;
                let length = match &items {
                    Value::List(list) => list.len(),
                    Value::Bytes(bytes) => bytes.len(),
                    Value::String(text) => text.len(),
                    Value::Absent => 0,
                    Value::Map(map) => map.len(),
                    _ => return Err(Fault::evaluation(format!("{} is no list", items.type_name()))),
                };
                self.scopes.push(Scope {
                    items,
                    length,
                    index: 0,
                    count: 0,
                    accumulator: Value::Nil,
                    groups: BTreeMap::new(),
                    descending: false,
                    sorted: Vec::new(),
                });
                return Ok(());
            }
            I::End => {
                self.end_scope()?;
                return Ok(());
            }
            I::Item => self.item()?,
            I::Index => Value::Int(self.scope()?.index as i64),
            I::Accumulator => self.scope()?.accumulator.clone(),
            I::SetAccumulator => {
                let value = self.pop()?.present();
                self.scope()?.accumulator = value;
                return Ok(());
            }
            I::Count => Value::Int(self.scope()?.count),
            I::IncrementCount => {
                self.scope()?.count += 1;
                return Ok(());
            }
            I::IncrementIndex => {
                self.scope()?.index += 1;
                return Ok(());
            }
            I::IndexFromEnd => {
                let scope = self.scope()?;
                scope.index = scope.length.saturating_sub(1);
                return Ok(());
            }
            I::DecrementIndex(target) => {
                let scope = self.scope()?;
                let more = scope.index > 0;
                scope.index = scope.index.saturating_sub(1);
                self.jump_if(more, *target);
                return Ok(());
            }
            I::JumpIfCounted(threshold, target) => {
                let counted = self.scope()?.count >= *threshold;
                self.jump_if(counted, *target);
                return Ok(());
            }
            I::CollectCounted => {
                let count = self.end_scope()?.count;
                self.list(usize::try_from(count).unwrap_or(0))?
            }
            I::CollectAll => {
                let length = self.end_scope()?.length;
                self.list(length)?
            }
            I::GroupBy => {
                let key = Key::new(&self.pop()?)?;
                let item = self.item()?;
                self.budget.bytes(4 * size_of::<Value>())?;
                self.scope()?.groups.entry(key).or_default().push(item);
                return Ok(());
            }
            I::GroupsEnd => {
                let mut groups = BTreeMap::new();
                for (key, items) in self.end_scope()?.groups {
                    groups.insert(key, Value::List(List::new(ListKind::Any, items)?));
                }
                Value::Map(Map::new(MapKind::Groups, groups)?)
            }
            I::SortStart => {
                let order = self.pop()?;
                let order = order.as_str().ok_or_else(|| Fault::evaluation("the order of sortBy is a string"))?;
                self.scope()?.descending = builtins::descending(order)?;
                return Ok(());
            }
            I::SortBy => {
                let key = self.pop()?.present();
                let item = self.item()?;
                self.scope()?.sorted.push(SortKey { key, item });
                return Ok(());
            }
            I::SortEnd => {
                let scope = self.end_scope()?;
                let sorted = builtins::sort_by(scope.sorted, scope.descending, &mut self.budget)?;
                self.budget.elements(sorted.len())?;
                Value::List(List::new(ListKind::Any, sorted)?)
            }
            _ => return Err(broken()),
        };
        self.stack.push(value);
        Ok(())
    }

    fn item(&mut self) -> Result<Value, Fault> {
        let scope = self.scope()?;
        let found = match &scope.items {
            Value::List(list) => list.get(scope.index),
            Value::Bytes(bytes) => bytes.get(scope.index).map(|byte| Value::Byte(*byte)),
            Value::String(text) => text.as_bytes().get(scope.index).map(|byte| Value::Byte(*byte)),
            items => return Err(Fault::evaluation(format!("{} is no list", items.type_name()))),
        };
        found.ok_or_else(|| Fault::evaluation("the index is out of range"))
    }

    /// A list of the last values of the stack.
    fn list(&mut self, count: usize) -> Result<Value, Fault> {
        self.budget.elements(count)?;
        let items = self.take(count)?.into_iter().map(Value::present).collect();
        Ok(Value::List(List::new(ListKind::Any, items)?))
    }

    /// A map of the last keys and values of the stack. An absent variable adds no key.
    fn map(&mut self, count: usize) -> Result<Value, Fault> {
        self.budget.elements(count)?;
        let mut pairs = self.take(2 * count)?.into_iter();
        let mut entries = BTreeMap::new();
        // If a key occurs several times, the first one counts, because the reference takes the pairs from the end.
        while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
            let key = match key {
                Value::String(key) => Key::String(key),
                Value::Absent => Key::String("".into()),
                key => {
                    return Err(Fault::evaluation(format!("the keys of a map are strings, not {}", key.type_name())));
                }
            };
            entries.entry(key).or_insert(value);
        }
        entries.retain(|_, value| !matches!(value, Value::Absent));
        Ok(Value::Map(Map::new(MapKind::Strings, entries)?))
    }

    fn all_variables(&mut self, has_command: bool, more: &[(&'static str, Nature)]) -> Result<Value, Fault> {
        let input = self.input;
        let command = ["env", "args", "cmdline"].into_iter().filter(|_| has_command).map(|name| {
            let value = match name {
                "env" => input.environment(),
                "args" => input.arguments(),
                _ => input.command_line(),
            };
            (name, value)
        });
        let more = more.iter().map(|(name, _)| (*name, input.variable(name)));
        let entries = command.chain(more).map(|(name, value)| (Key::String(name.into()), value));
        Ok(Value::Map(Map::new(MapKind::Strings, entries.collect())?))
    }

    /// A test of two texts. It is false if one is nil.
    fn text_test(&mut self, test: fn(&str, &str) -> bool) -> Result<Value, Fault> {
        let (left, right) = self.operands()?;
        if left.is_nil() || right.is_nil() {
            return Ok(Value::Bool(false));
        }
        let (Some(text), Some(part)) = (left.as_str(), right.as_str()) else {
            return Err(mistyped(&left, &right, "a string"));
        };
        self.budget.steps(text.len() / 4)?;
        Ok(Value::Bool(test(text, part)))
    }

    fn matches(&mut self, value: &Value, pattern: &Value) -> Result<bool, Fault> {
        if value.is_nil() || pattern.is_nil() {
            return Ok(false);
        }
        let text = pattern.as_str().ok_or_else(|| mistyped(value, pattern, "a string"))?;
        let known = self.pattern.as_ref().filter(|(known, _)| **known == *text);
        let regex = match known {
            Some((_, regex)) => regex.clone(),
            None => {
                let invalid = |reason| Fault::evaluation(format!("invalid regular expression: {reason}"));
                // A bad pattern takes time too.
                self.budget.steps(text.len() * 10)?;
                let pattern = crate::regex::Pattern::new(text).map_err(invalid)?;
                self.budget.steps(pattern.cost)?;
                let regex = pattern.compile().map_err(invalid)?;
                self.pattern = Some((text.into(), regex.clone()));
                regex
            }
        };
        is_match(&regex, value, &mut self.budget)
    }
}

fn is_match(regex: &regex::bytes::Regex, value: &Value, budget: &mut Budget) -> Result<bool, Fault> {
    if value.is_nil() {
        return Ok(false);
    }
    let lossy;
    let text = match value {
        Value::Bytes(bytes) => {
            lossy = operate::lossy(bytes);
            lossy.as_str()
        }
        _ => value.as_str().ok_or_else(|| needed("a string", value))?,
    };
    budget.steps(text.len())?;
    Ok(regex.is_match(text.as_bytes()))
}

fn boolean(value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(needed("true or false", value)),
    }
}

/// One of two operands has the wrong type.
fn mistyped(left: &Value, right: &Value, expected: &str) -> Fault {
    Fault::evaluation(format!(
        "{expected} is needed, but the operands are {} and {}",
        left.type_name(),
        right.type_name()
    ))
}
