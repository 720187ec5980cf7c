//! The table of totals by a property.

use std::{cmp::Reverse, collections::HashMap, fmt::Write};

use unicode_width::UnicodeWidthStr;

use super::style::{Style, align, bytes, duration, pad};
use crate::{
    by::{Total, Totals},
    untrusted::Untrusted,
};

/// The most lines of the table.
const LINES: usize = 40;

/// The columns after the first one, and their widths.
const COLUMNS: [(&str, usize); 6] =
    [("processes", 9), ("own time", 9), ("CPU time", 9), ("peak", 9), ("bytes", 9), ("failed", 6)];

/// Draws the totals. The text is empty without any process.
pub(super) fn totals(totals: &Totals, style: &Style) -> String {
    let all = &totals.of_value;
    let mut text = String::new();
    if all.is_empty() {
        return text;
    }
    let name =
        |value: &Option<Untrusted>| value.as_ref().map_or_else(|| "(none)".to_owned(), |value| style.show(value));
    let used: usize = COLUMNS.iter().map(|(_, width)| width + 1).sum();
    let widest = all.iter().take(LINES).map(|(value, _)| name(value).width()).max().unwrap_or_default();
    let heading = format!("by {}", totals.by.name());
    let width = widest.max(heading.width()).min(style.width.saturating_sub(used + 2)).max(8);
    let columns: String = COLUMNS.iter().map(|(name, width)| format!(" {}", align(name, *width))).collect();
    let heading = pad(&style.cut_end(&heading, width), width);
    let _ = writeln!(text, "{}", style.dim(&format!("  {heading}{columns}")));
    for (value, total) in all.iter().take(LINES) {
        let _ = writeln!(text, "  {}{}", pad(&style.cut_end(&name(value), width), width), cells(total, style));
    }
    if let Some(more) = all.len().checked_sub(LINES).filter(|more| *more > 0) {
        let _ = writeln!(text, "  {} {more} more", style.dots());
    }
    text
}

/// Draws the totals of two traces, the largest change of own time first. The text is empty without any process.
pub(crate) fn compare_totals(before: &Totals, after: &Totals, style: &Style) -> String {
    let mut values: HashMap<_, [Total; 2]> = HashMap::new();
    for (side, totals) in [before, after].into_iter().enumerate() {
        for (value, total) in &totals.of_value {
            values.entry(value).or_default()[side] = total.clone();
        }
    }
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by_key(|(value, [before, after])| (Reverse(before.own.abs_diff(after.own)), *value));
    let mut text = String::new();
    if values.is_empty() {
        return text;
    }
    let width = style.width.saturating_sub(2 + 2 * 22).clamp(8, 40);
    let heading = pad(&style.cut_end(&format!("by {}", before.by.name()), width), width);
    let columns = format!("{:>22}{:>22}", "processes", "own time");
    let _ = writeln!(text, "{}", style.dim(&format!("  {heading}{columns}")));
    for (value, [before, after]) in values.into_iter().take(LINES) {
        let name = value.as_ref().map_or_else(|| "(none)".to_owned(), |value| style.show(value));
        let processes = format!("{} {} {}", before.processes, style.arrow(), after.processes);
        let own = format!("{} {} {}", duration(before.own, style), style.arrow(), duration(after.own, style));
        let name = pad(&style.cut_end(&name, width), width);
        let _ = writeln!(text, "  {name}{}{}", align(&processes, 22), align(&own, 22));
    }
    text
}

fn cells(total: &Total, style: &Style) -> String {
    let amount = |amount: u64| if amount == 0 { "-".to_owned() } else { bytes(amount) };
    let cells = [
        total.processes.to_string(),
        duration(total.own, style),
        duration(total.cpu, style),
        amount(total.peak),
        amount(total.bytes),
        total.failed.to_string(),
    ];
    cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!(" {}", align(cell, width))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{by::By, text::style::PLAIN};

    #[test]
    fn a_name_of_wide_characters_is_not_cut_if_there_is_room() {
        let name = "\u{6f22}".repeat(15);
        let totals = Totals { by: By::Group, of_value: vec![(Some(name.as_str().into()), Total::default())] };
        let text = super::totals(&totals, &Style { width: 100, ..PLAIN });
        assert!(text.contains(&name), "{text}");
    }
}
