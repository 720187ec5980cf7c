//! The attributes that any span can have, and the attributes that only events have.

use super::{
    event::{failed_exec, gap},
    failure::{errno_name, error},
    row::rows,
};
use crate::span::Span;

// Key, place, type, unit, source, example, meaning, value.
rows! {
    ANY:

    FAILED_EXEC_FILE = "process_tracer.exec.file", "exec_failed event", "string", "", "pt_regs", "/usr/local/bin/cc",
        "file name that the process passed to exec",
        event failed_exec |exec| exec.file.as_str();
    ERROR_TYPE = "error.type", "any, exec_failed event", "string", "", "exit code, sock.sk_err, DNS, pt_regs", "connection_refused",
        "exit code, signal, name of the error of exec, or `connection_refused`, `timed_out`, `connection_reset`, …",
        span error |error| error.kind,
        event failed_exec |exec| errno_name(exec.errno);
    FAILED_EXEC_ATTEMPTS = "process_tracer.exec.attempts", "exec_failed event", "int", "", "the model", "5",
        "number of files of that name that exec tried along PATH, if it is more than one",
        event failed_exec |exec| (exec.attempts > 1).then_some(exec.attempts);
    LOST_RECORDS = "process_tracer.lost.records", "event `lost` of the root", "int", "", "ring buffer", "34",
        "number of records lost since the previous `lost` event",
        event gap |gap| gap.records;
    UNFINISHED = "process_tracer.unfinished", "any", "boolean", "", "no sched_process_exit", "true",
        "`true`: it was still alive when the trace ended",
        span any |span| span.is_unfinished.then_some(true);
    REPAIRED = "process_tracer.repaired", "any", "boolean", "", "the model", "true",
        "`true`: some of its events were lost",
        span any |span| span.is_repaired.then_some(true);
}

#[allow(clippy::unnecessary_wraps)]
fn any(span: &Span) -> Option<&Span> {
    Some(span)
}
