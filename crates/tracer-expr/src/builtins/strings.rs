//! Functions on texts.

use base64::Engine as _;

use super::{Context, argument, text, unexpected};
use crate::{
    error::Fault,
    format,
    operate::{lossy, to_int},
    time::Zone,
    value::{List, ListKind, Value},
};

type Answer = Result<Value, Fault>;

fn new_text(value: String, context: &mut Context<'_>) -> Answer {
    context.budget.bytes(value.len())?;
    Ok(value.into())
}

pub(super) fn string(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    // The reference shows the fields of a zone here. For zones other than UTC, these fields contain memory addresses.
    if let Value::Zone(Zone::Utc) = argument(arguments) {
        return Ok("{UTC [] []  0 0 <nil>}".into());
    }
    Ok(format::text(argument(arguments), context.budget)?.into())
}

pub(super) fn trim(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = text(arguments, 0)?;
    context.budget.bytes(value.len())?;
    if arguments.len() < 2 {
        return Ok(value.trim().into());
    }
    let characters: Vec<char> = text(arguments, 1)?.chars().collect();
    Ok(value.trim_matches(&characters[..]).into())
}

/// The second argument, or a space.
fn affix(arguments: &[Value]) -> Result<&str, Fault> {
    if arguments.len() == 2 { text(arguments, 1) } else { Ok(" ") }
}

pub(super) fn trim_prefix(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = text(arguments, 0)?;
    new_text(value.strip_prefix(affix(arguments)?).unwrap_or(value).to_owned(), context)
}

pub(super) fn trim_suffix(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = text(arguments, 0)?;
    new_text(value.strip_suffix(affix(arguments)?).unwrap_or(value).to_owned(), context)
}

/// Each character becomes one character, as Go maps case.
fn upper_character(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        // Greek letters with an iota subscript have capitals of one character.
        _ => match character {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                char::from_u32(u32::from(character) + 8).unwrap_or(character)
            }
            '\u{1fb3}' => '\u{1fbc}',
            '\u{1fc3}' => '\u{1fcc}',
            '\u{1ff3}' => '\u{1ffc}',
            _ => character,
        },
    }
}

fn lower_character(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

pub(super) fn upper(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    new_text(text(arguments, 0)?.chars().map(upper_character).collect(), context)
}

pub(super) fn lower(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    new_text(text(arguments, 0)?.chars().map(lower_character).collect(), context)
}

/// Splits a text. A limit of zero gives nil. A negative limit means all parts.
fn split_text(arguments: &[Value], keep: bool, context: &mut Context<'_>) -> Answer {
    let (value, separator) = (text(arguments, 0)?, text(arguments, 1)?);
    let limit = match arguments.get(2) {
        Some(limit) => to_int(limit)?,
        None => -1,
    };
    if limit == 0 {
        return Ok(Value::List(List::nil(ListKind::Strings)));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    context.budget.bytes(value.len() * 4 + 64)?;
    let mut parts = Vec::new();
    let mut rest = value;
    while parts.len() + 1 < limit {
        let found = if separator.is_empty() {
            // Every character is a part.
            rest.chars().next().map(|first| (first.len_utf8(), first.len_utf8())).filter(|(end, _)| *end < rest.len())
        } else {
            rest.find(separator).map(|at| (if keep { at + separator.len() } else { at }, at + separator.len()))
        };
        let Some((end, next)) = found else { break };
        parts.push(rest[..end].into());
        rest = &rest[next..];
    }
    if !(separator.is_empty() && value.is_empty()) {
        parts.push(rest.into());
    }
    context.budget.bytes(parts.len() * size_of::<Value>())?;
    Ok(Value::List(List::strings(parts)))
}

pub(super) fn split(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    split_text(arguments, false, context)
}

pub(super) fn split_after(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    split_text(arguments, true, context)
}

pub(super) fn replace(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let (value, old, new) = (text(arguments, 0)?, text(arguments, 1)?, text(arguments, 2)?);
    let limit = match arguments.get(3) {
        Some(limit) => usize::try_from(to_int(limit)?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let matches = if old.is_empty() { value.chars().count() + 1 } else { value.matches(old).count() }.min(limit);
    context.budget.bytes(value.len() + matches.saturating_mul(new.len()))?;
    Ok(value.replacen(old, new, matches).into())
}

pub(super) fn repeat(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = text(arguments, 0)?;
    let count = to_int(arguments.get(1).unwrap_or(&Value::Nil))?;
    let count = usize::try_from(count)
        .map_err(|_| Fault::evaluation(format!("repeat needs a count that is not negative, but this is {count}")))?;
    if count > 1_000_000 {
        return Err(Fault::budget("repeat takes a count of at most 1000000"));
    }
    context.budget.elements(value.len().saturating_mul(count))?;
    Ok(value.repeat(count).into())
}

pub(super) fn join(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let glue = if arguments.len() == 2 { text(arguments, 1)? } else { "" };
    let Value::List(list) = argument(arguments) else {
        return Err(unexpected(argument(arguments), "a list of strings"));
    };
    if !matches!(list.kind, ListKind::Any | ListKind::Strings) {
        return Err(Fault::evaluation("join needs a list of strings"));
    }
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let item = item.present();
        let part = item.as_str().ok_or_else(|| unexpected(&item, "a string"))?;
        context.budget.bytes(part.len() + glue.len())?;
        if index > 0 {
            joined.push_str(glue);
        }
        joined.push_str(part);
    }
    Ok(joined.into())
}

fn index(found: Option<usize>) -> Value {
    Value::Int(found.map_or(-1, |at| at as i64))
}

pub(super) fn index_of(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = text(arguments, 0)?;
    context.budget.steps(value.len() / 4)?;
    Ok(index(value.find(text(arguments, 1)?)))
}

pub(super) fn last_index_of(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let value = text(arguments, 0)?;
    context.budget.steps(value.len() / 4)?;
    Ok(index(value.rfind(text(arguments, 1)?)))
}

pub(super) fn has_prefix(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(Value::Bool(text(arguments, 0)?.starts_with(text(arguments, 1)?)))
}

pub(super) fn has_suffix(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(Value::Bool(text(arguments, 0)?.ends_with(text(arguments, 1)?)))
}

pub(super) fn to_base64(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    new_text(base64::engine::general_purpose::STANDARD.encode(text(arguments, 0)?), context)
}

/// Trailing bits can have any value, and line ends are ignored, as in Go.
const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

pub(super) fn from_base64(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let encoded: String = text(arguments, 0)?.chars().filter(|next| !matches!(next, '\r' | '\n')).collect();
    let bytes = BASE64.decode(encoded).map_err(|_| Fault::evaluation("the text is not base64"))?;
    new_text(lossy(&bytes), context)
}
