//! Numbers: powers, conversions, and their text.

/// A float as an integer. A float that does not fit is the smallest integer, as on amd64.
pub(crate) fn to_int(value: f64) -> i64 {
    // No float equals the largest integer. `i64::MAX as f64` is the next larger float, so `<` is right.
    if value >= i64::MIN as f64 && value < i64::MAX as f64 { value as i64 } else { i64::MIN }
}

/// `base ** exponent`. The steps are those of the reference, so that the last digits are the same.
pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    if exponent == 0.0 || base == 1.0 {
        return 1.0;
    }
    if exponent == 1.0 {
        return base;
    }
    let special = base == 0.0
        || !base.is_finite()
        || !exponent.is_finite()
        || exponent == 0.5
        || exponent == -0.5
        || exponent.abs() >= 2_f64.powi(63);
    if special {
        return match exponent {
            0.5 if base.is_finite() && base >= 0.0 => base.sqrt(),
            -0.5 if base.is_finite() && base >= 0.0 => 1.0 / base.sqrt(),
            _ => base.powf(exponent),
        };
    }
    let (mut whole, mut fraction) = (exponent.abs().trunc(), exponent.abs().fract());
    if fraction != 0.0 && base < 0.0 {
        return f64::NAN;
    }
    // The result is mantissa * 2**scale.
    let (mut mantissa, mut scale) = (1.0, 0_i64);
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        mantissa = exponential(fraction * logarithm(base));
    }
    let (mut square, mut square_scale) = split(base);
    let mut rest = whole as i64;
    while rest != 0 {
        if !(-4096..=4096).contains(&square_scale) {
            scale += square_scale;
            break;
        }
        if rest & 1 == 1 {
            mantissa *= square;
            scale += square_scale;
        }
        square *= square;
        square_scale <<= 1;
        if square < 0.5 {
            square += square;
            square_scale -= 1;
        }
        rest >>= 1;
    }
    if exponent < 0.0 {
        mantissa = 1.0 / mantissa;
        scale = -scale;
    }
    scaled(mantissa, scale)
}

/// The natural logarithm of a positive number, by the method of FreeBSD's msun, as the reference computes it.
#[expect(clippy::excessive_precision, reason = "as published")]
fn logarithm(value: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-01;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    const EVEN: [f64; 4] = [
        1.479_819_860_511_658_591e-01,
        1.818_357_216_161_805_012e-01,
        2.857_142_874_366_239_149e-01,
        6.666_666_666_666_735_130e-01,
    ];
    const ODD: [f64; 3] = [1.531_383_769_920_937_332e-01, 2.222_219_843_214_978_396e-01, 3.999_999_999_940_941_908e-01];
    let (mut mantissa, mut exponent) = split(value);
    if mantissa < std::f64::consts::FRAC_1_SQRT_2 {
        mantissa *= 2.0;
        exponent -= 1;
    }
    let exponent = exponent as f64;
    let rest = mantissa - 1.0;
    let quotient = rest / (2.0 + rest);
    let square = quotient * quotient;
    let fourth = square * square;
    let horner = |factors: &[f64]| factors.iter().skip(1).fold(factors[0], |sum, factor| sum * fourth + factor);
    let series = square * horner(&EVEN) + fourth * horner(&ODD);
    let half = 0.5 * rest * rest;
    exponent * LN2_HIGH - ((half - (quotient * (half + series) + exponent * LN2_LOW)) - rest)
}

/// The exponential of a small number, by the method of the SLEEF library, as the reference computes it on amd64.
#[expect(clippy::excessive_precision, reason = "as published")]
fn exponential(value: f64) -> f64 {
    const LN2_HIGH: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
    const LN2_LOW: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
    /// One divided by the factorials from 8 down to 2.
    const FACTORS: [f64; 7] = [
        2.480_158_730_158_730_158_7e-5,
        1.984_126_984_126_984_127_0e-4,
        1.388_888_888_888_888_888_9e-3,
        8.333_333_333_333_333_333_3e-3,
        4.166_666_666_666_666_666_7e-2,
        1.666_666_666_666_666_666_7e-1,
        0.5,
    ];
    let exponent = (value * std::f64::consts::LOG2_E).round_ties_even();
    let rest = (-exponent).mul_add(LN2_LOW, (-exponent).mul_add(LN2_HIGH, value)) * 0.0625;
    let series = FACTORS.iter().skip(1).fold(FACTORS[0], |sum, factor| sum.mul_add(rest, *factor)).mul_add(rest, 1.0);
    // This is exp(x) - 1. Each step of the loop doubles x.
    let mut less_one = rest * series;
    for _ in 0..3 {
        less_one *= less_one + 2.0;
    }
    scaled((less_one + 2.0).mul_add(less_one, 1.0), exponent as i64)
}

/// A float as a mantissa of at least a half and below one, and a power of two.
fn split(value: f64) -> (f64, i64) {
    let (value, shift) = if value.abs() < f64::MIN_POSITIVE { (value * 2_f64.powi(52), -52) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i64;
    if value == 0.0 {
        return (value, 0);
    }
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent - 1022 + shift)
}

/// `mantissa * 2**scale`, rounded once.
fn scaled(mantissa: f64, scale: i64) -> f64 {
    if mantissa == 0.0 || !mantissa.is_finite() {
        return mantissa;
    }
    let (fraction, exponent) = split(mantissa);
    let exponent = exponent + scale;
    if exponent > 1024 {
        return f64::INFINITY.copysign(mantissa);
    }
    if exponent < -1080 {
        return 0_f64.copysign(mantissa);
    }
    if exponent > -1021 {
        // Both factors are exact.
        return fraction * 2.0 * 2_f64.powi((exponent - 1) as i32);
    }
    fraction * 2_f64.powi((exponent + 60) as i32) * 2_f64.powi(-60)
}

/// The shortest digits of a finite float, and the power of ten of the first one.
fn digits(value: f64) -> (String, i32) {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits = mantissa.replace('.', "");
    if digits.len() >= MANY_DIGITS {
        // If two texts are equally short and equally near, the reference takes the text with an even last digit.
        let exact = format!("{:.40e}", value.abs()).replace('.', "");
        let (short, rest) = exact.split_at(digits.len());
        let rest = rest.split_once('e').map_or("", |(rest, _)| rest);
        let is_between = rest.strip_prefix('5').is_some_and(|rest| rest.bytes().all(|digit| digit == b'0'));
        if is_between && short.ends_with(['0', '2', '4', '6', '8']) {
            digits = short.to_owned();
        }
    }
    (digits, exponent.parse().unwrap_or(0))
}

/// With fewer digits, two texts are never equally near: the text is exact, or one text is nearer to the number.
const MANY_DIGITS: usize = 15;

/// With an exponent of at least `width` digits.
fn with_exponent(value: f64, width: usize) -> String {
    let (digits, exponent) = digits(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{dot}{rest}e{exponent_sign}{:0width$}", exponent.unsigned_abs())
}

/// With a point only if one is needed.
fn without_exponent(value: f64) -> String {
    let (digits, exponent) = digits(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let Ok(whole) = usize::try_from(exponent + 1) else {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1).unsigned_abs() as usize));
    };
    match digits.len().checked_sub(whole) {
        None | Some(0) => format!("{sign}{digits:0<whole$}"),
        Some(_) if whole == 0 => format!("{sign}0.{digits}"),
        Some(_) => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
    }
}

/// The text of a float, as `string(…)` gives it.
pub(crate) fn text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (_, exponent) = digits(value);
    if value != 0.0 && !(-4..6).contains(&exponent) { with_exponent(value, 2) } else { without_exponent(value) }
}

/// The text of a finite float in JSON.
pub(crate) fn json(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        with_exponent(value, 1)
    } else {
        without_exponent(value)
    }
}

/// Parses an integer as `int(…)` does: an optional sign and decimal digits.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    // Rust and the reference agree here, signs and leading zeros included.
    text.parse().ok()
}

/// Parses a float as `float(…)` does.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), "inf" | "infinity" | "nan") {
        // NaN has no sign.
        if lower == "nan" && unsigned.len() != text.len() {
            return None;
        }
        return text.to_ascii_lowercase().parse().ok();
    }
    if let Some(hexadecimal) = lower.strip_prefix("0x") {
        return parse_hexadecimal(hexadecimal).map(|value| if text.starts_with('-') { -value } else { value });
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    // An underscore can be between two digits.
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let misplaced = |at: usize| bytes[at] == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1));
    if (0..bytes.len()).any(misplaced) {
        return None;
    }
    let value: f64 = text.replace('_', "").parse().ok()?;
    value.is_finite().then_some(value)
}

/// `1.8p3`, without the prefix `0x`.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let text = without_underscores(text)?;
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if exponent_digits.is_empty() || !exponent_digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { -100_000 } else { 100_000 });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (mut bits, mut scale, mut lost) = (0_u64, exponent.clamp(-100_000, 100_000), false);
    for (index, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let fractional = index >= whole.len();
        if bits >> 58 == 0 {
            bits = bits << 4 | digit;
            scale -= if fractional { 4 } else { 0 };
        } else {
            // These digits are enough to round. The rest is needed only for a tie.
            lost |= digit != 0;
            scale += if fractional { 0 } else { 4 };
        }
    }
    if lost {
        bits |= 1;
    }
    let value = scaled(bits as f64, scale);
    value.is_finite().then_some(value)
}

/// After a prefix, an underscore can be before each digit.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_hexdigit);
        if *byte == b'_' && !((index == 0 || digit(bytes.get(index - 1))) && digit(bytes.get(index + 1))) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}
