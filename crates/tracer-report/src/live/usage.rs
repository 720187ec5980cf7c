//! The current usage of running processes, from /proc.

use std::fs;

use tracer_model::{Value, semconv};

use crate::span::Span;

/// Adds the current usage of a running process: proc_pid_stat(5).
pub(super) fn add_current_usage(span: &mut Span<'_>) {
    let Some(process) = span.process_mut() else { return };
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", process.pid)) else { return };
    // The name may contain anything. The fields after it are numbered from 3.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    let [user, system] = [field(14), field(15)].map(|time| time as f64 / ticks);
    process.cpu = ((user + system) * 1e9) as u64;
    span.add_attribute(semconv::CPU_USER, Value::Float(user));
    span.add_attribute(semconv::CPU_SYSTEM, Value::Float(system));
    let resident = i64::try_from(field(24)).unwrap_or_default().saturating_mul(page);
    span.add_attribute(semconv::MEMORY_RESIDENT, Value::Int(resident));
}

/// Whether we are in the initial pid namespace, so that our pids are those that the eBPF programs report. Its inode number is
/// the kernel's PROC_PID_INIT_INO.
pub(super) fn is_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}
