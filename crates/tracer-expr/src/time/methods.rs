//! The methods of times, durations, months, weekdays and zones.

use std::sync::Arc;

use super::{Civil, NANOSECONDS, Time, Zone, duration, layout, month_name, weekday_name};
use crate::{
    check::types::{Method, Type},
    error::{self, Fault},
    value::Value,
};

macro_rules! methods {
    ($($name:literal ($($parameter:ident),*) $(-> $result:ident)?;)*) => {
        &[$(Method {
            name: $name,
            parameters: &[$(Type::$parameter),*],
            result: methods!(@result $($result)?),
        }),*]
    };
    (@result) => { None };
    (@result $result:ident) => { Some(Type::$result) };
}

static TIME: &[Method] = methods! {
    "Add"(Duration) -> Time;
    "AddDate"(Int, Int, Int) -> Time;
    "After"(Time) -> Bool;
    "AppendBinary"(Bytes) -> Bytes;
    "AppendFormat"(Bytes, String) -> Bytes;
    "AppendText"(Bytes) -> Bytes;
    "Before"(Time) -> Bool;
    "Clock"();
    "Compare"(Time) -> Int;
    "Date"();
    "Day"() -> Int;
    "Equal"(Time) -> Bool;
    "Format"(String) -> String;
    "GoString"() -> String;
    "GobEncode"() -> Bytes;
    "Hour"() -> Int;
    "ISOWeek"() -> Int;
    "In"(Zone) -> Time;
    "IsDST"() -> Bool;
    "IsZero"() -> Bool;
    "Local"() -> Time;
    "Location"() -> Zone;
    "MarshalBinary"() -> Bytes;
    "MarshalJSON"() -> Bytes;
    "MarshalText"() -> Bytes;
    "Minute"() -> Int;
    "Month"() -> Month;
    "Nanosecond"() -> Int;
    "Round"(Duration) -> Time;
    "Second"() -> Int;
    "String"() -> String;
    "Sub"(Time) -> Duration;
    "Truncate"(Duration) -> Time;
    "UTC"() -> Time;
    "Unix"() -> Int64;
    "UnixMicro"() -> Int64;
    "UnixMilli"() -> Int64;
    "UnixNano"() -> Int64;
    "Weekday"() -> Weekday;
    "Year"() -> Int;
    "YearDay"() -> Int;
    "Zone"() -> String;
    "ZoneBounds"() -> Time;
};

static DURATION: &[Method] = methods! {
    "Abs"() -> Duration;
    "Hours"() -> Float;
    "Microseconds"() -> Int64;
    "Milliseconds"() -> Int64;
    "Minutes"() -> Float;
    "Nanoseconds"() -> Int64;
    "Round"(Duration) -> Duration;
    "Seconds"() -> Float;
    "String"() -> String;
    "Truncate"(Duration) -> Duration;
};

static NAMED: &[Method] = methods! {
    "String"() -> String;
};

/// A method of a type.
pub(crate) fn of_type(nature: &Type, name: &str) -> Option<&'static Method> {
    let methods = match nature {
        Type::Time => TIME,
        Type::Duration => DURATION,
        Type::Month | Type::Weekday | Type::Zone => NAMED,
        _ => return None,
    };
    methods.iter().find(|method| method.name == name)
}

/// A method of a value.
pub(crate) fn of_value(value: &Value, name: &str) -> Option<&'static Method> {
    let nature = match value {
        Value::Time(_) => Type::Time,
        Value::Duration(_) => Type::Duration,
        Value::Month(_) => Type::Month,
        Value::Weekday(_) => Type::Weekday,
        Value::Zone(_) => Type::Zone,
        _ => return None,
    };
    of_type(&nature, name)
}

/// Calls a method.
pub(crate) fn call(object: &Value, name: &'static str, arguments: &[Value]) -> Result<Value, Fault> {
    let method = of_value(object, name).ok_or_else(|| Fault::evaluation(format!("no method {name}")))?;
    if method.parameters.len() != arguments.len() {
        return Err(Fault::evaluation(format!("{name} needs {}", error::arguments(method.parameters.len()))));
    }
    let result = match object {
        Value::Time(time) => of_time(time, name, arguments),
        Value::Duration(duration) => of_duration(*duration, name, arguments),
        Value::Month(month) => Some(month_name(*month).into()),
        Value::Weekday(weekday) => Some(weekday_name(*weekday).into()),
        Value::Zone(zone) => Some(zone.name().into()),
        _ => None,
    };
    result.ok_or_else(|| Fault::evaluation(format!("{name} cannot take these arguments")))
}

fn of_time(time: &Arc<Time>, name: &str, arguments: &[Value]) -> Option<Value> {
    let civil = time.civil();
    let with = |time: Time| Value::Time(Arc::new(time));
    let other = || match arguments.first() {
        Some(Value::Time(other)) => Some(other),
        _ => None,
    };
    let duration = || match arguments.first() {
        Some(Value::Duration(duration)) => Some(*duration),
        _ => None,
    };
    let nanoseconds = || time.seconds.wrapping_mul(NANOSECONDS).wrapping_add(i64::from(time.nanoseconds));
    Some(match name {
        "Add" => with(time.add(duration()?)),
        "AddDate" => match arguments {
            [Value::Int(years), Value::Int(months), Value::Int(days)] => {
                let civil = Civil {
                    year: civil.year.saturating_add(*years),
                    month: civil.month.saturating_add(*months),
                    day: civil.day.saturating_add(*days),
                    ..civil
                };
                with(Time::from_civil(civil, time.nanoseconds, time.zone.clone()))
            }
            _ => return None,
        },
        "After" => Value::Bool(time.instant() > other()?.instant()),
        "Before" => Value::Bool(time.instant() < other()?.instant()),
        "Equal" => Value::Bool(time.instant() == other()?.instant()),
        "Compare" => Value::Int(time.instant().cmp(&other()?.instant()) as i64),
        "Sub" => Value::Duration(time.sub(other()?)),
        "AppendBinary" | "AppendText" => {
            let Some(Value::Bytes(bytes)) = arguments.first() else { return None };
            let text = || layout::json(time).map(String::into_bytes);
            let added = if name == "AppendText" { text()? } else { binary(time)? };
            Value::Bytes([&bytes[..], &added].concat().into())
        }
        "AppendFormat" => match arguments {
            [Value::Bytes(bytes), Value::String(layout)] => {
                let mut bytes = bytes.to_vec();
                bytes.extend_from_slice(layout::format(time, layout).as_bytes());
                Value::Bytes(bytes.into())
            }
            _ => return None,
        },
        "Format" => layout::format(time, arguments.first()?.as_str()?).into(),
        "String" => layout::text(time).into(),
        "Year" => Value::Int(civil.year),
        "Month" => Value::Month(civil.month),
        "Day" => Value::Int(civil.day),
        "Hour" => Value::Int(civil.hour),
        "Minute" => Value::Int(civil.minute),
        "Second" => Value::Int(civil.second),
        "Nanosecond" => Value::Int(i64::from(time.nanoseconds)),
        "YearDay" => Value::Int(civil.year_day()),
        "Weekday" => Value::Weekday(time.weekday()),
        // Only the first of several results counts.
        "ISOWeek" => Value::Int(iso_year(time)),
        "Zone" => time.zone.lookup(time.seconds).0.into(),
        "IsDST" => Value::Bool(time.zone.lookup(time.seconds).2),
        "IsZero" => Value::Bool(time.instant() == (YEAR_1, 0)),
        "UTC" => with(Time { zone: Zone::Utc, ..(**time).clone() }),
        "Local" => with(Time { zone: Zone::local(), ..(**time).clone() }),
        "In" => match arguments.first() {
            Some(Value::Zone(zone)) => with(Time { zone: zone.clone(), ..(**time).clone() }),
            _ => return None,
        },
        "Location" => Value::Zone(time.zone.clone()),
        "GoString" => go_text(time).into(),
        "GobEncode" | "MarshalBinary" => Value::Bytes(binary(time)?.into()),
        "MarshalJSON" => Value::Bytes(format!("\"{}\"", layout::json(time)?).into_bytes().into()),
        "MarshalText" => Value::Bytes(layout::json(time)?.into_bytes().into()),
        "Unix" => Value::Int(time.seconds),
        "UnixMilli" => Value::Int(time.seconds.wrapping_mul(1_000) + i64::from(time.nanoseconds / 1_000_000)),
        "UnixMicro" => Value::Int(time.seconds.wrapping_mul(1_000_000) + i64::from(time.nanoseconds / 1_000)),
        "UnixNano" => Value::Int(nanoseconds()),
        // The end is the second result.
        "ZoneBounds" => match time.zone.period_start(time.seconds) {
            Some(seconds) => with(Time { seconds, nanoseconds: 0, zone: time.zone.clone() }),
            None => with(Time { seconds: YEAR_1, nanoseconds: 0, zone: Zone::Utc }),
        },
        "Round" => with(round(time, duration()?, true)),
        "Truncate" => with(round(time, duration()?, false)),
        _ => return None,
    })
}

/// The first second of the year 1, in seconds since 1970.
const YEAR_1: i64 = -62_135_596_800;

/// The binary form of the reference: a version, seconds since the year 1, nanoseconds, and the offset in minutes. Version 2 also
/// has the seconds of the offset. UTC has the offset -1.
fn binary(time: &Time) -> Option<Vec<u8>> {
    let (minutes, seconds) = match time.zone {
        Zone::Utc => (-1, 0),
        _ => {
            let offset = time.zone.lookup(time.seconds).1;
            let minutes = i16::try_from(offset / 60).ok().filter(|minutes| *minutes != -1)?;
            (minutes, (offset % 60) as i8)
        }
    };
    let mut bytes = vec![if seconds == 0 { 1 } else { 2 }];
    bytes.extend(time.seconds.wrapping_sub(YEAR_1).to_be_bytes());
    bytes.extend(time.nanoseconds.to_be_bytes());
    bytes.extend(minutes.to_be_bytes());
    bytes.extend((seconds != 0).then(|| seconds.to_be_bytes()).into_iter().flatten());
    Some(bytes)
}

/// The time as Go source code.
fn go_text(time: &Time) -> String {
    let Civil { year, month, day, hour, minute, second } = time.civil();
    let zone = match &time.zone {
        Zone::Utc => "time.UTC".to_owned(),
        zone if zone.name() == "Local" => "time.Local".to_owned(),
        zone => {
            let escaped = zone.name().bytes().map(|byte| match byte {
                b'"' | b'\\' => format!("\\{}", char::from(byte)),
                b' '..=b'~' | 0x7f => char::from(byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("time.Location(\"{}\")", escaped.collect::<String>())
        }
    };
    let (month, nanosecond) = (month_name(month), time.nanoseconds);
    format!("time.Date({year}, time.{month}, {day}, {hour}, {minute}, {second}, {nanosecond}, {zone})")
}

/// Rounds to a multiple of a duration since the year 1.
fn round(time: &Time, multiple: i64, up: bool) -> Time {
    if multiple <= 0 {
        return time.clone();
    }
    let since =
        (i128::from(time.seconds) - i128::from(YEAR_1)) * i128::from(NANOSECONDS) + i128::from(time.nanoseconds);
    let rest = since.rem_euclid(i128::from(multiple)) as i64;
    let down = time.add(-rest);
    if up && i128::from(rest) * 2 >= i128::from(multiple) { down.add(multiple) } else { down }
}

/// The year to which the week of a day belongs.
fn iso_year(time: &Time) -> i64 {
    let civil = time.civil();
    // The week belongs to the year of its Thursday.
    let day = civil.day + 3 - (time.weekday() + 6) % 7;
    let thursday = Time::from_civil(Civil { day, ..civil }, 0, Zone::Utc);
    thursday.civil().year
}

fn of_duration(value: i64, name: &str, arguments: &[Value]) -> Option<Value> {
    let multiple = || match arguments.first() {
        Some(Value::Duration(multiple)) => Some(*multiple),
        _ => None,
    };
    // Divides whole units and the rest separately, as the reference does.
    let float = |unit: i64| Value::Float((value / unit) as f64 + (value % unit) as f64 / unit as f64);
    Some(match name {
        "Abs" => Value::Duration(value.checked_abs().unwrap_or(i64::MAX)),
        "Hours" => float(3_600 * NANOSECONDS),
        "Minutes" => float(60 * NANOSECONDS),
        "Seconds" => float(NANOSECONDS),
        "Milliseconds" => Value::Int(value / 1_000_000),
        "Microseconds" => Value::Int(value / 1_000),
        "Nanoseconds" => Value::Int(value),
        "Round" => Value::Duration(duration::round(value, multiple()?)),
        "Truncate" => Value::Duration(duration::truncate(value, multiple()?)),
        "String" => duration::text(value).into(),
        _ => return None,
    })
}
