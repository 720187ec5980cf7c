//! How a run ended, and the exit status that says so.

use std::process::ExitCode;

use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, raise, sigaction, sigprocmask},
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
        signal: Signal,
        core_dumped: bool,
    },
    /// It never ran.
    NotInvoked {
        is_found: bool,
    },
}

impl Outcome {
    /// The exit status that is ours. If a signal killed the command, it kills us here.
    pub(crate) fn exit(self) -> ExitCode {
        match self {
            Self::Exited(code) => ExitCode::from(code),
            Self::Killed { signal, .. } => die_by(signal),
            Self::NotInvoked { is_found: true } => ExitCode::from(EXIT_CANNOT_INVOKE),
            Self::NotInvoked { is_found: false } => ExitCode::from(EXIT_NOT_FOUND),
        }
    }
}

/// Dies as the command did, so that our caller sees what it would have seen. The core, if any, is the command's.
fn die_by(signal: Signal) -> ExitCode {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { sigaction(signal, &default) };
    let _ = raise(signal);
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from_iter([signal])), None);
    // A signal that does not kill us after all: as a shell would say it.
    ExitCode::from(128 | signal as u8)
}
