//! Waits for the command with wait4(2).

use std::mem;

use nix::{errno::Errno, libc};
use tracer_model::{
    ExitStatus,
    event::Usage,
    source::{Child, ChildChange, End},
};
use tracer_ptrace::usage;

use crate::child::outcome::EXIT_FAILURE;

/// The command, as a child of this process. SIGCHLD reports a change.
pub(crate) struct Forked {
    id: u32,
}

impl Forked {
    pub(crate) fn new(id: u32) -> Self {
        Self { id }
    }
}

impl Child for Forked {
    fn id(&self) -> u32 {
        self.id
    }

    /// As pid 1 of a container, process-tracer also gets orphans as children. This function reaps them too.
    fn look(&mut self) -> Option<ChildChange> {
        // Linux's pids have 22 bits at most: include/linux/threads.h, PID_MAX_LIMIT.
        let command = self.id as libc::pid_t;
        let waited_for = if std::process::id() == 1 { -1 } else { command };
        loop {
            let mut status = 0;
            // SAFETY: rusage is a struct of plain numbers.
            let mut used: libc::rusage = unsafe { mem::zeroed() };
            let flags = libc::WNOHANG | libc::WUNTRACED;
            // nix's waitpid knows no death by a real-time signal, and returns no usage.
            // SAFETY: status and used outlive the call.
            let result = unsafe { libc::wait4(waited_for, &raw mut status, flags, &raw mut used) };
            match result {
                0 => return None,
                orphan if orphan > 0 && orphan != command => {}
                -1 if Errno::last() == Errno::EINTR => {}
                // It is not our child any more. Only a bug in process-tracer can cause this.
                -1 => {
                    let status = ExitStatus::Code(EXIT_FAILURE);
                    return Some(ChildChange::Ended(End { status, usage: Usage::default() }));
                }
                _ if libc::WIFSTOPPED(status) => {
                    return Some(ChildChange::Stopped { signal: libc::WSTOPSIG(status) });
                }
                _ => {
                    let status = ExitStatus::from_wait_status(status as u32);
                    return Some(ChildChange::Ended(End { status, usage: usage::total(&used) }));
                }
            }
        }
    }
}
