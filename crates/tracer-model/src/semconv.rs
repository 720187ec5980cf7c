//! How a span looks in OpenTelemetry: every span name rule and attribute key of a trace, in one place.
//!
//! Names follow the semantic conventions; what has none lives under `process_tracer.`.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use crate::{
    cgroup::{container_id, pod_uid},
    event::{Direction, End, ExitStatus, Image, Transport, Usage, base_name},
    losses::{LOSSES, Loss},
    span::{
        Certificate, ConnectionSpan, FlowSpan, LookupSpan, ProcessSpan, Reply, Span, Subject, UnixConnectSpan, Value,
    },
};

/// An attribute that a span or span event may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its key.
    pub key: &'static str,
    /// What it is on.
    pub on: &'static str,
    /// Its type, as OpenTelemetry names types.
    pub kind: &'static str,
    /// Its unit, by UCUM; empty for plain numbers and for what is none.
    pub unit: &'static str,
    /// Where it comes from: fields are of the kernel's structures.
    pub source: &'static str,
    /// A value of it.
    pub example: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

macro_rules! attributes {
    ($($name:ident = $key:literal, $on:literal, $kind:literal, $unit:literal, $source:literal, $example:literal: $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $key;)*

        const OTHERS: &[Attribute] = &[$(Attribute {
            key: $key,
            on: $on,
            kind: $kind,
            unit: $unit,
            source: $source,
            example: $example,
            meaning: $meaning,
        }),*];
    };
}

// Key, what it is on, type, unit, source, example: meaning.
attributes! {
    PROCESS_PID = "process.pid", "process", "int", "", "task_struct.tgid", "4242":
        "thread group id in the initial pid namespace";
    PROCESS_PARENT_PID = "process.parent_pid", "process", "int", "", "task_struct.tgid of who forked it", "4241":
        "the process that forked it";
    PROCESS_CREATION_TIME = "process.creation.time", "process", "string", "", "task_struct.start_boottime", "2026-11-21T09:16:05.037240Z":
        "RFC 3339, UTC";
    PROCESS_EXECUTABLE_NAME = "process.executable.name", "process", "string", "", "mm_struct.exe_file", "dash":
        "base name of the mapped file: `dash`, where `sh` was invoked";
    PROCESS_EXECUTABLE_PATH = "process.executable.path", "process, exec event", "string", "", "mm_struct.exe_file", "/usr/bin/dash":
        "absolute path of the mapped file";
    PROCESS_COMMAND = "process.command", "process", "string", "", "argv[0]", "sh":
        "`argv[0]`";
    PROCESS_COMMAND_ARGS = "process.command_args", "process, exec event", "string[]", "", "mm_struct.arg_start", "[\"sh\", \"-c\", \"make\"]":
        "the argument vector; in an event its first 4 KiB";
    PROCESS_ARGS_COUNT = "process.args_count", "process", "int", "", "linux_binprm.argc", "3":
        "its true length";
    PROCESS_VPID = "process.vpid", "process", "int", "", "pid.numbers", "1":
        "process id in its own pid namespace, where that is not the initial one";
    PROCESS_GROUP_LEADER_PID = "process.group_leader.pid", "process", "int", "", "signal_struct.pids", "4240":
        "at exec: of its process group";
    PROCESS_SESSION_LEADER_PID = "process.session_leader.pid", "process", "int", "", "signal_struct.pids", "4200":
        "at exec: of its session";
    PROCESS_INTERACTIVE = "process.interactive", "process", "boolean", "", "signal_struct.tty", "true":
        "at exec: whether it has a controlling terminal";
    PROCESS_LINUX_CGROUP = "process.linux.cgroup", "process", "string", "", "css_set.dfl_cgrp", "0::/system.slice/cron.service":
        "at exec: its control group, as in `/proc/PID/cgroup`, from the root of the hierarchy";
    CONTAINER_ID = "container.id", "process", "string", "", "css_set.dfl_cgrp", "4b825dc642cb6eb9a060e54bf8d69288fbee4904a1b2c3d4e5f60718293a4b5c":
        "by the control group's name: of docker, containerd, podman, CRI-O";
    K8S_POD_UID = "k8s.pod.uid", "process", "string", "", "css_set.dfl_cgrp", "275ecb36-5aa8-4c2a-9c47-d8bb681b9aff":
        "likewise";
    REDACTED = "process_tracer.redacted", "process", "boolean", "", "rules", "true":
        "true: what looks like a secret in the arguments was replaced by `***`";
    ARGS_SIZE = "process_tracer.args.size", "process", "int", "By", "mm_struct.arg_end", "200000":
        "its bytes, where they were more than the 128 KiB that are captured";
    PROCESS_WORKING_DIRECTORY = "process.working_directory", "process", "string", "", "fs_struct.pwd", "/src/redis":
        "at exec";
    PROCESS_USER_ID = "process.user.id", "process", "int", "", "cred.euid", "1000":
        "effective user id at exec";
    PROCESS_USER_NAME = "process.user.name", "process", "string", "", "/etc/passwd", "builder":
        "its name; not in another mount namespace";
    PROCESS_REAL_USER_ID = "process.real_user.id", "process", "int", "", "cred.uid", "0":
        "real user id, where it differs";
    PROCESS_REAL_USER_NAME = "process.real_user.name", "process", "string", "", "/etc/passwd", "root":
        "its name, likewise";
    GROUP_ID = "process_tracer.group.id", "process", "int", "", "cred.egid", "1000":
        "effective group id at exec";
    GROUP_NAME = "process_tracer.group.name", "process", "string", "", "/etc/group", "builder":
        "its name, likewise";
    REAL_GROUP_ID = "process_tracer.real_group.id", "process", "int", "", "cred.gid", "0":
        "real group id, where it differs";
    REAL_GROUP_NAME = "process_tracer.real_group.name", "process", "string", "", "/etc/group", "root":
        "its name, likewise";
    NICE = "process_tracer.nice", "process", "int", "", "task_struct.static_prio", "10":
        "niceness at exec, where it is not 0";
    SCRIPT = "process_tracer.script", "process", "string", "", "linux_binprm.filename, .interp", "./configure":
        "the script that the mapped file interprets, as invoked";
    NAMESPACE_MOUNT = "process_tracer.namespace.mount", "process", "int", "", "nsproxy.mnt_ns", "4026532771":
        "namespace's inode number at exec, where it is not the one that the root began in";
    NAMESPACE_PID = "process_tracer.namespace.pid", "process", "int", "", "pid.numbers", "4026532773":
        "likewise";
    NAMESPACE_NETWORK = "process_tracer.namespace.network", "process", "int", "", "nsproxy.net_ns", "4026532775":
        "likewise";
    NAMESPACE_USER = "process_tracer.namespace.user", "process", "int", "", "cred.user_ns", "4026532769":
        "likewise";
    PROCESS_EXIT_CODE = "process.exit.code", "process", "int", "", "signal_struct.group_exit_code", "2":
        "as a shell shows it: 128 + N after signal N";
    EXIT_SIGNAL = "process_tracer.exit.signal", "process", "string", "", "signal_struct.group_exit_code", "SIGKILL":
        "the signal that killed it";
    EXIT_CORE_DUMPED = "process_tracer.exit.core_dumped", "process", "boolean", "", "signal_struct.group_exit_code", "true":
        "whether it dumped core";
    EXIT_OOM = "process_tracer.exit.oom_killed", "process", "boolean", "", "signal_struct.oom_mm", "true":
        "true: the kernel killed it since memory had run out";
    EXIT_WITHHELD = "process_tracer.exit.withheld", "process", "boolean", "", "cred, mm_struct.flags", "true":
        "true: it has ended, and the kernel would not show the user who traces how";
    CPU_USER = "process_tracer.cpu.user_time", "process", "double", "s", "signal_struct.utime, .sum_sched_runtime", "1.25":
        "CPU time in user mode, all its threads, seconds; to the last tick of the scheduler";
    CPU_SYSTEM = "process_tracer.cpu.system_time", "process", "double", "s", "signal_struct.stime, .sum_sched_runtime", "0.125":
        "likewise in kernel mode";
    MEMORY_PEAK = "process_tracer.memory.peak", "process", "int", "By", "signal_struct.maxrss", "73400320":
        "largest resident set, bytes, by getrusage(2): what it had before exec included";
    MEMORY_RESIDENT = "process_tracer.memory.resident", "running process", "int", "By", "proc_pid_stat(5), rss", "73400320":
        "resident set, bytes; on the live page alone";
    FAULTS_MINOR = "process_tracer.page_faults.minor", "process", "int", "", "signal_struct.min_flt", "1200":
        "page faults without I/O";
    FAULTS_MAJOR = "process_tracer.page_faults.major", "process", "int", "", "signal_struct.maj_flt", "3":
        "page faults with I/O";
    SWITCHES_VOLUNTARY = "process_tracer.context_switches.voluntary", "process", "int", "", "signal_struct.nvcsw", "40":
        "times it gave up the processor";
    SWITCHES_INVOLUNTARY = "process_tracer.context_switches.involuntary", "process", "int", "", "signal_struct.nivcsw", "7":
        "times it was taken away";
    READ_CHARS = "process_tracer.io.read_chars", "process", "int", "By", "task_io_accounting.rchar", "819200":
        "bytes by read(2) and the like";
    WRITTEN_CHARS = "process_tracer.io.written_chars", "process", "int", "By", "task_io_accounting.wchar", "40960":
        "bytes by write(2) and the like";
    READ_BYTES = "process_tracer.io.read_bytes", "process", "int", "By", "task_io_accounting.read_bytes", "409600":
        "bytes from storage";
    WRITTEN_BYTES = "process_tracer.io.written_bytes", "process", "int", "By", "task_io_accounting.write_bytes", "40960":
        "bytes to storage, or to be written there";
    THREADS = "process_tracer.threads", "process", "int", "", "tracepoint sched_process_fork", "4":
        "threads it has created";
    FORK = "process_tracer.fork", "process", "boolean", "", "no sched_process_exec", "true":
        "true: it never called exec";
    FAILED_EXEC_FILE = "process_tracer.exec.file", "exec_failed event", "string", "", "pt_regs", "/usr/local/bin/cc":
        "the file name handed to exec";
    FAILED_EXEC_ATTEMPTS = "process_tracer.exec.attempts", "exec_failed event", "int", "", "the model", "5":
        "how many files of that name were tried, if more than one: along PATH";
    UNFINISHED = "process_tracer.unfinished", "any", "boolean", "", "no sched_process_exit", "true":
        "true: still alive when the trace ended";
    REPAIRED = "process_tracer.repaired", "any", "boolean", "", "the model", "true":
        "true: some of its events were lost";
    ERROR_TYPE = "error.type", "any", "string", "", "exit code, sock.sk_err, DNS", "connection_refused":
        "exit code, signal, or `connection_refused`, `timed_out`, `connection_reset`, …";
    NETWORK_TRANSPORT = "network.transport", "connection, flow, lookup, unix connect", "string", "", "sock.sk_protocol", "tcp":
        "`tcp`; `udp` for a flow or a lookup; `unix`";
    NETWORK_PROTOCOL_NAME = "network.protocol.name", "flow", "string", "", "sock_common.skc_dport", "quic":
        "`quic`, where the other end's port is 443";
    NETWORK_TYPE = "network.type", "connection, flow, lookup", "string", "", "sock_common.skc_family", "ipv4":
        "`ipv4` (also for v4-mapped addresses) or `ipv6`";
    NETWORK_PEER_ADDRESS = "network.peer.address", "connection, flow, lookup, unix connect", "string", "", "sock_common.skc_daddr, sockaddr_un", "192.0.2.7":
        "the other end; of a unix socket the path, or `@` and its abstract name";
    NETWORK_PEER_PORT = "network.peer.port", "connection, flow, lookup", "int", "", "sock_common.skc_dport", "443":
        "the other end";
    NETWORK_LOCAL_ADDRESS = "network.local.address", "connection, flow, lookup", "string", "", "sock_common.skc_rcv_saddr", "192.0.2.1":
        "this end";
    NETWORK_LOCAL_PORT = "network.local.port", "connection, flow, lookup", "int", "", "sock_common.skc_num", "40312":
        "this end";
    SERVER_ADDRESS = "server.address", "connection, flow, lookup", "string", "", "DNS, /etc/hosts, sock_common", "crates.example":
        "the end that listens: the name by which the process last found its address, else one that both its arguments and the hosts file name, else the address";
    SERVER_PORT = "server.port", "connection, flow, lookup", "int", "", "sock_common", "443":
        "the end that listens";
    CLIENT_ADDRESS = "client.address", "accepted connection", "string", "", "sock_common.skc_daddr", "192.0.2.9":
        "the end that called";
    CLIENT_PORT = "client.port", "accepted connection", "int", "", "sock_common.skc_dport", "51234":
        "the end that called";
    BYTES_SENT = "process_tracer.tcp.bytes_sent", "connection", "int", "By", "tcp_sock.bytes_sent, .bytes_retrans, .write_seq", "517":
        "payload written by the owner";
    BYTES_RECEIVED = "process_tracer.tcp.bytes_received", "connection", "int", "By", "tcp_sock.bytes_received", "20480":
        "payload received";
    RETRANSMITS = "process_tracer.tcp.retransmits", "connection", "int", "", "tcp_sock.total_retrans", "1":
        "segments sent again";
    ROUND_TRIP_TIME = "process_tracer.tcp.round_trip_time", "connection", "double", "s", "tcp_sock.srtt_us", "0.0123":
        "smoothed, seconds";
    ROUND_TRIP_VARIANCE = "process_tracer.tcp.round_trip_time_variance", "connection", "double", "s", "tcp_sock.mdev_us", "0.0021":
        "RTTVAR, seconds";
    CONNECT_TIME = "process_tracer.tcp.connect_time", "connection", "double", "s", "tracepoint inet_sock_set_state", "0.0131":
        "from the SYN to the end of the handshake, seconds";
    CLOSED_BY = "process_tracer.tcp.closed_by", "connection", "string", "", "tracepoint inet_sock_set_state", "remote":
        "which end closed first: `local` or `remote`; not of one that failed";
    DATAGRAMS_SENT = "process_tracer.udp.datagrams_sent", "flow", "int", "", "tracepoint net_dev_queue", "14":
        "datagrams sent";
    DATAGRAMS_RECEIVED = "process_tracer.udp.datagrams_received", "flow", "int", "", "tracepoint netif_receive_skb", "40":
        "datagrams that came in, read or not";
    FLOW_BYTES_SENT = "process_tracer.udp.bytes_sent", "flow", "int", "By", "tracepoint net_dev_queue", "8200":
        "their payload";
    FLOW_BYTES_RECEIVED = "process_tracer.udp.bytes_received", "flow", "int", "By", "tracepoint netif_receive_skb", "46100":
        "their payload";
    DNS_QUESTION_NAME = "dns.question.name", "lookup", "string", "", "DNS", "crates.example":
        "the name that was looked up";
    DNS_QUESTION_TYPE = "process_tracer.dns.question.type", "lookup", "string", "", "DNS", "AAAA":
        "the type of record asked for: `A`, `AAAA`, …";
    DNS_ANSWERS = "dns.answers", "lookup", "string[]", "", "DNS", "[\"192.0.2.7\"]":
        "the addresses found";
    DNS_ALIASES = "process_tracer.dns.aliases", "lookup", "string[]", "", "DNS", "[\"cdn.example\"]":
        "other names on the way to them: CNAME records";
    DNS_RESPONSE_CODE = "process_tracer.dns.response_code", "lookup", "string", "", "DNS", "NXDOMAIN":
        "`NOERROR`, `NXDOMAIN`, `SERVFAIL`, …";
    DNS_ATTEMPTS = "process_tracer.dns.attempts", "lookup", "int", "", "DNS", "2":
        "how often the name server was asked, if more than once";
    DNS_TRUNCATED = "process_tracer.dns.truncated", "lookup", "boolean", "", "DNS", "true":
        "true: the answer was too large for a datagram; what followed over TCP is a lookup of its own";
    COMPLETE = "process_tracer.complete", "root", "boolean", "", "the model", "true":
        "nothing is known to be missing from this trace";
    PROCESSES = "process_tracer.processes", "root", "int", "", "the model", "825":
        "process spans in the trace";
    CONNECTIONS = "process_tracer.connections", "root", "int", "", "the model", "12":
        "connection spans in the trace";
    FLOWS = "process_tracer.flows", "root", "int", "", "the model", "3":
        "UDP flow spans in the trace";
    UNIX_CONNECTS = "process_tracer.unix_connects", "root", "int", "", "the model", "2":
        "unix connect spans in the trace, if there are any";
    LOOKUPS = "process_tracer.lookups", "root", "int", "", "the model", "4":
        "name lookup spans in the trace";
    CPUS = "process_tracer.cpus", "root", "int", "", "sched_getaffinity(2), cgroup cpu.max", "2":
        "processors that the command could use at once when it began";
    TREE_CPU_USER = "process_tracer.tree.cpu.user_time", "root", "double", "s", "wait4(2)", "61.5":
        "of the command and all descendants that were waited for, by wait4(2): seconds";
    TREE_CPU_SYSTEM = "process_tracer.tree.cpu.system_time", "root", "double", "s", "wait4(2)", "8.25":
        "likewise";
    TREE_MEMORY_PEAK = "process_tracer.tree.memory.peak", "root", "int", "By", "wait4(2)", "298844160":
        "of the largest of them, bytes";
    TREE_FAULTS_MINOR = "process_tracer.tree.page_faults.minor", "root", "int", "", "wait4(2)", "2400000":
        "of all of them";
    TREE_FAULTS_MAJOR = "process_tracer.tree.page_faults.major", "root", "int", "", "wait4(2)", "12":
        "likewise";
    TREE_SWITCHES_VOLUNTARY = "process_tracer.tree.context_switches.voluntary", "root", "int", "", "wait4(2)", "9000":
        "likewise";
    TREE_SWITCHES_INVOLUNTARY = "process_tracer.tree.context_switches.involuntary", "root", "int", "", "wait4(2)", "4000":
        "likewise";
    TREE_READ_BYTES = "process_tracer.tree.io.read_bytes", "root", "int", "By", "wait4(2)", "4096000":
        "likewise, from storage";
    TREE_WRITTEN_BYTES = "process_tracer.tree.io.written_bytes", "root", "int", "By", "wait4(2)", "81920000":
        "likewise, to storage";
    VERSION = "process_tracer.version", "root", "string", "", "process-tracer", "0.1.0":
        "of process-tracer";
    TRUNCATED = "process_tracer.truncated", "root", "int", "", "mm_struct.arg_end, .env_end", "1":
        "execs whose arguments or environment were too long to capture whole";
    FAILED_EXPRESSIONS = "process_tracer.failed_expressions", "root", "int", "", "the model", "3":
        "attributes left out since their expression failed";
    LOST_RECORDS = "process_tracer.lost.records", "event `lost` of the root", "int", "", "ring buffer", "34":
        "records lost until then, since the event before";
    UNOBSERVED = "process_tracer.unobserved", "root", "string", "", "loading", "missing CAP_BPF":
        "what was not observed, and why: the command's descendants, or events that were asked for";
}

/// All attributes except the user's own.
pub const ATTRIBUTES: &[Attribute] = &{
    let mut all = [OTHERS[0]; OTHERS.len() + LOSSES.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < OTHERS.len() { OTHERS[index] } else { of_loss(&LOSSES[index - OTHERS.len()]) };
        index += 1;
    }
    all
};

const fn of_loss(loss: &Loss) -> Attribute {
    let Loss { key, source, example, meaning, .. } = *loss;
    Attribute { key, on: "root", kind: "int", unit: "", source, example, meaning }
}

/// Whether this attribute of the root span says how much of something is missing.
#[must_use]
pub fn is_loss(key: &str) -> bool {
    key == TRUNCATED || key.starts_with("process_tracer.lost.")
}

/// The span event of a successful exec.
pub const EXEC_EVENT: &str = "exec";
/// The span event of an exec that failed.
pub const FAILED_EXEC_EVENT: &str = "exec_failed";
/// The span event of a ring buffer that has run over.
pub const LOST_EVENT: &str = "lost";
/// The span event of a finished TCP handshake.
pub const ESTABLISHED_EVENT: &str = "established";

/// Keys and values.
pub type KeyValues = Vec<(Cow<'static, str>, Value)>;

/// OpenTelemetry's span kinds, as far as they occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process.
    Internal,
    /// A connection that the process made, a flow, a lookup.
    Client,
    /// A connection that the process accepted.
    Server,
}

/// A moment within a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// What happened.
    pub name: &'static str,
    /// When.
    pub at: SystemTime,
    /// How.
    pub attributes: KeyValues,
}

/// A span in OpenTelemetry's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its kind.
    pub kind: Kind,
    /// Its attributes.
    pub attributes: KeyValues,
    /// Its events, in order.
    pub events: Vec<SpanEvent>,
    /// Events beyond the limit of one span.
    pub dropped_events: u32,
    /// Its status is ERROR; the status is unset otherwise.
    pub error: Option<Error>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// `error.type`: of few different values.
    pub kind: String,
    /// The status message, for people.
    pub message: String,
}

/// Describes a span in OpenTelemetry's terms.
#[must_use]
pub fn describe(span: &Span) -> Description {
    let mut description = match &span.subject {
        Subject::Process(process) => describe_process(span, process),
        Subject::Connection(connection) => describe_connection(span, connection),
        Subject::Flow(flow) => describe_flow(flow),
        Subject::UnixConnect(connect) => describe_unix_connect(connect),
        Subject::Lookup(lookup) => describe_lookup(lookup),
    };
    let attributes = &mut description.attributes;
    if let Some(error) = &description.error {
        push(attributes, ERROR_TYPE, Value::String(error.kind.clone()));
    }
    if span.is_unfinished {
        push(attributes, UNFINISHED, Value::Bool(true));
    }
    if span.is_repaired {
        push(attributes, REPAIRED, Value::Bool(true));
    }
    if let Subject::Process(process) = &span.subject {
        // A key occurs once: the user's own replaces ours.
        attributes.retain(|(key, _)| process.attributes.iter().all(|(name, _)| name != key));
        attributes.extend(process.attributes.iter().map(|(name, value)| (Cow::Owned(name.clone()), value.clone())));
    }
    description
}

fn describe_process(span: &Span, process: &ProcessSpan) -> Description {
    let mut attributes = Vec::with_capacity(40);
    push(&mut attributes, PROCESS_PID, int(process.pid));
    push(&mut attributes, PROCESS_PARENT_PID, int(process.parent_pid));
    push(&mut attributes, PROCESS_CREATION_TIME, Value::String(rfc3339(span.start)));
    if process.is_fork {
        push(&mut attributes, FORK, Value::Bool(true));
    }
    if let Some(image) = &process.image {
        if let Some(path) = &image.executable {
            push(&mut attributes, PROCESS_EXECUTABLE_NAME, string(base_name(path)));
            push(&mut attributes, PROCESS_EXECUTABLE_PATH, string(path));
        }
        let arguments: Vec<String> = image.arguments.iter().map(Cow::into_owned).collect();
        if let Some(command) = arguments.first() {
            push(&mut attributes, PROCESS_COMMAND, string(command));
        }
        if !arguments.is_empty() {
            push(&mut attributes, PROCESS_COMMAND_ARGS, Value::Strings(arguments));
            push(&mut attributes, PROCESS_ARGS_COUNT, int(image.argument_count));
        }
        // Of a process that has not called exec these are its parent's.
        if !process.is_fork && image.vpid > 0 {
            if image.vpid != process.pid {
                push(&mut attributes, PROCESS_VPID, int(image.vpid));
            }
            // A kernel's own process has none, nor have those that have not left its session.
            for (key, pid) in [
                (PROCESS_GROUP_LEADER_PID, image.group_leader_pid),
                (PROCESS_SESSION_LEADER_PID, image.session_leader_pid),
            ] {
                if pid > 0 {
                    push(&mut attributes, key, int(pid));
                }
            }
            push(&mut attributes, PROCESS_INTERACTIVE, Value::Bool(image.is_interactive));
        }
        if let Some(path) = &image.cgroup {
            // The unified hierarchy's number is 0, and it has no controllers to name: cgroups(7).
            push(&mut attributes, PROCESS_LINUX_CGROUP, Value::String(format!("0::{path}")));
            if let Some(id) = container_id(path) {
                push(&mut attributes, CONTAINER_ID, string(id));
            }
            if let Some(uid) = pod_uid(path) {
                push(&mut attributes, K8S_POD_UID, Value::String(uid));
            }
        }
        if image.is_redacted {
            push(&mut attributes, REDACTED, Value::Bool(true));
        }
        if image.arguments.is_truncated() {
            push(&mut attributes, ARGS_SIZE, int(image.arguments.size));
        }
        if image.is_script && !image.file.is_empty() {
            push(&mut attributes, SCRIPT, string(&image.file));
        }
        if image.nice != 0 && !process.is_fork {
            push(&mut attributes, NICE, int(image.nice));
        }
        for (key, namespace) in [
            (NAMESPACE_MOUNT, image.namespaces.mount),
            (NAMESPACE_PID, image.namespaces.pid),
            (NAMESPACE_NETWORK, image.namespaces.network),
            (NAMESPACE_USER, image.namespaces.user),
        ] {
            if namespace > 0 && !process.is_fork {
                push(&mut attributes, key, int(namespace));
            }
        }
        if let Some(directory) = &image.directory {
            push(&mut attributes, PROCESS_WORKING_DIRECTORY, string(directory));
        }
        // Of an exec that was not reported nothing is known.
        if image.vpid > 0 || image.directory.is_some() {
            describe_accounts(&mut attributes, image);
        }
    }
    let mut error = None;
    if let Some(exit) = process.exit {
        if let Some(code) = exit.shell_code() {
            push(&mut attributes, PROCESS_EXIT_CODE, int(code));
        }
        match exit {
            ExitStatus::Code(0) => {}
            ExitStatus::Withheld => push(&mut attributes, EXIT_WITHHELD, Value::Bool(true)),
            ExitStatus::Code(code) => {
                error = Some(Error { kind: code.to_string(), message: format!("exit code {code}") });
            }
            ExitStatus::Signal { number, core_dumped } => {
                let name = signal_name(number);
                push(&mut attributes, EXIT_SIGNAL, string(&name));
                push(&mut attributes, EXIT_CORE_DUMPED, Value::Bool(core_dumped));
                let reason = if process.is_oom_victim { ", out of memory" } else { "" };
                error = Some(Error { message: format!("killed by {name}{reason}"), kind: name.into_owned() });
            }
        }
    }
    if process.is_oom_victim {
        push(&mut attributes, EXIT_OOM, Value::Bool(true));
    }
    if let Some(usage) = &process.usage {
        describe_usage(&mut attributes, usage);
    }
    if let Some(certificate) = &process.certificate {
        certify(&mut attributes, certificate);
    }
    let failed = process.failed_execs.iter().map(|failed| {
        let mut attributes = Vec::with_capacity(3);
        push(&mut attributes, FAILED_EXEC_FILE, string(&failed.file));
        push(&mut attributes, ERROR_TYPE, Value::String(errno_name(failed.errno).into_owned()));
        if failed.attempts > 1 {
            push(&mut attributes, FAILED_EXEC_ATTEMPTS, int(failed.attempts));
        }
        SpanEvent { name: FAILED_EXEC_EVENT, at: failed.at, attributes }
    });
    let gaps = process.certificate.iter().flat_map(|certificate| &certificate.gaps);
    let events = process
        .executions
        .iter()
        .map(|execution| {
            let mut attributes = Vec::with_capacity(3);
            if let Some(path) = &execution.executable {
                push(&mut attributes, PROCESS_EXECUTABLE_PATH, string(path));
            }
            let arguments: Vec<_> = execution.arguments.iter().map(Cow::into_owned).collect();
            if !arguments.is_empty() {
                push(&mut attributes, PROCESS_COMMAND_ARGS, Value::Strings(arguments));
            }
            SpanEvent { name: EXEC_EVENT, at: execution.at, attributes }
        })
        .chain(failed)
        .chain(gaps.map(|gap| {
            let attributes = vec![(Cow::Borrowed(LOST_RECORDS), int(gap.records))];
            SpanEvent { name: LOST_EVENT, at: gap.at, attributes }
        }))
        .collect();
    let mut events: Vec<_> = events;
    events.sort_by_key(|event| event.at);
    Description { kind: Kind::Internal, attributes, events, dropped_events: process.dropped_executions, error }
}

fn describe_accounts(attributes: &mut KeyValues, image: &Image) {
    let names = &image.names;
    let is_other_user = image.real_user_id != image.user_id;
    let is_other_group = image.real_group_id != image.group_id;
    for (id_key, name_key, id, name, is_told) in [
        (PROCESS_USER_ID, PROCESS_USER_NAME, image.user_id, &names.user, true),
        (PROCESS_REAL_USER_ID, PROCESS_REAL_USER_NAME, image.real_user_id, &names.real_user, is_other_user),
        (GROUP_ID, GROUP_NAME, image.group_id, &names.group, true),
        (REAL_GROUP_ID, REAL_GROUP_NAME, image.real_group_id, &names.real_group, is_other_group),
    ] {
        if is_told {
            push(attributes, id_key, int(id));
            if let Some(name) = name {
                push(attributes, name_key, string(name));
            }
        }
    }
}

/// CPU time and memory always; of the rest what is not zero.
fn describe_usage(attributes: &mut KeyValues, usage: &Usage) {
    push(attributes, CPU_USER, seconds(usage.user_ns));
    push(attributes, CPU_SYSTEM, seconds(usage.system_ns));
    push(attributes, MEMORY_PEAK, int(usage.peak_resident_bytes));
    for (key, count) in [
        (FAULTS_MINOR, usage.minor_faults),
        (FAULTS_MAJOR, usage.major_faults),
        (SWITCHES_VOLUNTARY, usage.voluntary_switches),
        (SWITCHES_INVOLUNTARY, usage.involuntary_switches),
        (READ_CHARS, usage.read_chars),
        (WRITTEN_CHARS, usage.written_chars),
        (READ_BYTES, usage.read_bytes),
        (WRITTEN_BYTES, usage.written_bytes),
        (THREADS, usage.threads),
    ] {
        if count > 0 {
            push(attributes, key, int(count));
        }
    }
}

fn describe_tree(attributes: &mut KeyValues, usage: &Usage) {
    push(attributes, TREE_CPU_USER, seconds(usage.user_ns));
    push(attributes, TREE_CPU_SYSTEM, seconds(usage.system_ns));
    for (key, count) in [
        (TREE_MEMORY_PEAK, usage.peak_resident_bytes),
        (TREE_FAULTS_MINOR, usage.minor_faults),
        (TREE_FAULTS_MAJOR, usage.major_faults),
        (TREE_SWITCHES_VOLUNTARY, usage.voluntary_switches),
        (TREE_SWITCHES_INVOLUNTARY, usage.involuntary_switches),
        (TREE_READ_BYTES, usage.read_bytes),
        (TREE_WRITTEN_BYTES, usage.written_bytes),
    ] {
        push(attributes, key, int(count));
    }
}

fn seconds(ns: u64) -> Value {
    Value::Float(ns as f64 / 1e9)
}

fn certify(attributes: &mut KeyValues, certificate: &Certificate) {
    push(attributes, COMPLETE, Value::Bool(certificate.is_complete));
    push(attributes, PROCESSES, int(certificate.processes));
    push(attributes, CONNECTIONS, int(certificate.connections));
    push(attributes, FLOWS, int(certificate.flows));
    push(attributes, LOOKUPS, int(certificate.lookups));
    push(attributes, CPUS, int(certificate.cpus));
    push(attributes, VERSION, string(&certificate.version));
    if let Some(tree) = &certificate.tree {
        describe_tree(attributes, tree);
    }
    let losses = &certificate.losses;
    for (key, count) in [
        (UNIX_CONNECTS, certificate.unix_connects),
        (TRUNCATED, certificate.truncated),
        (FAILED_EXPRESSIONS, certificate.failed_expressions),
    ]
    .into_iter()
    .chain(LOSSES.iter().map(|loss| (loss.key, (loss.count)(losses))))
    {
        if count > 0 {
            push(attributes, key, int(count));
        }
    }
    if let Some(reason) = &losses.unobserved {
        push(attributes, UNOBSERVED, string(reason));
    }
}

fn describe_connection(span: &Span, subject: &ConnectionSpan) -> Description {
    let connection = &subject.connection;
    let mut attributes = Vec::with_capacity(20);
    push(&mut attributes, NETWORK_TRANSPORT, string("tcp"));
    let network_type = if connection.peer.is_ipv4() { "ipv4" } else { "ipv6" };
    push(&mut attributes, NETWORK_TYPE, string(network_type));
    endpoint(&mut attributes, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, connection.peer);
    if connection.local.port() != 0 {
        endpoint(&mut attributes, NETWORK_LOCAL_ADDRESS, NETWORK_LOCAL_PORT, connection.local);
    }
    match connection.direction {
        Direction::Connect => server(&mut attributes, subject.host.as_deref(), connection.peer),
        Direction::Accept => {
            endpoint(&mut attributes, SERVER_ADDRESS, SERVER_PORT, connection.local);
            endpoint(&mut attributes, CLIENT_ADDRESS, CLIENT_PORT, connection.peer);
        }
    }
    // An open one's counters are not known.
    if !span.is_unfinished {
        push(&mut attributes, BYTES_SENT, int(connection.bytes_sent));
        push(&mut attributes, BYTES_RECEIVED, int(connection.bytes_received));
        push(&mut attributes, RETRANSMITS, int(connection.retransmits));
    }
    if connection.round_trip_us > 0 {
        push(&mut attributes, ROUND_TRIP_TIME, Value::Float(f64::from(connection.round_trip_us) / 1e6));
        push(&mut attributes, ROUND_TRIP_VARIANCE, Value::Float(f64::from(connection.round_trip_variance_us) / 1e6));
    }
    if let (Some(established), Direction::Connect) = (subject.established, connection.direction) {
        let time = established.duration_since(span.start).unwrap_or_default();
        push(&mut attributes, CONNECT_TIME, Value::Float(time.as_secs_f64()));
    }
    if let Some(end) = connection.closed_by {
        push(
            &mut attributes,
            CLOSED_BY,
            string(match end {
                End::Local => "local",
                End::Remote => "remote",
            }),
        );
    }
    let kind = match connection.direction {
        Direction::Connect => Kind::Client,
        Direction::Accept => Kind::Server,
    };
    let established = subject.established.map(|at| SpanEvent { name: ESTABLISHED_EVENT, at, attributes: Vec::new() });
    Description {
        kind,
        attributes,
        events: established.into_iter().collect(),
        dropped_events: 0,
        error: connection.error.map(failed_connection),
    }
}

/// By convention what goes by UDP to this port is HTTP/3, over QUIC: RFC 9114, section 3.1.
const PORT_QUIC: u16 = 443;

fn describe_flow(span: &FlowSpan) -> Description {
    let flow = &span.flow;
    let mut attributes = Vec::with_capacity(16);
    push(&mut attributes, NETWORK_TRANSPORT, string("udp"));
    if flow.peer.port() == PORT_QUIC {
        push(&mut attributes, NETWORK_PROTOCOL_NAME, string("quic"));
    }
    push(&mut attributes, NETWORK_TYPE, string(if flow.peer.is_ipv4() { "ipv4" } else { "ipv6" }));
    endpoint(&mut attributes, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, flow.peer);
    endpoint(&mut attributes, NETWORK_LOCAL_ADDRESS, NETWORK_LOCAL_PORT, flow.local);
    server(&mut attributes, span.host.as_deref(), flow.peer);
    push(&mut attributes, DATAGRAMS_SENT, int(flow.datagrams_sent));
    push(&mut attributes, DATAGRAMS_RECEIVED, int(flow.datagrams_received));
    push(&mut attributes, FLOW_BYTES_SENT, int(flow.bytes_sent));
    push(&mut attributes, FLOW_BYTES_RECEIVED, int(flow.bytes_received));
    Description { kind: Kind::Client, attributes, events: Vec::new(), dropped_events: 0, error: None }
}

fn describe_unix_connect(connect: &UnixConnectSpan) -> Description {
    let mut attributes = Vec::with_capacity(3);
    push(&mut attributes, NETWORK_TRANSPORT, string("unix"));
    push(&mut attributes, NETWORK_PEER_ADDRESS, string(&connect.path));
    let error = connect.error.map(failed_connection);
    Description { kind: Kind::Client, attributes, events: Vec::new(), dropped_events: 0, error }
}

fn failed_connection(errno: i32) -> Error {
    let kind = connection_error(errno).into_owned();
    Error { message: kind.replace('_', " "), kind }
}

fn describe_lookup(lookup: &LookupSpan) -> Description {
    let mut attributes = Vec::with_capacity(20);
    push(&mut attributes, DNS_QUESTION_NAME, string(&lookup.name));
    push(&mut attributes, DNS_QUESTION_TYPE, string(&lookup.kind));
    let transport = match lookup.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    push(&mut attributes, NETWORK_TRANSPORT, string(transport));
    push(&mut attributes, NETWORK_TYPE, string(if lookup.server.is_ipv4() { "ipv4" } else { "ipv6" }));
    endpoint(&mut attributes, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, lookup.server);
    endpoint(&mut attributes, NETWORK_LOCAL_ADDRESS, NETWORK_LOCAL_PORT, lookup.local);
    endpoint(&mut attributes, SERVER_ADDRESS, SERVER_PORT, lookup.server);
    if lookup.attempts > 1 {
        push(&mut attributes, DNS_ATTEMPTS, int(lookup.attempts));
    }
    let mut error = None;
    match &lookup.reply {
        Reply::Answer(answer) => {
            push(&mut attributes, DNS_RESPONSE_CODE, string(&answer.code));
            push(
                &mut attributes,
                DNS_ANSWERS,
                Value::Strings(answer.addresses.iter().map(IpAddr::to_string).collect()),
            );
            if !answer.aliases.is_empty() {
                push(&mut attributes, DNS_ALIASES, Value::Strings(answer.aliases.clone()));
            }
            if answer.is_truncated {
                push(&mut attributes, DNS_TRUNCATED, Value::Bool(true));
            }
            // That there is no such name is an answer: whoever searches several domains gets it all the time.
            if !["NOERROR", "NXDOMAIN"].contains(&answer.code.as_str()) {
                error = Some(Error {
                    kind: answer.code.clone(),
                    message: format!("the name server answers {}", answer.code),
                });
            }
        }
        Reply::Unread => {}
        Reply::None => error = Some(Error { kind: "no_answer".to_owned(), message: "no answer".to_owned() }),
    }
    Description { kind: Kind::Client, attributes, events: Vec::new(), dropped_events: 0, error }
}

/// `error.type` of a failed connection, by errno (Linux, include/uapi/asm-generic/errno.h).
#[must_use]
pub fn connection_error(errno: i32) -> Cow<'static, str> {
    Cow::Borrowed(match errno {
        1 | 13 => "permission_denied",
        2 => "not_found",
        4 => "interrupted",
        // The queue of a unix socket that is not to wait is full: unix(7).
        11 => "queue_full",
        20 => "not_a_directory",
        40 => "too_many_links",
        91 => "wrong_type",
        106 => "already_connected",
        // After the peer's FIN a reset is reported as EPIPE: net/ipv4/tcp_input.c, tcp_reset().
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

/// The name of what makes exec(2) fail (Linux, include/uapi/asm-generic/errno.h).
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

fn push(attributes: &mut KeyValues, key: &'static str, value: Value) {
    attributes.push((Cow::Borrowed(key), value));
}

fn endpoint(attributes: &mut KeyValues, address: &'static str, port: &'static str, end: SocketAddr) {
    let ip: IpAddr = end.ip();
    push(attributes, address, Value::String(ip.to_string()));
    push(attributes, port, int(end.port()));
}

/// The end that listens, by its name if that is known.
fn server(attributes: &mut KeyValues, host: Option<&str>, end: SocketAddr) {
    push(attributes, SERVER_ADDRESS, Value::String(host.map_or_else(|| end.ip().to_string(), str::to_owned)));
    push(attributes, SERVER_PORT, int(end.port()));
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn int(number: impl TryInto<i64>) -> Value {
    Value::Int(number.try_into().unwrap_or(i64::MAX))
}

fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string()
}
