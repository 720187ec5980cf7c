//! Starts the command so that the tracer has it before its first exec.
//!
//! The calling thread forks the command, so it is the parent, and a death signal of the parent thread (prctl(2)) works as
//! without us. The new process waits until the tracer has seized it.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
};

use libc::c_int;
use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, waitpid},
    unistd::{ForkResult, fork},
};
use tracer_model::source::{AfterFork, Child, ChildChange, Spawn};

use crate::{
    kernel::{self, Tid},
    shared::Shared,
    tracer::Tracer,
};

pub(crate) fn launch(shared: &Arc<Shared>, needs_environment: bool, spawn: Spawn) -> io::Result<Box<dyn Child>> {
    let (gate, outside) = UnixStream::pair()?;
    let inside = gate.as_raw_fd();
    let gate = Gate(gate);
    let tracer = Tracer::new(Arc::clone(shared), needs_environment);
    // Without the thread, the command runs without a tracer.
    let thread = thread::Builder::new().name("tracer".to_owned()).spawn(move || tracer.run(gate));
    let child = spawn(thread.is_ok().then(|| after_fork(outside, inside)))?;
    if thread.is_err() {
        shared.leave(crate::tree::alone(child.id()));
    }
    Ok(Box::new(Traced { child, shared: Arc::clone(shared) }))
}

/// The tracer's side of the wait.
pub(crate) struct Gate(UnixStream);

impl Gate {
    /// Waits for the new process. `None`: there is none.
    pub(crate) fn wait(&mut self) -> Option<Tid> {
        let mut tid = [0; size_of::<Tid>()];
        self.0.read_exact(&mut tid).ok()?;
        Some(Tid::from_ne_bytes(tid))
    }

    /// Lets it go on.
    pub(crate) fn open(mut self) {
        // If it is dead, nobody waits.
        let _ = self.0.write_all(&[0]);
    }
}

/// What the new process does: it says who it is, and waits until the tracer has it or is dead. `inside` is the tracer's end.
///
/// It uses send(2) and recv(2): the kernel would count the bytes of write(2) and read(2) as the command's.
fn after_fork(gate: UnixStream, inside: RawFd) -> AfterFork {
    Box::new(move || {
        // If this copy stayed open, the death of the tracer would not end the wait.
        // SAFETY: this process does not use it.
        unsafe { libc::close(inside) };
        // A process of a file with capabilities cannot be seized. This one gives up its capabilities anyway.
        make_dumpable();
        // SAFETY: no memory is involved.
        let tid = unsafe { libc::getpid() }.to_ne_bytes();
        // SAFETY: the bytes outlive the call.
        unsafe { libc::send(gate.as_raw_fd(), tid.as_ptr().cast(), tid.len(), libc::MSG_NOSIGNAL) };
        loop {
            let mut byte = 0u8;
            // SAFETY: the byte outlives the call.
            let result = unsafe { libc::recv(gate.as_raw_fd(), (&raw mut byte).cast(), 1, 0) };
            if Errno::result(result) != Err(Errno::EINTR) {
                return Ok(());
            }
        }
    })
}

fn make_dumpable() {
    // SAFETY: no memory is involved.
    let is_dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } == 1;
    if !is_dumpable {
        // SAFETY: likewise.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    }
}

/// The command. The tracer reports its changes, until it leaves it.
struct Traced {
    child: Box<dyn Child>,
    shared: Arc<Shared>,
}

impl Child for Traced {
    fn id(&self) -> u32 {
        self.child.id()
    }

    fn look(&mut self) -> Option<ChildChange> {
        let change = self.shared.next_change();
        if change.is_none() && self.shared.left().is_some() { self.child.look() } else { change }
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        if self.shared.left().is_some() { self.child.as_fd() } else { Some(self.shared.command_ready.as_fd()) }
    }
}

/// Tries to trace a child.
///
/// # Errors
///
/// The kernel's: `EPERM` if this is forbidden.
pub(crate) fn try_to_trace() -> io::Result<()> {
    let (gate, outside) = UnixStream::pair()?;
    let mut after_fork = after_fork(outside, gate.as_raw_fd());
    let mut gate = Gate(gate);
    // SAFETY: the child makes only async-signal-safe calls.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = after_fork();
            // SAFETY: this ends the process without any handler.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(after_fork);
            let result = gate.wait().ok_or(Errno::ESRCH).and_then(|tid| kernel::seize(tid, OPTIONS));
            gate.open();
            // Its end is the only change that comes.
            let _ = waitpid(child, Some(WaitPidFlag::__WALL));
            Ok(result?)
        }
    }
}

/// Of every tracee.
pub(crate) const OPTIONS: c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESYSGOOD;
