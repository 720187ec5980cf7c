//! The tree of processes with durations and exit statuses. Siblings of one name are folded in a large tree.

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

/// In a tree of more spans than this, siblings of one name are one line.
const UNFOLDED: usize = 40;

/// The most lines of a tree.
pub(crate) const LINES: usize = 50;

/// One line: a span, or several spans of one name.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: Label,
    count: u64,
    total: u64,
    longest: u64,
    failed: u64,
    /// The reason of the first failure.
    failure: Option<Label>,
    is_unfinished: bool,
    /// Processes below it without a span.
    hidden: u64,
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
            hidden: row.folded.processes,
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.longest = self.longest.max(other.longest);
        self.failed += other.failed;
        self.is_unfinished |= other.is_unfinished;
        self.hidden = self.hidden.saturating_add(other.hidden);
        self.failure = self.failure.or(other.failure);
    }
}

/// The lines as a tree. The first is the root.
#[derive(Debug)]
struct Lines {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    line: Line,
    children: Vec<usize>,
}

/// Draws the tree in at most `limit` lines, and one more line for each parent with hidden children.
pub(crate) fn render(rows: &Rows, tree: &Tree, limit: usize, style: &Style, text: &mut String) {
    let lines = Lines::fold(rows, tree);
    let shown = lines.costliest(limit);
    // The lines still to draw. Each has, for its ancestors and itself, whether it is the last sibling.
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
            let _ = writeln!(text, "{:>9}  {branches}{} {count} more (in total)", duration(total, style), style.dots());
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
        // The nodes whose children are still missing, each with its spans.
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

    /// The `limit` nodes that took longest, each with all its ancestors.
    fn costliest(&self, limit: usize) -> HashSet<usize> {
        let mut shown = HashSet::new();
        // Among equals, the earlier one comes first.
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

/// Groups the spans by name, in the order in which the names first came.
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
        let _ = write!(text, " {}{} (in total; longest {})", style.times(), line.count, duration(line.longest, style));
    }
    if let Some(failure) = line.failure {
        let failure = style.show(rows.text(failure));
        let said = if line.count > 1 { format!("{} failed, first: {failure}", line.failed) } else { failure };
        let _ = write!(text, "  {}", style.red(&said));
    }
    if line.is_unfinished {
        text.push_str("  still running at the end");
    }
    if line.hidden > 0 {
        let _ = write!(text, "  ({} {} hidden)", line.hidden, if line.hidden == 1 { "process" } else { "processes" });
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
    fn a_small_tree_shows_every_span() {
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
            "   6.00 s  └─ cc ×60 (in total; longest 100 ms)  1 failed, first: exit 1",
            "   5.40 s     └─ cc1 ×60 (in total; longest 90.0 ms)",
        ];
        assert_eq!(rendered(&story, &PLAIN).lines().collect::<Vec<_>>(), tree);
    }

    #[test]
    fn hidden_lines_are_counted() {
        let mut story = story("sh", 0, 9000);
        for i in 2..92 {
            story = story.starts(&format!("tool{i}"), i, i, |tool| tool);
        }
        let text = rendered(&story, &PLAIN);
        assert_eq!(text.lines().count(), LINES + 1, "{text}");
        assert!(text.contains("├─ … 41 more (in total)"), "{text}");
        assert!(text.contains("tool91") && !text.contains("tool3\n"), "{text}");
    }
}
