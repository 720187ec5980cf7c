//! Functions on lists.

use super::{Context, argument, elements, text, unexpected};
use crate::{
    budget::Budget,
    error::Fault,
    operate::{element, equal, less},
    value::{List, ListKind, Value},
};

type Answer = Result<Value, Fault>;

fn new_list(items: Vec<Value>, context: &mut Context<'_>) -> Answer {
    context.budget.bytes(items.len() * size_of::<Value>())?;
    Ok(Value::List(List::new(ListKind::Any, items)?))
}

fn needed(value: &Value) -> Result<Vec<Value>, Fault> {
    elements(value).ok_or_else(|| unexpected(value, "a list"))
}

pub(super) fn len(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let length = match argument(arguments) {
        Value::List(list) => list.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Map(map) => map.len(),
        value => {
            let text = value.as_str().ok_or_else(|| unexpected(value, "a list, a map or a string"))?;
            context.budget.steps(text.len() / 16)?;
            text.chars().count()
        }
    };
    Ok(Value::Int(length as i64))
}

/// The element at an index. Nil if there is no such element, for any reason.
fn or_nil(value: &Value, index: i64) -> Value {
    if let Value::Map(map) = value {
        return map.fetch(&Value::Int(index)).unwrap_or(Value::Nil);
    }
    match element(value, &Value::Int(index)) {
        Ok(Some(Ok(element))) => element,
        _ => Value::Nil,
    }
}

pub(super) fn first(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(or_nil(argument(arguments), 0))
}

pub(super) fn last(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(or_nil(argument(arguments), -1))
}

pub(super) fn take(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let length = match argument(arguments) {
        Value::List(list) => list.len(),
        Value::Bytes(bytes) => bytes.len(),
        value => return Err(unexpected(value, "a list")),
    };
    let count = match arguments.get(1) {
        Some(Value::Int(count) | Value::Duration(count) | Value::Month(count) | Value::Weekday(count)) => *count,
        value => return Err(unexpected(value.unwrap_or(&Value::Nil), "an integer")),
    };
    let count = usize::try_from(count)
        .map_err(|_| Fault::evaluation(format!("take needs a count that is not negative, but this is {count}")))?
        .min(length);
    match argument(arguments) {
        // A pair cannot be cut.
        Value::List(list) if list.kind != ListKind::Pair => {
            context.budget.bytes(count * size_of::<Value>())?;
            Ok(Value::List(list.slice(0, count)))
        }
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes[..count].into())),
        value => Err(unexpected(value, "a list")),
    }
}

pub(super) fn reverse(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut items = needed(argument(arguments))?;
    context.budget.elements(items.len())?;
    items.reverse();
    new_list(items, context)
}

pub(super) fn uniq(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut kept: Vec<Value> = Vec::new();
    'items: for item in needed(argument(arguments))? {
        for earlier in &kept {
            if equal(&item, earlier, context.budget)? {
                continue 'items;
            }
        }
        kept.push(item);
    }
    new_list(kept, context)
}

pub(super) fn concat(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut all = Vec::new();
    for argument in arguments {
        let items = needed(argument)?;
        context.budget.bytes(items.len() * size_of::<Value>())?;
        all.extend(items);
    }
    context.budget.elements(all.len())?;
    // Without elements the reference gives a list that equals nil.
    if all.is_empty() {
        return Ok(Value::List(List::nil(ListKind::Any)));
    }
    new_list(all, context)
}

pub(super) fn flatten(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut flat = Vec::new();
    flatten_into(&mut flat, needed(argument(arguments))?, context)?;
    context.budget.elements(flat.len())?;
    new_list(flat, context)
}

fn flatten_into(flat: &mut Vec<Value>, items: Vec<Value>, context: &mut Context<'_>) -> Result<(), Fault> {
    context.budget.bytes(items.len() * size_of::<Value>())?;
    for item in items {
        match elements(&item) {
            Some(nested) => flatten_into(flat, nested, context)?,
            None => flat.push(item),
        }
    }
    Ok(())
}

/// `asc` or `desc`.
pub(crate) fn descending(order: &str) -> Result<bool, Fault> {
    match order {
        "asc" => Ok(false),
        "desc" => Ok(true),
        _ => Err(Fault::evaluation("the order is neither \"asc\" nor \"desc\"")),
    }
}

pub(super) fn sort(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let descending = arguments.len() == 2 && descending(text(arguments, 1)?)?;
    let items: Vec<Value> = match argument(arguments) {
        Value::List(list) if matches!(list.kind, ListKind::Any | ListKind::Strings | ListKind::Ints) => {
            list.iter().collect()
        }
        // The reference gives nil for all other values.
        _ => return Ok(Value::List(List::nil(ListKind::Any))),
    };
    let keyed = items.into_iter().map(|item| SortKey { key: item.clone(), item }).collect();
    let sorted = sort_by(keyed, descending, context.budget)?;
    context.budget.elements(sorted.len())?;
    new_list(sorted, context)
}

/// An element and its sort key.
#[derive(Clone, Debug)]
pub(crate) struct SortKey {
    pub(crate) key: Value,
    pub(crate) item: Value,
}

/// Sorts by the keys. Keys that cannot be compared are an error.
pub(crate) fn sort_by(items: Vec<SortKey>, descending: bool, budget: &mut Budget) -> Result<Vec<Value>, Fault> {
    budget.bytes(items.len() * 2 * size_of::<SortKey>())?;
    let mut sorter = crate::sort::Sorter::new(items, |left: &SortKey, right: &SortKey| {
        budget.steps(2)?;
        if descending { less(&right.key, &left.key) } else { less(&left.key, &right.key) }
    });
    sorter.sort()?;
    Ok(sorter.items.into_iter().map(|item| item.item).collect())
}
