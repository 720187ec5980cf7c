//! Functions on maps, and on any value.

use std::collections::BTreeMap;

use super::{Context, argument, elements, unexpected};
use crate::{
    error::Fault,
    operate::element,
    time::methods,
    value::{Key, List, ListKind, Map, MapKind, Value},
};

type Answer = Result<Value, Fault>;

pub(super) fn type_of(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(match argument(arguments) {
        Value::Nil => "nil",
        Value::Absent | Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Byte(_) => "uint",
        Value::Float(_) => "float",
        Value::Bytes(_) | Value::List(_) => "array",
        Value::Map(_) => "map",
        Value::Time(_) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::Month(_) => "time.Month",
        Value::Weekday(_) => "time.Weekday",
        Value::Zone(_) => "time.Location",
        Value::Method(_) => "func",
    }
    .into())
}

/// The value at a key or an index. Nil if there is no such value.
pub(super) fn get(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let (object, key) = (argument(arguments), arguments.get(1).unwrap_or(&Value::Nil));
    if let Some(name) = key.as_str()
        && let Some(method) = methods::of_value(object, name)
    {
        return Ok(Value::Method((object.clone(), method.name).into()));
    }
    if let Value::Map(map) = object {
        return Ok(map.get(key)?.unwrap_or(Value::Nil));
    }
    Ok(match element(object, key)? {
        Some(Ok(element)) => element,
        _ => Value::Nil,
    })
}

fn map(value: &Value) -> Result<&Map, Fault> {
    match value {
        Value::Map(map) => Ok(map),
        _ => Err(unexpected(value, "a map")),
    }
}

fn list(kind: ListKind, items: Vec<Value>, context: &mut Context<'_>) -> Answer {
    context.budget.bytes(items.len() * size_of::<Value>())?;
    Ok(Value::List(List::new(kind, items)?))
}

pub(super) fn keys(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let keys = map(argument(arguments))?.iter().map(|(key, _)| key).collect();
    list(ListKind::Any, keys, context)
}

pub(super) fn values(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let values = map(argument(arguments))?.iter().map(|(_, value)| value.clone()).collect();
    list(ListKind::Any, values, context)
}

pub(super) fn to_pairs(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let pairs = map(argument(arguments))?
        .iter()
        .map(|(key, value)| Ok(Value::List(List::new(ListKind::Pair, vec![key, value.clone()])?)))
        .collect::<Result<Vec<_>, Fault>>()?;
    context.budget.bytes(pairs.len() * 4 * size_of::<Value>())?;
    list(ListKind::Pairs, pairs, context)
}

pub(super) fn from_pairs(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = argument(arguments);
    let pairs = elements(value).ok_or_else(|| unexpected(value, "a list of pairs"))?;
    context.budget.bytes(pairs.len() * 4 * size_of::<Value>())?;
    let mut entries = BTreeMap::new();
    for pair in pairs {
        match elements(&pair).as_deref() {
            Some([key, value]) => entries.insert(Key::new(key)?, value.clone()),
            _ => return Err(unexpected(&pair, "a pair")),
        };
    }
    Ok(Value::Map(Map::new(MapKind::Any, entries)?))
}
