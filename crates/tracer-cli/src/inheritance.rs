//! What the command is to find as we found it, although we need it otherwise for ourselves.
//!
//! Here belongs what exec passes on and we change; all else passes through us untouched.

use std::{fs::OpenOptions, io, os::fd::IntoRawFd};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc::{self, c_int},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
};

/// What we were started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inheritance {
    ignores_broken_pipes: bool,
    ignores_children: bool,
    ignores_set_id: bool,
    blocked: SigSet,
}

impl Inheritance {
    /// Takes note of it, and sets things up for ourselves: first of all, before there is a second thread or a file is
    /// opened.
    pub(crate) fn take() -> Self {
        keep_standard_descriptors();
        let mut blocked = SigSet::empty();
        // Only a bad argument could make it fail.
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut blocked));
        Self {
            // A reader of our stderr that goes away must not be our death.
            ignores_broken_pipes: replace(libc::SIGPIPE, Some(libc::SIG_IGN)),
            // Ignored, the command's status would be lost to us.
            ignores_children: replace(libc::SIGCHLD, Some(libc::SIG_DFL)),
            // The C library's own: it takes it with our first thread.
            ignores_set_id: replace(SIGSETXID, None),
            blocked,
        }
    }

    /// Gives it back, in the child, right before exec. Only makes async-signal-safe system calls.
    pub(crate) fn restore(&self) -> io::Result<()> {
        let dispositions = [
            (libc::SIGPIPE, self.ignores_broken_pipes),
            (libc::SIGCHLD, self.ignores_children),
            (SIGSETXID, self.ignores_set_id),
        ];
        for (signal, is_ignored) in dispositions {
            replace(signal, Some(if is_ignored { libc::SIG_IGN } else { libc::SIG_DFL }));
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.blocked), None)?;
        Ok(())
    }
}

/// A closed standard descriptor is taken by /dev/null, for otherwise the next file we open would be in its place. It is
/// closed again by exec, so the command finds it closed.
fn keep_standard_descriptors() {
    for descriptor in 0..3 {
        // SAFETY: asked only whether it is open.
        let standard = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
        if fcntl(standard, FcntlArg::F_GETFD).is_err()
            && let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null")
        {
            // The lowest free one, which is this one.
            let _ = null.into_raw_fd();
        }
    }
}

/// With which glibc has its threads change their user: nptl/descr.h.
const SIGSETXID: c_int = 33;

/// As the kernel has it (include/linux/signal_types.h), since the C library keeps some signals to itself.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// Replaces a signal's action, by being ignored or by its default, or leaves it; says whether it was ignored before.
fn replace(signal: c_int, handler: Option<usize>) -> bool {
    let action = handler.map(|handler| KernelAction { handler, ..KernelAction::default() });
    let mut former = KernelAction::default();
    let new: *const KernelAction = action.as_ref().map_or(std::ptr::null(), |action| action);
    // SAFETY: both actions outlive the call and are of the kernel's form; none of them runs code of ours.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, &raw mut former, size_of::<u64>()) };
    former.handler == libc::SIG_IGN
}
