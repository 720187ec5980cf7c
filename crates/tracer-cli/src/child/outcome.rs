//! The end of a run, and its exit status.

use nix::libc::c_int;
use tracer_model::{ExitStatus, source::End};

/// process-tracer itself failed. env(1) and timeout(1) use the same status.
pub(crate) const EXIT_FAILURE: u8 = 125;
/// The command was found but cannot be invoked.
const EXIT_CANNOT_INVOKE: u8 = 126;
/// The command was not found.
const EXIT_NOT_FOUND: u8 = 127;

/// The end of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(u8),
    Killed {
        signal: c_int,
    },
    /// It never ran.
    NotInvoked {
        is_found: bool,
    },
}

impl Outcome {
    /// The exit status of process-tracer. After a death by signal it is the status that a shell returns. This status is
    /// used if the same signal does not kill process-tracer.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed { signal } => 128 | signal as u8,
            Self::NotInvoked { is_found: true } => EXIT_CANNOT_INVOKE,
            Self::NotInvoked { is_found: false } => EXIT_NOT_FOUND,
        }
    }
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end.status {
            ExitStatus::Code(code) => Self::Exited(code),
            ExitStatus::Signal { number, .. } => Self::Killed { signal: number.into() },
            // No source withholds the status of the command itself.
            ExitStatus::Withheld => Self::Exited(EXIT_FAILURE),
        }
    }
}
