//! Facts about the network of the whole trace: lookups that were slow or failed, and which processes talk to each other.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use tracer_model::SpanId;

use crate::row::{Kind, Label, Row, Rows};

/// A lookup that takes this long or longer is slow, in nanoseconds. Resolvers in the same network answer much sooner.
const SLOW: u64 = 100_000_000;

/// The lookups of one name.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    pub(crate) name: Label,
    pub(crate) count: u64,
    pub(crate) failed: u64,
    /// The reason of the first failure.
    pub(crate) failure: Option<Label>,
    /// Nanoseconds.
    pub(crate) longest: u64,
}

/// The names with a lookup that was slow or failed. Failures come first, then the slowest.
pub(crate) fn notable_lookups(rows: &Rows) -> Vec<Lookups> {
    let mut by_name: HashMap<Label, Lookups> = HashMap::new();
    for row in rows.rows.iter().filter(|row| row.kind == Kind::Lookup) {
        let new = Lookups { name: row.name, count: 0, failed: 0, failure: None, longest: 0 };
        let lookups = by_name.entry(row.name).or_insert(new);
        lookups.count += 1;
        lookups.failed += u64::from(row.failure.is_some());
        lookups.failure = lookups.failure.or(row.failure);
        lookups.longest = lookups.longest.max(row.duration());
    }
    let mut notable: Vec<_> =
        by_name.into_values().filter(|lookups| lookups.failed > 0 || lookups.longest >= SLOW).collect();
    notable.sort_by_key(|lookups| (lookups.failed == 0, Reverse(lookups.longest), lookups.name));
    notable
}

/// Connections from the processes of one name to those of another.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The process that connected.
    pub(crate) from: Label,
    /// The process that accepted.
    pub(crate) to: Label,
    pub(crate) count: u64,
    pub(crate) failed: u64,
    /// Nanoseconds.
    pub(crate) time: u64,
    /// Payload in both directions.
    pub(crate) bytes: u64,
}

/// The pairs of processes with connections. Those with most bytes come first.
pub(crate) fn pairs(rows: &Rows) -> Vec<Pair> {
    if rows.linked.is_empty() {
        return Vec::new();
    }
    let index: HashMap<SpanId, usize> = rows.rows.iter().enumerate().map(|(index, row)| (row.id, index)).collect();
    let accepted: HashSet<usize> = rows.linked.iter().filter(|end| end.is_accepted).map(|end| end.row).collect();
    let owner = |row: &Row| Some(rows.rows[*index.get(&row.parent?)?].name);
    let mut seen = HashSet::new();
    let mut pairs: HashMap<(Label, Label), Pair> = HashMap::new();
    for end in &rows.linked {
        let Some(other) = index.get(&end.other).copied() else { continue };
        let rank = |row: usize| (accepted.contains(&row), rows.rows[row].start, row);
        let (from, to) = if rank(end.row) <= rank(other) { (end.row, other) } else { (other, end.row) };
        // Each end can name the other one.
        if !seen.insert((from, to)) {
            continue;
        }
        let row = &rows.rows[from];
        let (Some(from), Some(to)) = (owner(row), owner(&rows.rows[to])) else { continue };
        let pair = pairs.entry((from, to)).or_insert(Pair { from, to, count: 0, failed: 0, time: 0, bytes: 0 });
        pair.count += 1;
        pair.failed += u64::from(row.failure.is_some());
        pair.time = pair.time.saturating_add(row.duration());
        pair.bytes = pair.bytes.saturating_add(row.bytes);
    }
    let mut pairs: Vec<_> = pairs.into_values().collect();
    pairs.sort_by_key(|pair| (Reverse(pair.bytes), Reverse(pair.count), pair.from, pair.to));
    pairs
}
