//! Replays a graph of dependencies with a number of processors.
//!
//! Each node works on a processor first, and then waits. Nodes that work at the same time share the processors equally. A
//! node can need one of a limited number of tokens, as a job of `make -j` does. Waiting jobs get a token in the order in which
//! they were recorded.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
};

/// The place of a node in its graph.
pub(super) type NodeId = usize;

/// A piece of work.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Seconds of CPU time.
    cpu: f64,
    /// Seconds without the need for a processor.
    wait: f64,
    /// How many nodes come directly before it.
    before: usize,
}

/// Nodes, and which node comes after which.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    after: Vec<Vec<NodeId>>,
    /// The nodes that take a token, each with the node that returns it.
    jobs: HashMap<NodeId, NodeId>,
}

impl Graph {
    /// Adds a node that comes after these.
    pub(super) fn add(&mut self, cpu: f64, wait: f64, before: &[NodeId]) -> NodeId {
        let node = self.nodes.len();
        self.nodes.push(Node { cpu, wait, before: 0 });
        self.after.push(Vec::new());
        before.iter().for_each(|earlier| self.order(*earlier, node));
        node
    }

    /// `later` begins when `earlier` has ended.
    pub(super) fn order(&mut self, earlier: NodeId, later: NodeId) {
        self.after[earlier].push(later);
        self.nodes[later].before += 1;
    }

    /// A token is needed from the beginning of the node `start` to the end of the node `end`.
    pub(super) fn add_job(&mut self, start: NodeId, end: NodeId) {
        self.jobs.insert(start, end);
    }

    /// Seconds until all nodes have ended, or `None` if some node never begins. Without `processors` or `tokens`, their
    /// number has no limit.
    pub(super) fn replay(&self, processors: Option<usize>, tokens: Option<usize>) -> Option<f64> {
        let returns = self.jobs.values().copied().collect();
        let mut replay = Replay {
            graph: self,
            before: self.nodes.iter().map(|node| node.before).collect(),
            processors: processors.map_or(f64::INFINITY, |count| count as f64),
            tokens: tokens.unwrap_or(usize::MAX),
            returns,
            now: 0.0,
            work: 0.0,
            working: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            queue: BinaryHeap::new(),
            done: 0,
        };
        replay.run()
    }
}

/// A moment with the node that it concerns. The earliest is the greatest, because `BinaryHeap` returns
/// the greatest first.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment(f64, NodeId);

impl Eq for Moment {}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0).then(other.1.cmp(&self.1))
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Replay<'a> {
    graph: &'a Graph,
    /// How many nodes still come before each node.
    before: Vec<usize>,
    processors: f64,
    tokens: usize,
    returns: std::collections::HashSet<NodeId>,
    now: f64,
    /// The CPU time so far of a node that has worked from the beginning.
    work: f64,
    /// When each working node ends, in terms of `work`.
    working: BinaryHeap<Moment>,
    /// When each waiting node ends.
    waiting: BinaryHeap<Moment>,
    /// Nodes that need a token.
    queue: BinaryHeap<Reverse<NodeId>>,
    done: usize,
}

impl Replay<'_> {
    fn run(&mut self) -> Option<f64> {
        for node in 0..self.before.len() {
            if self.before[node] == 0 && self.graph.nodes[node].before == 0 {
                self.ready(node);
            }
        }
        self.serve();
        loop {
            let rate = (self.processors / self.working.len().max(1) as f64).min(1.0);
            let work =
                self.working.peek().map(|Moment(end, node)| (self.now + (end - self.work).max(0.0) / rate, *node));
            let wait = self.waiting.peek().map(|Moment(end, node)| (end.max(self.now), *node));
            let is_work = match (work, wait) {
                (Some((work, _)), Some((wait, _))) => work <= wait,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let (moment, node) = if is_work { work? } else { wait? };
            self.work += (moment - self.now) * rate;
            self.now = moment;
            if is_work {
                self.working.pop();
                self.worked(node);
            } else {
                self.waiting.pop();
                self.ended(node);
            }
            self.serve();
        }
        (self.done == self.before.len()).then_some(self.now)
    }

    fn ready(&mut self, node: NodeId) {
        if self.graph.jobs.contains_key(&node) {
            self.queue.push(Reverse(node));
        } else {
            self.begin(node);
        }
    }

    /// Gives free tokens to the nodes that need one.
    fn serve(&mut self) {
        while self.tokens > 0
            && let Some(Reverse(node)) = self.queue.pop()
        {
            self.tokens -= 1;
            self.begin(node);
        }
    }

    fn begin(&mut self, node: NodeId) {
        match self.graph.nodes[node].cpu {
            cpu if cpu > 0.0 => self.working.push(Moment(self.work + cpu, node)),
            _ => self.worked(node),
        }
    }

    fn worked(&mut self, node: NodeId) {
        match self.graph.nodes[node].wait {
            wait if wait > 0.0 => self.waiting.push(Moment(self.now + wait, node)),
            _ => self.ended(node),
        }
    }

    /// A long chain of nodes without work must not need a deep stack.
    fn ended(&mut self, node: NodeId) {
        let mut ended = vec![node];
        while let Some(node) = ended.pop() {
            self.done += 1;
            if self.returns.contains(&node) {
                self.tokens = self.tokens.saturating_add(1);
            }
            for later in &self.graph.after[node] {
                self.before[*later] -= 1;
                if self.before[*later] > 0 {
                    continue;
                }
                let Node { cpu, wait, .. } = self.graph.nodes[*later];
                if cpu <= 0.0 && wait <= 0.0 && !self.graph.jobs.contains_key(later) {
                    ended.push(*later);
                } else {
                    self.ready(*later);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs of this length, all independent, between a start and an end of one second each.
    fn jobs(lengths: &[f64]) -> Graph {
        let mut graph = Graph::default();
        let start = graph.add(1.0, 0.0, &[]);
        let ends: Vec<_> = lengths
            .iter()
            .map(|length| {
                let job = graph.add(*length, 0.0, &[start]);
                graph.add_job(job, job);
                job
            })
            .collect();
        graph.add(1.0, 0.0, &ends);
        graph
    }

    fn assert_about(actual: Option<f64>, expected: f64) {
        assert!(actual.is_some_and(|actual| (actual - expected).abs() < 1e-6), "{actual:?} is not {expected}");
    }

    #[test]
    fn jobs_fill_the_processors() {
        let graph = jobs(&[4.0, 2.0, 2.0, 1.0]);
        assert_about(graph.replay(Some(1), Some(1)), 11.0);
        assert_about(graph.replay(Some(2), Some(2)), 7.0);
        assert_about(graph.replay(None, None), 6.0);
        assert_about(graph.replay(Some(2), Some(1)), 11.0);
        // Without a limit of jobs, all share the processors.
        assert_about(graph.replay(Some(1), None), 11.0);
    }

    #[test]
    fn waiting_needs_no_processor() {
        let mut graph = Graph::default();
        for _ in 0..3 {
            graph.add(1.0, 5.0, &[]);
        }
        assert_about(graph.replay(Some(1), None), 8.0);
        assert_about(graph.replay(None, None), 6.0);
    }

    #[test]
    fn a_long_chain_is_replayed() {
        let mut graph = Graph::default();
        let mut last = graph.add(0.5, 0.0, &[]);
        for _ in 0..200_000 {
            last = graph.add(0.0, 0.0, &[last]);
        }
        assert_about(graph.replay(Some(1), None), 0.5);
    }

    #[test]
    fn a_circle_has_no_end() {
        let mut graph = jobs(&[1.0]);
        graph.order(2, 1);
        assert_eq!(graph.replay(None, None), None);
    }
}
