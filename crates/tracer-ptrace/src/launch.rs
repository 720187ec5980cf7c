//! Starts the command so that the tracer has it before its first exec.
//!
//! The calling thread forks the command, so it is the parent, and a death signal of the parent thread (prctl(2)) works as
//! without us. The new process waits until the tracer has seized it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, waitpid},
    unistd::{ForkResult, fork},
};
use tracer_model::source::{Child, ChildChange, Spawn};

use crate::{gate, kernel, shared::Shared, tracer::Tracer};

pub(crate) fn launch(shared: &Arc<Shared>, needs_environment: bool, spawn: Spawn) -> io::Result<Box<dyn Child>> {
    let (gate, after_fork) = gate::pair()?;
    let tracer = Tracer::new(Arc::clone(shared), needs_environment);
    // Without the thread, the command runs without a tracer.
    let thread = thread::Builder::new().name("tracer".to_owned()).spawn(move || tracer.run(gate));
    let child = spawn(thread.is_ok().then_some(after_fork))?;
    if thread.is_err() {
        shared.leave(crate::tree::alone(child.id()));
    }
    Ok(Box::new(Traced { child, shared: Arc::clone(shared) }))
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
    let (mut gate, mut after_fork) = gate::pair()?;
    // SAFETY: the child makes only async-signal-safe calls.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = after_fork();
            // SAFETY: this ends the process without any handler.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(after_fork);
            let result = gate.wait().ok_or(Errno::ESRCH).and_then(|tid| kernel::seize(tid, kernel::OPTIONS));
            gate.open();
            // Its end is the only change that comes.
            let _ = waitpid(child, Some(WaitPidFlag::__WALL));
            Ok(result?)
        }
    }
}
