//! The status of a span: why it failed, and the names of errors and signals.

use std::borrow::Cow;

use crate::{
    event::ExitStatus,
    span::{ProcessSpan, Reply, Span, Subject},
};

/// Why a span failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// `error.type`: one of few different values.
    pub kind: Cow<'a, str>,
    /// What happened, for people.
    pub message: Cow<'a, str>,
}

impl Error<'_> {
    /// The message of the status. It is empty if it could only repeat `error.type`. `limit` cuts `error.type` to that many
    /// characters, but never the message.
    #[must_use]
    pub fn status_message(&self, limit: Option<usize>) -> &str {
        let is_cut = limit.is_some_and(|limit| limit < self.kind.chars().count());
        let is_repetition = self.kind.replace('_', " ") == self.message;
        if is_repetition && !is_cut { "" } else { &self.message }
    }

    /// The same error, independent of the span.
    #[must_use]
    pub fn into_owned(self) -> Error<'static> {
        Error { kind: Cow::Owned(self.kind.into_owned()), message: Cow::Owned(self.message.into_owned()) }
    }
}

/// The status of a span is ERROR if it failed and this failure was not handled, and unset otherwise.
#[must_use]
pub fn error(span: &Span) -> Option<Error<'_>> {
    if span.is_handled {
        return None;
    }
    match &span.subject {
        Subject::Process(process) => failed_process(process),
        Subject::Connection(subject) => subject.connection.error.map(failed_connection),
        Subject::Call(call) => call.errno().map(failed_connection),
        Subject::Lookup(lookup) => failed_lookup(&lookup.reply),
        Subject::Flow(_) => None,
    }
}

fn failed_process(process: &ProcessSpan) -> Option<Error<'_>> {
    let exit = process.exit?;
    let kind = exit_type(exit)?;
    let message = match exit {
        ExitStatus::Signal { .. } if process.is_oom_victim => format!("killed by {kind}, out of memory"),
        ExitStatus::Signal { .. } => format!("killed by {kind}"),
        _ => format!("exit code {kind}"),
    };
    Some(Error { kind, message: Cow::Owned(message) })
}

/// `error.type` of a failed process: its exit code, or the signal that killed it.
pub(super) fn exit_type(exit: ExitStatus) -> Option<Cow<'static, str>> {
    match exit {
        ExitStatus::Code(0) | ExitStatus::Withheld => None,
        ExitStatus::Code(code) => Some(Cow::Owned(code.to_string())),
        ExitStatus::Signal { number, .. } => Some(signal_name(number)),
    }
}

fn failed_connection(errno: i32) -> Error<'static> {
    let kind = connection_error(errno);
    Error { message: Cow::Owned(kind.replace('_', " ")), kind }
}

fn failed_lookup(reply: &Reply) -> Option<Error<'_>> {
    match reply {
        // NXDOMAIN is an answer. Programs that search several domains often get it.
        Reply::Answer(answer) if !["NOERROR", "NXDOMAIN"].contains(&answer.code.as_str()) => Some(Error {
            kind: Cow::Borrowed(&answer.code),
            message: Cow::Owned(format!("the name server answers {}", answer.code)),
        }),
        Reply::Answer(_) | Reply::Unread => None,
        Reply::None => Some(Error { kind: Cow::Borrowed("no_answer"), message: Cow::Borrowed("no answer") }),
    }
}

/// `error.type` of a failed connection, by errno (Linux, include/uapi/asm-generic/errno.h).
#[must_use]
pub fn connection_error(errno: i32) -> Cow<'static, str> {
    Cow::Borrowed(match errno {
        1 | 13 => "permission_denied",
        2 => "not_found",
        4 => "interrupted",
        // The queue of a non-blocking unix socket is full: unix(7).
        11 => "queue_full",
        20 => "not_a_directory",
        40 => "too_many_links",
        91 => "wrong_type",
        106 => "already_connected",
        // The kernel reports a reset after the peer's FIN as EPIPE: net/ipv4/tcp_input.c, tcp_reset().
        32 | 104 => "connection_reset",
        99 => "address_not_available",
        100 => "network_down",
        101 => "network_unreachable",
        103 => "connection_aborted",
        110 => "timed_out",
        111 => "connection_refused",
        112 => "host_down",
        113 => "host_unreachable",
        other => return Cow::Owned(format!("errno_{other}")),
    })
}

/// The name of an error of exec(2) (Linux, include/uapi/asm-generic/errno.h).
#[must_use]
pub fn errno_name(errno: i32) -> Cow<'static, str> {
    Cow::Borrowed(match errno {
        1 => "EPERM",
        2 => "ENOENT",
        5 => "EIO",
        7 => "E2BIG",
        8 => "ENOEXEC",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        20 => "ENOTDIR",
        21 => "EISDIR",
        22 => "EINVAL",
        23 => "ENFILE",
        24 => "EMFILE",
        26 => "ETXTBSY",
        36 => "ENAMETOOLONG",
        40 => "ELOOP",
        80 => "ELIBBAD",
        other => return Cow::Owned(format!("errno_{other}")),
    })
}

/// The number of the signal with this name.
#[must_use]
pub fn signal_number(name: &str) -> Option<u8> {
    (1..=64).find(|number| signal_name(*number) == name)
}

/// The name of a signal (Linux, include/uapi/asm-generic/signal.h; the numbers of x86 and arm).
#[must_use]
pub fn signal_name(number: u8) -> Cow<'static, str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match usize::from(number).checked_sub(1).and_then(|index| NAMES.get(index)) {
        Some(name) => Cow::Borrowed(name),
        None if (34..=64).contains(&number) => Cow::Owned(format!("SIGRTMIN+{}", number - 34)),
        None => Cow::Owned(format!("SIG{number}")),
    }
}
