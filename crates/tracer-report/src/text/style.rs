//! The look of text reports: quantities, widths, colours.

use std::os::fd::AsFd;

use terminal_size::{Height, Width, terminal_size_of};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::untrusted::Untrusted;

/// The size of a stream that is not a terminal.
const WIDTH: usize = 100;
const HEIGHT: usize = 50;

/// The size of a text, and the characters and colours that it may use.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    /// Lines of the terminal.
    pub height: usize,
    /// Whether the text may have colours, as ANSI escape sequences.
    pub is_coloured: bool,
    /// Whether the text may have characters beyond ASCII.
    pub is_unicode: bool,
}

impl Style {
    /// The style for a stream. `locale` is the value of `LC_ALL`, `LC_CTYPE` or `LANG`: the first that is set. A stream
    /// that is not a terminal counts as 100 columns by 50 lines.
    pub fn of(stream: &impl AsFd, locale: &str, is_coloured: bool) -> Self {
        let size = terminal_size_of(stream).map(|(Width(width), Height(height))| (width.into(), height.into()));
        let (width, height) = size.filter(|(width, _)| *width > 0).unwrap_or((WIDTH, HEIGHT));
        Self {
            width: width.max(40),
            height: height.max(10),
            is_coloured,
            is_unicode: locale.to_ascii_lowercase().replace('-', "").contains("utf8"),
        }
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn times(&self) -> char {
        if self.is_unicode { '×' } else { 'x' }
    }

    /// The sign of zero.
    pub(crate) fn plus_minus(&self) -> &'static str {
        if self.is_unicode { "±" } else { "+-" }
    }

    pub(crate) fn dots(&self) -> &'static str {
        if self.is_unicode { "…" } else { "..." }
    }

    /// From the first to the second.
    pub(crate) fn arrow(&self) -> &'static str {
        if self.is_unicode { "→" } else { "->" }
    }

    /// The separator between the names of a chain.
    pub(crate) fn step(&self) -> &'static str {
        if self.is_unicode { " › " } else { " > " }
    }

    /// Text of a trace, safe for this terminal.
    pub(crate) fn show(&self, text: &Untrusted) -> String {
        if self.is_unicode { text.visible() } else { text.visible_in_ascii() }.into_owned()
    }

    /// Cuts the start of a text that is too wide. In chains and paths, the end matters more.
    pub(crate) fn cut_start(&self, text: &str, width: usize) -> String {
        if text.width() <= width {
            return text.to_owned();
        }
        let room = width.saturating_sub(self.dots().width());
        let (mut kept, mut used) = (Vec::new(), 0);
        for c in text.chars().rev() {
            used += c.width().unwrap_or_default();
            if used > room {
                break;
            }
            kept.push(c);
        }
        self.dots().chars().chain(kept.into_iter().rev()).collect()
    }

    /// Cuts the end of a text that is too wide.
    pub(crate) fn cut_end(&self, text: &str, width: usize) -> String {
        if text.width() <= width {
            return text.to_owned();
        }
        let room = width.saturating_sub(self.dots().width());
        let mut used = 0;
        let fits = |c: &char| {
            used += c.width().unwrap_or_default();
            used <= room
        };
        let kept: String = text.chars().take_while(fits).collect();
        kept + self.dots()
    }
}

/// Adds spaces on the right, up to a width.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Adds spaces on the left, up to a width.
pub(crate) fn align(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// Nanoseconds in the fitting unit, in three significant digits.
pub(crate) fn duration(nanoseconds: u64, style: &Style) -> String {
    let seconds = nanoseconds as f64 / 1e9;
    match seconds {
        0.0..0.000_999_5 => format!("{:.0} {}s", seconds * 1e6, if style.is_unicode { 'µ' } else { 'u' }),
        0.000_999_5..0.999_5 => format!("{:.*} ms", digits(seconds * 1e3), seconds * 1e3),
        0.999_5..99.95 => format!("{:.*} s", digits(seconds), seconds),
        _ => {
            let seconds = seconds.round() as u64;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            if hours > 0 { format!("{hours}h {minutes:02}m") } else { format!("{minutes}m {:02}s", seconds % 60) }
        }
    }
}

/// Bytes in the fitting unit, in three significant digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{:.*} {}", digits(value), value, UNITS[unit]) }
}

/// A share in per cent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    match if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 } {
        share if part > 0 && share < 0.5 => "<1 %".to_owned(),
        share => format!("{:.0} %", share.round()),
    }
}

/// The decimals that make three significant digits.
fn digits(value: f64) -> usize {
    match value {
        ..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    }
}

/// For texts that are not for a terminal.
pub(crate) const PLAIN: Style = Style { width: 80, height: 40, is_coloured: false, is_unicode: true };

/// How many entries to show. If only one entry would be hidden, it is shown, because the note needs a line too.
pub(crate) fn fitting(count: usize, limit: usize) -> usize {
    if count <= limit + 1 { count } else { limit }
}

pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let shown = |micros: u64| duration(micros * 1000, &PLAIN);
        assert_eq!(
            [0, 999, 1000, 9_994, 99_960, 999_600, 12_345_000, 99_960_000, 3_600_000_000].map(shown),
            ["0 µs", "999 µs", "1.00 ms", "9.99 ms", "100 ms", "1.00 s", "12.3 s", "1m 40s", "1h 00m"]
        );
    }

    #[test]
    fn bytes_have_three_digits() {
        assert_eq!([0, 999, 1000, 1 << 20, 15 << 30].map(bytes), ["0 B", "999 B", "0.98 KiB", "1.00 MiB", "15.0 GiB"]);
    }

    #[test]
    fn a_small_share_is_not_zero() {
        assert_eq!(
            [(0, 9), (1, 1000), (5, 1000), (9, 9), (0, 0)].map(|(part, whole)| share(part, whole)),
            ["0 %", "<1 %", "1 %", "100 %", "0 %"]
        );
    }

    #[test]
    fn a_text_that_is_too_wide_is_cut_by_columns() {
        assert_eq!(PLAIN.cut_end("abcdef", 4), "abc…");
        assert_eq!(PLAIN.cut_start("abcdef", 4), "…def");
        assert_eq!(PLAIN.cut_end("日本語", 5), "日本…");
        assert_eq!(PLAIN.cut_end("abcd", 4), "abcd");
        assert_eq!(pad("日", 4), "日  ");
    }
}
