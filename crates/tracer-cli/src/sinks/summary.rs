//! The process tree with durations and exit statuses, for a terminal: what there is without a collector.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    fmt::Write,
    io::stderr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracer_model::{
    Span, SpanId,
    semconv::{connection_error, signal_name},
    span::Subject,
};

use super::{Closing, Sink, Undelivered, queue::Queue};
use crate::{
    config::variable,
    console::{is_coloured, printable},
};

/// Spans whose place in the tree is kept; further ones are counted.
const SPANS: usize = 250_000;

/// A tree of more spans than this shows siblings of one name as one line.
const UNFOLDED: usize = 40;

/// Most lines of a tree.
const LINES: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct SummarySink {
    entries: Vec<Entry>,
    /// Few names recur often.
    names: HashSet<Arc<str>>,
    seen: u64,
}

/// One span, as little of it as the tree needs.
#[derive(Debug)]
struct Entry {
    span_id: SpanId,
    parent_id: Option<SpanId>,
    is_root: bool,
    start: SystemTime,
    line: Line,
}

/// What one line of the tree is about: a span, or several of one name.
#[derive(Clone, Debug)]
struct Line {
    name: Arc<str>,
    count: u64,
    total: Duration,
    longest: Duration,
    failed: u64,
    /// Of the first that failed.
    failure: Option<Arc<str>>,
    is_unfinished: bool,
}

impl Sink for SummarySink {
    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        for span in spans {
            self.seen += 1;
            let is_root = matches!(&span.subject, Subject::Process(process) if process.certificate.is_some());
            if self.entries.len() < SPANS || is_root {
                let entry = self.entry(&span, is_root);
                self.entries.push(entry);
            }
        }
        Undelivered::default()
    }

    fn destination(&self) -> String {
        String::new()
    }

    fn close(self: Box<Self>) -> Closing {
        let mut text = String::new();
        if let Some(tree) = Tree::grow(&self.entries) {
            tree.render(&Style::of_stderr(), &mut text);
        }
        let left_out = self.seen - self.entries.len() as u64;
        if left_out > 0 {
            let _ = writeln!(text, "the tree shows {} of {} spans", self.entries.len(), self.seen);
        }
        Closing { text: Some(text), ..Closing::default() }
    }
}

impl SummarySink {
    fn entry(&mut self, span: &Span, is_root: bool) -> Entry {
        let failure = match &span.subject {
            Subject::Process(process) => match process.exit {
                None | Some(tracer_model::ExitStatus::Code(0)) => None,
                Some(tracer_model::ExitStatus::Code(code)) => Some(format!("exit {code}")),
                Some(tracer_model::ExitStatus::Signal { number, .. }) => Some(signal_name(number).into_owned()),
            },
            Subject::Connection(connection) => {
                connection.connection.error.map(|errno| connection_error(errno).replace('_', " "))
            }
            Subject::Lookup(lookup) => match &lookup.answer {
                Some(answer) => (answer.code != "NOERROR").then(|| answer.code.clone()),
                None => Some("no answer".to_owned()),
            },
        };
        let duration = span.end.duration_since(span.start).unwrap_or_default();
        Entry {
            span_id: span.span_id,
            parent_id: match &span.subject {
                Subject::Process(process) => process.forked_by,
                Subject::Connection(_) | Subject::Lookup(_) => span.parent_id,
            },
            is_root,
            start: span.start,
            line: Line {
                name: self.intern(&printable(&span.name())),
                count: 1,
                total: duration,
                longest: duration,
                failed: u64::from(failure.is_some()),
                failure: failure.map(|failure| self.intern(&failure)),
                is_unfinished: span.is_unfinished,
            },
        }
    }

    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.names.insert(Arc::clone(&text));
        text
    }
}

/// Lines that hang under one another; the first is the root.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    line: Line,
    depth: usize,
    children: Vec<usize>,
}

impl Tree {
    /// `None` without a root span.
    fn grow(entries: &[Entry]) -> Option<Self> {
        let root = entries.iter().position(|entry| entry.is_root)?;
        let index: HashMap<SpanId, usize> =
            entries.iter().enumerate().map(|(index, entry)| (entry.span_id, index)).collect();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
        for (child, entry) in entries.iter().enumerate().filter(|(child, _)| *child != root) {
            // Under the root where the parent is not among those kept.
            let parent = entry.parent_id.and_then(|parent| index.get(&parent).copied()).unwrap_or(root);
            children[parent].push(child);
        }
        for siblings in &mut children {
            siblings.sort_by_key(|sibling| entries[*sibling].start);
        }
        let is_folded = entries.len() > UNFOLDED;
        let mut tree = Self { nodes: vec![Node { line: entries[root].line.clone(), depth: 0, children: Vec::new() }] };
        // Each node still to be filled, with the spans that it stands for.
        let mut open = vec![(0, vec![root])];
        while let Some((node, spans)) = open.pop() {
            let below = spans.iter().flat_map(|span| children[*span].iter().copied());
            let groups = if is_folded { fold(below, entries) } else { below.map(|span| vec![span]).collect() };
            for group in groups {
                let mut lines = group.iter().map(|span| &entries[*span].line);
                let Some(mut line) = lines.next().cloned() else { continue };
                lines.for_each(|other| line.add(other));
                let child = tree.nodes.len();
                let depth = tree.nodes[node].depth + 1;
                tree.nodes.push(Node { line, depth, children: Vec::new() });
                tree.nodes[node].children.push(child);
                open.push((child, group));
            }
        }
        Some(tree)
    }

    fn render(&self, style: &Style, text: &mut String) {
        let shown = self.costliest(LINES);
        // Each line to come, with whether its ancestors and itself are the last of their siblings.
        let mut open = vec![(0, Vec::new())];
        while let Some((node, lasts)) = open.pop() {
            let Node { line, children, .. } = &self.nodes[node];
            style.line(line, &lasts, text);
            let (mut visible, hidden): (Vec<usize>, Vec<usize>) =
                children.iter().partition(|child| shown.contains(child));
            let end = visible.pop();
            if !hidden.is_empty() {
                let total = hidden.iter().map(|child| self.nodes[*child].line.total).sum();
                let count = hidden.iter().map(|child| self.nodes[*child].line.count).sum();
                style.more(count, total, &[lasts.as_slice(), &[end.is_none()]].concat(), text);
            }
            let with = |is_last| {
                let lasts = lasts.clone();
                move |child| (child, [lasts.as_slice(), &[is_last]].concat())
            };
            open.extend(end.map(with(true)));
            open.extend(visible.into_iter().rev().map(with(false)));
        }
    }

    /// The `limit` nodes that took longest, each with all above it.
    fn costliest(&self, limit: usize) -> HashSet<usize> {
        let mut shown = HashSet::new();
        let mut candidates = BinaryHeap::from([Candidate { total: self.nodes[0].line.total, node: 0 }]);
        while let Some(Candidate { node, .. }) = candidates.pop() {
            if shown.len() == limit {
                break;
            }
            shown.insert(node);
            let children = self.nodes[node].children.iter();
            candidates.extend(children.map(|child| Candidate { total: self.nodes[*child].line.total, node: *child }));
        }
        shown
    }
}

/// Ordered by time; of equals the earlier line first.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    total: Duration,
    node: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.total.cmp(&other.total).then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Spans of one name together, in the order in which the names first came.
fn fold(spans: impl Iterator<Item = usize>, entries: &[Entry]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for span in spans {
        let group = *by_name.entry(&entries[span].line.name).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(span);
    }
    groups
}

impl Line {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
        self.failed += other.failed;
        self.is_unfinished |= other.is_unfinished;
        if self.failure.is_none() {
            self.failure.clone_from(&other.failure);
        }
    }
}

/// How lines are drawn.
#[derive(Clone, Copy, Debug)]
struct Style {
    is_coloured: bool,
    is_unicode: bool,
}

impl Style {
    fn of_stderr() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        Self {
            is_coloured: is_coloured(&stderr()),
            is_unicode: locale.to_ascii_lowercase().replace('-', "").contains("utf8"),
        }
    }

    fn line(&self, line: &Line, lasts: &[bool], text: &mut String) {
        let _ = write!(text, "{:>9}  {}{}", duration(line.total), self.branches(lasts), line.name);
        if line.count > 1 {
            let times = if self.is_unicode { '×' } else { 'x' };
            let _ = write!(text, " {times}{} (longest {})", line.count, duration(line.longest));
        }
        if let Some(failure) = &line.failure {
            let (red, reset) = if self.is_coloured { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
            if line.count > 1 {
                let _ = write!(text, "  {red}{} failed, first: {failure}{reset}", line.failed);
            } else {
                let _ = write!(text, "  {red}{failure}{reset}");
            }
        }
        if line.is_unfinished {
            text.push_str("  still running");
        }
        text.push('\n');
    }

    fn more(&self, count: u64, total: Duration, lasts: &[bool], text: &mut String) {
        let dots = if self.is_unicode { "…" } else { "..." };
        let _ = writeln!(text, "{:>9}  {}{dots} {count} more", duration(total), self.branches(lasts));
    }

    fn branches(&self, lasts: &[bool]) -> String {
        let [pass, blank, fork, end] =
            if self.is_unicode { ["│  ", "   ", "├─ ", "└─ "] } else { ["|  ", "   ", "|- ", "`- "] };
        let Some((last, above)) = lasts.split_last() else { return String::new() };
        let mut branches: String = above.iter().map(|is_last| if *is_last { blank } else { pass }).collect();
        branches.push_str(if *last { end } else { fork });
        branches
    }
}

/// Three significant digits, in the unit that suits.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0..0.000_999_5 => format!("{:.0} µs", seconds * 1e6),
        0.000_999_5..0.999_5 => format!("{:.*} ms", digits(seconds * 1e3), seconds * 1e3),
        0.999_5..99.95 => format!("{:.*} s", digits(seconds), seconds),
        _ => {
            let seconds = seconds.round() as u64;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            if hours > 0 { format!("{hours}h {minutes:02}m") } else { format!("{minutes}m {:02}s", seconds % 60) }
        }
    }
}

/// Decimals that make three significant digits.
fn digits(value: f64) -> usize {
    match value {
        ..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { is_coloured: false, is_unicode: true };

    fn entry(id: u8, parent: u8, name: &str, start_ms: u64, ms: u64, failure: Option<&str>) -> Entry {
        let total = Duration::from_millis(ms);
        Entry {
            span_id: SpanId([id; 8]),
            parent_id: Some(SpanId([parent; 8])),
            is_root: id == 1,
            start: SystemTime::UNIX_EPOCH + Duration::from_millis(start_ms),
            line: Line {
                name: name.into(),
                count: 1,
                total,
                longest: total,
                failed: u64::from(failure.is_some()),
                failure: failure.map(Into::into),
                is_unfinished: false,
            },
        }
    }

    fn rendered(entries: &[Entry], style: Style) -> String {
        let mut text = String::new();
        Tree::grow(entries).unwrap().render(&style, &mut text);
        text
    }

    #[test]
    fn a_small_tree_is_shown_as_it_is() {
        let entries = [
            entry(3, 2, "cc1", 12, 700, None),
            entry(2, 1, "cc", 10, 800, None),
            entry(4, 1, "cc", 900, 50, Some("exit 1")),
            entry(1, 0, "make", 0, 12_300, Some("exit 2")),
        ];
        let tree = ["   12.3 s  make  exit 2", "   800 ms  ├─ cc", "   700 ms  │  └─ cc1", "  50.0 ms  └─ cc  exit 1"];
        assert_eq!(rendered(&entries, PLAIN).lines().collect::<Vec<_>>(), tree);
        let ascii = rendered(&entries, Style { is_unicode: false, ..PLAIN });
        assert!(ascii.contains("|- cc\n") && ascii.contains("|  `- cc1\n"), "{ascii}");
    }

    #[test]
    fn a_large_tree_is_folded_by_name() {
        let mut entries = vec![entry(1, 0, "make", 0, 9000, None)];
        for i in 0..60_u8 {
            let failure = (i == 7).then_some("exit 1");
            entries.push(entry(10 + 2 * i, 1, "cc", u64::from(i), 100, failure));
            entries.push(entry(11 + 2 * i, 10 + 2 * i, "cc1", u64::from(i), 90, None));
        }
        let tree = [
            "   9.00 s  make",
            "   6.00 s  └─ cc ×60 (longest 100 ms)  1 failed, first: exit 1",
            "   5.40 s     └─ cc1 ×60 (longest 90.0 ms)",
        ];
        assert_eq!(rendered(&entries, PLAIN).lines().collect::<Vec<_>>(), tree);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut entries = vec![entry(1, 0, "sh", 0, 9000, None)];
        entries.extend((2..92).map(|i| entry(i, 1, &format!("tool{i}"), u64::from(i), u64::from(i), None)));
        let text = rendered(&entries, PLAIN);
        assert_eq!(text.lines().count(), LINES + 1, "{text}");
        assert!(text.contains("├─ … 41 more"), "{text}");
        assert!(text.contains("tool91") && !text.contains("tool3\n"), "{text}");
    }

    #[test]
    fn durations_have_three_digits() {
        let shown = |micros| duration(Duration::from_micros(micros));
        assert_eq!(
            [0, 999, 1000, 9_994, 99_960, 999_600, 12_345_000, 99_960_000, 3_600_000_000].map(shown),
            ["0 µs", "999 µs", "1.00 ms", "9.99 ms", "100 ms", "1.00 s", "12.3 s", "1m 40s", "1h 00m"]
        );
    }
}
