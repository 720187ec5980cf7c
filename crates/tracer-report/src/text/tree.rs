//! The tree of processes with durations and exit statuses. Siblings of one name are folded in a large tree.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    fmt::Write,
};

use unicode_width::UnicodeWidthStr;

use super::{
    names::Names,
    style::{Style, duration},
};
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
    /// The span that took longest.
    row: usize,
    failed: u64,
    /// The reason of the first failure.
    failure: Option<Label>,
    is_unfinished: bool,
    /// Processes below it without a span.
    hidden: u64,
}

impl Line {
    fn new(rows: &Rows, index: usize) -> Self {
        let row = &rows.rows[index];
        Self {
            row: index,
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
        if other.longest > self.longest {
            (self.longest, self.row) = (other.longest, other.row);
        }
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
pub(super) fn render(names: &Names<'_>, tree: &Tree, limit: usize, style: &Style, text: &mut String) {
    let lines = Lines::fold(names.rows, tree);
    let shown = lines.costliest(limit);
    // The lines still to draw. Each has, for its ancestors and itself, whether it is the last sibling.
    let mut open = vec![(0, Vec::new())];
    while let Some((node, lasts)) = open.pop() {
        let Node { line, children } = &lines.nodes[node];
        draw(names, line, &lasts, style, text);
        let (mut visible, hidden): (Vec<usize>, Vec<usize>) = children.iter().partition(|child| shown.contains(child));
        let end = visible.pop();
        if !hidden.is_empty() {
            let total = sum(hidden.iter().map(|child| lines.nodes[*child].line.total));
            let count: u64 = hidden.iter().map(|child| lines.nodes[*child].line.count).sum();
            let branches = branches(style, &[lasts.as_slice(), &[end.is_none()]].concat());
            let line = format!("{:>9}  {branches}{} {count} more (in total)", duration(total, style), style.dots());
            let _ = writeln!(text, "{}", style.cut_end(&line, style.width));
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

/// Draws a line in the width of the terminal.
fn draw(names: &Names<'_>, line: &Line, lasts: &[bool], style: &Style, text: &mut String) {
    let start = format!("{:>9}  {}", duration(line.total, style), branches(style, lasts));
    let failure = line
        .failure
        .map(|failure| style.show(names.rows.text(failure)))
        .map(|failure| if line.count > 1 { format!("{} failed, first: {failure}", line.failed) } else { failure });
    let running = if line.is_unfinished { "  still running at the end" } else { "" };
    let hidden = match line.hidden {
        0 => String::new(),
        1 => "  (1 process hidden)".to_owned(),
        hidden => format!("  ({hidden} processes hidden)"),
    };
    let mut room = style.width.saturating_sub(start.width() + running.width() + hidden.width());
    if let Some(failure) = &failure {
        room = room.saturating_sub(2 + failure.width());
    }
    // The outcome matters more than the end of an argument.
    let least = style.width.saturating_sub(start.width()).min(NAME);
    let what = describe(names, line, style, room.max(least));
    let mut left = style.width.saturating_sub(start.width() + what.width());
    let mut part = |shown: &str| {
        if left < PART {
            return String::new();
        }
        let shown = style.cut_end(shown, left);
        left = left.saturating_sub(shown.width());
        shown
    };
    let failure = failure.map_or(String::new(), |failure| style.red(&part(&format!("  {failure}"))));
    let (running, hidden) = (part(running), part(&hidden));
    let _ = writeln!(text, "{start}{what}{failure}{running}{hidden}");
}

/// The columns that a name gets in any case.
const NAME: usize = 12;

/// A part with fewer columns would say nothing.
const PART: usize = 6;

/// A span, or several of one name.
fn describe(names: &Names<'_>, line: &Line, style: &Style, room: usize) -> String {
    if line.count == 1 {
        return names.whole(line.row, style, room);
    }
    let name = style.show(names.rows.text(line.name));
    let counted =
        format!("{name} {}{} (in total; longest {}", style.times(), line.count, duration(line.longest, style));
    // The argument needs `: ` and the bracket.
    let left = room.saturating_sub(counted.width() + 3);
    let argument = names.argument(line.row, style, left).filter(|_| left >= 4);
    let argument = argument.map_or(String::new(), |argument| format!(": {argument}"));
    style.cut_end(&format!("{counted}{argument})"), room)
}

/// The lines of the tree before a name. Only the last part of a deep branch is drawn.
fn branches(style: &Style, lasts: &[bool]) -> String {
    let [pass, blank, fork, end] =
        if style.is_unicode { ["│  ", "   ", "├─ ", "└─ "] } else { ["|  ", "   ", "|- ", "`- "] };
    let Some((last, above)) = lasts.split_last() else { return String::new() };
    let most = style.width / 6;
    let (hidden, above) = above.split_at(above.len().saturating_sub(most));
    let mut branches = if hidden.is_empty() { String::new() } else { style.dots().to_owned() + " " };
    branches.extend(above.iter().map(|is_last| if *is_last { blank } else { pass }));
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
        render(&Names::new(&rows), &Tree::grow(&rows.rows).unwrap(), LINES, style, &mut text);
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
    fn a_line_says_which_process_it_is_or_took_longest() {
        let cc = |name: &'static str| move |cc: Story| cc.arguments(&["cc", "-O2", "-c", name]);
        let small = story("make", 0, 900).starts("cc", 0, 100, cc("a.c")).starts("cc", 1, 90, cc("b.c"));
        assert_eq!(rendered(&small, &PLAIN).lines().last().unwrap(), "  90.0 ms  └─ cc b.c");
        let large = (0..50).fold(story("make", 0, 900), |make, i| {
            make.starts("cc", i, 10 + i, cc(if i == 49 { "slow.c" } else { "a.c" }))
        });
        let text = rendered(&large, &PLAIN);
        assert_eq!(text.lines().last().unwrap(), "   1.73 s  └─ cc ×50 (in total; longest 59.0 ms: slow.c)");
    }

    #[test]
    fn lines_keep_to_the_width_of_the_terminal() {
        let long = "/a/very/long/path/to/some/source/file/that/has/a/name/that/never/seems/to/end/at/all.c";
        let deep = (0..60).fold(story("last", 0, 1).exits(1), |inner, _| {
            story("日本語-with-a-name", 0, 1).dies_by("SIGTERM").arguments(&["x", long]).above(inner)
        });
        let wide = (0..45).fold(story("sh", 0, 99), |sh, i| {
            sh.starts("a-tool-with-a-rather-long-name-that-goes-on", i, 9, |it| {
                it.exits(1).arguments(&["x", "-v", long])
            })
        });
        for (story, width) in [(&deep, 80), (&deep, 40), (&wide, 80), (&wide, 40), (&wide, 200)] {
            for is_unicode in [true, false] {
                let text = rendered(story, &Style { width, is_unicode, ..PLAIN });
                assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
            }
        }
        let text = rendered(&wide, &PLAIN);
        assert!(text.contains("45 failed, first: exit 1"), "{text}");
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
