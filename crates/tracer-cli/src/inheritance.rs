//! What the command is to find as we found it, although we need it otherwise for ourselves.
//!
//! Here belongs what exec passes on and we change; all else passes through us untouched.

use std::{
    env,
    ffi::{CStr, OsStr},
    fs::OpenOptions,
    io,
    os::{fd::IntoRawFd, unix::ffi::OsStrExt},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc::{self, c_int},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
};

/// What we were started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inheritance {
    ignores_broken_pipes: bool,
    ignores_file_limit: bool,
    ignores_children: bool,
    ignores_set_id: bool,
    blocked: SigSet,
    environment: Environment,
}

impl Inheritance {
    /// Takes note of it, and sets things up for ourselves: first of all, before there is a second thread or a file is
    /// opened.
    ///
    /// `last_argument` is the last of argv, where the kernel has put it; `None` if there are no arguments.
    pub(crate) fn take(last_argument: Option<&'static CStr>) -> Self {
        keep_standard_descriptors();
        let mut blocked = SigSet::empty();
        // Only a bad argument could make it fail.
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut blocked));
        Self {
            // A reader of our stderr that goes away must not be our death.
            ignores_broken_pipes: replace(libc::SIGPIPE, Some(libc::SIG_IGN)),
            // A write past `ulimit -f` shall be an error of that output: EFBIG.
            ignores_file_limit: replace(libc::SIGXFSZ, Some(libc::SIG_IGN)),
            // Ignored, the command's status would be lost to us.
            ignores_children: replace(libc::SIGCHLD, Some(libc::SIG_DFL)),
            // The C library's own: it takes it with our first thread.
            ignores_set_id: replace(SIGSETXID, None),
            blocked,
            // SAFETY: no memory is involved.
            environment: Environment::take(last_argument, unsafe { libc::getauxval(libc::AT_SECURE) } != 0),
        }
    }

    /// The environment, to be given back while it is still ours.
    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// Gives the rest back, in the child, right before exec. Only makes async-signal-safe system calls.
    pub(crate) fn restore(&self) -> io::Result<()> {
        let dispositions = [
            (libc::SIGPIPE, self.ignores_broken_pipes),
            (libc::SIGXFSZ, self.ignores_file_limit),
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

fn split_variable(variable: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let equals = variable.iter().position(|byte| *byte == b'=').filter(|position| *position > 0)?;
    Some((OsStr::from_bytes(&variable[..equals]), OsStr::from_bytes(&variable[equals + 1..])))
}

/// The environment that the kernel gave to us, if it is not the one we have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment(&'static [u8]);

impl Environment {
    /// `is_secure`: the dynamic linker has taken variables out.
    fn take(last_argument: Option<&'static CStr>, is_secure: bool) -> Self {
        // Before Linux 5.18 a caller may pass no arguments at all. Then there is no command to give anything to.
        let (true, Some(last_argument)) = (is_secure, last_argument) else { return Self(&[]) };
        // Between the arguments and the file name: fs/exec.c.
        let start = last_argument.to_bytes_with_nul().as_ptr_range().end;
        // SAFETY: no memory is involved.
        let end = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
        let size = end.saturating_sub(start as usize);
        // SAFETY: both lie on our initial stack, which stays mapped; nobody writes there.
        Self(unsafe { std::slice::from_raw_parts(start, size) })
    }

    /// Puts back the variables that the dynamic linker has taken out since our binary has file capabilities, such as
    /// `LD_LIBRARY_PATH` and `TMPDIR` (ld.so(8), secure-execution mode): the command has none, and is to find them.
    ///
    /// Call it when privileges are no longer needed, and before there is a second thread.
    pub(crate) fn restore(self) {
        let variables = || self.0.split(|byte| *byte == 0).filter_map(split_variable);
        if variables().all(|(name, _)| env::var_os(name).is_some()) {
            return;
        }
        for (name, value) in variables() {
            // One after the other to the end: that gives their order back as well.
            // SAFETY: there is no other thread that could read the environment.
            unsafe { env::remove_var(name) };
            // SAFETY: likewise.
            unsafe { env::set_var(name, value) };
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_there_is_no_environment_to_read() {
        assert!(Environment::take(None, true).0.is_empty());
    }
}
