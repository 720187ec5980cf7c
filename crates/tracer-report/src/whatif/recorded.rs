//! The graph of dependencies that a trace shows.
//!
//! A process waits for the processes that it started and that ended before its next step. So the steps of a shell stay one
//! after the other, and the two ends of a pipe stay side by side. A build tool such as make is different: it could start
//! independent jobs at the same time, also if the recorded run did not.

use std::collections::HashMap;

use super::{
    replay::{Graph, NodeId},
    words::Words,
};
use crate::{
    analysis::Tree,
    row::{Kind, Row, Rows},
};

/// How sure the graph is that two jobs of a build tool are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caution {
    /// A job depends on another one if it names a file that the other one named first.
    Low,
    /// As [`Caution::Low`]. In addition, the jobs have phases. A job begins a new phase if it runs another program than the
    /// job before it, and if all earlier jobs had ended when it began. A job depends on all jobs of earlier phases.
    High,
}

/// The processes of a trace, ready for graphs.
pub(super) struct Recorded<'a> {
    rows: &'a Rows,
    /// The rows of processes in order of their start.
    processes: Vec<usize>,
    /// The place of each row in `processes`.
    rank: Vec<Option<usize>>,
    /// For each process, the processes that it started, in order of their start.
    children: Vec<Vec<usize>>,
    own: Vec<u64>,
    /// Whether a build tool is among the process and those below it.
    has_tool: Vec<bool>,
    /// How many jobs of build tools ran at once. 0: there is no build tool.
    pub(super) jobs_at_once: usize,
}

/// Build tools whose jobs are their child processes.
const TOOLS: [&str; 4] = ["make", "gmake", "ninja", "samu"];

impl<'a> Recorded<'a> {
    pub(super) fn new(rows: &'a Rows, tree: &Tree) -> Self {
        let is_process = |row: &usize| rows.rows[*row].kind == Kind::Process;
        let mut processes: Vec<usize> = (0..rows.rows.len()).filter(is_process).collect();
        // A parent that starts at the same moment as its child comes first.
        processes.sort_by_key(|row| (rows.rows[*row].start, std::cmp::Reverse(rows.rows[*row].end)));
        let mut rank = vec![None; rows.rows.len()];
        for (place, row) in processes.iter().enumerate() {
            rank[*row] = Some(place);
        }
        let mut children = vec![Vec::new(); processes.len()];
        // A span of another program between two processes is skipped.
        let mut open: Vec<(usize, Option<usize>)> = vec![(tree.root, None)];
        let mut order = Vec::new();
        while let Some((row, above)) = open.pop() {
            let process = rank[row].or(above);
            if let (Some(child), Some(above)) = (rank[row], above) {
                children[above].push(child);
            }
            order.extend(rank[row]);
            open.extend(tree.children(row).iter().map(|child| (*child as usize, process)));
        }
        children.iter_mut().for_each(|children: &mut Vec<usize>| children.sort_unstable());
        let all_own = tree.own_time(&rows.rows);
        let own = processes.iter().map(|row| all_own[*row]).collect();
        let mut recorded =
            Self { rows, rank, own, has_tool: vec![false; processes.len()], processes, children, jobs_at_once: 0 };
        for process in order.into_iter().rev() {
            let below = recorded.children[process].iter().any(|child| recorded.has_tool[*child]);
            recorded.has_tool[process] = below || recorded.is_tool(process);
        }
        recorded.jobs_at_once = recorded.most_jobs_at_once();
        recorded
    }

    fn row(&self, process: usize) -> &Row {
        &self.rows.rows[self.processes[process]]
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = (&Row, u64)> {
        (0..self.processes.len()).map(|process| (self.row(process), self.own[process]))
    }

    /// The process of a row of the trace, with its own time.
    pub(super) fn process(&self, row: usize) -> Option<(&Row, u64)> {
        let process = self.rank[row]?;
        Some((self.row(process), self.own[process]))
    }

    fn is_tool(&self, process: usize) -> bool {
        let row = self.row(process);
        let name = match self.rows.about.arguments.first().filter(|_| row.is_root) {
            // The user may have chosen another name for the root.
            Some(program) => program.exact(),
            None => self.rows.text(row.name).exact(),
        };
        !row.is_fork && TOOLS.contains(&name.rsplit('/').next().unwrap_or_default())
    }

    /// Whether a child of a build tool needs a token: see [`replay`](super::replay). A job that starts another build tool
    /// passes its token on.
    fn is_job(&self, tool: usize, child: usize) -> bool {
        self.is_tool(tool) && !self.has_tool[child]
    }

    fn jobs(&self) -> impl Iterator<Item = usize> {
        let tools = (0..self.processes.len()).filter(move |process| self.is_tool(*process));
        tools.flat_map(move |tool| self.children[tool].iter().copied().filter(move |child| self.is_job(tool, *child)))
    }

    fn most_jobs_at_once(&self) -> usize {
        let mut moments: Vec<(u64, i64)> =
            self.jobs().flat_map(|job| [(self.row(job).start, 1), (self.row(job).end, -1)]).collect();
        // At the same moment, the end comes first.
        moments.sort_unstable();
        let (mut now, mut most) = (0, 0);
        for (_, change) in moments {
            now += change;
            most = most.max(now);
        }
        usize::try_from(most).unwrap_or_default()
    }

    /// How much of all own time belongs to programs that start their processes in an unknown order, and to the processes below
    /// them. Such a program starts several processes at once, and is neither a shell nor a build tool.
    pub(super) fn unknown_order(&self) -> f64 {
        const MANY: usize = 4;
        let is_pool = |process: &usize| {
            let children = &self.children[*process];
            let overlap = children.windows(2).any(|pair| self.row(pair[1]).start < self.row(pair[0]).end);
            children.len() >= MANY && overlap && !self.row(*process).is_shell && !self.is_tool(*process)
        };
        let mut open: Vec<usize> = (0..self.processes.len()).filter(is_pool).collect();
        let mut is_below = vec![false; self.processes.len()];
        while let Some(process) = open.pop() {
            if !is_below[process] {
                is_below[process] = true;
                open.extend(&self.children[process]);
            }
        }
        let all: u64 = self.own.iter().fold(0, |sum, own| sum.saturating_add(*own));
        let below = (0..self.own.len()).filter(|process| is_below[*process]).map(|process| self.own[process]);
        below.fold(0, u64::saturating_add) as f64 / all.max(1) as f64
    }

    /// The graph of all processes.
    pub(super) fn graph(&self, words: &Words, caution: Caution) -> Graph {
        let mut graph = Graph::default();
        // Each process has two nodes: its start and its end. The nodes are made before all others, so the ids of the starts
        // are in the order in which the processes started.
        for _ in 0..self.processes.len() {
            let start = graph.add(0.0, 0.0, &[]);
            graph.add(0.0, 0.0, &[start]);
        }
        for process in 0..self.processes.len() {
            if self.is_tool(process) {
                self.add_tool(process, words, caution, &mut graph);
            } else {
                self.add_program(process, &mut graph);
            }
        }
        for job in self.jobs() {
            graph.add_job(start(job), end(job));
        }
        graph
    }

    /// A program that waits for its processes in the recorded order.
    fn add_program(&self, process: usize, graph: &mut Graph) {
        let mut ends = Ends::new(self, process);
        let mut last = start(process);
        for piece in self.pieces(process) {
            match piece {
                Piece::Own { cpu, wait, from } => {
                    let joined = ends.before(from, graph);
                    last = graph.add(cpu, wait, &[&[last][..], joined.as_slice()].concat());
                }
                Piece::Child(child) => {
                    graph.order(last, start(child));
                    if let [joined] = ends.before(self.row(child).start, graph).as_slice() {
                        graph.order(*joined, start(child));
                    }
                }
            }
        }
        graph.order(last, end(process));
        if let [joined] = ends.before(self.row(process).end, graph).as_slice() {
            graph.order(*joined, end(process));
        }
    }

    /// A build tool that starts each job as soon as its files are there.
    fn add_tool(&self, process: usize, words: &Words, caution: Caution, graph: &mut Graph) {
        let mut last = start(process);
        let mut first_with: HashMap<u32, usize> = HashMap::new();
        let (mut all_before, mut barrier) = (None::<NodeId>, None::<NodeId>);
        let (mut kind, mut running_until) = (None, 0);
        let pieces = self.pieces(process);
        let last_child = pieces.iter().rposition(|piece| matches!(piece, Piece::Child(_)));
        for (place, piece) in pieces.into_iter().enumerate() {
            let is_final = last_child.is_none_or(|last| place > last);
            let child = match piece {
                Piece::Own { cpu, wait, .. } => {
                    last = graph.add(cpu, wait, &[last]);
                    if let Some(all) = all_before.filter(|_| is_final) {
                        graph.order(all, last);
                    }
                    continue;
                }
                Piece::Child(child) => child,
            };
            graph.order(last, start(child));
            for word in words.of(self.processes[child]) {
                let first = *first_with.entry(*word).or_insert(child);
                // Jobs that ran at the same time do not depend on each other.
                if self.row(first).end <= self.row(child).start {
                    graph.order(end(first), start(child));
                }
            }
            if caution == Caution::High {
                let this = self.kind(child);
                let is_alone = running_until <= self.row(child).start;
                if kind.replace(this).is_some_and(|previous| previous != this) && is_alone {
                    barrier = all_before;
                }
                if let Some(barrier) = barrier {
                    graph.order(barrier, start(child));
                }
            }
            running_until = running_until.max(self.row(child).end);
            let earlier: Vec<_> = all_before.into_iter().chain([end(child)]).collect();
            all_before = Some(graph.add(0.0, 0.0, &earlier));
        }
        graph.order(last, end(process));
        if let Some(all) = all_before {
            graph.order(all, end(process));
        }
    }

    /// The program that does the work of a job: the longest process that is not a shell.
    fn kind(&self, job: usize) -> crate::row::Label {
        let mut process = job;
        while self.row(process).is_shell {
            let longest = self.children[process].iter().max_by_key(|child| self.row(**child).duration());
            let Some(longest) = longest else { break };
            process = *longest;
        }
        self.row(process).name
    }

    /// The life of a process: its own work, and the processes that it started, in order.
    fn pieces(&self, process: usize) -> Vec<Piece> {
        let row = self.row(process);
        let own = self.own[process];
        // A process on an idle machine would not wait for a processor.
        let idle = own.saturating_sub(row.cpu).saturating_sub(row.run_delay);
        let part = |length: u64| length as f64 / own.max(1) as f64;
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let mut pieces = Vec::new();
        let mut until = row.start;
        let own_until = |moment: u64, until: &mut u64, pieces: &mut Vec<Piece>| {
            if moment > *until {
                let part = part(moment - *until);
                let (cpu, wait) = (seconds(row.cpu) * part, seconds(idle) * part);
                pieces.push(Piece::Own { cpu, wait, from: *until });
                *until = moment;
            }
        };
        for child in &self.children[process] {
            let child_row = self.row(*child);
            own_until(child_row.start.min(row.end), &mut until, &mut pieces);
            pieces.push(Piece::Child(*child));
            until = until.max(child_row.end.min(row.end));
        }
        own_until(row.end, &mut until, &mut pieces);
        pieces
    }
}

fn start(process: usize) -> NodeId {
    2 * process
}

fn end(process: usize) -> NodeId {
    2 * process + 1
}

enum Piece {
    /// Own work of a process. `from` is its beginning in nanoseconds since the epoch.
    Own {
        cpu: f64,
        wait: f64,
        from: u64,
    },
    Child(usize),
}

/// The ends of a process's children, in their order. Children that live longer than the process are not waited for.
struct Ends {
    /// The end and the child, the last one first.
    left: Vec<(u64, usize)>,
    /// A node that comes after all ends so far.
    joined: Option<NodeId>,
}

impl Ends {
    fn new(recorded: &Recorded<'_>, process: usize) -> Self {
        let until = recorded.row(process).end;
        let ends = recorded.children[process].iter().map(|child| (recorded.row(*child).end, *child));
        let mut left: Vec<_> = ends.filter(|(end, _)| *end <= until).collect();
        left.sort_unstable_by(|one, other| other.cmp(one));
        Self { left, joined: None }
    }

    /// The node that comes after all children which ended before this moment, if there are any.
    fn before(&mut self, moment: u64, graph: &mut Graph) -> Vec<NodeId> {
        while let Some((_, child)) = self.left.pop_if(|(end, _)| *end <= moment) {
            let earlier: Vec<_> = self.joined.into_iter().chain([end(child)]).collect();
            self.joined = Some(graph.add(0.0, 0.0, &earlier));
        }
        self.joined.into_iter().collect()
    }
}
