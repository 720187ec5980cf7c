//! Facts about the whole trace: the tree of processes, their own times, the critical path, and sums over spans.

use std::{collections::HashMap, hash::Hash, iter};

use tracer_model::SpanId;

use super::row::{Kind, Label, Row, Rows};

/// The rows as a tree.
pub(crate) struct Tree {
    pub(crate) root: usize,
    /// All rows except the root, ordered by parent, and then by start.
    children: Vec<u32>,
    /// For each row, the place of its first child in `children`. The next row's children follow.
    begins: Vec<u32>,
    /// All rows under the root. Parents come before children.
    order: Vec<u32>,
}

impl Tree {
    /// `None` without any span.
    pub(crate) fn grow(rows: &[Row]) -> Option<Self> {
        let index: HashMap<SpanId, usize> = rows.iter().enumerate().map(|(index, row)| (row.id, index)).collect();
        let above = |row: &Row| row.parent.and_then(|parent| index.get(&parent).copied());
        let has_parent = |row: &Row| above(row).is_some();
        // For processes whose parent is not a span of this trace: the possible forkers by pid, in order of their start.
        // Most traces have few such processes.
        let orphans = rows.iter().filter(|row| !has_parent(row));
        let mut by_pid: HashMap<u32, Vec<usize>> = orphans.map(|row| (row.parent_pid, Vec::new())).collect();
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind == Kind::Process) {
            if let Some(incarnations) = by_pid.get_mut(&row.pid) {
                incarnations.push(index);
            }
        }
        for incarnations in by_pid.values_mut() {
            incarnations.sort_by_key(|row| rows[*row].start);
        }
        // A span above several runs is the root. Otherwise the longest run is the root, because a shorter run can be within it.
        // In a trace of another program, the root is the first span without a parent.
        let root = (0..rows.len())
            .filter(|row| rows[*row].is_root)
            .rev()
            .max_by_key(|row| (rows[*row].kind == Kind::Runs, rows[*row].duration()))
            .or_else(|| (0..rows.len()).filter(|row| !has_parent(&rows[*row])).min_by_key(|row| rows[*row].start))
            .or_else(|| (0..rows.len()).min_by_key(|row| rows[*row].start))?;
        // `TRACEPARENT` can make a process the child of another program's span. If that span is not in the trace, the parent pid
        // leads to the process that forked it.
        let forked_by = |child: &Row| {
            let incarnations = by_pid.get(&child.parent_pid)?;
            let earlier = incarnations.partition_point(|row| rows[*row].start < child.start);
            let last = *incarnations.get(earlier.checked_sub(1)?)?;
            (child.start <= rows[last].end).then_some(last)
        };
        let parent = |(child, row): (usize, &Row)| {
            let parent = above(row).or_else(|| forked_by(row));
            parent.filter(|parent| *parent != child).unwrap_or(root)
        };
        let mut parents: Vec<usize> = rows.iter().enumerate().map(parent).collect();
        break_circles(&mut parents, root);
        let mut children: Vec<u32> = (0..rows.len() as u32).filter(|row| *row as usize != root).collect();
        children.sort_by_key(|child| (parents[*child as usize], rows[*child as usize].start));
        let mut begins = vec![0; rows.len() + 1];
        for child in &children {
            begins[parents[*child as usize] + 1] += 1;
        }
        for row in 0..rows.len() {
            begins[row + 1] += begins[row];
        }
        let mut tree = Self { root, children, begins, order: Vec::with_capacity(rows.len()) };
        let mut open = vec![root as u32];
        while let Some(row) = open.pop() {
            tree.order.push(row);
            open.extend(tree.children(row as usize).iter().rev());
        }
        Some(tree)
    }

    /// The children of a row, in order of their start.
    pub(crate) fn children(&self, row: usize) -> &[u32] {
        &self.children[self.begins[row] as usize..self.begins[row + 1] as usize]
    }

    /// All rows. Parents come before children.
    pub(crate) fn top_down(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.order.iter().map(|row| *row as usize)
    }

    fn children_of<'a>(&'a self, rows: &'a [Row], row: usize) -> impl DoubleEndedIterator<Item = (usize, &'a Row)> {
        self.children(row).iter().map(|child| (*child as usize, &rows[*child as usize]))
    }

    /// For each row, the time during which no process that it started was alive, nanoseconds.
    pub(crate) fn own_time(&self, rows: &[Row]) -> Vec<u64> {
        let own = |(index, row): (usize, &Row)| {
            let (mut covered, mut until) = (0, row.start);
            for (_, child) in self.children_of(rows, index).filter(|(_, child)| child.kind == Kind::Process) {
                let (start, end) = (child.start.max(until), child.end.min(row.end));
                covered += end.saturating_sub(start);
                until = until.max(end);
            }
            row.duration() - covered
        };
        rows.iter().enumerate().map(own).collect()
    }

    /// The critical path: each stretch of the root's time with its process, from the end backwards.
    ///
    /// In a process, the path goes back from its end to the end of the child that ended last, through this child, and from
    /// the start of the child further back in the process. There it looks for such a child again.
    pub(crate) fn critical_path<'a>(&'a self, rows: &'a [Row]) -> impl Iterator<Item = Stretch> + 'a {
        // The open processes, each with its remaining children (the last to end comes last) and the end of its remaining time.
        let by_end = |row: usize| {
            let is_process = |child: &u32| rows[*child as usize].kind == Kind::Process;
            let mut children: Vec<u32> = self.children(row).iter().copied().filter(is_process).collect();
            children.sort_by_key(|child| rows[*child as usize].end);
            children
        };
        let mut open = vec![(self.root, by_end(self.root), rows[self.root].end)];
        let next = move || {
            let (row, children, until) = open.last_mut()?;
            let (row, start, end) = (*row, rows[*row].start, *until);
            let Some(child) = children.pop() else {
                open.pop();
                return Some(Stretch { row, start, end });
            };
            let child = child as usize;
            if rows[child].end > end || rows[child].start < start {
                return Some(Stretch { row, start: end, end });
            }
            *until = rows[child].start;
            open.push((child, by_end(child), rows[child].end));
            Some(Stretch { row, start: rows[child].end, end })
        };
        iter::from_fn(next).filter(|stretch| stretch.start < stretch.end)
    }

    /// For each row, the names from the root to it. A fork with its parent's name is not named again.
    pub(crate) fn places(&self, rows: &[Row]) -> Places {
        self.places_by(rows, |row| rows[row].name)
    }

    /// The same with other names.
    pub(crate) fn places_by<N: Copy + Eq + Hash>(&self, rows: &[Row], name: impl Fn(usize) -> N) -> Places<N> {
        let mut places = Places { of_row: vec![0; rows.len()], steps: Vec::new() };
        let mut known: HashMap<(Option<u32>, N), u32> = HashMap::new();
        // The place of the parent, and the parent.
        let mut parents: Vec<Option<(u32, u32)>> = vec![None; rows.len()];
        for row in self.order.iter().map(|row| *row as usize) {
            let above = parents[row].map(|(place, _)| place);
            let is_same = |(_, parent): (u32, u32)| rows[parent as usize].name == rows[row].name;
            let place = match parents[row] {
                Some((place, parent)) if rows[row].is_fork && is_same((place, parent)) => place,
                _ => *known.entry((above, name(row))).or_insert_with(|| {
                    places.steps.push((above, name(row)));
                    (places.steps.len() - 1) as u32
                }),
            };
            places.of_row[row] = place;
            for child in self.children(row) {
                parents[*child as usize] = Some((place, row as u32));
            }
        }
        places
    }
}

/// If parents form a circle, puts one of them under the root.
fn break_circles(parents: &mut [usize], root: usize) {
    // For each row, the walk that reached it first.
    let mut reached = vec![0; parents.len()];
    for walk in 0..parents.len() {
        let mut row = walk;
        while row != root && reached[row] == 0 {
            reached[row] = walk + 1;
            row = parents[row];
        }
        if row != root && reached[row] == walk + 1 {
            parents[row] = root;
        }
    }
}

/// A stretch of time on the critical path, nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) row: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Chains of names, as a tree. Keeping a place costs little memory. Reading its names takes time in proportion to their
/// number.
pub(crate) struct Places<N = Label> {
    /// The place of each row.
    pub(crate) of_row: Vec<u32>,
    /// For each place, the place above it and its name. Places above come first.
    pub(crate) steps: Vec<(Option<u32>, N)>,
}

impl<N: Copy> Places<N> {
    /// The names from the root to this place.
    pub(crate) fn names(&self, place: u32) -> Vec<N> {
        self.last_names(place, usize::MAX)
    }

    /// The last names of a place, at most `limit`.
    pub(crate) fn last_names(&self, place: u32, limit: usize) -> Vec<N> {
        let step = |place: &u32| self.steps[*place as usize].0;
        let mut names: Vec<_> =
            iter::successors(Some(place), step).take(limit).map(|place| self.steps[place as usize].1).collect();
        names.reverse();
        names
    }
}

/// Adds up without overflow. A saved trace may contain any number.
pub(crate) fn sum(amounts: impl Iterator<Item = u64>) -> u64 {
    amounts.fold(0, u64::saturating_add)
}

/// Spans with the same key, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) failed: u64,
    /// Nanoseconds.
    pub(crate) own: u64,
    pub(crate) cpu: u64,
    pub(crate) bytes: u64,
    pub(crate) total: u64,
    /// The duration of each span, sorted by size.
    pub(crate) durations: Vec<u64>,
}

impl Group {
    fn add(&mut self, row: &Row, own: u64) {
        self.failed += u64::from(row.failure.is_some());
        self.own = self.own.saturating_add(own);
        self.cpu = self.cpu.saturating_add(row.cpu);
        self.bytes = self.bytes.saturating_add(row.bytes);
        self.total = self.total.saturating_add(row.duration());
        self.durations.push(row.duration());
    }

    pub(crate) fn count(&self) -> usize {
        self.durations.len()
    }

    /// The quantile by nearest rank: `part` of the spans last at most this long.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let rank = (part * self.durations.len() as f64).ceil() as usize;
        self.durations.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Groups the rows that have a key, in no particular order.
pub(crate) fn groups<K: Hash + Eq>(
    rows: &[Row],
    own: &[u64],
    key: impl Fn(usize, &Row) -> Option<K>,
) -> Vec<(K, Group)> {
    let mut groups: HashMap<K, Group> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if let Some(key) = key(index, row) {
            groups.entry(key).or_default().add(row, own[index]);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, group) in &mut groups {
        group.durations.sort_unstable();
    }
    groups
}

/// Groups processes by name. The largest own time or CPU time comes first.
pub(crate) fn costliest(rows: &Rows, own: &[u64]) -> Vec<(Label, Group)> {
    let mut groups = groups(&rows.rows, own, |_, row| (row.kind == Kind::Process).then_some(row.name));
    groups.sort_by_key(|(name, group)| (std::cmp::Reverse(group.own.max(group.cpu)), *name));
    groups
}

/// Groups connections by peer. The largest time comes first.
pub(crate) fn peers(rows: &Rows, own: &[u64]) -> Vec<(Label, Group)> {
    let mut groups = groups(&rows.rows, own, |_, row| row.peer);
    groups.sort_by_key(|(name, group)| (std::cmp::Reverse(group.total), *name));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Story, story};

    /// The critical path as names with the milliseconds of each stretch.
    fn path(story: &Story) -> Vec<(String, u64, u64)> {
        let rows = story.rows();
        let tree = Tree::grow(&rows.rows).unwrap();
        let origin = rows.rows[tree.root].start;
        let ms = |time: u64| (time - origin) / 1_000_000;
        let name = |row: usize| rows.text(rows.rows[row].name).exact().to_owned();
        let stretches = tree.critical_path(&rows.rows);
        let mut path: Vec<_> =
            stretches.map(|stretch| (name(stretch.row), ms(stretch.start), ms(stretch.end))).collect();
        path.reverse();
        path
    }

    fn stretch(name: &str, start: u64, end: u64) -> (String, u64, u64) {
        (name.to_owned(), start, end)
    }

    #[test]
    fn the_critical_path_goes_through_the_child_that_ended_last() {
        let story = story("make", 0, 100)
            .starts("short", 0, 30, |short| short)
            .starts("long", 5, 55, |long| long.starts("inner", 20, 30, |inner| inner))
            .starts("link", 65, 30, |link| link);
        let expected = [
            stretch("make", 0, 5),
            stretch("long", 5, 20),
            stretch("inner", 20, 50),
            stretch("long", 50, 60),
            stretch("make", 60, 65),
            stretch("link", 65, 95),
            stretch("make", 95, 100),
        ];
        assert_eq!(path(&story), expected);
    }

    #[test]
    fn the_critical_path_ignores_children_that_outlive_their_parent() {
        let story = story("sh", 0, 50).starts("daemon", 10, 500, |daemon| daemon).starts("cc", 20, 10, |cc| cc);
        assert_eq!(path(&story), [stretch("sh", 0, 20), stretch("cc", 20, 30), stretch("sh", 30, 50)]);
    }

    #[test]
    fn the_critical_path_is_as_long_as_the_trace() {
        let mut story = story("make", 0, 1000);
        for i in 0..40 {
            story = story.starts("cc", i * 17 % 600, 30 + i * 7, |cc| cc.starts("as", i * 17 % 600 + 5, 20, |x| x));
        }
        let path = path(&story);
        assert_eq!(path.iter().map(|(_, start, end)| end - start).sum::<u64>(), 1000);
        assert!(path.windows(2).all(|pair| pair[0].2 == pair[1].1), "{path:?}");
    }

    #[test]
    fn own_time_excludes_the_time_of_children() {
        let story =
            story("make", 0, 100).starts("a", 10, 20, |a| a).starts("b", 20, 20, |b| b).starts("c", 90, 500, |c| c);
        let rows = story.rows();
        let tree = Tree::grow(&rows.rows).unwrap();
        assert_eq!(tree.own_time(&rows.rows)[tree.root], 60_000_000);
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let group = Group { durations: (1..=20).collect(), ..Group::default() };
        assert_eq!([0.5, 0.95, 1.0].map(|part| group.quantile(part)), [10, 19, 20]);
        assert_eq!(Group::default().quantile(0.5), 0);
    }

    #[test]
    fn a_circle_of_parents_is_broken() {
        let mut rows = story("sh", 0, 10).starts("a", 1, 5, |a| a.starts("b", 2, 3, |b| b)).rows();
        let ids: Vec<_> = rows.rows.iter().map(|row| row.id).collect();
        // b under a, a under b.
        rows.rows[1].parent = Some(ids[0]);
        let tree = Tree::grow(&rows.rows).unwrap();
        assert_eq!(tree.order.len(), 3, "none is lost");
        assert_eq!(tree.critical_path(&rows.rows).map(|stretch| stretch.end - stretch.start).sum::<u64>(), 10_000_000);
    }
}
