//! The functions of the language.

use crate::{budget::Budget, error::Fault, time::Time, value::Value};

mod json;
mod lists;
mod maps;
mod numeric;
mod strings;
mod times;

/// The arguments of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    /// A list and a predicate.
    Predicate,
    /// A list, and an optional predicate.
    OptionalPredicate,
    /// A list, a predicate, and an optional third argument.
    PredicateAndMore,
}

impl Shape {
    /// The fewest arguments.
    pub(crate) fn least(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::OptionalPredicate => 1,
            Self::Predicate | Self::PredicateAndMore => 2,
        }
    }

    /// The most arguments.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Plain => usize::MAX,
            Self::Predicate | Self::OptionalPredicate => 2,
            Self::PredicateAndMore => 3,
        }
    }
}

/// The data that calls share during one evaluation.
pub(crate) struct Context<'a> {
    pub(crate) budget: &'a mut Budget,
    /// The value of `now()`, in nanoseconds since 1970.
    pub(crate) now: i64,
}

/// A function of the language.
#[derive(Clone, Copy)]
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// `None` for functions with a predicate, which are instructions.
    pub(crate) call: Option<Call>,
}

/// The code of a function. Absent variables are already empty strings.
pub(crate) type Call = fn(&[Value], &mut Context<'_>) -> Result<Value, Fault>;

const fn plain(name: &'static str, call: Call) -> Builtin {
    Builtin { name, shape: Shape::Plain, call: Some(call) }
}

const fn predicate(name: &'static str, shape: Shape) -> Builtin {
    Builtin { name, shape, call: None }
}

/// All functions.
pub(crate) static ALL: &[Builtin] = &[
    predicate("all", Shape::Predicate),
    predicate("none", Shape::Predicate),
    predicate("any", Shape::Predicate),
    predicate("one", Shape::Predicate),
    predicate("filter", Shape::Predicate),
    predicate("map", Shape::Predicate),
    predicate("find", Shape::Predicate),
    predicate("findIndex", Shape::Predicate),
    predicate("findLast", Shape::Predicate),
    predicate("findLastIndex", Shape::Predicate),
    predicate("count", Shape::OptionalPredicate),
    predicate("sum", Shape::OptionalPredicate),
    predicate("groupBy", Shape::Predicate),
    predicate("sortBy", Shape::PredicateAndMore),
    predicate("reduce", Shape::PredicateAndMore),
    plain("len", lists::len),
    plain("type", maps::type_of),
    plain("abs", numeric::abs),
    plain("ceil", numeric::ceil),
    plain("floor", numeric::floor),
    plain("round", numeric::round),
    plain("int", numeric::int),
    plain("float", numeric::float),
    plain("string", strings::string),
    plain("trim", strings::trim),
    plain("trimPrefix", strings::trim_prefix),
    plain("trimSuffix", strings::trim_suffix),
    plain("upper", strings::upper),
    plain("lower", strings::lower),
    plain("split", strings::split),
    plain("splitAfter", strings::split_after),
    plain("replace", strings::replace),
    plain("repeat", strings::repeat),
    plain("join", strings::join),
    plain("indexOf", strings::index_of),
    plain("lastIndexOf", strings::last_index_of),
    plain("hasPrefix", strings::has_prefix),
    plain("hasSuffix", strings::has_suffix),
    plain("max", numeric::max),
    plain("min", numeric::min),
    plain("mean", numeric::mean),
    plain("median", numeric::median),
    plain("toJSON", json::to_json),
    plain("fromJSON", json::from_json),
    plain("toBase64", strings::to_base64),
    plain("fromBase64", strings::from_base64),
    plain("now", times::now),
    plain("duration", times::duration),
    plain("date", times::date),
    plain("timezone", times::timezone),
    plain("first", lists::first),
    plain("last", lists::last),
    plain("get", maps::get),
    plain("take", lists::take),
    plain("keys", maps::keys),
    plain("values", maps::values),
    plain("toPairs", maps::to_pairs),
    plain("fromPairs", maps::from_pairs),
    plain("reverse", lists::reverse),
    plain("uniq", lists::uniq),
    plain("concat", lists::concat),
    plain("flatten", lists::flatten),
    plain("sort", lists::sort),
    plain("bitand", numeric::bitand),
    plain("bitor", numeric::bitor),
    plain("bitxor", numeric::bitxor),
    plain("bitnand", numeric::bitnand),
    plain("bitshl", numeric::bitshl),
    plain("bitshr", numeric::bitshr),
    plain("bitushr", numeric::bitushr),
    plain("bitnot", numeric::bitnot),
];

/// A function by its name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

pub(crate) use lists::{SortKey, descending, sort_by};

/// An argument that must be a text.
fn text(arguments: &[Value], index: usize) -> Result<&str, Fault> {
    let argument = arguments.get(index).unwrap_or(&Value::Nil);
    argument.as_str().ok_or_else(|| unexpected(argument, "a string"))
}

fn argument(arguments: &[Value]) -> &Value {
    arguments.first().unwrap_or(&Value::Nil)
}

fn unexpected(value: &Value, expected: &str) -> Fault {
    Fault::evaluation(format!("{expected} is needed, but this is {}", value.type_name()))
}

/// The elements of a list or the bytes of a byte string.
fn elements(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::List(list) => Some(list.iter().collect()),
        Value::Bytes(bytes) => Some(bytes.iter().map(|byte| Value::Byte(*byte)).collect()),
        _ => None,
    }
}

/// An instant as a value.
fn time(time: Time) -> Value {
    Value::Time(time.into())
}
