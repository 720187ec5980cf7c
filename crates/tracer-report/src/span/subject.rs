//! The subject of a span, and how it ended.

use std::borrow::Cow;

use tracer_model::{ExitStatus, semconv};

/// The subject of a span.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Process(Process),
    Connection(Connection),
    Lookup,
    /// The whole trace of several runs, and how the first run that failed ended.
    Runs(Option<ExitStatus>),
    /// A span of another program, or a recorded system call without a peer address.
    Other,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent_pid: u32,
    /// It carries the certificate of the trace.
    pub(crate) is_root: bool,
    /// It is the root of one of several runs.
    pub(crate) is_run: bool,
    pub(crate) is_fork: bool,
    /// Its last program is a shell.
    pub(crate) is_shell: bool,
    /// How it ended, if it failed. `core_dumped` is never set, because the status message of a saved trace does not have it.
    pub(crate) exit: Option<ExitStatus>,
    /// The crash or the out-of-memory kill that ended it. `--errors unhandled` does not change it.
    pub(crate) crash: Option<Crash>,
    /// Nanoseconds.
    pub(crate) cpu: u64,
    /// Time in which it waited for a processor, nanoseconds.
    pub(crate) run_delay: u64,
    pub(crate) folded: Folded,
}

/// Processes below a process that have no span of their own. The span of the process counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) processes: u64,
    /// Nanoseconds.
    pub(crate) cpu: u64,
}

/// The attributes of [`Folded`].
pub(crate) const FOLDED_PROCESSES: &str = semconv::FOLDED_PROCESSES;
pub(crate) const FOLDED_CPU_TIME: &str = semconv::FOLDED_CPU_TIME;

/// A crash, or a kill by the out-of-memory killer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    OutOfMemory,
    /// The number of a signal for an error of the program, such as SIGSEGV.
    Signal(u8),
}

impl Crash {
    pub(super) fn new(signal: u8, is_oom_victim: bool) -> Option<Self> {
        if is_oom_victim {
            return Some(Self::OutOfMemory);
        }
        // The signals that dump core by default, except SIGQUIT, which people send: signal(7).
        let name = semconv::signal_name(signal);
        let is_crash = ["SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS", "SIGXCPU", "SIGXFSZ"]
            .contains(&&*name);
        is_crash.then_some(Self::Signal(signal))
    }
}

/// A TCP connection, a UDP flow, or a connection to a unix socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// The other end's name or address, and its port. `None`: the connection was accepted. Reports then use the name of the span.
    pub(crate) peer: Option<String>,
    pub(crate) is_accepted: bool,
    /// Payload in both directions.
    pub(crate) bytes: u64,
}

pub(super) fn signal(number: u8) -> ExitStatus {
    ExitStatus::Signal { number, core_dumped: false }
}

/// How a process failed, for people.
pub(super) fn how(exit: ExitStatus, is_oom_victim: bool) -> Cow<'static, str> {
    match exit {
        ExitStatus::Signal { number, .. } => {
            let signal = semconv::signal_name(number);
            if is_oom_victim { format!("{signal}, out of memory").into() } else { signal }
        }
        other => format!("exit {}", other.shell_code().unwrap_or_default()).into(),
    }
}

pub(super) fn at_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
