//! The slowest single processes, by own time.

use std::{cmp::Reverse, fmt::Write};

use super::{
    names::Names,
    style::{Style, align, duration, pad},
};
use crate::row::Kind;

/// A process is shown if its own time is more than one NOTABLEth of the whole time. The root is shown elsewhere.
const NOTABLE: u64 = 100;

/// The slowest processes, the slowest first.
pub(super) fn slowest(names: &Names<'_>, root: usize, own: &[u64]) -> Vec<usize> {
    let rows = &names.rows.rows;
    let least = rows[root].duration() / NOTABLE;
    let is_notable = |row: &usize| *row != root && rows[*row].kind == Kind::Process && own[*row] > least;
    let mut slowest: Vec<usize> = (0..rows.len()).filter(is_notable).collect();
    slowest.sort_by_key(|row| (Reverse(own[*row]), rows[*row].start));
    slowest
}

pub(super) fn render(names: &Names<'_>, slowest: &[usize], own: &[u64], style: &Style, text: &mut String) {
    if slowest.is_empty() {
        return;
    }
    let room = style.width.saturating_sub(44).clamp(10, 80);
    let title = pad("slowest processes", room + 2);
    let _ = writeln!(text, "\n{}", style.dim(&format!("{title} {:>8} {:>8} {:>8}", "own time", "CPU", "took")));
    for row in slowest {
        let name = pad(&names.whole(*row, style, room), room);
        let row_of = &names.rows.rows[*row];
        let times = [own[*row], row_of.cpu, row_of.duration()].map(|time| align(&duration(time, style), 8));
        let _ = write!(text, "  {name} {}", times.join(" "));
        if let Some(failure) = row_of.failure {
            let failure =
                style.cut_end(&style.show(names.rows.text(failure)), style.width.saturating_sub(room + 31).min(20));
            let _ = write!(text, "  {}", style.red(&failure));
        }
        text.push('\n');
    }
}
