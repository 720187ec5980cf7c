//! Operators on values.

use std::{cmp::Ordering, sync::Arc};

use crate::{
    ast::BinaryOperator,
    budget::Budget,
    error::Fault,
    numbers,
    value::{List, ListKind, MapKind, Value},
};

/// A number that arithmetic works with.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Int(value) => Self::Int(*value),
            Value::Byte(value) => Self::Int(i64::from(*value)),
            Value::Float(value) => Self::Float(*value),
            _ => return None,
        })
    }

    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

fn numbers(left: &Value, right: &Value) -> Option<(Number, Number)> {
    Some((Number::of(left)?, Number::of(right)?))
}

fn invalid(left: &Value, operator: &str, right: &Value) -> Fault {
    Fault::evaluation(format!("{} {operator} {} is not defined", left.type_name(), right.type_name()))
}

/// `+`, `-`, `*`, `/`, `%` and `**`.
pub(crate) fn arithmetic(
    operator: BinaryOperator,
    left: &Value,
    right: &Value,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    use BinaryOperator::{Add, Divide, Modulo, Multiply, Power, Subtract};
    if let Some((left_number, right_number)) = numbers(left, right) {
        return arithmetic_on_numbers(operator, left_number, right_number).ok_or_else(|| {
            match (operator, right_number) {
                (Modulo, Number::Int(0)) => Fault::evaluation("the integer is divided by zero"),
                _ => invalid(left, operator.text(), right),
            }
        });
    }
    Ok(match (operator, left, right) {
        (Add, Value::Duration(left), Value::Duration(right)) => Value::Duration(left.wrapping_add(*right)),
        (Add, Value::Time(time), Value::Duration(duration)) | (Add, Value::Duration(duration), Value::Time(time)) => {
            Value::Time(Arc::new(time.add(*duration)))
        }
        (Add, left, right) => {
            let (Some(left_text), Some(right_text)) = (left.as_str(), right.as_str()) else {
                return Err(invalid(left, "+", right));
            };
            budget.bytes(left_text.len() + right_text.len())?;
            [left_text, right_text].concat().into()
        }
        (Subtract, Value::Duration(left), Value::Duration(right)) => Value::Duration(left.wrapping_sub(*right)),
        (Subtract, Value::Time(left), Value::Time(right)) => Value::Duration(left.sub(right)),
        (Subtract, Value::Time(time), Value::Duration(duration)) => {
            Value::Time(Arc::new(time.add(duration.wrapping_neg())))
        }
        (Multiply, Value::Duration(left), Value::Duration(right)) => Value::Duration(left.wrapping_mul(*right)),
        (Multiply, Value::Duration(duration), number) | (Multiply, number, Value::Duration(duration)) => {
            match Number::of(number) {
                Some(Number::Int(number)) => Value::Duration(duration.wrapping_mul(number)),
                // The reference gives a float here.
                Some(Number::Float(number)) => Value::Float(*duration as f64 * number),
                None => return Err(invalid(left, "*", right)),
            }
        }
        (Divide | Modulo | Power | Subtract | Multiply, ..) => return Err(invalid(left, operator.text(), right)),
        _ => return Err(invalid(left, operator.text(), right)),
    })
}

fn arithmetic_on_numbers(operator: BinaryOperator, left: Number, right: Number) -> Option<Value> {
    use BinaryOperator::{Add, Divide, Modulo, Multiply, Power, Subtract};
    Some(match (operator, left, right) {
        (Add, Number::Int(left), Number::Int(right)) => Value::Int(left.wrapping_add(right)),
        (Subtract, Number::Int(left), Number::Int(right)) => Value::Int(left.wrapping_sub(right)),
        (Multiply, Number::Int(left), Number::Int(right)) => Value::Int(left.wrapping_mul(right)),
        (Modulo, Number::Int(_), Number::Int(0)) => return None,
        (Modulo, Number::Int(left), Number::Int(right)) => Value::Int(left.wrapping_rem(right)),
        (Modulo, ..) => return None,
        (Add, left, right) => Value::Float(left.float() + right.float()),
        (Subtract, left, right) => Value::Float(left.float() - right.float()),
        (Multiply, left, right) => Value::Float(left.float() * right.float()),
        (Divide, left, right) => Value::Float(left.float() / right.float()),
        (Power, left, right) => Value::Float(numbers::power(left.float(), right.float())),
        _ => return None,
    })
}

/// `-x`.
pub(crate) fn negate(value: &Value) -> Result<Value, Fault> {
    Ok(match value {
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Byte(value) => Value::Byte(value.wrapping_neg()),
        Value::Float(value) => Value::Float(-value),
        _ => return Err(Fault::evaluation(format!("- {} is not defined", value.type_name()))),
    })
}

/// `<`, `>`, `<=` and `>=`.
pub(crate) fn compare(operator: BinaryOperator, left: &Value, right: &Value) -> Result<bool, Fault> {
    let ordering = match (left, right) {
        (Value::Time(left), Value::Time(right)) => Some(left.instant().cmp(&right.instant())),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        _ => match (numbers(left, right), left.as_str(), right.as_str()) {
            (Some((Number::Int(left), Number::Int(right))), ..) => Some(left.cmp(&right)),
            (Some((left, right)), ..) => left.float().partial_cmp(&right.float()),
            (None, Some(left), Some(right)) => Some(left.cmp(right)),
            _ => return Err(invalid(left, operator.text(), right)),
        },
    };
    Ok(match operator {
        BinaryOperator::Less => ordering == Some(Ordering::Less),
        BinaryOperator::Greater => ordering == Some(Ordering::Greater),
        BinaryOperator::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        _ => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    })
}

pub(crate) fn less(left: &Value, right: &Value) -> Result<bool, Fault> {
    compare(BinaryOperator::Less, left, right)
}

/// `==`.
pub(crate) fn equal(left: &Value, right: &Value, budget: &mut Budget) -> Result<bool, Fault> {
    budget.steps(2)?;
    if let Some((left, right)) = numbers(left, right) {
        return Ok(match (left, right) {
            (Number::Int(left), Number::Int(right)) => left == right,
            (left, right) => left.float() == right.float(),
        });
    }
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        budget.steps(left.len().min(right.len()) / 16)?;
        return Ok(left == right);
    }
    match (left, right) {
        (Value::List(left), Value::List(right)) if comparable_by_element(left, right) => {
            return equal_elements(left, right, budget, equal);
        }
        (Value::List(list), Value::Bytes(bytes)) | (Value::Bytes(bytes), Value::List(list))
            if list.kind == ListKind::Any =>
        {
            budget.steps(bytes.len())?;
            return Ok(list.len() == bytes.len()
                && list.iter().zip(bytes.iter()).all(|(item, byte)| match Number::of(&item) {
                    Some(number) => number.float() == f64::from(*byte),
                    None => false,
                }));
        }
        (Value::Time(left), Value::Time(right)) => return Ok(left.instant() == right.instant()),
        (Value::Absent, Value::Nil) | (Value::Nil, Value::Absent) => return Ok(true),
        _ => {}
    }
    if left.is_nil() && right.is_nil() {
        return Ok(true);
    }
    identical(left, right, budget)
}

/// Whether two lists are compared element by element. Each must be a list of any values, of strings or of integers. A list
/// of strings is not compared in this way with a list of integers.
fn comparable_by_element(left: &List, right: &List) -> bool {
    let plain = |list: &List| matches!(list.kind, ListKind::Any | ListKind::Strings | ListKind::Ints);
    plain(left)
        && plain(right)
        && (left.kind == right.kind || left.kind == ListKind::Any || right.kind == ListKind::Any)
}

fn equal_elements(
    left: &List,
    right: &List,
    budget: &mut Budget,
    equal: fn(&Value, &Value, &mut Budget) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(&left, &right, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same type and the same content, as Go's `reflect.DeepEqual` compares.
fn identical(left: &Value, right: &Value, budget: &mut Budget) -> Result<bool, Fault> {
    budget.steps(1)?;
    Ok(match (left, right) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Byte(left), Value::Byte(right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.steps(left.len() / 16)?;
            left == right
        }
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Month(left), Value::Month(right)) => left == right,
        (Value::Weekday(left), Value::Weekday(right)) => left == right,
        (Value::Zone(left), Value::Zone(right)) => left == right,
        (Value::Time(left), Value::Time(right)) => left == right,
        (Value::List(left), Value::List(right)) => {
            left.kind == right.kind
                && left.nil == right.nil
                && (left.same(right) || equal_elements(left, right, budget, identical)?)
        }
        (Value::Map(left), Value::Map(right)) => {
            if Arc::ptr_eq(&left.entries, &right.entries) {
                return Ok(true);
            }
            if left.kind != right.kind || left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left), (right_key, right)) in left.entries.iter().zip(right.entries.iter()) {
                if left_key != right_key || !identical(left, right, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => match (left.as_str(), right.as_str()) {
            (Some(left), Some(right)) => left == right,
            _ => false,
        },
    })
}

/// `in`.
pub(crate) fn contains(needle: &Value, within: &Value, budget: &mut Budget) -> Result<bool, Fault> {
    match within {
        Value::Nil => Ok(false),
        Value::List(list) => {
            for item in list.iter() {
                if equal(&item, needle, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Bytes(bytes) => {
            for byte in bytes.iter() {
                if equal(&Value::Byte(*byte), needle, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(map.get(needle)?.is_some()),
        // The fields of a time and of a zone are not visible.
        Value::Time(_) | Value::Zone(_) if needle.as_str().is_some() => Ok(false),
        _ => Err(Fault::evaluation(format!("`in` is not defined on {}", within.type_name()))),
    }
}

/// A number as an integer. A text is an error.
pub(crate) fn to_int(value: &Value) -> Result<i64, Fault> {
    match Number::of(value) {
        Some(Number::Int(value)) => Ok(value),
        Some(Number::Float(value)) => Ok(numbers::to_int(value)),
        None => Err(needed("a number", value)),
    }
}

/// A value has the wrong type.
pub(crate) fn needed(expected: &str, value: &Value) -> Fault {
    Fault::evaluation(format!("{expected} is needed, but this is {}", value.type_name()))
}

/// A number as a float.
pub(crate) fn to_float(value: &Value) -> Option<f64> {
    Number::of(value).map(Number::float)
}

/// The place of an index in a sequence. A negative index counts from the end.
fn place(index: &Value, length: usize) -> Result<Result<usize, i64>, Fault> {
    let index = to_int(index)?;
    let length = length as i64;
    let index = if index < 0 { length.wrapping_add(index) } else { index };
    Ok(if (0..length).contains(&index) { Ok(index as usize) } else { Err(index) })
}

/// The element of a list, a byte string or a text. `None` for other values.
pub(crate) fn element(object: &Value, index: &Value) -> Result<Option<Result<Value, i64>>, Fault> {
    let found = match object {
        Value::List(list) => place(index, list.len())?.map(|index| list.get(index).unwrap_or(Value::Nil)),
        Value::Bytes(bytes) => place(index, bytes.len())?.map(|index| Value::Byte(bytes[index])),
        Value::String(text) => place(index, text.len())?.map(|index| Value::Byte(text.as_bytes()[index])),
        Value::Absent => place(index, 0)?.map(|_| Value::Nil),
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// `object[property]` and `object.property`.
pub(crate) fn fetch(object: &Value, property: &Value) -> Result<Value, Fault> {
    if let Some(name) = property.as_str()
        && let Some(method) = crate::time::methods::of_value(object, name)
    {
        return Ok(Value::Method(Arc::new((object.clone(), method.name))));
    }
    if let Value::Map(map) = object {
        return map.fetch(property);
    }
    match element(object, property)? {
        Some(Ok(element)) => Ok(element),
        Some(Err(index)) => Err(Fault::evaluation(format!("index {index} is out of range"))),
        None => Err(Fault::evaluation(match property.as_str() {
            Some(name) => format!("{} has no field {name}", object.type_name()),
            None => format!("{} has no elements", object.type_name()),
        })),
    }
}

/// `object[from:to]`.
pub(crate) fn slice(object: &Value, from: &Value, to: &Value, budget: &mut Budget) -> Result<Value, Fault> {
    let length = sliceable_length(object)?;
    let (from, to) = (to_int(from)?, to_int(to)?);
    let bound = |index: i64| {
        let index = if index < 0 { (length as i64).wrapping_add(index) } else { index };
        index.max(0) as usize
    };
    let to = bound(to).min(length);
    let from = bound(from).min(to);
    Ok(match object {
        Value::List(list) => {
            budget.bytes((to - from) * size_of::<Value>())?;
            Value::List(list.slice(from, to))
        }
        Value::Bytes(bytes) => {
            budget.bytes(to - from)?;
            Value::Bytes(bytes[from..to].into())
        }
        Value::String(text) => {
            budget.bytes(to - from)?;
            match text.get(from..to) {
                Some(part) => part.into(),
                None => lossy(&text.as_bytes()[from..to]).into(),
            }
        }
        _ => Value::String("".into()),
    })
}

/// The length of a value that can be sliced. Texts count in bytes.
pub(crate) fn sliceable_length(object: &Value) -> Result<usize, Fault> {
    Ok(match object {
        Value::List(list) => list.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::String(text) => text.len(),
        Value::Absent => 0,
        // A map has a length, but it cannot be sliced. The error is that of the slice, not of the length.
        Value::Map(map) if map.kind != MapKind::Environment || !map.is_empty() => {
            return Err(Fault::evaluation("a map cannot be sliced"));
        }
        _ => return Err(Fault::evaluation(format!("{} cannot be sliced", object.type_name()))),
    })
}

/// The text of bytes. Each byte that is not part of a character becomes U+FFFD.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}
