//! The state that exec passes on and process-tracer changes for itself: signals, descriptors, a limit, the environment. The command
//! gets it back as process-tracer found it. All other state stays as it is.

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
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
    },
};

use crate::threads::SingleThread;

/// The state in which process-tracer was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inheritance {
    ignores_broken_pipes: bool,
    ignores_file_limit: bool,
    ignores_children: bool,
    ignores_set_id: bool,
    blocked: SigSet,
    /// The soft limit on open files, if process-tracer has raised it.
    open_files: Option<u64>,
    environment: Environment,
}

impl Inheritance {
    /// Notes the state, and changes it for process-tracer. Call it first, before a file is opened.
    ///
    /// `last_argument` is the last string of argv, in the place where the kernel has put it. `None` if there are no arguments.
    pub(crate) fn take(last_argument: Option<&'static CStr>, _: &SingleThread) -> Self {
        keep_standard_descriptors();
        let mut blocked = SigSet::empty();
        // Only a bad argument could make it fail.
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut blocked));
        Self {
            // If the reader of our stderr ends, SIGPIPE must not kill us.
            ignores_broken_pipes: replace(libc::SIGPIPE, Some(libc::SIG_IGN)),
            // A write beyond `ulimit -f` is then only an error of that output: EFBIG.
            ignores_file_limit: replace(libc::SIGXFSZ, Some(libc::SIG_IGN)),
            // If SIGCHLD is ignored, the kernel discards the command's status.
            ignores_children: replace(libc::SIGCHLD, Some(libc::SIG_DFL)),
            // glibc installs its own handler for this signal when we start our first other thread.
            ignores_set_id: replace(SIGSETXID, None),
            blocked,
            open_files: raise_open_files(),
            // SAFETY: no memory is involved.
            environment: Environment::take(last_argument, unsafe { libc::getauxval(libc::AT_SECURE) } != 0),
        }
    }

    /// The environment. It is given back in this process, before the fork.
    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// Restores all of the state except the environment, in the child before exec. It only makes async-signal-safe
    /// system calls.
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
        if let Some(soft) = self.open_files {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.blocked), None)?;
        Ok(())
    }
}

fn split_variable(variable: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let equals = variable.iter().position(|byte| *byte == b'=').filter(|position| *position > 0)?;
    Some((OsStr::from_bytes(&variable[..equals]), OsStr::from_bytes(&variable[equals + 1..])))
}

/// The environment that the kernel gave to us, if the dynamic linker has changed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment(&'static [u8]);

impl Environment {
    /// `is_secure` says whether the dynamic linker has removed variables.
    fn take(last_argument: Option<&'static CStr>, is_secure: bool) -> Self {
        // Before Linux 5.18, the list of arguments can be empty. Then there is no command.
        let (true, Some(last_argument)) = (is_secure, last_argument) else { return Self(&[]) };
        // The environment is between the arguments and the file name: fs/exec.c.
        let start = last_argument.to_bytes_with_nul().as_ptr_range().end;
        // SAFETY: no memory is involved.
        let end = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
        let size = end.saturating_sub(start as usize);
        // SAFETY: both are on our initial stack. It stays mapped, and no code writes there.
        Self(unsafe { std::slice::from_raw_parts(start, size) })
    }

    /// Restores variables such as `LD_LIBRARY_PATH` and `TMPDIR`. The dynamic linker removes them if our binary has file
    /// capabilities: ld.so(8), secure-execution mode. The command has no such capabilities, so it must get these variables.
    ///
    /// Call it when privileges are no longer needed.
    pub(crate) fn restore(self, _: &SingleThread) {
        let variables = || self.0.split(|byte| *byte == 0).filter_map(split_variable);
        if variables().all(|(name, _)| env::var_os(name).is_some()) {
            return;
        }
        for (name, value) in variables() {
            // setenv(3) appends a new variable to the environment. So the loop also restores the order.
            // SAFETY: no other thread exists that could read the environment.
            unsafe { env::remove_var(name) };
            // SAFETY: no other thread exists that could read the environment.
            unsafe { env::set_var(name, value) };
        }
    }
}

/// Opens /dev/null for each closed standard descriptor. Otherwise the next file that we open would take its number. exec
/// closes it again, so the command finds it closed.
fn keep_standard_descriptors() {
    for descriptor in 0..3 {
        // SAFETY: the call only asks whether the descriptor is open.
        let standard = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
        if fcntl(standard, FcntlArg::F_GETFD).is_err()
            && let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null")
        {
            // open(2) returns the lowest free number, which is this one.
            let _ = null.into_raw_fd();
        }
    }
}

/// eBPF needs about 60 descriptors at the start. Returns the former soft limit if it was lower and could be raised.
fn raise_open_files() -> Option<u64> {
    const ENOUGH: u64 = 256;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raised = ENOUGH.min(hard);
    (soft < raised && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok()).then_some(soft)
}

/// glibc sends this signal to its threads so that they change their user: nptl/descr.h.
const SIGSETXID: c_int = 33;

/// The kernel's own structure (include/linux/signal_types.h). The C library's sigaction(3) refuses some signals.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// Sets the action of a signal to `SIG_IGN` or `SIG_DFL`, or with `None` keeps it. Returns whether the signal was ignored
/// before.
fn replace(signal: c_int, handler: Option<usize>) -> bool {
    let action = handler.map(|handler| KernelAction { handler, ..KernelAction::default() });
    let mut former = KernelAction::default();
    let new: *const KernelAction = action.as_ref().map_or(std::ptr::null(), |action| action);
    // SAFETY: both actions outlive the call and have the kernel's layout. No action runs our code.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, &raw mut former, size_of::<u64>()) };
    former.handler == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_environment_is_read_without_arguments() {
        assert!(Environment::take(None, true).0.is_empty());
    }
}
