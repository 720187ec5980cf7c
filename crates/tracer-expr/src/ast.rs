//! The tree of an expression.

use std::sync::Arc;

use crate::check::types::Type;

/// One node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// In characters from the start of the source.
    pub(crate) offset: usize,
    /// The type that the checker found. It is unknown before.
    pub(crate) nature: Type,
    /// The number of nodes on the longest path down, this one included.
    depth: u32,
    /// How many nodes it has, this one included. Copies count, too.
    size: usize,
}

/// Trees are equal if they mean the same. Places and types do not count.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// A child of a node.
pub(crate) type Child = Box<Node>;

/// The kind of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeKind {
    Nil,
    Identifier(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A list of literals. Only the optimizer makes it.
    ConstantList(Vec<Node>),
    /// The right side of `in`: strings or integers. Only the optimizer makes it.
    ConstantSet(Vec<Node>),
    Unary(UnaryOperator, Child),
    Binary(BinaryOperator, Child, Child),
    /// The extent of `?.`: if one link is nil, the whole chain is nil.
    Chain(Child),
    Member {
        object: Child,
        property: Child,
        optional: bool,
        method: bool,
    },
    Slice {
        object: Child,
        from: Option<Child>,
        to: Option<Child>,
    },
    Call {
        callee: Child,
        arguments: Vec<Node>,
    },
    Builtin(Builtin),
    Predicate(Child),
    /// `#`, `#index` and `#acc`.
    Pointer(String),
    Let {
        name: String,
        value: Child,
        body: Child,
    },
    Sequence(Vec<Node>),
    Conditional {
        ternary: bool,
        condition: Child,
        then: Child,
        otherwise: Child,
    },
    Array(Vec<Node>),
    /// Keys and values.
    Map(Vec<(Node, Node)>),
}

/// The call of a function of the language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<Node>,
    /// The result of a `filter` or a `find` for an element, if it is not the element itself. Only the optimizer sets
    /// it.
    pub(crate) map: Option<Child>,
    /// A `find` without a match is an error. Only the optimizer sets it.
    pub(crate) throws: bool,
    /// A `count` ends when it has counted this many elements. Only the optimizer sets it.
    pub(crate) threshold: Option<i64>,
}

impl Builtin {
    pub(crate) fn new(name: &'static str, arguments: Vec<Node>) -> Self {
        Self { name, arguments, map: None, throws: false, threshold: None }
    }
}

/// An operator in front of its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnaryOperator {
    Not,
    Minus,
    Plus,
}

impl UnaryOperator {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "not" | "!" => Self::Not,
            "-" => Self::Minus,
            "+" => Self::Plus,
            _ => return None,
        })
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Not => "!",
            Self::Minus => "-",
            Self::Plus => "+",
        }
    }

    pub(crate) fn precedence(self) -> u32 {
        match self {
            Self::Not => 50,
            Self::Minus | Self::Plus => 90,
        }
    }
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOperator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    Greater,
    GreaterOrEqual,
    LessOrEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Coalesce,
}

impl BinaryOperator {
    pub(crate) const ALL: [Self; 21] = [
        Self::Or,
        Self::And,
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::LessOrEqual,
        Self::In,
        Self::Matches,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Range,
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Modulo,
        Self::Power,
        Self::Coalesce,
    ];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "or" => Some(Self::Or),
            "and" => Some(Self::And),
            "^" => Some(Self::Power),
            _ => Self::ALL.into_iter().find(|operator| operator.text() == text),
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::In => "in",
            Self::Matches => "matches",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "**",
            Self::Coalesce => "??",
        }
    }

    pub(crate) fn precedence(self) -> u32 {
        match self {
            Self::Or => 10,
            Self::And => 15,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::LessOrEqual
            | Self::In
            | Self::Matches
            | Self::Contains
            | Self::StartsWith
            | Self::EndsWith => 20,
            Self::Range => 25,
            Self::Add | Self::Subtract => 30,
            Self::Multiply | Self::Divide | Self::Modulo => 60,
            Self::Power => 100,
            Self::Coalesce => 500,
        }
    }

    pub(crate) fn right_associative(self) -> bool {
        self == Self::Power
    }

    /// The operators that chain: `a < b < c` means `a < b && b < c`.
    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Self::Less | Self::Greater | Self::GreaterOrEqual | Self::LessOrEqual)
    }

    /// The operators that can follow `not`.
    pub(crate) fn can_be_negated(self) -> bool {
        matches!(self, Self::In | Self::Matches | Self::Contains | Self::StartsWith | Self::EndsWith)
    }
}

impl Node {
    /// A node whose type is not known yet.
    pub(crate) fn new(kind: NodeKind, offset: usize) -> Self {
        let mut node = Self { kind, offset, nature: Type::Unknown, depth: 0, size: 0 };
        let (mut deepest, mut size) = (0, 0);
        node.children(&mut |child| {
            deepest = deepest.max(child.depth);
            size += child.size;
        });
        node.depth = deepest + 1;
        node.size = size + 1;
        node
    }

    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Calls a function with each child.
    pub(crate) fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match &self.kind {
            NodeKind::Nil
            | NodeKind::Identifier(_)
            | NodeKind::Integer(_)
            | NodeKind::Float(_)
            | NodeKind::Bool(_)
            | NodeKind::String(_)
            | NodeKind::Bytes(_)
            | NodeKind::Pointer(_) => {}
            NodeKind::Unary(_, child) | NodeKind::Chain(child) | NodeKind::Predicate(child) => visit(child),
            NodeKind::Binary(_, left, right) => {
                visit(left);
                visit(right);
            }
            NodeKind::Member { object, property, .. } => {
                visit(object);
                visit(property);
            }
            NodeKind::Slice { object, from, to } => {
                visit(object);
                from.iter().chain(to).for_each(|child| visit(child));
            }
            NodeKind::Call { callee, arguments } => {
                visit(callee);
                arguments.iter().for_each(visit);
            }
            NodeKind::Builtin(builtin) => {
                builtin.arguments.iter().for_each(&mut *visit);
                builtin.map.iter().for_each(|child| visit(child));
            }
            NodeKind::Let { value, body, .. } => {
                visit(value);
                visit(body);
            }
            NodeKind::Conditional { condition, then, otherwise, .. } => {
                visit(condition);
                visit(then);
                visit(otherwise);
            }
            NodeKind::Sequence(nodes)
            | NodeKind::Array(nodes)
            | NodeKind::ConstantList(nodes)
            | NodeKind::ConstantSet(nodes) => nodes.iter().for_each(visit),
            NodeKind::Map(pairs) => {
                for (key, value) in pairs {
                    visit(key);
                    visit(value);
                }
            }
        }
    }

    /// Calls a function with each child that the optimizer may replace.
    pub(crate) fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match &mut self.kind {
            NodeKind::Nil
            | NodeKind::Identifier(_)
            | NodeKind::Integer(_)
            | NodeKind::Float(_)
            | NodeKind::Bool(_)
            | NodeKind::String(_)
            | NodeKind::Bytes(_)
            | NodeKind::ConstantList(_)
            | NodeKind::ConstantSet(_)
            | NodeKind::Pointer(_) => {}
            NodeKind::Unary(_, child) | NodeKind::Chain(child) | NodeKind::Predicate(child) => visit(child),
            NodeKind::Binary(_, left, right) => {
                visit(left);
                visit(right);
            }
            NodeKind::Member { object, property, .. } => {
                visit(object);
                visit(property);
            }
            NodeKind::Slice { object, from, to } => {
                visit(object);
                from.iter_mut().chain(to).for_each(|child| visit(child));
            }
            NodeKind::Call { callee, arguments } => {
                visit(callee);
                arguments.iter_mut().for_each(visit);
            }
            NodeKind::Builtin(builtin) => builtin.arguments.iter_mut().for_each(visit),
            NodeKind::Let { value, body, .. } => {
                visit(value);
                visit(body);
            }
            NodeKind::Conditional { condition, then, otherwise, .. } => {
                visit(condition);
                visit(then);
                visit(otherwise);
            }
            NodeKind::Sequence(nodes) | NodeKind::Array(nodes) => nodes.iter_mut().for_each(visit),
            NodeKind::Map(pairs) => {
                for (key, value) in pairs {
                    visit(key);
                    visit(value);
                }
            }
        }
    }

    /// The text, if the node is a string literal. As a property, it is the name after `.`.
    pub(crate) fn as_string(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_identifier(&self, name: &str) -> bool {
        matches!(&self.kind, NodeKind::Identifier(identifier) if identifier == name)
    }
}
