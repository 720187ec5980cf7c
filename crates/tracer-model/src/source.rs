//! The seam between those who observe the command and those who make a trace of it.
//!
//! A [`Source`] observes one command and its descendants. The main thread keeps the source: it starts the command through
//! it and asks it questions. Another thread owns the source's [`EventStream`] and reads events from it. Nothing else of
//! process-tracer knows which source it has.

use std::{io, os::fd::BorrowedFd};

use crate::{
    event::{Event, ExitStatus, Usage},
    losses::Losses,
    time::Ktime,
};

/// Forks and executes the command in the calling thread. Returns the running command, as a parent sees it.
///
/// The new process calls the argument first of all: before it changes its user and its signals, and before exec.
pub type Spawn = Box<dyn FnOnce(Option<AfterFork>) -> io::Result<Box<dyn Child>> + Send>;

/// Runs in a new process after fork. It must only make async-signal-safe system calls: signal-safety(7). It must not
/// allocate. With an error the command is not executed.
pub type AfterFork = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// Observes one command and its descendants.
pub trait Source: Send + Sync {
    /// Starts the command. The source calls `spawn` once, in the thread that has to be the parent of the command. It
    /// returns the child that `spawn` returns, or a child of its own that stands for the same command.
    ///
    /// # Errors
    ///
    /// The error of `spawn`: `NotFound` if the command does not exist.
    fn launch(&self, spawn: Spawn) -> io::Result<Box<dyn Child>>;

    /// What it is called, and what it cannot see.
    fn description(&self) -> Description;

    /// Processes of the tree that are alive, as far as the source knows.
    fn live_processes(&self) -> u64;

    /// How often the same sender has sent this signal to process-tracer and to the command, for example with kill(2) of
    /// their process group. `sender` is the pid of the process that has sent the last one to process-tracer.
    fn paired_signals(&self, signal: i32, sender: u32) -> u32 {
        let _ = (signal, sender);
        0
    }

    /// Events lost so far because nobody read them in time. This is cheap: it is called after every look at the stream.
    fn lost_events(&self) -> u64 {
        0
    }

    /// With `true`, any event makes the stream readable. With `false`, only many events do.
    fn wake_for_any(&self, any: bool) {
        let _ = any;
    }

    /// What the user should know at the end, a line each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the source could not report so far.
    fn losses(&self) -> Losses;
}

/// A source, for the root span and for the last line of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name, as `--source` has it.
    pub name: &'static str,
    /// The kinds of things that it cannot see, for example `connections`. In a certificate, also those that the user left out.
    pub unobserved_kinds: Vec<&'static str>,
}

/// The events of a [`Source`].
pub trait EventStream: Send {
    /// Readable (poll(2)) when there is something to read. `None` if there are events only at the end: then nobody calls
    /// [`drain`](Self::drain).
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Passes on the events that have come in until `now`. Returns how many records that were.
    ///
    /// # Errors
    ///
    /// The stream cannot be read now. Nothing is lost: the events are still there.
    fn drain(&mut self, now: Ktime, handle: &mut dyn FnMut(Event)) -> io::Result<usize>;

    /// Passes on the last events. `end` is the end of the command.
    fn finish(&mut self, now: Ktime, end: &End, handle: &mut dyn FnMut(Event));

    /// Records so far that could not be read or decoded.
    fn undecodable(&self) -> u64 {
        0
    }
}

/// The running command, as its parent sees it.
pub trait Child: Send {
    /// Its pid.
    fn id(&self) -> u32;

    /// What has happened to it since the last call. It does not wait.
    fn look(&mut self) -> Option<ChildChange>;

    /// Readable (poll(2)) when something has happened. `None`: SIGCHLD says so.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// What happened to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildChange {
    /// This signal stopped it.
    Stopped {
        /// The signal's number.
        signal: i32,
    },
    /// It ended.
    Ended(End),
}

/// The end of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How.
    pub status: ExitStatus,
    /// What it and those descendants that were waited for have used, as getrusage(2) counts it.
    pub usage: Usage,
}
