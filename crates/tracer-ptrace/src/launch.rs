//! Starts the command so that the tracer has it before its first exec.
//!
//! The calling thread forks the command. So this thread is the parent. A command can ask for a signal at the death of
//! its parent thread (prctl(2)), and gets it as without process-tracer. The new process waits until the tracer has seized
//! it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, waitpid},
    unistd::{ForkResult, fork},
};
use tracer_model::source::{Child, ChildChange, Spawn};

use crate::{
    gate::{self, Gate},
    kernel,
    shared::Shared,
    tracer::Tracer,
};

pub(crate) fn launch(shared: &Arc<Shared>, needs_environment: bool, spawn: Spawn) -> io::Result<Box<dyn Child>> {
    let (gate, after_fork) = gate::pair()?;
    let tracer = Tracer::new(Arc::clone(shared), needs_environment);
    // Without the thread, the command runs without a tracer.
    let thread = thread::Builder::new().name("tracer".to_owned()).spawn(move || trace(tracer, gate, Tracer::run));
    let child = spawn(thread.is_ok().then_some(after_fork))?;
    if thread.is_err() {
        shared.leave(crate::tree::alone(child.id()));
    }
    Ok(Box::new(Traced { child, shared: Arc::clone(shared) }))
}

/// The work of the tracer's thread. A panic is a bug. After a panic, the parent must not wait for reports of the
/// tracer.
fn trace(mut tracer: Tracer, gate: Gate, run: impl FnOnce(&mut Tracer, Gate)) {
    if catch_unwind(AssertUnwindSafe(|| run(&mut tracer, gate))).is_err() {
        tracer.abandon();
    }
}

/// The command. The tracer reports its changes until the tracer leaves the command.
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
            // The end is the only change that is reported.
            let _ = waitpid(child, Some(WaitPidFlag::__WALL));
            Ok(result?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::Command,
        time::Duration,
    };

    use tracer_model::{
        ExitStatus,
        event::Usage,
        source::{End, Source},
    };

    use super::*;
    use crate::Ptrace;

    struct Running(std::process::Child);

    impl Child for Running {
        fn id(&self) -> u32 {
            self.0.id()
        }

        fn look(&mut self) -> Option<ChildChange> {
            let status = self.0.try_wait().unwrap()?;
            let status = ExitStatus::from_wait_status(status.into_raw() as u32);
            Some(ChildChange::Ended(End { status, usage: Usage::default() }))
        }
    }

    #[test]
    fn after_a_panic_of_the_tracer_the_command_continues_and_its_status_is_known() {
        let shared = Arc::new(Shared::new(1 << 20).unwrap());
        let (gate, after_fork) = gate::pair().unwrap();
        let tracer = Tracer::new(Arc::clone(&shared), false);
        let run = |tracer: &mut Tracer, gate| {
            assert!(tracer.begin(gate));
            panic!("a bug, for the test");
        };
        let thread = thread::spawn(move || trace(tracer, gate, run));
        let mut command = Command::new("sh");
        // SAFETY: the hook makes only async-signal-safe calls.
        unsafe { command.args(["-c", "sleep 0.1; exit 7"]).pre_exec(after_fork) };
        let child = Running(command.spawn().unwrap());
        thread.join().unwrap();
        let mut traced = Traced { child: Box::new(child), shared: Arc::clone(&shared) };
        // Only a hang can reach this limit.
        let change = (0..1500).find_map(|_| {
            thread::sleep(Duration::from_millis(20));
            traced.look()
        });
        let status = ExitStatus::Code(7);
        assert_eq!(change, Some(ChildChange::Ended(End { status, usage: Usage::default() })));
        let source = Ptrace { shared, needs_environment: false };
        assert_eq!(source.live_processes(), 0);
        assert!(source.losses().unobserved.is_some());
    }
}
