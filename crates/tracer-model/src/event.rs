//! The events that a source reports. Each event names its process. Events of processes and calls also name the parent, so
//! that the model can repair the tree if other events are missing.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

pub use crate::strings::Strings;
use crate::{calls::Call, context::SpanContext, dns::Message, strings::lossy, time::Ktime};

/// One incarnation of a pid. The kernel uses a pid again, but never with the same start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Thread group id in the initial pid namespace. Users call this id the pid.
    pub tgid: u32,
    /// Time at which the leader of the group was created.
    pub start: Ktime,
}

/// One report of a source.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process was created.
    Fork {
        /// The new process. Its identity has the time.
        process: Identity,
        /// The process that called fork, vfork or clone.
        parent: Identity,
        /// The new process is the traced command itself.
        is_root: bool,
    },
    /// A process replaced its image.
    Exec {
        /// Time of the event.
        at: Ktime,
        /// The process.
        process: Identity,
        /// Its parent at that moment. This can be another process than the one that forked it.
        parent: Identity,
        /// The new image.
        image: Arc<Image>,
        /// Its environment, if it was read.
        environment: Option<Strings>,
        /// The span that its environment names, if that is known.
        context: Option<SpanContext>,
    },
    /// A process failed to replace its image.
    FailedExec {
        /// Time of the event.
        at: Ktime,
        /// The process.
        process: Identity,
        /// Its parent at that moment.
        parent: Identity,
        /// The file name that the process passed to exec.
        file: String,
        /// The errno of exec.
        error: i32,
    },
    /// A process made a system call that has its own span.
    Call {
        /// Time of the event.
        at: Ktime,
        /// The process.
        process: Identity,
        /// Its parent at that moment.
        parent: Identity,
        /// The call.
        call: Call,
    },
    /// The last thread of a process died.
    Exit {
        /// Time of the event.
        at: Ktime,
        /// The process.
        process: Identity,
        /// Its parent at that moment.
        parent: Identity,
        /// Its exit status.
        status: ExitStatus,
        /// The out-of-memory killer killed it.
        is_oom_victim: bool,
        /// Its usage of the machine, if that is known.
        usage: Option<Box<Usage>>,
    },
    /// A TCP connection changed.
    Connection {
        /// Time of the event.
        at: Ktime,
        /// The connection.
        id: ConnectionId,
        /// The process that owns it: the one that called connect. The owner of an accepted connection is the process that
        /// listens, and later the process that uses it.
        owner: Identity,
        /// What happened.
        change: Change,
        /// Its state now.
        connection: Connection,
    },
    /// A socket sent its first datagram to a peer, or these are the latest counts of the flow.
    Flow {
        /// Time of the last datagram.
        at: Ktime,
        /// The flow.
        id: FlowId,
        /// The process that sent the first datagram.
        owner: Identity,
        /// The flow has ended: its owner is dead, or it was silent for a long time.
        is_over: bool,
        /// Its state now.
        flow: Flow,
    },
    /// A process asked a name server, or got an answer.
    Dns {
        /// Time of the event.
        at: Ktime,
        /// The process that asked.
        asker: Identity,
        /// The transport.
        transport: Transport,
        /// The address and port of the process. The address is never v4-mapped.
        local: SocketAddr,
        /// The name server.
        server: SocketAddr,
        /// The message. `None`: an answer that could not be read.
        message: Option<Message>,
    },
}

/// A program image, as exec made it.
///
/// ```
/// use tracer_model::event::Image;
///
/// let image = Image { file: "/bin/sh".into(), executable: Some("/usr/bin/dash".into()), ..Image::default() };
/// assert_eq!(image.name(), "sh");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The file name that the process passed to exec.
    pub file: String,
    /// Absolute path of the mapped file: the interpreter of a script, or the target of a link.
    pub executable: Option<String>,
    /// Working directory at exec, byte by byte.
    pub directory: Option<Vec<u8>>,
    /// The argument vector.
    pub arguments: Strings,
    /// The arguments had secrets, which are replaced.
    pub is_redacted: bool,
    /// Length of the whole argument vector, also if only a part was captured.
    pub argument_count: u32,
    /// The part of the process that the user who traces may see.
    pub visibility: Visibility,
    /// Effective user id.
    pub user_id: u32,
    /// Real user id.
    pub real_user_id: u32,
    /// Its control group, version 2, as a line of `/proc/PID/cgroup`. `None`: the same as the root of the trace.
    pub cgroup: Option<Arc<str>>,
    /// The same for version 1: the line of the memory controller. The ptrace source prefers a line that names a container.
    pub cgroup_v1: Option<Arc<str>>,
    /// Process id in its own pid namespace. If it is 0, it is unknown, and so are the pids of the leaders and
    /// `is_interactive`.
    pub vpid: u32,
    /// Process id of the leader of its process group. It is 0 if the group has no leader.
    pub group_leader_pid: u32,
    /// Process id of the leader of its session. It is 0 if the session has no leader.
    pub session_leader_pid: u32,
    /// Whether its root folder is another one than that of process-tracer: chroot(2).
    pub has_other_root: bool,
    /// Whether its session has a controlling terminal.
    pub is_interactive: bool,
    /// The mapped file interprets the file that was passed to exec.
    pub is_script: bool,
    /// Effective group id.
    pub group_id: u32,
    /// Real group id.
    pub real_group_id: u32,
    /// Niceness, from -20 to 19. Processes with -20 get the most CPU time.
    pub nice: i8,
    /// Its namespaces. In the image of a span, a namespace is 0 if the root began in it.
    pub namespaces: Namespaces,
    /// Its root folder.
    pub root_folder: RootFolder,
    /// The names of its users and groups. A source reads them only if the process has another root folder or mount namespace
    /// than process-tracer.
    pub names: Names,
}

/// The part of a process that the kernel would show to the user who traces. The kernel shows less of setuid programs
/// and their children, unless this user is root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Everything.
    #[default]
    All,
    /// The facts that /proc shows to everybody. Its namespaces are not among them.
    Public,
    /// Only its ids. /proc hides the processes of other users.
    Ids,
}

/// The inode numbers of namespaces, as in /proc/PID/ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Namespaces {
    pub mount: u32,
    pub pid: u32,
    pub network: u32,
    pub user: u32,
}

/// A root folder, as statx(2) describes it. If `inode` is 0, it is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct RootFolder {
    pub mount: u64,
    pub inode: u64,
}

/// Names of the users and groups of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Names {
    pub user: Option<Arc<str>>,
    pub real_user: Option<Arc<str>>,
    pub group: Option<Arc<str>>,
    pub real_group: Option<Arc<str>>,
}

impl Image {
    /// Its user, real user, group and real group.
    #[must_use]
    pub fn ids(&self) -> [u32; 4] {
        [self.user_id, self.real_user_id, self.group_id, self.real_group_id]
    }

    /// Whether files such as `/etc/passwd` are those that process-tracer sees. Call this after its namespaces
    /// were compared with those of the root.
    pub(crate) fn has_root_of_tracer(&self) -> bool {
        self.visibility == Visibility::All && self.namespaces.mount == 0 && !self.has_other_root
    }

    /// The base name of the file that was passed to exec, or of the script that is interpreted. People look for this name.
    ///
    /// It is the base name of the mapped file if exec got only a descriptor or `/proc/self/exe`, or if the name was
    /// lost or is that of a temporary script. It is empty if neither the name nor the mapped file is known.
    #[must_use]
    pub fn name(&self) -> &str {
        // A path below a descriptor is `/dev/fd/N/path`: Linux, fs/exec.c, alloc_bprm().
        let is_descriptor = self.file.strip_prefix("/dev/fd/").is_some_and(|rest| !rest.contains('/'));
        let is_own_file = is_link_in_proc(&self.file);
        let invoked = if is_descriptor || is_own_file || self.file.is_empty() || self.is_temporary_script() {
            self.executable.as_deref().unwrap_or(&self.file)
        } else {
            &self.file
        };
        // The name of a file in memory can be different in each run.
        if invoked.starts_with(IN_MEMORY) { "memfd" } else { base_name(invoked) }
    }

    /// The working directory as a text. Bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn directory(&self) -> Option<Cow<'_, str>> {
        self.directory.as_deref().map(lossy)
    }

    /// A script directly in a folder for temporary files. Its name can be different in each run.
    fn is_temporary_script(&self) -> bool {
        let is_in_temporary_folder = || {
            let file = self.file.strip_prefix("./").unwrap_or(&self.file);
            let directory = self.directory().unwrap_or_default();
            !file.contains('/') && is_temporary(&format!("{directory}/{file}"))
        };
        self.is_script && (is_temporary(&self.file) || is_in_temporary_folder())
    }
}

/// Whether a path is a link to a mapped or open file: `/proc/self/exe`, `/proc/7/task/8/fd/3`.
fn is_link_in_proc(path: &str) -> bool {
    let Some(path) = path.strip_prefix("/proc/") else { return false };
    let mut parts: Vec<_> = path.split('/').collect();
    if let [_, "task", ..] = parts[..] {
        parts.drain(1..3.min(parts.len()));
    }
    matches!(parts[..], [_, "exe"] | [_, "fd", _])
}

/// Folders for temporary files. Names in them are different in each run.
pub const TEMPORARY_FOLDERS: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];

/// Whether a file is directly in a folder for temporary files.
#[must_use]
pub fn is_temporary(path: &str) -> bool {
    TEMPORARY_FOLDERS.iter().filter_map(|folder| path.strip_prefix(folder)).any(|name| !name.contains('/'))
}

/// The path of a file in memory begins like this. The name that its program gave it follows.
const IN_MEMORY: &str = "/memfd:";

/// The part of a path after its last slash, or the path itself if that part is empty. Slashes at the end are ignored. A
/// file in memory can have slashes in its name, so its whole name is returned: `memfd:a/b`.
#[must_use]
pub fn base_name(path: &str) -> &str {
    if path.starts_with(IN_MEMORY) {
        return &path[1..];
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => path,
    }
}

/// How a process ended.
///
/// ```
/// use tracer_model::ExitStatus;
///
/// let killed = ExitStatus::from_wait_status(9);
/// assert_eq!(killed, ExitStatus::Signal { number: 9, core_dumped: false });
/// assert_eq!(killed.shell_code(), Some(137));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this code.
    Code(u8),
    /// A signal killed it.
    Signal {
        /// The signal's number.
        number: u8,
        /// The kernel dumped core.
        core_dumped: bool,
    },
    /// The user who traces is not allowed to know it.
    Withheld,
}

impl ExitStatus {
    /// Reads a status of wait(2).
    #[must_use]
    pub fn from_wait_status(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) as u8),
            number => Self::Signal { number: number as u8, core_dumped: status & 0x80 != 0 },
        }
    }

    /// Whether it is known that the process failed.
    #[must_use]
    pub fn has_failed(self) -> bool {
        !matches!(self, Self::Code(0) | Self::Withheld)
    }

    /// Whether people and programs send this signal to end a process: SIGHUP, SIGINT, SIGKILL, SIGPIPE or SIGTERM (Linux,
    /// include/uapi/asm-generic/signal.h).
    #[must_use]
    pub fn is_kill(self) -> bool {
        matches!(self, Self::Signal { number: 1 | 2 | 9 | 13 | 15, .. })
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

/// The identity of a connection. The kernel uses a socket again, but never with the same time of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The kernel's socket.
    pub socket: u64,
    /// Time at which it was opened.
    pub opened: Ktime,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// connect() sent a SYN.
    Opened,
    /// The handshake is complete.
    Established,
    /// The owner of an accepted connection used it for the first time.
    Owned,
    /// The owner closed it, or it failed: see [`Connection::error`].
    Closed,
}

/// The transport of a question to a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The end that began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The owner called connect.
    Connect,
    /// The peer called connect, and the owner accepted.
    Accept,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The owner's end.
    Local,
    /// The peer's end.
    Remote,
}

/// The state of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The end that began it.
    pub direction: Direction,
    /// The owner's end. Its port is 0 while it is not bound. It is never a v4-mapped address.
    pub local: SocketAddr,
    /// The other end. It is never a v4-mapped address.
    pub peer: SocketAddr,
    /// A number for the network namespace of the owner's end. It only says whether two namespaces are the same.
    pub network_namespace: u32,
    /// Inode number of that namespace, as in /proc/PID/ns. In the span, it is 0 if the root began in this namespace.
    pub network_inode: u32,
    /// Payload bytes that the owner wrote.
    pub bytes_sent: u64,
    /// Payload bytes that came in.
    pub bytes_received: u64,
    /// Number of segments that the kernel sent, without the SYN-ACK of an accepted connection.
    pub packets_sent: u32,
    /// Number of segments that came in.
    pub packets_received: u32,
    /// Number of segments that were sent again after the handshake.
    pub retransmits: u32,
    /// Number of times that the kernel sent the SYN again, or the SYN-ACK of an accepted connection.
    pub syn_retransmits: u32,
    /// Smoothed round-trip time in microseconds. It is 0 before the first measurement.
    pub round_trip_us: u32,
    /// Variation of the round-trip time in microseconds: RTTVAR of RFC 6298.
    pub round_trip_variance_us: u32,
    /// The errno, if it failed.
    pub error: Option<i32>,
    /// The end that closed first. It is known once the connection is closed without a failure.
    pub closed_by: Option<End>,
}

/// The identity of a flow: the slot that counts it, and the number of flows that had the slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct FlowId {
    pub slot: u32,
    pub generation: u32,
}

/// The datagrams between a UDP socket and a peer that it sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Time of the first datagram.
    pub opened: Ktime,
    /// The owner's end. It is never a v4-mapped address.
    pub local: SocketAddr,
    /// The other end. It is never a v4-mapped address.
    pub peer: SocketAddr,
    /// A number for the network namespace of the owner's end. It only says whether two namespaces are the same.
    pub network_namespace: u32,
    /// Number of datagrams sent.
    pub datagrams_sent: u64,
    /// Number of datagrams that came in.
    pub datagrams_received: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes that came in.
    pub bytes_received: u64,
}

/// The usage of a process in its whole life, with all its threads, as getrusage(2) and proc_pid_io(5) count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode, in nanoseconds.
    pub user_ns: u64,
    /// CPU time in kernel mode, in nanoseconds.
    pub system_ns: u64,
    /// Largest resident set in bytes, including the time before exec.
    pub peak_resident_bytes: u64,
    /// Number of page faults without I/O.
    pub minor_faults: u64,
    /// Number of page faults with I/O.
    pub major_faults: u64,
    /// Number of times that it gave up the processor.
    pub voluntary_switches: u64,
    /// Number of times that the scheduler took the processor away.
    pub involuntary_switches: u64,
    /// Bytes that read(2) and similar calls returned: `rchar`.
    pub read_chars: u64,
    /// Bytes that write(2) and similar calls took: `wchar`.
    pub written_chars: u64,
    /// Bytes read from storage: `read_bytes`.
    pub read_bytes: u64,
    /// Bytes written to storage, or waiting to be written: `write_bytes`.
    pub written_bytes: u64,
    /// Time that its threads were runnable, but had no processor, in nanoseconds. It is 0 if it is not known.
    pub run_delay_ns: u64,
    /// Time that its threads waited for block devices, in nanoseconds. It is 0 if the kernel does not account it.
    pub block_delay_ns: u64,
    /// Number of threads that it created, without the first one.
    pub threads: u64,
}

impl Usage {
    /// With times in whole microseconds, as getrusage(2) has them. The other digits mean nothing, and make traces larger.
    pub(crate) fn in_microseconds(self) -> Self {
        let rounded = |ns: u64| ns.saturating_add(500) / 1000 * 1000;
        Self {
            user_ns: rounded(self.user_ns),
            system_ns: rounded(self.system_ns),
            run_delay_ns: rounded(self.run_delay_ns),
            block_delay_ns: rounded(self.block_delay_ns),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_microseconds() {
        let usage =
            Usage { user_ns: 1499, system_ns: 1500, run_delay_ns: 499, block_delay_ns: 7000, ..Usage::default() };
        let expected =
            Usage { user_ns: 1000, system_ns: 2000, run_delay_ns: 0, block_delay_ns: 7000, ..Usage::default() };
        assert_eq!(usage.in_microseconds(), expected);
        let longest = Usage { user_ns: u64::MAX, ..Usage::default() };
        assert_eq!(longest.in_microseconds().user_ns, u64::MAX / 1000 * 1000);
    }

    #[test]
    fn exit_codes_signals_and_core_dumps_are_read_from_wait_statuses() {
        assert_eq!(ExitStatus::from_wait_status(0), ExitStatus::Code(0));
        assert_eq!(ExitStatus::from_wait_status(255 << 8), ExitStatus::Code(255));
        assert_eq!(ExitStatus::from_wait_status(9), ExitStatus::Signal { number: 9, core_dumped: false });
        let aborted = ExitStatus::from_wait_status(6 | 0x80);
        assert_eq!(aborted, ExitStatus::Signal { number: 6, core_dumped: true });
        assert_eq!(aborted.shell_code(), Some(134));
    }

    #[test]
    fn an_image_has_the_name_of_the_file_passed_to_exec() {
        let named = |file: &str, executable: Option<&str>| {
            let image = Image { file: file.into(), executable: executable.map(Into::into), ..Image::default() };
            image.name().to_owned()
        };
        assert_eq!(named("/bin/sh", Some("/usr/bin/dash")), "sh");
        assert_eq!(named("./configure", Some("/usr/bin/dash")), "configure");
        assert_eq!(named("/dev/fd/3", Some("/usr/bin/dash")), "dash");
        assert_eq!(named("/", None), "/");
        assert_eq!(named("/dev/fd/3", Some("/memfd:parcel/7")), "memfd");
    }

    #[test]
    fn a_temporary_script_has_the_name_of_its_interpreter() {
        let named = |file: &str, is_script| {
            let (executable, directory) = (Some("/usr/bin/dash".into()), Some("/tmp".into()));
            Image { file: file.into(), executable, directory, is_script, ..Image::default() }.name().to_owned()
        };
        for file in ["/tmp/tmpa1b2.sh", "/var/tmp/x", "/dev/shm/x", "./tmpa1b2.sh", "tmpa1b2.sh"] {
            assert_eq!(named(file, true), "dash", "{file}");
        }
        assert_eq!([named("/tmp/build/configure", true), named("build/configure", true)], ["configure"; 2]);
        assert_eq!(named("/tmp/conftest", false), "conftest");
    }
}
