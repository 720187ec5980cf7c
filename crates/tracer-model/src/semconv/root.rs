//! The attributes of the root span: the certificate of the trace.

use super::{
    failure::exit_type,
    row::{positive, rows, seconds},
    value::Texts,
};
use crate::{
    calls::{CALL_COUNTS, CallCount},
    event::Usage,
    losses::{LOSSES, Loss},
    span::{Certificate, FailureOrigin, Shortage, Span},
};

// Key, place, type, unit, source, example, meaning, value.
rows! {
    ROOT:

    COMPLETE = "process_tracer.complete", "root", "boolean", "", "the model", "true",
        "`true`: process-tracer knows of nothing that is missing from this trace",
        span certificate |it| it.is_complete;
    CUT_OFF = "process_tracer.cut_off", "root", "boolean", "", "process-tracer", "true",
        "`true`: process-tracer ended before it sent the root span, for example because it was killed; a later run or `send` sent this span; its end is the time when process-tracer last sent spans; it has no numbers of spans, such as `process_tracer.processes`",
        span certificate |it| it.is_cut_off.then_some(true);
    PROCESSES = "process_tracer.processes", "root", "int", "", "the model", "825",
        "number of process spans in the trace",
        span counted |it| it.processes;
    CONNECTIONS = "process_tracer.connections", "root", "int", "", "the model", "12",
        "number of connection spans in the trace, if connections were observed",
        span counted |it| it.has_observed("connections").then_some(it.connections);
    FLOWS = "process_tracer.flows", "root", "int", "", "the model", "3",
        "number of UDP flow spans in the trace, if flows were observed",
        span counted |it| it.has_observed("flows").then_some(it.flows);
    LOOKUPS = "process_tracer.lookups", "root", "int", "", "the model", "4",
        "number of name lookup spans in the trace, if lookups were observed",
        span counted |it| it.has_observed("lookups").then_some(it.lookups);
    CPUS = "process_tracer.cpus", "root", "int", "", "sched_getaffinity(2), cgroup cpu.max", "2",
        "number of processors that the command could use at once when it began",
        span certificate |it| it.cpus;
    VERSION = "process_tracer.version", "root", "string", "", "process-tracer", "0.2.0",
        "version of process-tracer",
        span certificate |it| it.version.as_str();
    TRACE_ID_SOURCE = "process_tracer.trace_id.source", "root", "string", "", "process-tracer", "TRACEPARENT",
        "origin of the trace id: `random`, `ci`, `--trace-id`, a variable such as `TRACEPARENT`, an expression, or `SHA-256 of` an expression",
        span certificate |it| Some(it.trace_id_source.as_str()).filter(|source| !source.is_empty());
    SOURCE = "process_tracer.source", "root", "string", "", "process-tracer", "ebpf",
        "source of the events: `ebpf`, `ptrace`, or `none` for the command alone",
        span certificate |it| it.source.as_ref().map(|source| source.name);
    UNOBSERVED_KINDS = "process_tracer.unobserved.kinds", "root", "string[]", "", "process-tracer", "[\"connections\", \"flows\"]",
        "kinds of events that this source cannot see, or that `--capture` leaves out",
        span certificate |it| unobserved_kinds(it).map(Texts::Words);
    TREE_CPU_USER = "process_tracer.tree.cpu.user_time", "root", "double", "s", "wait4(2)", "61.5",
        "CPU time in user mode of the command and all descendants that were waited for",
        span tree |tree| seconds(tree.user_ns);
    TREE_CPU_SYSTEM = "process_tracer.tree.cpu.system_time", "root", "double", "s", "wait4(2)", "8.25",
        "CPU time in kernel mode of the command and all descendants that were waited for",
        span tree |tree| seconds(tree.system_ns);
    TREE_MEMORY_PEAK = "process_tracer.tree.memory.peak", "root", "int", "By", "wait4(2)", "298844160",
        "largest resident set of any one process among the command and its descendants",
        span tree |tree| tree.peak_resident_bytes;
    TREE_FAULTS_MINOR = "process_tracer.tree.page_faults.minor", "root", "int", "", "wait4(2)", "2400000",
        "number of page faults without I/O of the command and its descendants",
        span tree |tree| tree.minor_faults;
    TREE_FAULTS_MAJOR = "process_tracer.tree.page_faults.major", "root", "int", "", "wait4(2)", "12",
        "number of page faults with I/O of the command and its descendants",
        span tree |tree| tree.major_faults;
    TREE_SWITCHES_VOLUNTARY = "process_tracer.tree.context_switches.voluntary", "root", "int", "", "wait4(2)", "9000",
        "number of times that the command and its descendants gave up a processor",
        span tree |tree| tree.voluntary_switches;
    TREE_SWITCHES_INVOLUNTARY = "process_tracer.tree.context_switches.involuntary", "root", "int", "", "wait4(2)", "4000",
        "number of times that the scheduler took a processor away from the command and its descendants",
        span tree |tree| tree.involuntary_switches;
    TREE_READ_BYTES = "process_tracer.tree.io.read_bytes", "root", "int", "By", "wait4(2)", "4096000",
        "bytes that the command and its descendants read from storage",
        span tree |tree| tree.read_bytes;
    TREE_WRITTEN_BYTES = "process_tracer.tree.io.written_bytes", "root", "int", "By", "wait4(2)", "81920000",
        "bytes that the command and its descendants wrote to storage",
        span tree |tree| tree.written_bytes;
    CPU_LIMIT = "process_tracer.cgroup.cpu.limit", "root", "double", "", "cgroup cpu.max, cpu.cfs_quota_us", "2.0",
        "number of processors that the control group may use on average: the tightest limit of the group and its parents",
        span shortage |it| it.cpu_limit.map(|limit| limit as f64 / 1000.0);
    CPU_PERIODS = "process_tracer.cgroup.cpu.periods", "root", "int", "", "cgroup cpu.stat", "1200",
        "number of periods of the CPU limit in which the control group ran, during the trace",
        span shortage |it| it.periods;
    CPU_PERIOD = "process_tracer.cgroup.cpu.period", "root", "double", "s", "cgroup cpu.max, cpu.cfs_period_us", "0.1",
        "length of a period of the CPU limit",
        span shortage |it| it.period_ns.map(seconds);
    CPU_THROTTLED_PERIODS = "process_tracer.cgroup.cpu.throttled_periods", "root", "int", "", "cgroup cpu.stat", "380",
        "number of periods in which the control group had used up its CPU limit",
        span shortage |it| it.throttled_periods;
    CPU_THROTTLED = "process_tracer.cgroup.cpu.throttled_time", "root", "double", "s", "cgroup cpu.stat", "38.0",
        "time that the control group had to wait because of its CPU limit, summed over all processors",
        span shortage |it| it.throttled_ns.map(seconds);
    MEMORY_LIMIT = "process_tracer.cgroup.memory.limit", "root", "int", "By", "cgroup memory.max, memory.limit_in_bytes", "2147483648",
        "memory that the control group may use: the tightest limit of the group and its parents",
        span shortage |it| it.memory_limit;
    CGROUP_MEMORY_PEAK = "process_tracer.cgroup.memory.peak", "root", "int", "By", "cgroup memory.peak, memory.max_usage_in_bytes", "2000000000",
        "peak memory of the control group with the tightest memory limit, also before the trace; if no group has a limit, peak memory of the command's group",
        span shortage |it| it.memory_peak;
    OOM_KILLS = "process_tracer.cgroup.memory.oom_kills", "root", "int", "", "cgroup memory.events, memory.oom_control", "1",
        "number of processes that the out-of-memory killer killed in the control group during the trace",
        span shortage |it| it.oom_kills;
    STEAL = "process_tracer.host.cpu.steal_time", "root", "double", "s", "/proc/stat", "12.5",
        "time during the trace in which the hypervisor gave processors of this machine to others, summed over all processors",
        span shortage |it| it.steal_ns.map(seconds);
    PRESSURE_CPU = "process_tracer.host.pressure.cpu", "root", "double", "s", "/proc/pressure/cpu", "30.0",
        "time during the trace in which some task of the machine waited for a processor",
        span shortage |it| it.cpu_pressure_ns.map(seconds);
    PRESSURE_MEMORY = "process_tracer.host.pressure.memory", "root", "double", "s", "/proc/pressure/memory", "2.5",
        "time during the trace in which some task of the machine waited for memory",
        span shortage |it| it.memory_pressure_ns.map(seconds);
    PRESSURE_IO = "process_tracer.host.pressure.io", "root", "double", "s", "/proc/pressure/io", "4.0",
        "time during the trace in which some task of the machine waited for I/O",
        span shortage |it| it.io_pressure_ns.map(seconds);
    FAILED_EXPRESSIONS = "process_tracer.failed_expressions", "root", "int", "", "the model", "3",
        "number of times that an expression of an attribute or a rule failed",
        span certificate |it| positive(it.failed_expressions);
    FAILURE_SPAN_ID = "process_tracer.failure.span_id", "root", "string", "", "the model", "b7ad6b7169203331",
        "if the root failed: the span of the process where the failure began",
        span failure |origin| origin.span_id.to_string();
    FAILURE_NAME = "process_tracer.failure.name", "root", "string", "", "the model", "cc1",
        "the name of that span",
        span failure |origin| origin.name.as_str();
    FAILURE_PID = "process_tracer.failure.pid", "root", "int", "", "the model", "4245",
        "the process id of that process",
        span failure |origin| origin.pid;
    FAILURE_TYPE = "process_tracer.failure.type", "root", "string", "", "the model", "1",
        "how that process failed: its exit code, or the signal that killed it",
        span failure |origin| exit_type(origin.status);
    FAILURE_COMMAND_ARGS = "process_tracer.failure.command_args", "root", "string[]", "", "the model", "[\"cc1\", \"a.c\"]",
        "the first 4 KiB of the arguments of that process",
        span failure |origin| (!origin.arguments.bytes.is_empty()).then_some(Texts::Captured(&origin.arguments));
    UNOBSERVED = "process_tracer.unobserved", "root", "string", "", "loading", "descendants not observed: missing CAP_BPF",
        "what process-tracer did not observe (all descendants of the command, or events that an option asked for), and the reason",
        span certificate |it| it.losses.unobserved.as_deref();
}

fn certificate(span: &Span) -> Option<&Certificate> {
    span.process()?.certificate.as_ref()
}

fn failure(span: &Span) -> Option<&FailureOrigin> {
    certificate(span)?.failure.as_deref()
}

/// The certificate, if it has counts.
fn counted(span: &Span) -> Option<&Certificate> {
    certificate(span).filter(|certificate| !certificate.is_cut_off)
}

fn unobserved_kinds(certificate: &Certificate) -> Option<&[&'static str]> {
    let kinds = &certificate.source.as_ref()?.unobserved_kinds;
    (!kinds.is_empty()).then_some(kinds)
}

fn tree(span: &Span) -> Option<&Usage> {
    certificate(span)?.tree.as_deref()
}

fn shortage(span: &Span) -> Option<&Shortage> {
    certificate(span).map(|certificate| &*certificate.shortage)
}

/// The losses by kind: the row and the number of each kind that is not zero.
pub(super) fn losses(span: &Span) -> impl Iterator<Item = (&'static Loss, u64)> {
    let losses = certificate(span).map(|certificate| &certificate.losses);
    let counts = losses.into_iter().flat_map(|losses| LOSSES.iter().map(|loss| (loss, (loss.count)(losses))));
    counts.filter(|(_, count)| *count > 0)
}

/// The numbers of calls: the row and the number of each kind that has calls.
pub(super) fn calls(span: &Span) -> impl Iterator<Item = (&'static CallCount, u64)> {
    let calls = certificate(span).map(|certificate| &certificate.calls);
    let counts = calls.into_iter().flat_map(|calls| CALL_COUNTS.iter().map(|row| (row, (row.count)(calls))));
    counts.filter(|(_, count)| *count > 0)
}

/// Whether this attribute of the root span counts something that is missing.
#[must_use]
pub fn is_loss(key: &str) -> bool {
    key.starts_with("process_tracer.lost.")
}
