//! How a run ended, and the exit status that says so.

use std::mem::MaybeUninit;

use nix::{
    libc::{self, c_int},
    sys::resource::{Resource, setrlimit},
};

/// Our own failure, as env(1) and timeout(1) have it.
pub(crate) const EXIT_FAILURE: u8 = 125;
/// The command was found but cannot be invoked.
const EXIT_CANNOT_INVOKE: u8 = 126;
/// The command was not found.
const EXIT_NOT_FOUND: u8 = 127;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(u8),
    Killed {
        signal: c_int,
        core_dumped: bool,
    },
    /// It never ran.
    NotInvoked {
        is_found: bool,
    },
}

impl Outcome {
    /// The exit status that is ours. If a signal killed the command, it kills us here.
    pub(crate) fn exit(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed { signal, .. } => die_by(signal),
            Self::NotInvoked { is_found: true } => EXIT_CANNOT_INVOKE,
            Self::NotInvoked { is_found: false } => EXIT_NOT_FOUND,
        }
    }
}

/// Dies as the command did, so that our caller sees what it would have seen. The core, if any, is the command's.
fn die_by(signal: c_int) -> u8 {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let mut set = MaybeUninit::uninit();
    // SAFETY: the function writes the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it has been written, and the number is a signal's.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: the set is initialised.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: no memory is involved.
    unsafe { libc::raise(signal) };
    // A signal that does not kill us after all: as a shell would say it.
    128 | signal as u8
}
