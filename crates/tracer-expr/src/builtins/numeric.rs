//! Functions on numbers.

use super::{Context, argument, elements, unexpected};
use crate::{
    ast::BinaryOperator,
    error::Fault,
    numbers,
    operate::{compare, to_float},
    value::{ListKind, Value},
};

type Answer = Result<Value, Fault>;

pub(super) fn abs(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    match argument(arguments) {
        Value::Int(value) => Ok(Value::Int(value.wrapping_abs())),
        // Negative zero stays as it is.
        Value::Float(value) if *value < 0.0 => Ok(Value::Float(-value)),
        value @ (Value::Float(_) | Value::Byte(_)) => Ok(value.clone()),
        value => Err(unexpected(value, "a number")),
    }
}

fn rounded(arguments: &[Value], round: fn(f64) -> f64) -> Answer {
    let value = argument(arguments);
    match to_float(value) {
        Some(float) if matches!(value, Value::Float(_)) => Ok(Value::Float(round(float))),
        Some(float) => Ok(Value::Float(float)),
        None => Err(unexpected(value, "a number")),
    }
}

pub(super) fn ceil(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    rounded(arguments, f64::ceil)
}

pub(super) fn floor(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    rounded(arguments, f64::floor)
}

pub(super) fn round(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    rounded(arguments, f64::round)
}

pub(super) fn int(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let value = argument(arguments);
    let int = match value {
        Value::Int(value) | Value::Duration(value) | Value::Month(value) | Value::Weekday(value) => Some(*value),
        Value::Byte(value) => Some(i64::from(*value)),
        Value::Float(value) => Some(numbers::to_int(*value)),
        _ => match value.as_str() {
            Some(text) => numbers::parse_int(text),
            None => return Err(unexpected(value, "a number or a string")),
        },
    };
    int.map(Value::Int).ok_or_else(|| Fault::evaluation("int cannot read this text"))
}

pub(super) fn float(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let value = argument(arguments);
    let float = match value.as_str() {
        Some(text) => numbers::parse_float(text),
        None => Some(to_float(value).ok_or_else(|| unexpected(value, "a number or a string"))?),
    };
    float.map(Value::Float).ok_or_else(|| Fault::evaluation("float cannot read this text"))
}

pub(super) fn max(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    extreme(arguments, BinaryOperator::Less, context)
}

pub(super) fn min(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    extreme(arguments, BinaryOperator::Greater, context)
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Byte(_) | Value::Float(_))
}

/// The smallest or the largest of numbers and lists of numbers. Nil if there are no numbers.
fn extreme(arguments: &[Value], worse: BinaryOperator, context: &mut Context<'_>) -> Answer {
    let mut best = Value::Nil;
    let keep = |best: &mut Value, value: Value| {
        if matches!(best, Value::Nil) || compare(worse, best, &value)? {
            *best = value;
        }
        Ok::<_, Fault>(())
    };
    for argument in arguments {
        match (argument, elements(argument)) {
            (Value::List(list), Some(items)) if matches!(list.kind, ListKind::Any | ListKind::Ints) => {
                context.budget.steps(items.len())?;
                for item in items {
                    if is_number(&item) {
                        keep(&mut best, item)?;
                    } else if matches!(item, Value::List(_) | Value::Bytes(_)) {
                        let nested = extreme(&[item], worse, context)?;
                        if !matches!(nested, Value::Nil) {
                            keep(&mut best, nested)?;
                        }
                    } else {
                        return Err(unexpected(&item, "a number"));
                    }
                }
            }
            (_, Some(items)) => {
                context.budget.steps(items.len())?;
                for item in items {
                    let nested = extreme(&[item], worse, context)?;
                    if !is_number(&nested) {
                        return Err(unexpected(&nested, "a number"));
                    }
                    keep(&mut best, nested)?;
                }
            }
            (number, None) if is_number(number) || whole(number).is_some() => keep(&mut best, number.clone())?,
            // A single argument of another type is itself the result.
            (other, None) if arguments.len() == 1 => return Ok(other.clone()),
            (other, None) => return Err(unexpected(other, "a number")),
        }
    }
    Ok(best)
}

/// The number behind a duration, a month or a weekday.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Duration(value) | Value::Month(value) | Value::Weekday(value) => Some(*value),
        _ => None,
    }
}

/// All numbers of the arguments, lists included, in the order of the reference.
fn all_numbers(arguments: &[Value], numbers: &mut Vec<f64>, context: &mut Context<'_>) -> Result<(), Fault> {
    for argument in arguments {
        context.budget.steps(1)?;
        if let Some(number) = to_float(argument).or_else(|| whole(argument).map(|whole| whole as f64)) {
            numbers.push(number);
        } else if let Some(items) = elements(argument) {
            context.budget.bytes(items.len() * size_of::<Value>())?;
            all_numbers(&items, numbers, context)?;
        } else {
            return Err(unexpected(argument, "a number"));
        }
    }
    Ok(())
}

/// The sum. Nested lists are added up first, as the reference does.
fn sum(arguments: &[Value]) -> f64 {
    arguments.iter().fold(0.0, |total, argument| {
        let number = to_float(argument).or_else(|| whole(argument).map(|whole| whole as f64));
        total + number.unwrap_or_else(|| sum(&elements(argument).unwrap_or_default()))
    })
}

pub(super) fn mean(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut numbers = Vec::new();
    all_numbers(arguments, &mut numbers, context)?;
    // If an argument is a list, its elements are added to the total one by one. Another order would round differently.
    let mut total = 0.0;
    for argument in arguments {
        match elements(argument) {
            Some(items) if matches!(argument, Value::List(list) if list.kind != ListKind::Pairs && list.kind != ListKind::Pair) => {
                for item in items {
                    total += sum(&[item]);
                }
            }
            _ => total += sum(std::slice::from_ref(argument)),
        }
    }
    Ok(Value::Float(if numbers.is_empty() { 0.0 } else { total / numbers.len() as f64 }))
}

pub(super) fn median(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut numbers = Vec::new();
    all_numbers(arguments, &mut numbers, context)?;
    context.budget.steps(numbers.len() * 8)?;
    // NaN comes first, as in Go.
    numbers.sort_by(|left, right| left.partial_cmp(right).unwrap_or_else(|| right.is_nan().cmp(&left.is_nan())));
    let middle = numbers.len() / 2;
    Ok(Value::Float(match numbers.len() {
        0 => 0.0,
        length if length % 2 == 1 => numbers[middle],
        _ => (numbers[middle - 1] + numbers[middle]) / 2.0,
    }))
}

fn bits(arguments: &[Value], index: usize) -> Result<i64, Fault> {
    match arguments.get(index).unwrap_or(&Value::Nil) {
        Value::Int(value) => Ok(*value),
        Value::Byte(value) => Ok(i64::from(*value)),
        value => Err(unexpected(value, "an integer")),
    }
}

fn both(arguments: &[Value], operate: fn(i64, i64) -> i64) -> Answer {
    Ok(Value::Int(operate(bits(arguments, 0)?, bits(arguments, 1)?)))
}

pub(super) fn bitand(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    both(arguments, |left, right| left & right)
}

pub(super) fn bitor(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    both(arguments, |left, right| left | right)
}

pub(super) fn bitxor(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    both(arguments, |left, right| left ^ right)
}

pub(super) fn bitnand(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    both(arguments, |left, right| left & !right)
}

/// A number of bits to shift by.
fn shift(arguments: &[Value]) -> Result<u32, Fault> {
    let count = bits(arguments, 1)?;
    if count < 0 {
        return Err(Fault::evaluation(format!("the shift count {count} is negative")));
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) fn bitshl(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let (value, count) = (bits(arguments, 0)?, shift(arguments)?);
    Ok(Value::Int(value.checked_shl(count).unwrap_or(0)))
}

pub(super) fn bitshr(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let (value, count) = (bits(arguments, 0)?, shift(arguments)?);
    Ok(Value::Int(value >> count.min(63)))
}

pub(super) fn bitushr(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let (value, count) = (bits(arguments, 0)?, shift(arguments)?);
    Ok(Value::Int((value as u64).checked_shr(count).unwrap_or(0) as i64))
}

pub(super) fn bitnot(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(Value::Int(!bits(arguments, 0)?))
}
