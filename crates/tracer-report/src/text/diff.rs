//! A comparison of two traces: names and places that became slower or faster.

use std::{
    collections::HashMap,
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::style::{Style, align, duration, pad};
use crate::{
    analysis::{Group, Tree, groups},
    row::{Kind, Label, Rows},
    untrusted::Untrusted,
};

/// One of the two traces, reduced to the facts that a comparison needs. Its rows can be dropped.
#[derive(Debug)]
pub struct Side {
    /// Nanoseconds.
    wall: u64,
    cpu: u64,
    processes: usize,
    by_name: HashMap<u64, Part>,
    by_place: HashMap<u64, Part>,
}

/// The processes of one name or at one place. Only the last names of a place are kept.
#[derive(Clone, Debug, Default)]
struct Part {
    names: Vec<Untrusted>,
    group: Group,
}

/// The most names of a place to show.
const NAMES: usize = 24;

/// A key that is equal in both traces: the hash of a name and of the places above it.
fn hash(above: Option<u64>, name: &Untrusted) -> u64 {
    let mut hasher = DefaultHasher::new();
    (above, name).hash(&mut hasher);
    hasher.finish()
}

impl Side {
    /// `None` without any span.
    pub fn new(rows: &Rows) -> Option<Self> {
        let tree = Tree::grow(&rows.rows)?;
        let (own, places) = (tree.own_time(&rows.rows), tree.places(&rows.rows));
        let is_process = |kind| kind == Kind::Process;
        let by_name = groups(&rows.rows, &own, |_, row| is_process(row.kind).then_some(row.name));
        let by_place = groups(&rows.rows, &own, |index, row| is_process(row.kind).then(|| places.of_row[index]));
        let part = |names: &[Label], group| {
            let names = names.iter().map(|name| rows.text(*name).clone()).collect();
            Part { names, group }
        };
        let mut hashes: Vec<u64> = Vec::with_capacity(places.steps.len());
        for (above, name) in &places.steps {
            hashes.push(hash(above.map(|above| hashes[above as usize]), rows.text(*name)));
        }
        let processes = || rows.rows.iter().filter(|row| is_process(row.kind));
        Some(Self {
            wall: rows.rows[tree.root].duration(),
            cpu: processes().fold(0, |sum, row| sum.saturating_add(row.cpu)),
            processes: processes().count(),
            by_name: by_name
                .into_iter()
                .map(|(name, group)| (hash(None, rows.text(name)), part(&[name], group)))
                .collect(),
            by_place: by_place
                .into_iter()
                .map(|(place, group)| (hashes[place as usize], part(&places.last_names(place, NAMES), group)))
                .collect(),
        })
    }
}

/// The most lines of a table.
const LINES: usize = 12;

/// Draws the comparison: the totals, then a table by name and a table by place in the tree.
pub fn compare(before: &Side, after: &Side, style: &Style) -> String {
    let mut text = String::new();
    let line = |what: &str, before: u64, after: u64| {
        let change = change(before, after, style);
        format!(
            "{} {} {}  {change}\n",
            pad(what, 12),
            align(&duration(before, style), 9),
            align(&duration(after, style), 9)
        )
    };
    let heading = format!("{} {:>9} {:>9}  change", pad("", 12), "before", "after");
    let _ = writeln!(text, "{}", style.dim(&heading));
    text.push_str(&line("took", before.wall, after.wall));
    text.push_str(&line("CPU time", before.cpu, after.cpu));
    let count = |count: usize| count.to_string();
    let _ = writeln!(
        text,
        "{} {:>9} {:>9}  {}",
        pad("processes", 12),
        count(before.processes),
        count(after.processes),
        match after.processes as i64 - before.processes as i64 {
            0 => format!("{}0", style.plus_minus()),
            difference => format!("{difference:+}"),
        }
    );
    table("by name, own time", &before.by_name, &after.by_name, style, &mut text);
    table("by place, own time", &before.by_place, &after.by_place, style, &mut text);
    text
}

/// Draws a table. The largest change of own time comes first.
fn table(title: &str, before: &HashMap<u64, Part>, after: &HashMap<u64, Part>, style: &Style, text: &mut String) {
    let none = Group::default();
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    let mut changes: Vec<_> = keys
        .map(|key| {
            let (one, other) = (before.get(key), after.get(key));
            let names = one.or(other).map(|part| part.names.as_slice()).unwrap_or_default();
            (names, one.map_or(&none, |part| &part.group), other.map_or(&none, |part| &part.group))
        })
        .collect();
    changes.retain(|(_, before, after)| (before.own, before.count()) != (after.own, after.count()));
    let size = |before: &Group, after: &Group| before.own.abs_diff(after.own);
    changes.sort_by(|(key, before, after), (other_key, other_before, other_after)| {
        size(other_before, other_after).cmp(&size(before, after)).then(key.cmp(other_key))
    });
    let room = style.width.saturating_sub(55).clamp(16, 90);
    let heading = format!("{} {:>13} {:>9} {:>9}  change", pad(title, room), "count", "before", "after");
    let _ = writeln!(text, "\n{}", style.dim(&heading));
    if changes.is_empty() {
        text.push_str("no difference\n");
    }
    for (key, before, after) in changes.iter().take(LINES) {
        let names: Vec<_> = key.iter().map(|name| style.show(name)).collect();
        let name = pad(&style.cut_start(&names.join(style.step()), room), room);
        let arrow = if style.is_unicode { "→" } else { "->" };
        let count = match (before.count(), after.count()) {
            (one, other) if one == other => one.to_string(),
            (one, other) => format!("{one} {arrow} {other}"),
        };
        let (one, other) = (duration(before.own, style), duration(after.own, style));
        let change = change(before.own, after.own, style);
        let _ = writeln!(text, "{name} {} {} {}  {change}", align(&count, 13), align(&one, 9), align(&other, 9));
    }
    if changes.len() > LINES {
        let _ = writeln!(text, "{} {} more", style.dots(), changes.len() - LINES);
    }
}

/// Nanoseconds. A shorter duration is shown as zero.
const SHOWN: u64 = 500;

/// The difference, absolute and in per cent.
fn change(before: u64, after: u64, style: &Style) -> String {
    let zero = || format!("{}0", style.plus_minus());
    let sign = if after > before { "+" } else { "-" };
    let difference = before.abs_diff(after);
    let size = if difference < SHOWN { zero() } else { format!("{sign}{}", duration(difference, style)) };
    let text = if before == 0 || after == 0 {
        size
    } else {
        let share = ((after as f64 / before as f64 - 1.0) * 100.0).round();
        let share = if share == 0.0 { zero() } else { format!("{share:+}") };
        format!("{size} ({share} %)")
    };
    // More than a tenth slower is red.
    if after > before.saturating_add(before / 10) { style.red(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::{super::style::PLAIN, *};
    use crate::story::story;

    #[test]
    fn the_largest_change_comes_first() {
        let build = |cc: u64| {
            story("make", 0, 1000 + cc)
                .cpu(10)
                .starts("sh", 0, 100, |sh| sh)
                .starts("cc", 100, cc, |process| process.cpu(cc))
                .rows()
        };
        let (before, after) = (Side::new(&build(500)).unwrap(), Side::new(&build(800)).unwrap());
        let text = compare(&before, &after, &PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "took            1.50 s    1.80 s  +300 ms (+20 %)", "{text}");
        assert_eq!(lines[6], "cc                                    1    500 ms    800 ms  +300 ms (+60 %)", "{text}");
        assert!(lines.iter().any(|line| line.starts_with("make › cc ")), "{text}");
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(change(1000, 1000, &PLAIN), "±0 (±0 %)");
        assert_eq!(change(1_000_000, 1_000_400, &PLAIN), "±0 (±0 %)");
        assert_eq!(change(1_000_000_000, 999_000_000, &PLAIN), "-1.00 ms (±0 %)");
        assert_eq!(change(0, 0, &Style { is_unicode: false, ..PLAIN }), "+-0");
        let side = || Side::new(&story("sh", 0, 50).rows()).unwrap();
        let text = compare(&side(), &side(), &PLAIN);
        assert!(text.contains("processes            1         1  ±0\n"), "{text}");
    }

    #[test]
    fn a_name_in_only_one_trace_is_compared_with_zero() {
        let with = story("sh", 0, 100).starts("sleep", 0, 50, |sleep| sleep).rows();
        let (before, after) = (Side::new(&story("sh", 0, 50).rows()).unwrap(), Side::new(&with).unwrap());
        let text = compare(&before, &after, &PLAIN);
        assert!(text.contains("0 → 1") && text.contains("+50.0 ms\n"), "{text}");
    }
}
