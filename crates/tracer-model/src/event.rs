//! What the kernel reports. Each event names its own process and parent, so that the model can repair the tree when
//! events are missing.

use std::{net::SocketAddr, sync::Arc};

use crate::{context::SpanContext, dns::Message, time::Ktime};
pub use crate::{losses::Losses, strings::Strings};

/// One incarnation of a pid: the pair is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Thread group id in the initial pid namespace: what users call the pid.
    pub tgid: u32,
    /// When the group's leader was created.
    pub start: Ktime,
}

/// One report from the kernel.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process was created.
    Fork {
        /// The new process; its identity says when.
        process: Identity,
        /// The process that called fork, vfork or clone.
        parent: Identity,
        /// The wrapped command itself.
        is_root: bool,
    },
    /// A process replaced its image.
    Exec {
        /// When.
        at: Ktime,
        /// Who.
        process: Identity,
        /// Its parent at that moment, which may no longer be the process that forked it.
        parent: Identity,
        /// What it runs now.
        image: Arc<Image>,
        /// Its environment, if it was read.
        environment: Option<Strings>,
        /// The span that its environment names, if that is known.
        context: Option<SpanContext>,
    },
    /// A process could not replace its image.
    FailedExec {
        /// When.
        at: Ktime,
        /// Who.
        process: Identity,
        /// Its parent at that moment.
        parent: Identity,
        /// The file name handed to exec.
        file: String,
        /// errno.
        error: i32,
    },
    /// A process connected a unix socket, or could not.
    UnixConnect {
        /// When.
        at: Ktime,
        /// Who.
        process: Identity,
        /// Its parent at that moment.
        parent: Identity,
        /// To what: a path as it was handed over, or `@` and the abstract name.
        path: String,
        /// errno of its failure, if it failed.
        error: Option<i32>,
    },
    /// The last thread of a process died.
    Exit {
        /// When.
        at: Ktime,
        /// Who.
        process: Identity,
        /// Its parent at that moment.
        parent: Identity,
        /// How.
        status: ExitStatus,
        /// The kernel chose it when memory ran out.
        is_oom_victim: bool,
        /// What it has used in its life, if that is known.
        usage: Option<Box<Usage>>,
    },
    /// A TCP connection changed.
    Connection {
        /// When.
        at: Ktime,
        /// Which.
        id: ConnectionId,
        /// The process that owns it: who called connect; for an accepted one, who listens, later who uses it.
        owner: Identity,
        /// What happened.
        change: Change,
        /// What is known of it now.
        connection: Connection,
    },
    /// A socket sent its first datagram to a peer, or this is what the flow has carried since.
    Flow {
        /// When the last datagram passed.
        at: Ktime,
        /// Which.
        id: FlowId,
        /// The process that sent the first datagram.
        owner: Identity,
        /// It will carry no more: its owner is dead, or it has long been silent.
        is_over: bool,
        /// What is known of it now.
        flow: Flow,
    },
    /// A process asked a name server, or was answered.
    Dns {
        /// When.
        at: Ktime,
        /// Who has asked.
        asker: Identity,
        /// By which way.
        transport: Transport,
        /// From where. Never a v4-mapped address.
        local: SocketAddr,
        /// The name server.
        server: SocketAddr,
        /// What was said; `None`: an answer that could not be read.
        message: Option<Message>,
    },
}

/// A program image, as exec set it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The file name handed to exec, as invoked.
    pub file: String,
    /// Absolute path of the file that was mapped: the interpreter for a script, the target of a link.
    pub executable: Option<String>,
    /// Working directory at exec.
    pub directory: Option<String>,
    /// The argument vector.
    pub arguments: Strings,
    /// There were secrets in it.
    pub is_redacted: bool,
    /// Its true length, also where not all of it was captured.
    pub argument_count: u32,
    /// How much of it the user who traces may see.
    pub visibility: Visibility,
    /// Effective user id.
    pub user_id: u32,
    /// Real user id.
    pub real_user_id: u32,
    /// Path of its control group, version 2, from the hierarchy's root; `None`: the trace's root's.
    pub cgroup: Option<Arc<str>>,
    /// Process id in its own pid namespace; 0 if this and the next three are unknown.
    pub vpid: u32,
    /// Process id of its process group's leader; 0 where init has not made one.
    pub group_leader_pid: u32,
    /// Likewise of its session's leader.
    pub session_leader_pid: u32,
    /// Whether its session has a controlling terminal.
    pub is_interactive: bool,
    /// The mapped file interprets the one handed to exec.
    pub is_script: bool,
    /// Effective group id.
    pub group_id: u32,
    /// Real group id.
    pub real_group_id: u32,
    /// From -20, the most favoured, to 19.
    pub nice: i8,
    /// Where it lives; in an image of a span 0 where that is where the root began.
    pub namespaces: Namespaces,
    /// What those ids are called here.
    pub names: Names,
}

/// How much of a process the kernel would show to the user who traces. Less than all of it for setuid programs and what they
/// run, unless that user is root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Everything.
    #[default]
    All,
    /// What /proc shows of any process to everybody: not its namespaces.
    Public,
    /// Its ids only: /proc hides other users' processes.
    Ids,
}

/// Namespaces by their inode numbers, as in /proc/PID/ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Namespaces {
    pub mount: u32,
    pub pid: u32,
    pub network: u32,
    pub user: u32,
}

/// Names of an image's users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Names {
    pub user: Option<Arc<str>>,
    pub real_user: Option<Arc<str>>,
    pub group: Option<Arc<str>>,
    pub real_group: Option<Arc<str>>,
}

impl Image {
    /// The base name of the file as invoked, which is what people look for; of the mapped file where exec was given only
    /// a descriptor, or where the name was lost. Empty if that is not known either.
    #[must_use]
    pub fn name(&self) -> &str {
        // A path below a descriptor is `/dev/fd/N/path`: Linux, fs/exec.c, alloc_bprm().
        let is_descriptor = self.file.strip_prefix("/dev/fd/").is_some_and(|rest| !rest.contains('/'));
        let invoked = if is_descriptor || self.file.is_empty() {
            self.executable.as_deref().unwrap_or(&self.file)
        } else {
            &self.file
        };
        base_name(invoked)
    }
}

/// The part of a path behind its last slash; the path itself if there is nothing.
#[must_use]
pub fn base_name(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => path,
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this code.
    Code(u8),
    /// A signal killed it.
    Signal {
        /// The signal's number.
        number: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// The user who traces may not know.
    Withheld,
}

impl ExitStatus {
    /// From a status as wait(2) gives it.
    #[must_use]
    pub fn from_wait_status(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) as u8),
            number => Self::Signal { number: number as u8, core_dumped: status & 0x80 != 0 },
        }
    }

    /// The exit code as a shell shows it: 128 + N after signal N.
    #[must_use]
    pub fn shell_code(self) -> Option<u8> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal { number, .. } => Some(128 | number),
            Self::Withheld => None,
        }
    }
}

/// A connection's identity: the kernel's socket and when it was opened. Sockets are reused, the pair is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The socket.
    pub socket: u64,
    /// When it was opened.
    pub opened: Ktime,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// connect() sent a SYN.
    Opened,
    /// The handshake is done.
    Established,
    /// An accepted connection was first used by its owner.
    Owned,
    /// Closed by its owner, or failed: see [`Connection::error`].
    Closed,
}

/// What carries a question to a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The owner did.
    Connect,
    /// The peer did.
    Accept,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The owner's.
    Local,
    /// The peer's.
    Remote,
}

/// What is known of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who began it.
    pub direction: Direction,
    /// Our end; port 0 while it is not bound. Never a v4-mapped address.
    pub local: SocketAddr,
    /// The other end. Never a v4-mapped address.
    pub peer: SocketAddr,
    /// A number for our end's network namespace: equal for the same namespace, and nothing else.
    pub network_namespace: u32,
    /// Payload bytes written by the owner.
    pub bytes_sent: u64,
    /// Payload bytes that came in.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// Smoothed round-trip time, microseconds; 0 before the first measurement.
    pub round_trip_us: u32,
    /// How much that varies: RTTVAR of RFC 6298, microseconds.
    pub round_trip_variance_us: u32,
    /// errno of its failure, if it failed.
    pub error: Option<i32>,
    /// Once it is closed without a failure: which end was first.
    pub closed_by: Option<End>,
}

/// A flow's identity: the slot in which it is counted, and how many flows have had it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct FlowId {
    pub slot: u32,
    pub generation: u32,
}

/// What a UDP socket and a peer that it has sent to have sent each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// When the first datagram passed.
    pub opened: Ktime,
    /// Our end. Never a v4-mapped address.
    pub local: SocketAddr,
    /// The other end. Never a v4-mapped address.
    pub peer: SocketAddr,
    /// A number for our end's network namespace: equal for the same namespace, and nothing else.
    pub network_namespace: u32,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams that came in.
    pub datagrams_received: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes that came in.
    pub bytes_received: u64,
}

/// What a process has used in its life, all its threads together, as getrusage(2) and proc_pid_io(5) have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode, nanoseconds.
    pub user_ns: u64,
    /// Likewise in kernel mode.
    pub system_ns: u64,
    /// Largest resident set, bytes; what a shared one had before exec included.
    pub peak_resident_bytes: u64,
    /// Page faults that took no I/O.
    pub minor_faults: u64,
    /// Page faults that did.
    pub major_faults: u64,
    /// Times it gave up the processor by itself.
    pub voluntary_switches: u64,
    /// Times it was taken away.
    pub involuntary_switches: u64,
    /// Bytes that read(2) and the like gave it, `rchar`.
    pub read_chars: u64,
    /// Likewise `wchar`.
    pub written_chars: u64,
    /// Bytes fetched from storage, `read_bytes`.
    pub read_bytes: u64,
    /// Bytes sent to storage, or to be sent, `write_bytes`.
    pub written_bytes: u64,
    /// Threads it has created, the first one not among them.
    pub threads: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_are_told_apart() {
        assert_eq!(ExitStatus::from_wait_status(0), ExitStatus::Code(0));
        assert_eq!(ExitStatus::from_wait_status(255 << 8), ExitStatus::Code(255));
        assert_eq!(ExitStatus::from_wait_status(9), ExitStatus::Signal { number: 9, core_dumped: false });
        let aborted = ExitStatus::from_wait_status(6 | 0x80);
        assert_eq!(aborted, ExitStatus::Signal { number: 6, core_dumped: true });
        assert_eq!(aborted.shell_code(), Some(134));
    }

    #[test]
    fn an_image_is_named_as_it_was_invoked() {
        let named = |file: &str, executable: Option<&str>| {
            let image = Image { file: file.into(), executable: executable.map(Into::into), ..Image::default() };
            image.name().to_owned()
        };
        assert_eq!(named("/bin/sh", Some("/usr/bin/dash")), "sh");
        assert_eq!(named("./configure", Some("/usr/bin/dash")), "configure");
        assert_eq!(named("/dev/fd/3", Some("/usr/bin/dash")), "dash");
        assert_eq!(named("/", None), "/");
    }
}
