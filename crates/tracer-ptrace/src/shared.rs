//! The data that the tracer's thread shares with the other threads: its notes, the changes of the command, and counts.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracer_model::{Identity, losses::Cause, source::ChildChange};

use crate::{
    lock::lock,
    notes::{Note, Notes},
    reexec::Refusal,
};

/// A message names this many programs of a kind. More names are not useful.
const NAMED: usize = 8;

/// If one sender signals both the command and process-tracer, the tracer's thread and the main thread see these two signals
/// within this time. It is much longer than the sender needs, because a busy machine delays the threads.
const PAIR: Duration = Duration::from_millis(100);

/// The data between the threads.
pub(crate) struct Shared {
    pub(crate) notes: Notes,
    command: Mutex<Command>,
    pub(crate) command_ready: EventFd,
    signals: Mutex<Signals>,
    live: AtomicU64,
    /// The notes are not read any more.
    is_over: AtomicBool,
    /// The tracer has panicked.
    is_abandoned: AtomicBool,
    pub(crate) counts: Counts,
    /// The first programs that are not followed.
    left_programs: Mutex<Vec<(Cause, String)>>,
    /// The first programs that have lost their privileges, and why.
    lost_privileges: Mutex<Vec<(String, Refusal)>>,
}

/// What is missing from the trace.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Programs whose files or memory the kernel did not show.
    pub(crate) refused: AtomicU64,
    /// Programs that gain privileges: they are not followed.
    pub(crate) privileged_programs: AtomicU64,
    /// Programs that may gain privileges, because their files are unreadable: they are not followed.
    pub(crate) unreadable_programs: AtomicU64,
    /// Programs that use ptrace themselves: they are not followed.
    pub(crate) tracing_programs: AtomicU64,
    /// Processes that such a program names as its targets. They are not followed any more.
    pub(crate) traced_targets: AtomicU64,
    /// Programs that run without the privileges that their file gives.
    pub(crate) lost_privileges: AtomicU64,
}

/// The command as the tracer sees it.
#[derive(Debug, Default)]
struct Command {
    changes: VecDeque<ChildChange>,
    /// The tracer has left it. So its parent must wait for it.
    left: Option<Left>,
}

/// Signals that the command has got.
#[derive(Debug, Default)]
struct Signals {
    /// The time of the last one, and how many there were, by number and sender.
    unpaired: HashMap<(i32, u32), (Instant, u32)>,
    /// The number of these signals that process-tracer has got too, by signal number.
    paired: HashMap<i32, u32>,
}

impl Signals {
    fn receive(&mut self, signal: i32, sender: u32, now: Instant) {
        self.unpaired.retain(|_, (at, _)| now - *at < PAIR);
        let (at, count) = self.unpaired.entry((signal, sender)).or_insert((now, 0));
        (*at, *count) = (now, *count + 1);
    }

    fn paired(&mut self, signal: i32, sender: u32, now: Instant) -> u32 {
        let unpaired = self.unpaired.get_mut(&(signal, sender)).filter(|(at, count)| now - *at < PAIR && *count > 0);
        let is_paired = unpaired.map(|(_, count)| *count -= 1).is_some();
        let count = self.paired.entry(signal).or_default();
        *count += u32::from(is_paired);
        *count
    }
}

/// A command that is not traced any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) process: Identity,
    pub(crate) parent: Identity,
}

impl Shared {
    /// `buffer_bytes`: bytes of notes at most.
    pub(crate) fn new(buffer_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            notes: Notes::new(buffer_bytes)?,
            command: Mutex::default(),
            command_ready: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            signals: Mutex::default(),
            live: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            counts: Counts::default(),
            left_programs: Mutex::default(),
            lost_privileges: Mutex::default(),
        })
    }

    /// Takes a note. The note is dropped if notes are not read any more.
    pub(crate) fn note(&self, note: Note) {
        if !self.is_over() {
            self.notes.add(note);
        }
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Takes note of a signal that a process has sent to the command.
    pub(crate) fn receive(&self, signal: i32, sender: u32) {
        lock(&self.signals).receive(signal, sender, Instant::now());
    }

    /// How often one sender has sent this signal to both process-tracer and the command, at the same time. `sender` has just
    /// sent it to process-tracer. If the same sender has also sent it to the command, this pair is included.
    pub(crate) fn paired_signals(&self, signal: i32, sender: u32) -> u32 {
        lock(&self.signals).paired(signal, sender, Instant::now())
    }

    /// Reports a change of the command.
    pub(crate) fn report(&self, change: ChildChange) {
        lock(&self.command).changes.push_back(change);
        // An error is ignored: the counter of the eventfd is full only if the eventfd is readable already.
        let _ = self.command_ready.write(1);
    }

    /// Reports that the command runs without the tracer.
    pub(crate) fn leave(&self, left: Left) {
        lock(&self.command).left = Some(left);
        // As above.
        let _ = self.command_ready.write(1);
    }

    /// Reports that there is no tracer any more. `root` is the command, if it is alive.
    pub(crate) fn abandon(&self, root: Option<Left>) {
        self.is_abandoned.store(true, Ordering::Relaxed);
        // The tracer does not see the ends of the live processes any more.
        self.set_live(0);
        if let Some(root) = root {
            self.leave(root);
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn next_change(&self) -> Option<ChildChange> {
        // The read fails if nothing was written to the eventfd. That is no error.
        let _ = self.command_ready.read();
        lock(&self.command).changes.pop_front()
    }

    pub(crate) fn left(&self) -> Option<Left> {
        lock(&self.command).left
    }

    /// Takes note of a program that is not followed.
    pub(crate) fn leave_program(&self, cause: Cause, program: String) {
        let counts = &self.counts;
        let count = match cause {
            Cause::Privileged => &counts.privileged_programs,
            Cause::Opaque => &counts.unreadable_programs,
            _ => &counts.tracing_programs,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let program = (cause, program);
        let mut left = lock(&self.left_programs);
        if left.iter().filter(|(of, _)| *of == cause).count() < NAMED && !left.contains(&program) {
            left.push(program);
        }
    }

    /// The first programs that are not followed, each with the cause.
    pub(crate) fn left_programs(&self) -> Vec<(Cause, String)> {
        lock(&self.left_programs).clone()
    }

    /// Takes note of a program that runs without its privileges.
    pub(crate) fn lose_privileges(&self, program: String, refusal: Refusal) {
        self.counts.lost_privileges.fetch_add(1, Ordering::Relaxed);
        let mut lost = lock(&self.lost_privileges);
        if lost.len() < NAMED {
            lost.push((program, refusal));
        }
    }

    /// The programs that have lost their privileges, each with the reason.
    pub(crate) fn lost_privileges(&self) -> Vec<String> {
        let lost = lock(&self.lost_privileges);
        lost.iter().map(|(program, refusal)| format!("{program} runs without its privileges: {refusal}")).collect()
    }

    pub(crate) fn set_live(&self, count: usize) {
        self.live.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_signal_pairs_with_one_that_the_same_sender_has_just_sent() {
        let (mut signals, now) = (Signals::default(), Instant::now());
        signals.receive(10, 7, now);
        assert_eq!(signals.paired(12, 7, now + MOMENT), 0, "another signal");
        assert_eq!(signals.paired(10, 8, now + MOMENT), 0, "another sender");
        assert_eq!(signals.paired(10, 7, now + MOMENT), 1);
        assert_eq!(signals.paired(10, 7, now + MOMENT), 1, "the signal already has its pair");
    }

    #[test]
    fn signals_in_quick_succession_pair_one_by_one() {
        let (mut signals, now) = (Signals::default(), Instant::now());
        signals.receive(10, 7, now);
        signals.receive(10, 7, now + MOMENT);
        let paired = [0; 3].map(|_| signals.paired(10, 7, now + MOMENT));
        assert_eq!(paired, [1, 2, 2]);
    }

    #[test]
    fn a_signal_does_not_pair_with_an_old_one() {
        let (mut signals, now) = (Signals::default(), Instant::now());
        signals.receive(10, 7, now);
        assert_eq!(signals.paired(10, 7, now + Duration::from_secs(1)), 0);
    }

    #[test]
    fn old_signals_take_no_memory() {
        let (mut signals, now) = (Signals::default(), Instant::now());
        for sender in 0..1000 {
            signals.receive(10, sender, now + MOMENT * sender);
        }
        assert!(signals.unpaired.len() <= 100, "{}", signals.unpaired.len());
    }
}
