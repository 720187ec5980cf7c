//! The tracees: threads by their ids, and the processes that they form.

use hashbrown::HashMap;
use tracer_model::{Identity, Ktime, event::Usage};

use crate::{
    clock::now,
    kernel::Tid,
    shared::Left,
    usage::{self, Readings},
};

/// A traced thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) tgid: Tid,
    /// It stops at its exit.
    pub(crate) stops_at_exit: bool,
    /// A call of the thread that continues after an ignored signal.
    pub(crate) repeated: Option<Box<crate::arch::Repeated>>,
}

/// A traced process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    pub(crate) parent: Identity,
    /// Threads that it has created.
    pub(crate) threads: u64,
    /// Whether it has children. If so, its own usage is read at its exit.
    pub(crate) has_forked: bool,
    pub(crate) readings: Readings,
    /// The largest resident set of its programs before the last exec, bytes, as far as it is known.
    pub(crate) former_peak: u64,
    /// The usage of its dead children and their children. All values are sums, except the peak: it is the largest one.
    pub(crate) children: Usage,
}

impl Process {
    pub(crate) fn new(identity: Identity, parent: Identity) -> Self {
        Self {
            identity,
            parent,
            threads: 0,
            has_forked: false,
            readings: Readings::default(),
            former_peak: 0,
            children: Usage::default(),
        }
    }

    /// Takes note of the end of a child. `usage` counts its own children too.
    pub(crate) fn add_child(&mut self, usage: &Usage) {
        let sum = &mut self.children;
        sum.user_ns += usage.user_ns;
        sum.system_ns += usage.system_ns;
        sum.peak_resident_bytes = sum.peak_resident_bytes.max(usage.peak_resident_bytes);
        sum.minor_faults += usage.minor_faults;
        sum.major_faults += usage.major_faults;
        sum.voluntary_switches += usage.voluntary_switches;
        sum.involuntary_switches += usage.involuntary_switches;
        sum.read_bytes += usage.read_bytes;
        sum.written_bytes += usage.written_bytes;
    }

    /// Takes note of an exec. `total` counts the program before it, and reaped children.
    pub(crate) fn execute(&mut self, total: &Usage) {
        // The peak of `total` can be that of a dead child. If it is larger than the peaks of all children, it is the
        // process's own.
        if total.peak_resident_bytes > self.children.peak_resident_bytes {
            self.former_peak = self.former_peak.max(total.peak_resident_bytes);
        }
    }

    /// Its own usage. `total` counts its reaped children too.
    pub(crate) fn own_usage(&self, total: Usage, tick_ns: u64) -> Usage {
        let own = if self.has_forked {
            let read = self.readings.usage(&total, &self.children, self.threads > 0, tick_ns);
            // There are no readings if a SIGKILL ends the exit stop too early.
            read.unwrap_or_else(|| usage::without(total, &self.children))
        } else {
            total
        };
        let peak_resident_bytes = own.peak_resident_bytes.max(self.former_peak);
        Usage { threads: self.threads, peak_resident_bytes, ..own }
    }
}

/// A thread whose creator has not reported it yet.
#[derive(Debug)]
pub(crate) enum Early {
    /// It is at its first stop, with this signal.
    Stopped(i32),
    /// It is dead: its status and usage.
    Dead(i32, Usage),
}

/// If this many threads wait for the report of their creator, the dead ones are dropped. An exec has ended them, and
/// nobody reports them any more.
const EARLY: usize = 256;

/// Nanoseconds. After the death of its creator, a new thread needs much less time than this to reach its first stop.
/// After the first stop of a new thread, its creator needs much less time than this to report it.
const PATIENCE: u64 = 10_000_000_000;

/// All tracees.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) threads: HashMap<Tid, Thread>,
    pub(crate) processes: HashMap<Tid, Process>,
    pub(crate) early: HashMap<Tid, Early>,
    /// Threads that were added without a report of their creator, and when.
    adopted: HashMap<Tid, Ktime>,
    /// Until this time, a thread at its first stop can be one that nobody reports.
    orphans_until: Ktime,
    last: Ktime,
}

impl Tree {
    /// A time that no earlier call has returned. So two processes with one pid have different times.
    pub(crate) fn time(&mut self) -> Ktime {
        self.last = now().max(Ktime(self.last.0 + 1));
        self.last
    }

    pub(crate) fn add_early(&mut self, tid: Tid, early: Early) {
        if self.early.len() >= EARLY {
            self.early.retain(|_, early| matches!(early, Early::Stopped(_)));
        }
        self.early.insert(tid, early);
    }

    /// Takes note of the death of threads that may have made others without a report.
    pub(crate) fn expect_orphans(&mut self) {
        self.orphans_until = Ktime(now().0 + PATIENCE);
    }

    /// Whether a thread at its first stop can be one that nobody reports.
    pub(crate) fn may_have_orphans(&self) -> bool {
        now() < self.orphans_until
    }

    /// Takes note that a thread is added without a report of its creator.
    pub(crate) fn adopt(&mut self, tid: Tid) {
        self.adopted.insert(tid, now());
    }

    /// A thread is at its first stop. If a thread with the same id was adopted, it is dead.
    pub(crate) fn forget_adopted(&mut self, tid: Tid) {
        self.adopted.remove(&tid);
    }

    /// Whether the thread that a creator reports was adopted. An old entry is that of a dead thread, whose creator was
    /// killed: another thread has its id now.
    pub(crate) fn take_adopted(&mut self, tid: Tid) -> bool {
        let adopted = self.adopted.remove(&tid);
        adopted.is_some_and(|at| self.threads.contains_key(&tid) || now().0 < at.0 + PATIENCE)
    }

    /// The process of a thread.
    pub(crate) fn process_of(&mut self, tid: Tid) -> Option<(&Thread, &mut Process)> {
        let thread = self.threads.get(&tid)?;
        Some((thread, self.processes.get_mut(&thread.tgid)?))
    }
}

/// The command, if it is not traced from the beginning.
pub(crate) fn alone(pid: u32) -> Left {
    let parent = Identity { tgid: std::process::id(), start: Ktime(0) };
    Left { process: Identity { tgid: pid, start: now() }, parent }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TID: Tid = 7;

    fn thread() -> Thread {
        Thread { tgid: TID, stops_at_exit: false, repeated: None }
    }

    /// A tree in which a thread was adopted long ago.
    fn tree_with_old_entry() -> Tree {
        Tree { adopted: HashMap::from_iter([(TID, Ktime(0))]), ..Tree::default() }
    }

    #[test]
    fn a_late_report_of_an_adopted_thread_is_recognised_once() {
        let mut tree = Tree::default();
        tree.adopt(TID);
        assert!(tree.take_adopted(TID));
        assert!(!tree.take_adopted(TID));
    }

    #[test]
    fn a_new_thread_with_the_id_of_a_dead_adopted_one_is_not_taken_for_it() {
        assert!(!tree_with_old_entry().take_adopted(TID));
        let mut tree = Tree::default();
        tree.adopt(TID);
        tree.forget_adopted(TID);
        assert!(!tree.take_adopted(TID));
    }

    #[test]
    fn an_adopted_thread_that_lives_is_recognised_after_any_time() {
        let mut tree = tree_with_old_entry();
        tree.threads.insert(TID, thread());
        assert!(tree.take_adopted(TID));
    }
}
