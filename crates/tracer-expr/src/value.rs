//! Values of expressions.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use crate::{
    budget::MAX_VALUE_DEPTH,
    error::Fault,
    time::{Time, Zone},
};

/// A value of an expression.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value.
    Nil,
    /// An environment variable that is not set. In an expression it behaves as the empty string, with two exceptions:
    /// for `??` and `== nil` it is nil, and a map literal leaves out its key.
    Absent,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// One byte, such as `b"a"[0]`.
    Byte(u8),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    String(Arc<str>),
    /// A byte string.
    Bytes(Arc<[u8]>),
    /// A list.
    List(List),
    /// A map.
    Map(Map),
    /// An instant with a time zone.
    Time(Arc<Time>),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A month, January is 1.
    Month(i64),
    /// A day of the week, Sunday is 0.
    Weekday(i64),
    /// A time zone.
    Zone(Zone),
    /// A method of a value that is not called yet.
    Method(Arc<(Self, &'static str)>),
}

impl Value {
    /// A map of texts. A key that is absent has the empty text, as in `env`.
    #[must_use]
    pub fn texts<K: Into<Arc<str>>, V: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Key::String(key.into()), Self::String(value.into())));
        // This map is never too deep, because texts do not nest.
        Map::new(MapKind::Environment, entries.collect()).map_or(Self::Nil, Self::Map)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

/// The type of a list's elements, which decides what it equals and which functions take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Any,
    Strings,
    Ints,
    /// The result of `toPairs`.
    Pairs,
    /// One element of the result of `toPairs`.
    Pair,
}

#[derive(Debug)]
enum Items {
    Values(Vec<Value>),
    /// Consecutive integers: the first integer, and their number.
    Range(i64, usize),
}

/// A list.
#[derive(Clone, Debug)]
pub struct List {
    pub(crate) kind: ListKind,
    /// A list that equals nil. Some of Go's functions return such a list.
    pub(crate) nil: bool,
    depth: u32,
    items: Arc<Items>,
}

impl List {
    pub(crate) fn new(kind: ListKind, items: Vec<Value>) -> Result<Self, Fault> {
        let depth = depth_over(items.iter())?;
        Ok(Self { kind, nil: false, depth, items: Arc::new(Items::Values(items)) })
    }

    pub(crate) fn strings(items: Vec<Value>) -> Self {
        Self { kind: ListKind::Strings, nil: false, depth: 1, items: Arc::new(Items::Values(items)) }
    }

    pub(crate) fn nil(kind: ListKind) -> Self {
        Self { kind, nil: true, depth: 1, items: Arc::new(Items::Values(Vec::new())) }
    }

    /// Consecutive integers.
    pub(crate) fn range(from: i64, length: usize) -> Self {
        Self { kind: ListKind::Ints, nil: false, depth: 1, items: Arc::new(Items::Range(from, length)) }
    }

    /// Whether it equals nil. Some functions of the reference return such a list.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        self.nil
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &*self.items {
            Items::Values(values) => values.len(),
            Items::Range(_, length) => *length,
        }
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One element.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        match &*self.items {
            Items::Values(values) => values.get(index).cloned(),
            Items::Range(from, length) => {
                (index < *length).then(|| Value::Int(from.wrapping_add_unsigned(index as u64)))
            }
        }
    }

    /// Its elements.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// A part of it, of the same type.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        if from == 0 && to == self.len() {
            return self.clone();
        }
        let items = match &*self.items {
            Items::Values(values) => Items::Values(values[from..to].to_vec()),
            Items::Range(first, _) => Items::Range(first.wrapping_add_unsigned(from as u64), to - from),
        };
        Self { items: Arc::new(items), ..*self }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.items, &other.items)
    }
}

/// The types of a map's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// The environment, or a map from [`Value::texts`].
    Environment,
    /// A map literal, or a JSON object.
    Strings,
    /// The result of `fromPairs`.
    Any,
    /// The result of `groupBy`.
    Groups,
}

/// A map, in the order of its keys.
#[derive(Clone, Debug)]
pub struct Map {
    pub(crate) kind: MapKind,
    depth: u32,
    pub(crate) entries: Arc<BTreeMap<Key, Value>>,
}

impl Map {
    pub(crate) fn new(kind: MapKind, entries: BTreeMap<Key, Value>) -> Result<Self, Fault> {
        let depth = depth_over(entries.values())?;
        Ok(Self { kind, depth, entries: Arc::new(entries) })
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (Value, &Value)> + '_ {
        self.entries.iter().map(|(key, value)| (key.value(), value))
    }

    /// The value of a key. A key of the wrong type is an error.
    pub(crate) fn get(&self, key: &Value) -> Result<Option<Value>, Fault> {
        let key = match (self.kind, key) {
            (MapKind::Environment | MapKind::Strings, Value::Nil) => Key::String("".into()),
            (_, key) => Key::new(key)?,
        };
        if matches!(self.kind, MapKind::Environment | MapKind::Strings) && !matches!(key, Key::String(_)) {
            return Err(Fault::evaluation("the keys of this map are strings"));
        }
        Ok(self.entries.get(&key).cloned())
    }

    /// The value of a key. A missing key has the default of the map's type.
    pub(crate) fn fetch(&self, key: &Value) -> Result<Value, Fault> {
        Ok(self.get(key)?.unwrap_or_else(|| match self.kind {
            MapKind::Environment => Value::Absent,
            MapKind::Strings | MapKind::Any => Value::Nil,
            MapKind::Groups => Value::List(List::nil(ListKind::Any)),
        }))
    }
}

fn depth_over<'a>(values: impl Iterator<Item = &'a Value>) -> Result<u32, Fault> {
    let deepest = values.map(Value::depth).max().unwrap_or(0);
    if deepest >= MAX_VALUE_DEPTH {
        return Err(Fault::budget(format!("lists and maps nest deeper than {MAX_VALUE_DEPTH} levels")));
    }
    Ok(deepest + 1)
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Nil,
    Bool(bool),
    Byte(u8),
    Int(i64),
    Float(FloatKey),
    String(Arc<str>),
    Duration(i64),
    Month(i64),
    Weekday(i64),
    Time(Arc<Time>),
    Zone(Zone),
    Pair(Box<(Self, Self)>),
}

impl Key {
    pub(crate) fn new(value: &Value) -> Result<Self, Fault> {
        Ok(match value {
            Value::Nil => Self::Nil,
            Value::Absent => Self::String("".into()),
            Value::Bool(value) => Self::Bool(*value),
            Value::Byte(value) => Self::Byte(*value),
            Value::Int(value) => Self::Int(*value),
            // The two zeros are one key.
            Value::Float(value) => Self::Float(FloatKey(value + 0.0)),
            Value::String(value) => Self::String(value.clone()),
            Value::Duration(value) => Self::Duration(*value),
            Value::Month(value) => Self::Month(*value),
            Value::Weekday(value) => Self::Weekday(*value),
            Value::Time(value) => Self::Time(value.clone()),
            Value::Zone(value) => Self::Zone(value.clone()),
            Value::List(list) if list.kind == ListKind::Pair => {
                let mut keys = list.iter().map(|item| Self::new(&item));
                match (keys.next(), keys.next()) {
                    (Some(first), Some(second)) => Self::Pair(Box::new((first?, second?))),
                    _ => return Err(unhashable()),
                }
            }
            Value::Bytes(_) | Value::List(_) | Value::Map(_) | Value::Method(_) => return Err(unhashable()),
        })
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Byte(value) => Value::Byte(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(value.0),
            Self::String(value) => Value::String(value.clone()),
            Self::Duration(value) => Value::Duration(*value),
            Self::Month(value) => Value::Month(*value),
            Self::Weekday(value) => Value::Weekday(*value),
            Self::Time(value) => Value::Time(value.clone()),
            Self::Zone(value) => Value::Zone(value.clone()),
            Self::Pair(pair) => Value::List(List {
                kind: ListKind::Pair,
                nil: false,
                depth: 1,
                items: Arc::new(Items::Values(vec![pair.0.value(), pair.1.value()])),
            }),
        }
    }
}

fn unhashable() -> Fault {
    Fault::evaluation("a list or a map cannot be a key")
}

/// A float as a key of a map. Keys are in the order of their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloatKey(f64);

impl PartialEq for FloatKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FloatKey {}

impl PartialOrd for FloatKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FloatKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Value {
    fn depth(&self) -> u32 {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            _ => 0,
        }
    }

    /// Nil, or a list that equals nil.
    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::List(list) => list.nil,
            _ => false,
        }
    }

    /// The empty string for an absent variable, and the value itself for all others.
    pub(crate) fn present(self) -> Self {
        match self {
            Self::Absent => Self::String("".into()),
            other => other,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Absent => Some(""),
            _ => None,
        }
    }

    /// The name of its type in messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Absent | Self::String(_) => "string",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Byte(_) => "uint8",
            Self::Float(_) => "float",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Time(_) => "time",
            Self::Duration(_) => "duration",
            Self::Month(_) => "month",
            Self::Weekday(_) => "weekday",
            Self::Zone(_) => "time zone",
            Self::Method(_) => "method",
        }
    }
}
