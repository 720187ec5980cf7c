//! Functions on times.

use super::{Context, argument, text, time};
use crate::{
    error::Fault,
    time::{Time, Zone, duration as durations, parse},
    value::Value,
};

type Answer = Result<Value, Fault>;

/// The layouts that `date` tries if none is given.
const LAYOUTS: [&str; 7] = [
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

pub(super) fn now(arguments: &[Value], context: &mut Context<'_>) -> Answer {
    let mut now = Time::from_unix_nanoseconds(context.now);
    if let Some(Value::Zone(zone)) = arguments.first() {
        now.zone = zone.clone();
    }
    Ok(time(now))
}

pub(super) fn duration(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let text = text(arguments, 0)?;
    durations::parse(text)
        .map(Value::Duration)
        .ok_or_else(|| Fault::evaluation("the text is not a duration; an example is 1h30m"))
}

pub(super) fn timezone(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    Ok(Value::Zone(Zone::load(text(arguments, 0)?)?))
}

pub(super) fn date(arguments: &[Value], _: &mut Context<'_>) -> Answer {
    let (zone, arguments) = match argument(arguments) {
        Value::Zone(zone) => (Some(zone), &arguments[1..]),
        _ => (None, arguments),
    };
    let value = text(arguments, 0)?;
    let found = match arguments.len() {
        2 => parse(text(arguments, 1)?, value, zone),
        3 => {
            let layout = text(arguments, 1)?;
            parse(layout, value, Some(&Zone::load(text(arguments, 2)?)?))
        }
        _ => LAYOUTS.iter().find_map(|layout| parse(layout, value, zone)),
    };
    found.map(time).ok_or_else(|| Fault::evaluation("the text is not a date in the expected layout"))
}
