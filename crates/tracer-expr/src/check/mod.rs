//! Checks types before the first evaluation. It refuses all expressions that the reference refuses.

use crate::{
    ast::{BinaryOperator, Builtin, Node, NodeKind, UnaryOperator},
    error::Fault,
    regex,
    scope::Scope,
    time::methods,
};

mod calls;
mod predicates;
mod suggest;
pub(crate) mod types;

use types::{Kind, Type};

/// The name of the map of all variables.
pub(crate) const ALL_VARIABLES: &str = "$env";

/// Finds the types of all nodes. The first error refuses the expression.
pub(crate) fn check(scope: &Scope, node: &mut Node) -> Result<Type, Fault> {
    let mut checker = Checker { scope, predicates: Vec::new(), names: Vec::new(), fault: None };
    let nature = checker.visit(node);
    checker.fault.map_or(Ok(nature), Err)
}

struct Checker<'a> {
    /// The names besides those of the language.
    scope: &'a Scope,
    /// The open predicates, innermost last.
    predicates: Vec<Predicate>,
    /// The names of `let`, innermost last.
    names: Vec<(String, Type)>,
    /// The first error.
    fault: Option<Fault>,
}

struct Predicate {
    collection: Type,
    /// Whether `#index` exists, and `#acc`.
    index: bool,
    accumulator: bool,
}

impl Checker<'_> {
    /// Remembers the first error.
    fn error(&mut self, offset: usize, message: impl Into<String>) -> Type {
        self.fault.get_or_insert_with(|| Fault::types(offset, message));
        Type::Unknown
    }

    fn visit(&mut self, node: &mut Node) -> Type {
        let nature = self.nature(node);
        node.nature = nature.clone();
        nature
    }

    fn nature(&mut self, node: &mut Node) -> Type {
        let offset = node.offset;
        match &mut node.kind {
            NodeKind::Nil => Type::Nil,
            NodeKind::Identifier(name) => {
                let name = name.clone();
                self.identifier(&name, offset)
            }
            NodeKind::Integer(_) => Type::Int,
            NodeKind::Float(_) => Type::Float,
            NodeKind::Bool(_) => Type::Bool,
            NodeKind::String(_) => Type::String,
            NodeKind::Bytes(_) => Type::Bytes,
            NodeKind::ConstantList(_) => Type::List(None),
            NodeKind::ConstantSet(_) => Type::Unknown,
            NodeKind::Unary(operator, operand) => {
                let operator = *operator;
                let nature = self.visit(operand);
                self.unary(operator, &nature, offset)
            }
            NodeKind::Binary(operator, left, right) => {
                let operator = *operator;
                let (left_nature, right_nature) = (self.visit(left), self.visit(right));
                if operator == BinaryOperator::Matches
                    && let Some(pattern) = right.as_string()
                    && let Err(reason) = regex::Pattern::new(pattern)
                {
                    return self.error(offset, format!("invalid regular expression: {reason}"));
                }
                self.binary(operator, &left_nature, &right_nature, offset)
            }
            NodeKind::Chain(inner) => self.visit(inner),
            NodeKind::Member { .. } => self.member(node),
            NodeKind::Slice { .. } => self.slice(node),
            NodeKind::Call { callee, arguments } => self.call(callee, arguments, offset),
            NodeKind::Builtin(builtin) => self.builtin(builtin, offset),
            NodeKind::Predicate(body) => self.visit(body),
            NodeKind::Pointer(name) => {
                let name = name.clone();
                self.pointer(&name, offset)
            }
            NodeKind::Let { name, value, body } => {
                let name = name.clone();
                self.declaration(name, value, body, offset)
            }
            NodeKind::Sequence(nodes) => nodes.iter_mut().fold(Type::Unknown, |_, node| self.visit(node)),
            NodeKind::Conditional { condition, then, otherwise, .. } => {
                let nature = self.visit(condition);
                if nature != Type::Bool && !nature.is_unknown() {
                    return self.error(condition.offset, format!("the condition is {nature}, not bool"));
                }
                let (then, otherwise) = (self.visit(then), self.visit(otherwise));
                either(then, otherwise)
            }
            NodeKind::Array(nodes) => self.array(nodes),
            NodeKind::Map(pairs) => {
                for (key, value) in pairs {
                    self.visit(key);
                    self.visit(value);
                }
                Type::StringMap
            }
        }
    }

    fn identifier(&mut self, name: &str, offset: usize) -> Type {
        if let Some((_, nature)) = self.names.iter().rev().find(|(known, _)| known == name) {
            return nature.clone();
        }
        if name == ALL_VARIABLES {
            return Type::Unknown;
        }
        if let Some(nature) = self.scope.variable(name) {
            return nature;
        }
        if let Some(builtin) = crate::builtins::find(name) {
            return Type::Function(builtin.name);
        }
        self.unknown_name(name, offset)
    }

    fn unknown_name(&mut self, name: &str, offset: usize) -> Type {
        if self.fault.is_none() {
            let mut known: Vec<&str> = self.names.iter().map(|(name, _)| name.as_str()).collect();
            known.extend(self.scope.names());
            let similar = suggest::similar(name, known.into_iter());
            let mut fault = Fault::types(offset, format!("unknown name `{name}`"));
            fault.unknown_name = Some((name.to_owned(), similar));
            self.fault = Some(fault);
        }
        Type::Unknown
    }

    fn unary(&mut self, operator: UnaryOperator, nature: &Type, offset: usize) -> Type {
        match operator {
            UnaryOperator::Not if *nature == Type::Bool || nature.is_unknown() => Type::Bool,
            UnaryOperator::Minus | UnaryOperator::Plus if nature.is_number() => nature.clone(),
            UnaryOperator::Minus | UnaryOperator::Plus if nature.is_unknown() => Type::Unknown,
            _ => self.error(offset, format!("`{}` does not work on {nature}", operator.text())),
        }
    }

    fn binary(&mut self, operator: BinaryOperator, left: &Type, right: &Type, offset: usize) -> Type {
        use BinaryOperator as Op;
        let both = |test: fn(&Type) -> bool| test(left) && test(right);
        let are = |first: Type, second: Type| *left == first && *right == second;
        let numbers = both(Type::is_number);
        let strings = are(Type::String, Type::String);
        let maybe = |tests: &[Type], number: bool| {
            left.may_fit(right, |nature| number && nature.is_number() || tests.contains(nature))
        };
        let found = match operator {
            Op::Equal | Op::NotEqual => left.comparable_to(right).then_some(Type::Bool),
            Op::Or | Op::And => (are(Type::Bool, Type::Bool) || maybe(&[Type::Bool], false)).then_some(Type::Bool),
            Op::Less | Op::Greater | Op::GreaterOrEqual | Op::LessOrEqual => (numbers
                || strings
                || are(Type::Time, Type::Time)
                || are(Type::Duration, Type::Duration)
                || maybe(&[Type::String, Type::Time, Type::Duration], true))
            .then_some(Type::Bool),
            Op::Subtract if numbers => Some(left.promoted(right)),
            Op::Subtract if are(Type::Time, Type::Time) || are(Type::Duration, Type::Duration) => Some(Type::Duration),
            Op::Subtract if are(Type::Time, Type::Duration) => Some(Type::Time),
            Op::Subtract => maybe(&[Type::Time, Type::Duration], true).then_some(Type::Unknown),
            Op::Multiply if numbers => Some(left.promoted(right)),
            Op::Multiply
                if are(Type::Duration, Type::Duration)
                    || *left == Type::Duration && right.is_number()
                    || left.is_number() && *right == Type::Duration =>
            {
                Some(Type::Duration)
            }
            Op::Multiply => maybe(&[Type::Duration], true).then_some(Type::Unknown),
            Op::Divide | Op::Power => (numbers || maybe(&[], true)).then_some(Type::Float),
            Op::Modulo => (both(Type::is_integer) || left.may_fit(right, Type::is_integer)).then_some(Type::Int),
            Op::Add if numbers => Some(left.promoted(right)),
            Op::Add if strings => Some(Type::String),
            Op::Add if are(Type::Time, Type::Duration) || are(Type::Duration, Type::Time) => Some(Type::Time),
            Op::Add if are(Type::Duration, Type::Duration) => Some(Type::Duration),
            Op::Add => maybe(&[Type::String, Type::Time, Type::Duration], true).then_some(Type::Unknown),
            Op::In => return self.within(left, right, offset),
            Op::Matches => {
                let text = matches!(left, Type::String | Type::Bytes) && *right == Type::String;
                (text || maybe(&[Type::String], false)).then_some(Type::Bool)
            }
            Op::Contains | Op::StartsWith | Op::EndsWith => {
                (strings || maybe(&[Type::String], false)).then_some(Type::Bool)
            }
            Op::Range => {
                (both(Type::is_integer) || left.may_fit(right, Type::is_integer)).then_some(Type::list_of(Type::Int))
            }
            Op::Coalesce => Some(match (left, right) {
                (Type::Nil, other) | (other, Type::Nil) => other.clone(),
                _ if right.assignable_to(left) => left.clone(),
                _ => Type::Unknown,
            }),
        };
        found
            .unwrap_or_else(|| self.error(offset, format!("`{}` does not work on {left} and {right}", operator.text())))
    }

    fn within(&mut self, left: &Type, right: &Type, offset: usize) -> Type {
        let text = *left == Type::String || left.is_unknown();
        if right.is_map() {
            let key = right.key();
            if !left.is_unknown() && !left.assignable_to(&key) {
                return self.error(offset, format!("{left} cannot be a key of this map, whose keys are {key}"));
            }
            return Type::Bool;
        }
        if right.is_list() {
            let element = right.element();
            if !left.comparable_to(&element) {
                return self.error(offset, format!("{left} cannot be in a list of {element}"));
            }
            return Type::Bool;
        }
        let fits = text && matches!(right, Type::Time | Type::Zone)
            || left.is_unknown() && *right == Type::String
            || right.is_unknown();
        if fits {
            return Type::Bool;
        }
        self.error(offset, format!("`in` does not work on {left} and {right}"))
    }

    fn member(&mut self, node: &mut Node) -> Type {
        let offset = node.offset;
        let NodeKind::Member { object, property, optional, method } = &mut node.kind else { return Type::Unknown };
        if object.is_identifier(ALL_VARIABLES) {
            let Some(name) = property.as_string() else { return Type::Unknown };
            return match self.scope.variable(name) {
                Some(nature) => nature,
                None if *optional => Type::Unknown,
                None => {
                    let name = name.to_owned();
                    self.unknown_name(&name, offset)
                }
            };
        }
        let base = self.visit(object);
        let key = self.visit(property);
        if base.is_unknown() {
            return Type::Unknown;
        }
        let name = property.as_string();
        if let Some(name) = name {
            if base == Type::Nil {
                return self.error(offset, format!("nil has no field {name}"));
            }
            if let Some(method) = methods::of_type(&base, name) {
                return Type::Method(method);
            }
        }
        match base.kind() {
            Kind::Map => {
                if !key.assignable_to(&base.key()) && !key.is_unknown() {
                    let message = format!("{key} cannot be a key of this map, whose keys are {}", base.key());
                    return self.error(property.offset, message);
                }
                return base.element();
            }
            Kind::Slice => {
                if !key.is_integer() && !key.is_unknown() {
                    return self.error(property.offset, format!("the index of a list is an integer, not {key}"));
                }
                return base.element();
            }
            _ => {}
        }
        let message = match name {
            Some(name) if *method => format!("{base} has no method {name}"),
            Some(name) => format!("{base} has no field {name}"),
            None => format!("{base} has no elements"),
        };
        self.error(offset, message)
    }

    fn slice(&mut self, node: &mut Node) -> Type {
        let offset = node.offset;
        let NodeKind::Slice { object, from, to } = &mut node.kind else { return Type::Unknown };
        let nature = self.visit(object);
        if nature.is_unknown() {
            return Type::Unknown;
        }
        if nature != Type::String && !nature.is_list() {
            return self.error(offset, format!("{nature} cannot be sliced"));
        }
        for bound in from.iter_mut().chain(to) {
            let bound_nature = self.visit(bound);
            if !bound_nature.is_integer() && !bound_nature.is_unknown() {
                return self.error(bound.offset, format!("the bound of a slice is an integer, not {bound_nature}"));
            }
        }
        nature
    }

    fn declaration(&mut self, name: String, value: &mut Node, body: &mut Node, offset: usize) -> Type {
        let taken = self.scope.variable(&name).is_some()
            || crate::builtins::find(&name).is_some()
            || self.names.iter().any(|(known, _)| *known == name);
        if taken {
            return self.error(offset, format!("the name `{name}` is taken"));
        }
        let nature = self.visit(value);
        self.names.push((name, nature));
        let body = self.visit(body);
        self.names.pop();
        body
    }

    fn array(&mut self, nodes: &mut [Node]) -> Type {
        let mut last: Option<Type> = None;
        let mut same = true;
        for node in nodes {
            let nature = self.visit(node);
            same &= last.is_none_or(|last| last.kind() == nature.kind());
            last = Some(nature);
        }
        if same { Type::list_of(last.unwrap_or(Type::Unknown)) } else { Type::List(None) }
    }

    fn pointer(&mut self, name: &str, offset: usize) -> Type {
        let Some(scope) = self.predicates.last() else {
            return self.error(offset, "`#` only works in a predicate");
        };
        match name {
            "" if scope.collection.is_unknown() => Type::Unknown,
            "" => scope.collection.element(),
            "index" if scope.index => Type::Int,
            "acc" if scope.accumulator => Type::Unknown,
            _ => self.error(offset, format!("unknown pointer `#{name}`")),
        }
    }

    fn builtin(&mut self, builtin: &mut Builtin, offset: usize) -> Type {
        match crate::builtins::find(builtin.name) {
            Some(known) if known.call.is_none() => self.predicate_builtin(builtin),
            _ => self.plain_builtin(builtin.name, &mut builtin.arguments, offset),
        }
    }
}

/// The type of `condition ? then : otherwise`.
fn either(then: Type, otherwise: Type) -> Type {
    match (&then, &otherwise) {
        (Type::Nil, _) => otherwise,
        (_, Type::Nil) => then,
        _ if then.assignable_to(&otherwise) => {
            if then.is_list() && otherwise.is_list() {
                let (first, second) = (then.element(), otherwise.element());
                if !first.assignable_to(&second) || !second.assignable_to(&first) {
                    return Type::List(None);
                }
            }
            then
        }
        _ => Type::Unknown,
    }
}
