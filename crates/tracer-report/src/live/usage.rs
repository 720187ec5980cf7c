//! How much running processes use, as /proc says.

use std::fs;

use opentelemetry::{KeyValue, Value as OtelValue};
use opentelemetry_sdk::trace::SpanData;
use tracer_model::semconv;

/// Adds what the kernel says of a running process: proc_pid_stat(5).
pub(super) fn with_current_usage(span: &mut SpanData) {
    let pid = span.attributes.iter().find_map(|attribute| match (attribute.key.as_str(), &attribute.value) {
        (semconv::PROCESS_PID, OtelValue::I64(pid)) => Some(*pid),
        _ => None,
    });
    let Some(stat) = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()) else { return };
    // Its name may hold anything; after it come fields from the third on.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    span.attributes.push(KeyValue::new(semconv::CPU_USER, field(14) as f64 / ticks));
    span.attributes.push(KeyValue::new(semconv::CPU_SYSTEM, field(15) as f64 / ticks));
    span.attributes.push(KeyValue::new(semconv::MEMORY_RESIDENT, i64::try_from(field(24)).unwrap_or_default() * page));
}

/// Whether pids are the same to us as to the programs: its inode number is the kernel's, PROC_PID_INIT_INO.
pub(super) fn is_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}
