//! The attributes of processes, and of the exec events on their spans. Those of [`OWNER`] are also on the spans that belong
//! to a process.

use std::time::SystemTime;

use super::{
    event::executed,
    failure::signal_name,
    row::{differing, positive, rows, seconds},
    value::Texts,
};
use crate::{
    cgroup::{container_id, pod_uid},
    event::{ExitStatus, Image, Strings, Usage, base_name},
    span::{Folded, ProcessSpan, Span, Subject},
};

// Key, place, type, unit, source, example, meaning, value.
rows! {
    OWNER:

    PROCESS_PID = "process.pid", "any", "int", "", "task_struct.tgid", "4242",
        "process id in the initial pid namespace, or with ptrace in the namespace of process-tracer; on other spans, of their process",
        span pid |pid| pid;
    PROCESS_EXECUTABLE_NAME = "process.executable.name", "any", "string", "", "mm_struct.exe_file", "dash",
        "base name of the mapped file, for example `dash` if the command was `sh`; on other spans, of their process",
        span owner_image |image| image.executable.as_deref().map(base_name);
    NAMESPACE_NETWORK = "process_tracer.namespace.network", "process, connection", "int", "", "nsproxy.net_ns, sock_common.skc_net", "4026532775",
        "inode number of the network namespace of the connection, or of the process at exec, if the root started in another one",
        span network_namespace |inode| positive(inode);
}

rows! {
    PROCESS:

    PROCESS_PARENT_PID = "process.parent_pid", "process", "int", "", "task_struct.tgid of the forking process", "4241",
        "process id of the process that forked it",
        span process |process| process.parent_pid;
    PROCESS_CREATION_TIME = "process.creation.time", "process", "string", "", "task_struct.start_boottime", "2026-11-21T09:16:05.037240Z",
        "time of the fork in UTC, in the format of RFC 3339",
        span start |at| creation_time(at);
    FORK = "process_tracer.fork", "process", "boolean", "", "no sched_process_exec", "true",
        "`true`: the process never called exec",
        span process |process| process.is_fork.then_some(true);
    PROCESS_EXECUTABLE_PATH = "process.executable.path", "process, exec event", "string", "", "mm_struct.exe_file", "/usr/bin/dash",
        "absolute path of the mapped file",
        span image |image| image.executable.as_deref(),
        event executed |exec| exec.executable.as_deref();
    PROCESS_COMMAND = "process.command", "process", "string", "", "argv[0]", "sh",
        "first element of the argument vector",
        span image |image| image.arguments.iter().next();
    PROCESS_COMMAND_ARGS = "process.command_args", "process, exec event", "string[]", "", "mm_struct.arg_start", "[\"sh\", \"-c\", \"make\"]",
        "argument vector; an event has its first 4 KiB",
        span image |image| arguments(&image.arguments),
        event executed |exec| arguments(&exec.arguments);
    ARGS_RAW = "process_tracer.args.raw", "process, exec event", "bytes", "", "mm_struct.arg_start", "Y3AAY2Fm6QA=",
        "exact bytes of `process.command_args`, a NUL after each argument, if they are not UTF-8; in JSON as base64",
        span image |image| image.arguments.not_utf8(),
        event executed |exec| exec.arguments.not_utf8();
    PROCESS_ARGS_COUNT = "process.args_count", "process", "int", "", "linux_binprm.argc", "3",
        "length of the whole argument vector, also if only a part was captured",
        span image |image| arguments(&image.arguments).map(|_| image.argument_count);
    PROCESS_VPID = "process.vpid", "process", "int", "", "pid.numbers", "1",
        "process id in its own pid namespace, if that is not the initial one",
        span own_vpid |vpid| vpid;
    PROCESS_GROUP_LEADER_PID = "process.group_leader.pid", "process", "int", "", "signal_struct.pids", "4240",
        "process id of its process group's leader at exec",
        span seen |image| positive(image.group_leader_pid);
    PROCESS_SESSION_LEADER_PID = "process.session_leader.pid", "process", "int", "", "signal_struct.pids", "4200",
        "process id of its session's leader at exec",
        span seen |image| positive(image.session_leader_pid);
    PROCESS_INTERACTIVE = "process.interactive", "process", "boolean", "", "signal_struct.tty", "true",
        "whether its session had a controlling terminal at exec",
        span seen |image| image.is_interactive;
    PROCESS_LINUX_CGROUP = "process.linux.cgroup", "process", "string", "", "css_set", "0::/system.slice/cron.service",
        "control group at exec, written as a line of `/proc/PID/cgroup`; its path begins at the root of the hierarchy; if the \
         process has no group of version 2, the group of the memory controller of version 1",
        span cgroup |line| line;
    CONTAINER_ID = "container.id", "process", "string", "", "css_set", "4b825dc642cb6eb9a060e54bf8d69288fbee4904a1b2c3d4e5f60718293a4b5c",
        "container id, from the name of a control group of docker, containerd, podman or CRI-O",
        span image |image| cgroups(image).find_map(container_id);
    K8S_POD_UID = "k8s.pod.uid", "process", "string", "", "css_set", "275ecb36-5aa8-4c2a-9c47-d8bb681b9aff",
        "id of the Kubernetes pod, from the name of a control group",
        span image |image| cgroups(image).find_map(pod_uid);
    REDACTED = "process_tracer.redacted", "process", "boolean", "", "rules", "true",
        "`true`: a text in the arguments looked like a secret, and `***` replaces it",
        span image |image| image.is_redacted.then_some(true);
    ARGS_SIZE = "process_tracer.args.size", "process", "int", "By", "mm_struct.arg_end", "200000",
        "size of the arguments, if it is more than the 128 KiB that are captured",
        span image |image| image.arguments.is_truncated().then_some(image.arguments.size);
    SCRIPT = "process_tracer.script", "process", "string", "", "linux_binprm.filename, .interp", "./configure",
        "script that the mapped file interprets, as it was called",
        span image |image| (image.is_script && !image.file.is_empty()).then_some(image.file.as_str());
    NICE = "process_tracer.nice", "process", "int", "", "task_struct.static_prio", "10",
        "niceness at exec, if it is not 0",
        span own_image |image| differing(image.nice, 0);
    NAMESPACE_MOUNT = "process_tracer.namespace.mount", "process", "int", "", "nsproxy.mnt_ns", "4026532771",
        "inode number of the mount namespace at exec, if the root started in another one",
        span own_image |image| positive(image.namespaces.mount);
    NAMESPACE_PID = "process_tracer.namespace.pid", "process", "int", "", "pid.numbers", "4026532773",
        "inode number of the pid namespace at exec, if the root started in another one",
        span own_image |image| positive(image.namespaces.pid);
    NAMESPACE_USER = "process_tracer.namespace.user", "process", "int", "", "cred.user_ns", "4026532769",
        "inode number of the user namespace at exec, if the root started in another one",
        span own_image |image| positive(image.namespaces.user);
    PROCESS_WORKING_DIRECTORY = "process.working_directory", "process", "string", "", "fs_struct.pwd", "/src/redis",
        "working directory at exec",
        span image |image| image.directory();
    WORKING_DIRECTORY_RAW = "process_tracer.working_directory.raw", "process", "bytes", "", "fs_struct.pwd", "L2NhZuk=",
        "exact bytes of `process.working_directory`, if they are not UTF-8; in JSON as base64",
        span image |image| image.directory.as_deref().filter(|directory| str::from_utf8(directory).is_err());
    PROCESS_USER_ID = "process.user.id", "process", "int", "", "cred.euid", "1000",
        "effective user id at exec",
        span reported |image| image.user_id;
    PROCESS_USER_NAME = "process.user.name", "process", "string", "", "/etc/passwd", "builder",
        "name of the effective user; in another root folder, from the `/etc/passwd` there",
        span reported |image| image.names.user.as_deref();
    PROCESS_REAL_USER_ID = "process.real_user.id", "process", "int", "", "cred.uid", "0",
        "real user id at exec, if it differs from the effective one",
        span reported |image| differing(image.real_user_id, image.user_id);
    PROCESS_REAL_USER_NAME = "process.real_user.name", "process", "string", "", "/etc/passwd", "root",
        "name of the real user, if its id differs from the effective one; in another root folder, from the `/etc/passwd` there",
        span reported |image| differing(image.real_user_id, image.user_id).and(image.names.real_user.as_deref());
    GROUP_ID = "process_tracer.group.id", "process", "int", "", "cred.egid", "1000",
        "effective group id at exec",
        span reported |image| image.group_id;
    GROUP_NAME = "process_tracer.group.name", "process", "string", "", "/etc/group", "builder",
        "name of the effective group; in another root folder, from the `/etc/group` there",
        span reported |image| image.names.group.as_deref();
    REAL_GROUP_ID = "process_tracer.real_group.id", "process", "int", "", "cred.gid", "0",
        "real group id at exec, if it differs from the effective one",
        span reported |image| differing(image.real_group_id, image.group_id);
    REAL_GROUP_NAME = "process_tracer.real_group.name", "process", "string", "", "/etc/group", "root",
        "name of the real group, if its id differs from the effective one; in another root folder, from the `/etc/group` there",
        span reported |image| differing(image.real_group_id, image.group_id).and(image.names.real_group.as_deref());
    PROCESS_EXIT_CODE = "process.exit.code", "process", "int", "", "signal_struct.group_exit_code", "2",
        "exit code as a shell shows it: 128 + N after signal N",
        span exit |exit| exit.shell_code();
    EXIT_WITHHELD = "process_tracer.exit.withheld", "process", "boolean", "", "cred, mm_struct.flags", "true",
        "`true`: the process ended, and the kernel does not show its exit code to the user who traces",
        span exit |exit| (exit == ExitStatus::Withheld).then_some(true);
    EXIT_SIGNAL = "process_tracer.exit.signal", "process", "string", "", "signal_struct.group_exit_code", "SIGKILL",
        "signal that killed the process",
        span signal |(number, _)| signal_name(number);
    EXIT_CORE_DUMPED = "process_tracer.exit.core_dumped", "process", "boolean", "", "signal_struct.group_exit_code", "true",
        "whether the kernel dumped core, if a signal killed the process",
        span signal |(_, core_dumped)| core_dumped;
    EXIT_OOM = "process_tracer.exit.oom_killed", "process", "boolean", "", "signal_struct.oom_mm", "true",
        "`true`: the out-of-memory killer of the kernel killed the process",
        span process |process| process.is_oom_victim.then_some(true);
    CPU_USER = "process_tracer.cpu.user_time", "process", "double", "s", "signal_struct.utime, .sum_sched_runtime", "1.25",
        "CPU time of all its threads in user mode, up to the last tick of the scheduler",
        span usage |usage| seconds(usage.user_ns);
    CPU_SYSTEM = "process_tracer.cpu.system_time", "process", "double", "s", "signal_struct.stime, .sum_sched_runtime", "0.125",
        "CPU time of all its threads in kernel mode, up to the last tick of the scheduler",
        span usage |usage| seconds(usage.system_ns);
    MEMORY_PEAK = "process_tracer.memory.peak", "process", "int", "By", "signal_struct.maxrss", "73400320",
        "largest resident set as getrusage(2) counts it, including the time before exec",
        span usage |usage| usage.peak_resident_bytes;
    // The live page adds it.
    MEMORY_RESIDENT = "process_tracer.memory.resident", "running process", "int", "By", "proc_pid_stat(5), rss", "73400320",
        "resident set at this moment; only the live page shows it";
    FAULTS_MINOR = "process_tracer.page_faults.minor", "process", "int", "", "signal_struct.min_flt", "1200",
        "number of page faults without I/O",
        span usage |usage| positive(usage.minor_faults);
    FAULTS_MAJOR = "process_tracer.page_faults.major", "process", "int", "", "signal_struct.maj_flt", "3",
        "number of page faults with I/O",
        span usage |usage| positive(usage.major_faults);
    SWITCHES_VOLUNTARY = "process_tracer.context_switches.voluntary", "process", "int", "", "signal_struct.nvcsw", "40",
        "number of times that it gave up the processor",
        span usage |usage| positive(usage.voluntary_switches);
    SWITCHES_INVOLUNTARY = "process_tracer.context_switches.involuntary", "process", "int", "", "signal_struct.nivcsw", "7",
        "number of times that the scheduler took the processor away",
        span usage |usage| positive(usage.involuntary_switches);
    READ_CHARS = "process_tracer.io.read_chars", "process", "int", "By", "task_io_accounting.rchar", "819200",
        "bytes that read(2) and similar calls returned",
        span usage |usage| positive(usage.read_chars);
    WRITTEN_CHARS = "process_tracer.io.written_chars", "process", "int", "By", "task_io_accounting.wchar", "40960",
        "bytes that write(2) and similar calls took",
        span usage |usage| positive(usage.written_chars);
    READ_BYTES = "process_tracer.io.read_bytes", "process", "int", "By", "task_io_accounting.read_bytes", "409600",
        "bytes read from storage",
        span usage |usage| positive(usage.read_bytes);
    WRITTEN_BYTES = "process_tracer.io.written_bytes", "process", "int", "By", "task_io_accounting.write_bytes", "40960",
        "bytes written to storage, or waiting to be written there",
        span usage |usage| positive(usage.written_bytes);
    RUN_DELAY = "process_tracer.cpu.wait_time", "process", "double", "s", "task_struct.sched_info.run_delay", "0.75",
        "time that its threads were runnable and waited for a processor",
        span usage |usage| positive(usage.run_delay_ns).map(seconds);
    BLOCK_DELAY = "process_tracer.io.wait_time", "process", "double", "s", "task_struct.delays.blkio_delay", "0.25",
        "time that its threads waited for block devices, if the kernel accounts it: `sysctl kernel.task_delayacct`",
        span usage |usage| positive(usage.block_delay_ns).map(seconds);
    THREADS = "process_tracer.threads", "process", "int", "", "tracepoint sched_process_fork", "4",
        "number of threads that it created, without the first one",
        span usage |usage| positive(usage.threads);
    GROUP = "process_tracer.group", "process", "string", "", "`--rules`", "python3:setup",
        "group of the process, from your rules",
        span process |process| process.group.as_deref();
    FOLDED_PROCESSES = "process_tracer.folded.processes", "process", "int", "", "the model", "12",
        "number of processes below it that your rules or `--min-duration` left out",
        span folded |folded| folded.processes;
    FOLDED_CPU_TIME = "process_tracer.folded.cpu_time", "process", "double", "s", "the model", "0.25",
        "CPU time of these processes",
        span folded |folded| seconds(folded.cpu_ns);
}

fn folded(span: &Span) -> Option<Folded> {
    process(span).map(|process| process.folded).filter(|folded| folded.processes > 0)
}

fn process(span: &Span) -> Option<&ProcessSpan> {
    span.process()
}

/// The pid of the process, or of the process that the span belongs to.
fn pid(span: &Span) -> Option<u32> {
    process(span).map(|process| process.pid).or_else(|| Some(span.owner.as_ref()?.pid))
}

/// The image of that process.
fn owner_image(span: &Span) -> Option<&Image> {
    image(span).or_else(|| span.owner.as_ref()?.image.as_deref())
}

fn network_namespace(span: &Span) -> Option<u32> {
    match &span.subject {
        Subject::Connection(subject) => Some(subject.connection.network_inode),
        _ => Some(own_image(span)?.namespaces.network),
    }
}

fn start(span: &Span) -> Option<SystemTime> {
    Some(span.start)
}

fn image(span: &Span) -> Option<&Image> {
    process(span)?.image.as_deref()
}

/// The image that the process executed itself. Before its first exec, a process has the image of its parent.
fn own_image(span: &Span) -> Option<&Image> {
    process(span).filter(|process| !process.is_fork)?.image.as_deref()
}

/// Its own image, if the kernel reported the ids of the process with it.
fn seen(span: &Span) -> Option<&Image> {
    own_image(span).filter(|image| image.vpid > 0)
}

fn own_vpid(span: &Span) -> Option<u32> {
    differing(seen(span)?.vpid, process(span)?.pid)
}

fn cgroups(image: &Image) -> impl Iterator<Item = &str> {
    [&image.cgroup, &image.cgroup_v1].into_iter().flatten().map(AsRef::as_ref)
}

/// The line of the control group to show. If version 1 is in use, each process is in the root group of version 2, which
/// says nothing.
fn cgroup(span: &Span) -> Option<&str> {
    let image = image(span)?;
    cgroups(image).find(|line| *line != "0::/" || image.cgroup_v1.is_none())
}

/// The image, unless its exec was lost. If it was lost, its ids are not known.
fn reported(span: &Span) -> Option<&Image> {
    image(span).filter(|image| image.vpid > 0 || image.directory.is_some())
}

fn arguments(arguments: &Strings) -> Option<Texts<'_>> {
    (!arguments.bytes.is_empty()).then_some(Texts::Captured(arguments))
}

fn exit(span: &Span) -> Option<ExitStatus> {
    process(span)?.exit
}

fn signal(span: &Span) -> Option<(u8, bool)> {
    match exit(span)? {
        ExitStatus::Signal { number, core_dumped } => Some((number, core_dumped)),
        _ => None,
    }
}

fn usage(span: &Span) -> Option<&Usage> {
    process(span)?.usage.as_deref()
}

/// The value of `process.creation.time`.
#[must_use]
pub fn creation_time(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string()
}
