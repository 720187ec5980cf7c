//! Layouts of times, such as `2006-01-02 15:04:05`, and the text of a time.

use super::{MONTHS, Time, WEEKDAYS, month_name, weekday_name};

/// The form of an offset from UTC in a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    /// `Z` means UTC.
    pub(crate) z: bool,
    pub(crate) colon: bool,
    pub(crate) minutes: bool,
    pub(crate) seconds: bool,
}

/// One field of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    LongYear,
    Year,
    LongMonth,
    Month,
    /// As a number. `true`: a zero comes before a single digit.
    MonthNumber(bool),
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12(bool),
    Minute(bool),
    Second(bool),
    /// `true`: in capitals.
    Half(bool),
    Offset(Offset),
    ZoneName,
    /// The number of digits and the separator. All digits are written.
    Fraction(usize, char),
    /// The number of digits and the separator. Zeros at the end are left out.
    ShortFraction(usize, char),
}

/// Finds the first field of a layout: the text before it, the field, the layout after it.
pub(crate) fn next_field(layout: &str) -> (&str, Option<(Field, &str)>) {
    for (at, character) in layout.char_indices() {
        let rest = &layout[at..];
        if let Some((skip, field, length)) = field_at(rest, character) {
            return (&layout[..at + skip], Some((field, &rest[skip + length..])));
        }
    }
    (layout, None)
}

/// The field at the start of a layout. Returns the number of bytes before the field (1 for `_2006`, else 0),
/// the field, and its length.
fn field_at(rest: &str, first: char) -> Option<(usize, Field, usize)> {
    let short = |length: usize| !rest.as_bytes().get(length).is_some_and(u8::is_ascii_lowercase);
    let found = |field, length| Some((0, field, length));
    let offset = |z, colon, minutes, seconds| Field::Offset(Offset { z, colon, minutes, seconds });
    match first {
        'J' if rest.starts_with("January") => found(Field::LongMonth, 7),
        'J' if rest.starts_with("Jan") && short(3) => found(Field::Month, 3),
        'M' if rest.starts_with("Monday") => found(Field::LongWeekday, 6),
        'M' if rest.starts_with("Mon") && short(3) => found(Field::Weekday, 3),
        'M' if rest.starts_with("MST") => found(Field::ZoneName, 3),
        '0' => match rest.as_bytes().get(1)? {
            b'1' => found(Field::MonthNumber(true), 2),
            b'2' => found(Field::ZeroDay, 2),
            b'3' => found(Field::Hour12(true), 2),
            b'4' => found(Field::Minute(true), 2),
            b'5' => found(Field::Second(true), 2),
            b'6' => found(Field::Year, 2),
            b'0' if rest.starts_with("002") => found(Field::ZeroYearDay, 3),
            _ => None,
        },
        '1' if rest.starts_with("15") => found(Field::Hour, 2),
        '1' => found(Field::MonthNumber(false), 1),
        '2' if rest.starts_with("2006") => found(Field::LongYear, 4),
        '2' => found(Field::Day, 1),
        '_' if rest.starts_with("_2006") => Some((1, Field::LongYear, 4)),
        '_' if rest.starts_with("_2") => found(Field::UnderDay, 2),
        '_' if rest.starts_with("__2") => found(Field::UnderYearDay, 3),
        '3' => found(Field::Hour12(false), 1),
        '4' => found(Field::Minute(false), 1),
        '5' => found(Field::Second(false), 1),
        'P' if rest.starts_with("PM") => found(Field::Half(true), 2),
        'p' if rest.starts_with("pm") => found(Field::Half(false), 2),
        '-' | 'Z' => {
            let (z, digits) = (first == 'Z', &rest[1..]);
            if digits.starts_with("070000") {
                found(offset(z, false, true, true), 7)
            } else if digits.starts_with("07:00:00") {
                found(offset(z, true, true, true), 9)
            } else if digits.starts_with("0700") {
                found(offset(z, false, true, false), 5)
            } else if digits.starts_with("07:00") {
                found(offset(z, true, true, false), 6)
            } else if digits.starts_with("07") {
                found(offset(z, false, false, false), 3)
            } else {
                None
            }
        }
        '.' | ',' => {
            let digit = *rest.as_bytes().get(1)?;
            if digit != b'0' && digit != b'9' {
                return None;
            }
            let count = rest.bytes().skip(1).take_while(|byte| *byte == digit).count();
            if rest.as_bytes().get(1 + count).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            let field = if digit == b'0' { Field::Fraction(count, first) } else { Field::ShortFraction(count, first) };
            found(field, 1 + count)
        }
        _ => None,
    }
}

/// A number with at least this many digits.
fn number(out: &mut String, value: i64, width: usize) {
    if value < 0 {
        out.push('-');
    }
    out.push_str(&format!("{:0width$}", value.unsigned_abs()));
}

/// The text of a time in a layout.
pub(crate) fn format(time: &Time, layout: &str) -> String {
    let civil = time.civil();
    let (name, offset, _) = time.zone.lookup(time.seconds);
    let mut out = String::new();
    let mut layout = layout;
    loop {
        let (prefix, next) = next_field(layout);
        out.push_str(prefix);
        let Some((field, rest)) = next else { return out };
        layout = rest;
        let hour12 = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
        match field {
            Field::LongYear => number(&mut out, civil.year, 4),
            Field::Year => number(&mut out, civil.year.abs() % 100, 2),
            Field::LongMonth => out.push_str(&month_name(civil.month)),
            Field::Month => out.push_str(&month_name(civil.month)[..3]),
            Field::MonthNumber(zero) => number(&mut out, civil.month, 1 + usize::from(zero)),
            Field::LongWeekday => out.push_str(&weekday_name(time.weekday())),
            Field::Weekday => out.push_str(&weekday_name(time.weekday())[..3]),
            Field::Day => number(&mut out, civil.day, 1),
            Field::UnderDay => out.push_str(&format!("{:2}", civil.day)),
            Field::ZeroDay => number(&mut out, civil.day, 2),
            Field::UnderYearDay => out.push_str(&format!("{:3}", civil.year_day())),
            Field::ZeroYearDay => number(&mut out, civil.year_day(), 3),
            Field::Hour => number(&mut out, civil.hour, 2),
            Field::Hour12(zero) => number(&mut out, hour12, 1 + usize::from(zero)),
            Field::Minute(zero) => number(&mut out, civil.minute, 1 + usize::from(zero)),
            Field::Second(zero) => number(&mut out, civil.second, 1 + usize::from(zero)),
            Field::Half(capitals) => out.push_str(match (civil.hour >= 12, capitals) {
                (true, true) => "PM",
                (false, true) => "AM",
                (true, false) => "pm",
                (false, false) => "am",
            }),
            Field::Offset(style) if style.z && offset == 0 => out.push('Z'),
            Field::Offset(style) => write_offset(&mut out, offset, style),
            Field::ZoneName if !name.is_empty() => out.push_str(&name),
            Field::ZoneName => {
                write_offset(&mut out, offset, Offset { z: false, colon: false, minutes: true, seconds: false });
            }
            Field::Fraction(digits, separator) => fraction(&mut out, time.nanoseconds, digits, separator, false),
            Field::ShortFraction(digits, separator) => fraction(&mut out, time.nanoseconds, digits, separator, true),
        }
    }
}

fn write_offset(out: &mut String, offset: i64, style: Offset) {
    let minutes = offset / 60;
    out.push(if minutes < 0 { '-' } else { '+' });
    let minutes = minutes.abs();
    number(out, minutes / 60, 2);
    if style.colon {
        out.push(':');
    }
    if style.minutes {
        number(out, minutes % 60, 2);
    }
    if style.seconds {
        if style.colon {
            out.push(':');
        }
        number(out, offset.abs() % 60, 2);
    }
}

fn fraction(out: &mut String, nanoseconds: u32, digits: usize, separator: char, short: bool) {
    let all = format!("{nanoseconds:09}");
    // There are at most nine digits.
    let mut shown = all[..digits.min(9)].to_owned();
    if short {
        shown.truncate(shown.trim_end_matches('0').len());
        if shown.is_empty() {
            return;
        }
    }
    out.push(separator);
    out.push_str(&shown);
}

/// A time as text, as `string(…)` gives it.
pub(crate) fn text(time: &Time) -> String {
    format(time, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// A time in the form of JSON. `None` if its year is not from 0 to 9999, or its offset is a day or longer.
pub(crate) fn json(time: &Time) -> Option<String> {
    let (_, offset, _) = time.zone.lookup(time.seconds);
    ((0..=9999).contains(&time.civil().year) && offset.abs() < 24 * 3600)
        .then(|| format(time, "2006-01-02T15:04:05.999999999Z07:00"))
}

/// The names that a text may have, in full or their first three letters.
pub(crate) fn names(field: Field) -> Vec<&'static str> {
    match field {
        Field::LongMonth => MONTHS.to_vec(),
        Field::Month => MONTHS.iter().map(|name| &name[..3]).collect(),
        Field::LongWeekday => WEEKDAYS.to_vec(),
        _ => WEEKDAYS.iter().map(|name| &name[..3]).collect(),
    }
}
