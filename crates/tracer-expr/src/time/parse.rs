//! Parses a text to a time, by a layout.

use super::{
    Civil, Time, Zone, days_in_month,
    layout::{Field, Offset, names, next_field},
};

/// The values of the fields of a text.
#[derive(Default)]
struct Parts {
    civil: Civil,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    nanoseconds: u32,
    afternoon: Option<bool>,
    utc: bool,
    offset: Option<i64>,
    zone_name: Option<String>,
}

/// Parses a text. A text without a zone is in the given zone, or in UTC.
pub(crate) fn parse(layout: &str, text: &str, zone: Option<&Zone>) -> Option<Time> {
    let mut parts = Parts::default();
    let (mut layout, mut text) = (layout, text);
    loop {
        let (prefix, next) = next_field(layout);
        text = skip(text, prefix)?;
        let Some((field, rest)) = next else {
            return if text.is_empty() { parts.finish(zone) } else { None };
        };
        layout = rest;
        text = parts.field(field, layout, text)?;
    }
}

/// Removes the fixed text of a layout. A space fits any number of spaces.
fn skip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (mut text, mut prefix) = (text, prefix);
    while let Some(first) = prefix.chars().next() {
        if first == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            prefix = prefix.trim_start_matches(' ');
            text = text.trim_start_matches(' ');
        } else {
            text = text.strip_prefix(first)?;
            prefix = &prefix[first.len_utf8()..];
        }
    }
    Some(text)
}

fn digit(text: &str, at: usize) -> Option<i64> {
    text.as_bytes().get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'))
}

/// One or two digits, or exactly two.
fn two_digits(text: &str, fixed: bool) -> Option<(i64, &str)> {
    let first = digit(text, 0)?;
    match digit(text, 1) {
        Some(second) => Some((first * 10 + second, &text[2..])),
        None if fixed => None,
        None => Some((first, &text[1..])),
    }
}

/// Up to three digits, or exactly three.
fn three_digits(text: &str, fixed: bool) -> Option<(i64, &str)> {
    let count = (0..3).take_while(|at| digit(text, *at).is_some()).count();
    if count == 0 || fixed && count != 3 {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

/// An integer with an optional sign in the first bytes of a text.
fn signed(text: &str, length: usize) -> Option<(i64, &str)> {
    let number = text.get(..length)?;
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, &text[length..]))
}

fn name(text: &str, field: Field) -> Option<(i64, &str)> {
    names(field).iter().zip(0..).find_map(|(name, index)| {
        let start = text.get(..name.len())?;
        start.eq_ignore_ascii_case(name).then(|| (index, &text[name.len()..]))
    })
}

fn within(value: i64, range: std::ops::Range<i64>) -> Option<i64> {
    range.contains(&value).then_some(value)
}

/// A separator and digits, as nanoseconds.
fn nanoseconds(text: &str, length: usize) -> Option<u32> {
    if !text.starts_with(['.', ',']) {
        return None;
    }
    let digits = text.get(1..length.min(10))?;
    if digits.is_empty() {
        return Some(0);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<9}").parse().ok()
}

impl Parts {
    fn field<'a>(&mut self, field: Field, layout: &str, text: &'a str) -> Option<&'a str> {
        let rest = match field {
            Field::Year => {
                let (year, rest) = signed(text, 2)?;
                self.civil.year = if year >= 69 { year + 1900 } else { year + 2000 };
                rest
            }
            Field::LongYear => {
                digit(text, 0)?;
                let (year, rest) = signed(text, 4)?;
                self.civil.year = year;
                rest
            }
            Field::Month | Field::LongMonth => {
                let (month, rest) = name(text, field)?;
                self.month = Some(month + 1);
                rest
            }
            Field::MonthNumber(fixed) => {
                let (month, rest) = two_digits(text, fixed)?;
                self.month = Some(within(month, 1..13)?);
                rest
            }
            Field::Weekday | Field::LongWeekday => name(text, field)?.1,
            Field::Day | Field::UnderDay | Field::ZeroDay => {
                let text = if field == Field::UnderDay { text.strip_prefix(' ').unwrap_or(text) } else { text };
                let (day, rest) = two_digits(text, field == Field::ZeroDay)?;
                self.day = Some(day);
                rest
            }
            Field::UnderYearDay | Field::ZeroYearDay => {
                let mut text = text;
                if field == Field::UnderYearDay {
                    for _ in 0..2 {
                        text = text.strip_prefix(' ').unwrap_or(text);
                    }
                }
                let (day, rest) = three_digits(text, field == Field::ZeroYearDay)?;
                self.year_day = Some(day);
                rest
            }
            Field::Hour => {
                let (hour, rest) = two_digits(text, false)?;
                self.civil.hour = within(hour, 0..24)?;
                rest
            }
            Field::Hour12(fixed) => {
                let (hour, rest) = two_digits(text, fixed)?;
                self.civil.hour = within(hour, 0..13)?;
                rest
            }
            Field::Minute(fixed) => {
                let (minute, rest) = two_digits(text, fixed)?;
                self.civil.minute = within(minute, 0..60)?;
                rest
            }
            Field::Second(fixed) => {
                let (second, rest) = two_digits(text, fixed)?;
                self.civil.second = within(second, 0..60)?;
                self.implied_fraction(layout, rest)?
            }
            Field::Half(capitals) => {
                let (afternoon, morning) = if capitals { ("PM", "AM") } else { ("pm", "am") };
                let half = text.get(..2)?;
                self.afternoon = match half {
                    _ if half == afternoon => Some(true),
                    // The reference keeps each field: if it has read "PM" once, the time stays in the afternoon.
                    _ if half == morning => self.afternoon.or(Some(false)),
                    _ => return None,
                };
                &text[2..]
            }
            Field::Offset(style) => self.offset(style, text)?,
            Field::ZoneName => self.zone_name(text)?,
            Field::Fraction(digits, _) => {
                self.nanoseconds = nanoseconds(text, digits + 1)?;
                text.get(digits + 1..)?
            }
            Field::ShortFraction(..) => self.fraction(text)?,
        };
        Some(rest)
    }

    /// A fraction after the seconds, although the layout has no fraction.
    fn implied_fraction<'a>(&mut self, layout: &str, text: &'a str) -> Option<&'a str> {
        match next_field(layout).1 {
            Some((Field::Fraction(..) | Field::ShortFraction(..), _)) => Some(text),
            _ => self.fraction(text),
        }
    }

    /// A fraction of any length, if there is one.
    fn fraction<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        if !text.starts_with(['.', ',']) || digit(text, 1).is_none() {
            return Some(text);
        }
        let length = 1 + text.bytes().skip(1).take_while(u8::is_ascii_digit).count();
        self.nanoseconds = nanoseconds(text, length)?;
        Some(&text[length..])
    }

    fn offset<'a>(&mut self, style: Offset, text: &'a str) -> Option<&'a str> {
        if style.z
            && let Some(rest) = text.strip_prefix('Z')
        {
            self.utc = true;
            return Some(rest);
        }
        let sign = match text.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let colon = |text: &'a str| if style.colon { text.strip_prefix(':') } else { Some(text) };
        let (hours, mut rest) = two_digits(&text[1..], true)?;
        let (mut minutes, mut seconds) = (0, 0);
        if style.minutes {
            (minutes, rest) = two_digits(colon(rest)?, true)?;
        }
        if style.seconds {
            (seconds, rest) = two_digits(colon(rest)?, true)?;
        }
        if hours > 24 || minutes > 60 || seconds > 60 {
            return None;
        }
        self.offset = Some(sign * (hours * 3600 + minutes * 60 + seconds));
        Some(rest)
    }

    fn zone_name<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix("UTC") {
            self.utc = true;
            return Some(rest);
        }
        let length = zone_name_length(text)?;
        self.zone_name = Some(text[..length].to_owned());
        Some(&text[length..])
    }

    fn finish(self, zone: Option<&Zone>) -> Option<Time> {
        let mut civil = self.civil;
        match self.afternoon {
            Some(true) if civil.hour < 12 => civil.hour += 12,
            Some(false) if civil.hour == 12 => civil.hour = 0,
            _ => {}
        }
        let (mut month, mut day) = (self.month, self.day);
        if let Some(year_day) = self.year_day {
            let (of_year_month, of_year_day) = month_and_day(civil.year, year_day)?;
            if month.is_some_and(|month| month != of_year_month) || day.is_some_and(|day| day != of_year_day) {
                return None;
            }
            (month, day) = (Some(of_year_month), Some(of_year_day));
        }
        civil.month = month.unwrap_or(1);
        civil.day = day.unwrap_or(1);
        if civil.day < 1 || civil.day > days_in_month(civil.year, civil.month) {
            return None;
        }
        let local = zone.cloned().unwrap_or_else(Zone::local);
        let in_zone = |zone| Time::from_civil(civil, self.nanoseconds, zone);
        if self.utc {
            return Some(in_zone(Zone::Utc));
        }
        if let Some(offset) = self.offset.filter(|offset| *offset != -1) {
            let name = self.zone_name.unwrap_or_default();
            let seconds = civil.seconds() - offset;
            // The given zone is kept if its clocks agree.
            let (known, known_offset, _) = local.lookup(seconds);
            let agrees = known_offset == offset && (name.is_empty() || name == known);
            let zone = if agrees { local } else { Zone::Fixed(name.into(), offset) };
            return Some(Time { seconds, nanoseconds: self.nanoseconds, zone });
        }
        if let Some(name) = self.zone_name {
            return Some(in_named_zone(civil, self.nanoseconds, name, &local));
        }
        Some(in_zone(zone.cloned().unwrap_or(Zone::Utc)))
    }
}

/// A time whose zone is an abbreviation. The abbreviation has a meaning only if the given zone uses it, or in the form
/// `GMT+3`.
fn in_named_zone(civil: Civil, nanoseconds: u32, name: String, zone: &Zone) -> Time {
    let local = civil.seconds();
    // Summer and winter are half a year apart at most.
    let half_year = 182 * 86_400;
    let offset = [0, -half_year, half_year].into_iter().find_map(|shift| {
        let (known, offset, _) = zone.lookup(local + shift);
        (known == name).then_some(offset)
    });
    if let Some(offset) = offset {
        return Time { seconds: local - offset, nanoseconds, zone: zone.clone() };
    }
    let hours: i64 = name.strip_prefix("GMT").and_then(|hours| hours.parse().ok()).unwrap_or(0);
    // The reference takes the clock time as UTC, and uses the offset only for the text.
    Time { seconds: local, nanoseconds, zone: Zone::Fixed(name.into(), hours * 3600) }
}

fn month_and_day(year: i64, year_day: i64) -> Option<(i64, i64)> {
    let mut day = year_day;
    if day < 1 {
        return None;
    }
    for month in 1..=12 {
        let days = days_in_month(year, month);
        if day <= days {
            return Some((month, day));
        }
        day -= days;
    }
    None
}

/// How many bytes of a text look like the abbreviation of a zone.
fn zone_name_length(text: &str) -> Option<usize> {
    if text.len() < 3 {
        return None;
    }
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(rest) = text.strip_prefix("GMT") {
        return Some(3 + signed_offset_length(rest));
    }
    if text.starts_with(['+', '-']) {
        return Some(signed_offset_length(text)).filter(|length| *length > 0);
    }
    let capitals = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    let bytes = text.as_bytes();
    match capitals {
        5 if bytes[4] == b'T' => Some(5),
        4 if bytes[3] == b'T' || text.starts_with("WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

/// A sign and at most 23 hours.
fn signed_offset_length(text: &str) -> usize {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return 0 };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    match digits[..count].parse::<u64>() {
        Ok(hours) if hours <= 23 => 1 + count,
        _ => 0,
    }
}
