//! Programs that the tracer leaves at their exec, because tracing would break them.

use std::sync::atomic::Ordering;

use hashbrown::HashSet;
use libc::c_int;
use nix::{errno::Errno, unistd::Pid};
use tracer_model::losses::Cause;

use super::{SYSTEM_CALL, Tracer};
use crate::{
    aside::{Aside, Need, numbers},
    exe::Exe,
    image::{RawImage, Reader},
    kernel::{self, Change, Tid},
    notes::Note,
    reexec::{AtExec, Gain, Reexec},
    shared::Left,
    tree::Process,
};

/// Decides which programs to leave.
#[derive(Default)]
pub(super) struct Departures {
    /// `None`: `/proc` is not mounted.
    reexec: Option<Reexec>,
    aside: Aside,
    /// Programs that stay at their exec stop until the tracer has left their targets. They cannot stop again.
    waiting: Vec<Tid>,
}

impl Departures {
    /// For a tracer that is the calling thread.
    pub(super) fn for_this_thread() -> Self {
        Self { reexec: Reexec::for_this_thread().ok(), ..Self::default() }
    }
}

impl Tracer {
    /// Checks a process at its exec stop. Returns whether it runs without the tracer now.
    pub(super) fn departs(&mut self, tgid: Tid, image: &RawImage, reader: &mut Reader) -> bool {
        let (pid, arguments) = (Pid::from_raw(tgid), image.arguments());
        let exe = Exe::of(pid);
        match self.departures.reexec.as_mut().map_or(AtExec::Follow, |reexec| reexec.at_exec(pid, &exe)) {
            AtExec::Follow => {}
            AtExec::Detached(gain) => {
                let cause = if gain == Gain::Unreadable { Cause::Opaque } else { Cause::Privileged };
                self.shared.leave_program(cause, image.program());
                return true;
            }
            AtExec::Lost(_, refusal) => self.shared.lose_privileges(image.program(), refusal),
        }
        let Some(need) = self.departures.aside.at_exec(&exe, arguments, image.variables()) else { return false };
        self.shared.leave_program(Cause::Tracing, image.program());
        if need == Need::Ptrace {
            self.departures.waiting.push(tgid);
            for target in numbers(arguments) {
                self.release(target, reader);
            }
            self.departures.waiting.pop();
        }
        kernel::detach(tgid, 0);
        true
    }

    /// Leaves the process of a thread, so that another process can trace it. This other process stays at its exec stop
    /// in the meantime.
    fn release(&mut self, thread: Tid, reader: &mut Reader) {
        let Some(target) = self.tree.threads.get(&thread).map(|thread| thread.tgid) else { return };
        if self.departures.waiting.contains(&target) {
            return;
        }
        self.shared.counts.traced_targets.fetch_add(1, Ordering::Relaxed);
        let mut interrupted = HashSet::new();
        loop {
            let threads = self.tree.threads.iter().filter(|(_, thread)| thread.tgid == target);
            let threads: Vec<Tid> = threads.map(|(tid, _)| *tid).collect();
            if threads.is_empty() {
                break;
            }
            for tid in threads {
                // A dead leader of a process with threads cannot stop any more.
                if interrupted.insert(tid) && kernel::interrupt(tid).is_err() {
                    self.tree.threads.remove(&tid);
                }
            }
            if !self.tree.threads.values().any(|thread| thread.tgid == target) {
                break;
            }
            // A thread in vfork(2) stops only after its child has executed a program or has ended. So all other threads
            // must continue in the meantime.
            match kernel::wait() {
                Ok(change) => match leaving(&change).filter(|_| interrupted.contains(&change.tid)) {
                    Some(signal) => {
                        kernel::detach(change.tid, signal);
                        self.tree.threads.remove(&change.tid);
                    }
                    None => {
                        self.handle(&change, reader);
                        // The threads are interrupted again, for two reasons. Any stop cancels an interruption
                        // (`ptrace_stop` in kernel/signal.c), for example the stop of an exec. And the release of
                        // another target, inside `handle`, can continue a thread that stopped for us. A second
                        // interruption does no harm. It fails for a thread that is dead or not traced any more.
                        for tid in &interrupted {
                            let _ = kernel::interrupt(*tid);
                        }
                    }
                },
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        self.forget(target);
    }

    /// Removes a process that runs without the tracer.
    pub(super) fn forget(&mut self, tgid: Tid) {
        self.tree.threads.retain(|_, thread| thread.tgid != tgid);
        let Some(Process { identity: process, parent, .. }) = self.tree.processes.remove(&tgid) else { return };
        self.shared.set_live(self.tree.processes.len());
        if tgid == self.root {
            self.shared.leave(Left { process, parent });
        } else {
            match kernel::pidfd_open(tgid) {
                Ok(end) => self.shared.note(Note::Leave { process, parent, end }),
                // It has ended already, and its parent has waited for it.
                Err(Errno::ESRCH) => {
                    self.shared.note(Note::Exit { at: self.tree.time(), process, parent, status: None, usage: None });
                }
                // Before Linux 5.3 its end stays unknown.
                Err(_) => {}
            }
        }
    }
}

/// The signal with which a thread continues after its detachment. `None`: this is not the stop for the detachment.
fn leaving(change: &Change) -> Option<c_int> {
    if !libc::WIFSTOPPED(change.status) {
        return None;
    }
    let signal = libc::WSTOPSIG(change.status);
    match change.status >> 16 {
        kernel::EVENT_STOP => Some(0),
        0 if signal != SYSTEM_CALL => Some(signal),
        _ => None,
    }
}
