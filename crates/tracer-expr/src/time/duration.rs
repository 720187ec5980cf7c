//! Durations as text, such as `1h30m`.

use super::NANOSECONDS;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// The longest duration, as nanoseconds without a sign.
const LIMIT: u64 = 1 << 63;

/// Parses `1h30m`, `-1.5s` and so on.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = digits(rest);
        let whole = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok().filter(|whole| *whole <= LIMIT)? };
        rest = &rest[digits.len()..];
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            fraction = self::digits(after);
            rest = &after[fraction.len()..];
        }
        if digits.is_empty() && fraction.is_empty() {
            return None;
        }
        let length = rest.find(|next: char| next == '.' || next.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(length);
        rest = after;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if whole > LIMIT / unit {
            return None;
        }
        let mut value = whole * unit;
        let (numerator, scale) = leading_fraction(fraction);
        if numerator > 0 {
            value += (numerator as f64 * (*unit as f64 / scale)) as u64;
            if value > LIMIT {
                return None;
            }
        }
        total = total.checked_add(value).filter(|total| *total <= LIMIT)?;
    }
    if negative {
        return Some(0_i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).ok()
}

fn digits(text: &str) -> &str {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    &text[..count]
}

/// As many digits of a fraction as fit, and their divisor.
fn leading_fraction(digits: &str) -> (u64, f64) {
    let (mut numerator, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes() {
        if numerator > (LIMIT - 1) / 10 {
            break;
        }
        let next = numerator * 10 + u64::from(digit - b'0');
        if next > LIMIT {
            break;
        }
        numerator = next;
        scale *= 10.0;
    }
    (numerator, scale)
}

/// The text of a duration, such as `1h30m0s`.
pub(crate) fn text(duration: i64) -> String {
    let nanoseconds = duration.unsigned_abs();
    let sign = if duration < 0 { "-" } else { "" };
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let second = NANOSECONDS.unsigned_abs();
    if nanoseconds < second {
        let (unit, digits) = match nanoseconds {
            0..1_000 => ("ns", 0),
            1_000..1_000_000 => ("µs", 3),
            _ => ("ms", 6),
        };
        return format!("{sign}{}{unit}", decimal(nanoseconds, digits));
    }
    let seconds = decimal(nanoseconds % (60 * second), 9);
    let minutes = nanoseconds / (60 * second);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A number divided by a power of ten, without zeros at the end.
fn decimal(value: u64, digits: usize) -> String {
    let divisor = 10_u64.pow(digits as u32);
    let fraction = value % divisor;
    if fraction == 0 {
        return (value / divisor).to_string();
    }
    let fraction = format!("{fraction:0digits$}");
    format!("{}.{}", value / divisor, fraction.trim_end_matches('0'))
}

/// Rounds to a multiple, half away from zero.
pub(crate) fn round(duration: i64, multiple: i64) -> i64 {
    if multiple <= 0 {
        return duration;
    }
    let rest = duration % multiple;
    let below = i128::from(duration) - i128::from(rest);
    let step = if i128::from(rest.abs()) * 2 < i128::from(multiple) {
        0
    } else {
        i128::from(multiple) * i128::from(duration.signum())
    };
    let rounded = below + step;
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

/// Cuts to a multiple.
pub(crate) fn truncate(duration: i64, multiple: i64) -> i64 {
    if multiple <= 0 { duration } else { duration - duration % multiple }
}
