//! The data that the tracer's thread shares with the other threads: its notes, the changes of the command, and counts.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hashbrown::{HashMap, HashSet};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracer_model::{Identity, losses::Cause, source::ChildChange};

use crate::{
    lock::lock,
    notes::{Note, Notes},
    reexec::Refusal,
};

/// A message names this many programs of a kind. More names are not useful.
const NAMED: usize = 8;

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

/// Signals that the command has got, by number and sender.
#[derive(Debug, Default)]
struct Signals {
    unpaired: HashSet<(i32, u32)>,
    /// The number of these signals that process-tracer has got too, by signal number.
    paired: HashMap<i32, u32>,
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
        lock(&self.signals).unpaired.insert((signal, sender));
    }

    /// How often the sender of a signal to process-tracer sent the same signal to the command. Searches a counterpart
    /// for the last signal.
    pub(crate) fn paired_signals(&self, signal: i32, sender: u32) -> u32 {
        let mut signals = lock(&self.signals);
        let is_paired = signals.unpaired.remove(&(signal, sender));
        let count = signals.paired.entry(signal).or_default();
        *count += u32::from(is_paired);
        *count
    }

    /// Reports a change of the command.
    pub(crate) fn report(&self, change: ChildChange) {
        lock(&self.command).changes.push_back(change);
        // It is full only if it is readable already.
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
        // Their ends are not known any more.
        self.set_live(0);
        if let Some(root) = root {
            self.leave(root);
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn next_change(&self) -> Option<ChildChange> {
        // It fails if it was not written to.
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
