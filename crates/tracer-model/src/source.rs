//! The interface between the code that observes the command and the code that makes a trace of it.
//!
//! A [`Source`] observes one command and its descendants. The main thread keeps the source. It starts the command
//! through the source and asks the source questions. Another thread owns the source's [`EventStream`] and reads events
//! from it. No other code of process-tracer depends on the source.

use std::{io, os::fd::BorrowedFd};

use crate::{
    event::{Event, ExitStatus, Usage},
    losses::Losses,
    time::Ktime,
};

/// Forks in the calling thread, and executes the command in the new process. Returns the running command, as a parent sees
/// it.
///
/// The new process calls the argument before anything else: before it changes its user and its signals, and before
/// exec.
pub type Spawn = Box<dyn FnOnce(Option<AfterFork>) -> io::Result<Box<dyn Child>> + Send>;

/// Runs in a new process after fork. It must only make async-signal-safe system calls: signal-safety(7). It must not
/// allocate. If it returns an error, the command is not executed.
pub type AfterFork = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// Observes one command and its descendants.
pub trait Source: Send + Sync {
    /// Starts the command. The source calls `spawn` once, in the thread that must be the parent of the command. It
    /// returns the child that `spawn` returns, or another child that represents the same command.
    ///
    /// # Errors
    ///
    /// The error of `spawn`: `NotFound` if the command does not exist.
    fn launch(&self, spawn: Spawn) -> io::Result<Box<dyn Child>>;

    /// Its name, and the kinds of things that it cannot see.
    fn description(&self) -> Description;

    /// Processes of the tree that are alive, as far as the source knows.
    fn live_processes(&self) -> u64;

    /// How often the same sender has sent this signal to both process-tracer and the command, for example with kill(2)
    /// of their process group. `sender` is the pid of the process that sent the last such signal to process-tracer.
    fn paired_signals(&self, signal: i32, sender: u32) -> u32 {
        let _ = (signal, sender);
        0
    }

    /// Events lost so far because they were not read in time. This must be cheap, because it is called after every look
    /// at the stream.
    fn lost_events(&self) -> u64 {
        0
    }

    /// With `true`, any event makes the stream readable. With `false`, only a large number of events makes it readable.
    fn wake_for_any(&self, any: bool) {
        let _ = any;
    }

    /// Facts that the user should know at the end, a line each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The events that the source could not report so far.
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

impl Description {
    /// Whether it can see everything, whatever the processes do.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        self.unobserved_kinds.is_empty()
    }
}

/// The events of a [`Source`].
pub trait EventStream: Send {
    /// Readable (poll(2)) when there is something to read. `None` if events come only at the end. Then
    /// [`drain`](Self::drain) is not called.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Passes on the events that have come in until `now`. Returns how many records that were.
    ///
    /// # Errors
    ///
    /// The stream cannot be read now. No event is lost: the events are still there.
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

    /// The next change, if there is one already. It does not wait for a change.
    fn look(&mut self) -> Option<ChildChange>;

    /// Readable (poll(2)) when something has happened. `None`: SIGCHLD reports it instead.
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
    /// The usage of the command and of the descendants that were waited for, as getrusage(2) counts it.
    pub usage: Usage,
}
