//! Limits of the system that leave no room for process-tracer. They must not stop the command.

use std::{borrow::Cow, io};

use anyhow::Error;
use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit},
};

pub(crate) use tracer_ptrace::probe::is_limit;

/// The usual size of a stack, in bytes.
pub(crate) const STACK: usize = 8 << 20;

/// Whether `ulimit -s` leaves the main thread too little room. The command must keep this limit. So it cannot be raised.
pub(crate) fn is_stack_small() -> bool {
    const ENOUGH: u64 = 1 << 20;
    getrlimit(Resource::RLIMIT_STACK).is_ok_and(|(soft, _)| soft < ENOUGH)
}

/// The error of the kernel behind an error, if a limit caused it.
pub(crate) fn behind(error: &Error) -> Option<&io::Error> {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find(|error| is_limit(error))
}

/// The error in words. If the limit on open files caused it, the text has only the limit, and not the step that failed.
pub(crate) fn reason(error: &Error) -> Cow<'static, str> {
    let is_of_files = |limit: &&io::Error| limit.raw_os_error() == Some(Errno::EMFILE as i32);
    behind(error).filter(is_of_files).map_or_else(|| format!("{error:#}").into(), in_words)
}

/// The limit in words, with the remedy.
pub(crate) fn in_words(error: &io::Error) -> Cow<'static, str> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN) => "the user has reached the limit of processes, see 'ulimit -u'".into(),
        Some(Errno::EMFILE) => "process-tracer has reached the limit of open files, see 'ulimit -n'".into(),
        _ => error.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_limit_is_found_behind_any_error() {
        let error = |errno: Errno| Err::<(), _>(io::Error::from(errno)).context("cannot write 'x'").context("-o x");
        let limit = error(Errno::EMFILE).unwrap_err();
        assert!(in_words(behind(&limit).unwrap()).contains("'ulimit -n'"));
        assert!(behind(&error(Errno::EACCES).unwrap_err()).is_none());
    }
}
