//! The tree of processes with durations and exit statuses, repetition folded.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    fmt::Write,
};

use super::style::{Style, duration};
use crate::{
    analysis::{Tree, sum},
    row::{Label, Rows},
};

/// A tree of more spans than this shows siblings of one name as one line.
const UNFOLDED: usize = 40;

/// Most lines of a tree.
pub(crate) const LINES: usize = 50;

/// What one line is about: a span, or several of one name.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: Label,
    count: u64,
    total: u64,
    longest: u64,
    failed: u64,
    /// Of the first that failed.
    failure: Option<Label>,
    is_unfinished: bool,
}

impl Line {
    fn new(rows: &Rows, row: usize) -> Self {
        let row = &rows.rows[row];
        Self {
            name: row.name,
            count: 1,
            total: row.duration(),
            longest: row.duration(),
            failed: u64::from(row.failure.is_some()),
            failure: row.failure,
            is_unfinished: row.is_unfinished,
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.longest = self.longest.max(other.longest);
        self.failed += other.failed;
        self.is_unfinished |= other.is_unfinished;
        self.failure = self.failure.or(other.failure);
    }
}

/// Lines that hang under one another; the first is the root.
#[derive(Debug)]
struct Lines {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    line: Line,
    children: Vec<usize>,
}

/// Draws the tree, in at most this many lines and one more for each that was left out.
pub(crate) fn render(rows: &Rows, tree: &Tree, limit: usize, style: &Style, text: &mut String) {
    let lines = Lines::fold(rows, tree);
    let shown = lines.costliest(limit);
    // Each line to come, with whether its ancestors and itself are the last of their siblings.
    let mut open = vec![(0, Vec::new())];
    while let Some((node, lasts)) = open.pop() {
        let Node { line, children } = &lines.nodes[node];
        draw(rows, line, &lasts, style, text);
        let (mut visible, hidden): (Vec<usize>, Vec<usize>) = children.iter().partition(|child| shown.contains(child));
        let end = visible.pop();
        if !hidden.is_empty() {
            let total = sum(hidden.iter().map(|child| lines.nodes[*child].line.total));
            let count: u64 = hidden.iter().map(|child| lines.nodes[*child].line.count).sum();
            let branches = branches(style, &[lasts.as_slice(), &[end.is_none()]].concat());
            let _ = writeln!(text, "{:>9}  {branches}{} {count} more", duration(total, style), style.dots());
        }
        let with = |is_last| {
            let lasts = lasts.clone();
            move |child| (child, [lasts.as_slice(), &[is_last]].concat())
        };
        open.extend(end.map(with(true)));
        open.extend(visible.into_iter().rev().map(with(false)));
    }
}

impl Lines {
    fn fold(rows: &Rows, tree: &Tree) -> Self {
        let is_folded = rows.rows.len() > UNFOLDED;
        let mut lines = Self { nodes: vec![Node { line: Line::new(rows, tree.root), children: Vec::new() }] };
        // Each node still to be filled, with the spans that it stands for.
        let mut open = vec![(0, vec![tree.root])];
        while let Some((node, spans)) = open.pop() {
            let below = spans.iter().flat_map(|span| tree.children(*span).iter().map(|child| *child as usize));
            let groups = if is_folded { by_name(below, rows) } else { below.map(|span| vec![span]).collect() };
            for group in groups {
                let mut members = group.iter().map(|span| Line::new(rows, *span));
                let Some(mut line) = members.next() else { continue };
                members.for_each(|member| line.add(&member));
                let child = lines.nodes.len();
                lines.nodes.push(Node { line, children: Vec::new() });
                lines.nodes[node].children.push(child);
                open.push((child, group));
            }
        }
        lines
    }

    /// The `limit` nodes that took longest, each with all above it.
    fn costliest(&self, limit: usize) -> HashSet<usize> {
        let mut shown = HashSet::new();
        // Of equals the earlier first.
        let mut candidates = BinaryHeap::from([(self.nodes[0].line.total, Reverse(0))]);
        while let Some((_, Reverse(node))) = candidates.pop() {
            if shown.len() == limit {
                break;
            }
            shown.insert(node);
            let children = self.nodes[node].children.iter();
            candidates.extend(children.map(|child| (self.nodes[*child].line.total, Reverse(*child))));
        }
        shown
    }
}

/// Spans of one name together, in the order in which the names first came.
fn by_name(spans: impl Iterator<Item = usize>, rows: &Rows) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<Label, usize> = HashMap::new();
    for span in spans {
        let group = *known.entry(rows.rows[span].name).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(span);
    }
    groups
}

fn draw(rows: &Rows, line: &Line, lasts: &[bool], style: &Style, text: &mut String) {
    let name = style.show(rows.text(line.name));
    let _ = write!(text, "{:>9}  {}{name}", duration(line.total, style), branches(style, lasts));
    if line.count > 1 {
        let _ = write!(text, " {}{} (longest {})", style.times(), line.count, duration(line.longest, style));
    }
    if let Some(failure) = line.failure {
        let failure = style.show(rows.text(failure));
        let said = if line.count > 1 { format!("{} failed, first: {failure}", line.failed) } else { failure };
        let _ = write!(text, "  {}", style.red(&said));
    }
    if line.is_unfinished {
        text.push_str("  still running");
    }
    text.push('\n');
}

fn branches(style: &Style, lasts: &[bool]) -> String {
    let [pass, blank, fork, end] =
        if style.is_unicode { ["│  ", "   ", "├─ ", "└─ "] } else { ["|  ", "   ", "|- ", "`- "] };
    let Some((last, above)) = lasts.split_last() else { return String::new() };
    let mut branches: String = above.iter().map(|is_last| if *is_last { blank } else { pass }).collect();
    branches.push_str(if *last { end } else { fork });
    branches
}

#[cfg(test)]
mod tests {
    use super::{super::style::PLAIN, *};
    use crate::story::{Story, story};

    fn rendered(story: &Story, style: &Style) -> String {
        let mut text = String::new();
        let rows = story.rows();
        render(&rows, &Tree::grow(&rows.rows).unwrap(), LINES, style, &mut text);
        text
    }

    #[test]
    fn a_small_tree_is_shown_as_it_is() {
        let story = story("make", 0, 12_300)
            .exits(2)
            .starts("cc", 10, 800, |cc| cc.starts("cc1", 12, 700, |cc1| cc1))
            .starts("cc", 900, 50, |cc| cc.exits(1));
        let tree = ["   12.3 s  make  exit 2", "   800 ms  ├─ cc", "   700 ms  │  └─ cc1", "  50.0 ms  └─ cc  exit 1"];
        assert_eq!(rendered(&story, &PLAIN).lines().collect::<Vec<_>>(), tree);
        let ascii = rendered(&story, &Style { is_unicode: false, ..PLAIN });
        assert!(ascii.contains("|- cc\n") && ascii.contains("|  `- cc1\n"), "{ascii}");
    }

    #[test]
    fn a_large_tree_is_folded_by_name() {
        let mut story = story("make", 0, 9000);
        for i in 0..60 {
            story = story.starts("cc", i, 100, |cc| {
                let cc = cc.starts("cc1", i, 90, |cc1| cc1);
                if i == 7 { cc.exits(1) } else { cc }
            });
        }
        let tree = [
            "   9.00 s  make",
            "   6.00 s  └─ cc ×60 (longest 100 ms)  1 failed, first: exit 1",
            "   5.40 s     └─ cc1 ×60 (longest 90.0 ms)",
        ];
        assert_eq!(rendered(&story, &PLAIN).lines().collect::<Vec<_>>(), tree);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut story = story("sh", 0, 9000);
        for i in 2..92 {
            story = story.starts(&format!("tool{i}"), i, i, |tool| tool);
        }
        let text = rendered(&story, &PLAIN);
        assert_eq!(text.lines().count(), LINES + 1, "{text}");
        assert!(text.contains("├─ … 41 more"), "{text}");
        assert!(text.contains("tool91") && !text.contains("tool3\n"), "{text}");
    }
}
