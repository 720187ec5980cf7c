//! Types as the checker knows them.

use std::fmt;

/// The type of a part of an expression. It mirrors the Go type that the reference works with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// Not known before the evaluation.
    Unknown,
    /// Declared as any value.
    Any,
    Nil,
    Bool,
    Int,
    /// The result of some methods of times.
    Int64,
    Byte,
    Float,
    String,
    Bytes,
    /// A list of any values, and the known facts about its elements.
    List(Option<Box<Type>>),
    Strings,
    Environment,
    StringMap,
    AnyMap,
    Groups,
    Time,
    Duration,
    Month,
    Weekday,
    Zone,
    /// A function of the language by its name, not called.
    Function(&'static str),
    /// A method, not called.
    Method(&'static Method),
}

/// A method of a time, a duration and so on.
#[derive(Debug, PartialEq)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Type],
    /// `None` if it has no result, or more results than an expression can use.
    pub(crate) result: Option<Type>,
}

/// The general kind of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Interface,
    Bool,
    Int,
    Int64,
    Byte,
    Float,
    String,
    Slice,
    Map,
    Struct,
    Pointer,
    Function,
}

impl Type {
    pub(crate) fn list_of(element: Self) -> Self {
        Self::List(Some(Box::new(element)))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Unknown | Self::Nil => Kind::Invalid,
            Self::Any => Kind::Interface,
            Self::Bool => Kind::Bool,
            Self::Int | Self::Month | Self::Weekday => Kind::Int,
            Self::Int64 | Self::Duration => Kind::Int64,
            Self::Byte => Kind::Byte,
            Self::Float => Kind::Float,
            Self::String => Kind::String,
            Self::Bytes | Self::List(_) | Self::Strings => Kind::Slice,
            Self::Environment | Self::StringMap | Self::AnyMap | Self::Groups => Kind::Map,
            Self::Time => Kind::Struct,
            Self::Zone => Kind::Pointer,
            Self::Function(_) | Self::Method(_) => Kind::Function,
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown | Self::Any)
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, Self::Int | Self::Int64 | Self::Byte)
    }

    pub(crate) fn is_number(&self) -> bool {
        self.is_integer() || *self == Self::Float
    }

    pub(crate) fn is_list(&self) -> bool {
        self.kind() == Kind::Slice
    }

    pub(crate) fn is_map(&self) -> bool {
        self.kind() == Kind::Map
    }

    /// The type of the elements of a list or the values of a map.
    pub(crate) fn element(&self) -> Self {
        match self {
            Self::List(Some(element)) => (**element).clone(),
            Self::List(None) | Self::StringMap | Self::AnyMap => Self::Any,
            Self::Strings | Self::Environment => Self::String,
            Self::Bytes => Self::Byte,
            Self::Groups => Self::List(None),
            _ => Self::Unknown,
        }
    }

    /// The type of the keys of a map.
    pub(crate) fn key(&self) -> Self {
        match self {
            Self::Environment | Self::StringMap => Self::String,
            Self::AnyMap | Self::Groups => Self::Any,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn assignable_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, _) => {
                matches!(other.kind(), Kind::Interface | Kind::Pointer | Kind::Map | Kind::Slice | Kind::Function)
            }
            (Self::Unknown, _) | (_, Self::Unknown | Self::Nil) => false,
            (_, Self::Any) => true,
            (Self::List(_), Self::List(_)) => true,
            _ => self == other,
        }
    }

    pub(crate) fn comparable_to(&self, other: &Self) -> bool {
        self.is_unknown()
            || other.is_unknown()
            || *self == Self::Nil
            || *other == Self::Nil
            || self.is_number() && other.is_number()
            || self.is_list() && other.is_list()
            || self.assignable_to(other)
    }

    /// Whether two types may fit: one is unknown, and the other is unknown too or passes a test.
    pub(crate) fn may_fit(&self, other: &Self, test: impl Fn(&Self) -> bool) -> bool {
        match (self.is_unknown(), other.is_unknown()) {
            (true, true) => true,
            (true, false) => test(other),
            (false, true) => test(self),
            (false, false) => false,
        }
    }

    pub(crate) fn promoted(&self, other: &Self) -> Self {
        if *self == Self::Float || *other == Self::Float { Self::Float } else { Self::Int }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Any => "any",
            Self::Nil => "nil",
            Self::Bool => "bool",
            Self::Int | Self::Int64 => "int",
            Self::Byte => "uint8",
            Self::Float => "float",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::List(_) => "list",
            Self::Strings => "list of strings",
            Self::Environment => "map of strings",
            Self::StringMap | Self::AnyMap => "map",
            Self::Groups => "map of lists",
            Self::Time => "time",
            Self::Duration => "duration",
            Self::Month => "month",
            Self::Weekday => "weekday",
            Self::Zone => "time zone",
            Self::Function(_) => "function",
            Self::Method(_) => "method",
        })
    }
}
