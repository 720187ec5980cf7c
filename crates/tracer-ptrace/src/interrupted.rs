//! System calls that a signal without effect has interrupted.
//!
//! Under a tracer every signal interrupts a sleeping system call, also a signal that the process ignores. The kernel
//! repeats most of these calls by itself. Some calls fail with EINTR, for example epoll_wait(2). Without a tracer, the
//! signal does not wake the process. So the tracer repeats such a call.

use libc::c_int;

use crate::{
    arch,
    kernel::{Continue, Tid},
    procfs::{Folder, mask},
};

/// Signals that a process ignores by default: signal(7).
const IGNORED_BY_DEFAULT: [c_int; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];

/// At the stop for a signal. `repeated` is the call of the thread that the last signal has interrupted. Returns how the
/// thread must continue.
pub(crate) fn at_signal(tgid: Tid, tid: Tid, signal: c_int, repeated: &mut Option<Box<arch::Repeated>>) -> Continue {
    arch::at_signal(tid, repeated, || is_ignored(tgid, signal))
}

/// At the entry or the exit of a system call.
pub(crate) fn at_system_call(tid: Tid, repeated: &mut Option<Box<arch::Repeated>>) -> Continue {
    arch::at_system_call(tid, repeated)
}

/// Whether the process ignores the signal, by its own choice or by default.
fn is_ignored(tgid: Tid, signal: c_int) -> bool {
    let Ok(status) = Folder::of(tgid).read("status") else { return false };
    let bit = 1u64 << (signal - 1);
    let is_caught = mask(&status, "SigCgt") & bit != 0;
    mask(&status, "SigIgn") & bit != 0 || (IGNORED_BY_DEFAULT.contains(&signal) && !is_caught)
}
