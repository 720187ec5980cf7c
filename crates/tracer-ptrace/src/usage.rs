//! The usage of a process without its children.
//!
//! wait4(2) counts the children that a process has waited for. So it is right only for a process without children. The
//! usage of other processes is read at their exit stop.

use libc::{rusage, timeval};
use tracer_model::event::Usage;

use crate::{
    kernel::Tid,
    procfs::{Folder, numbers, stat_fields},
};

/// Readings of one process at the exit stops of its threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    /// The last reading of the process as a whole.
    process: Option<Reading>,
    /// Sums of its threads.
    voluntary_switches: u64,
    involuntary_switches: u64,
    io: Io,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    user_ns: u64,
    system_ns: u64,
    peak_resident_bytes: u64,
    minor_faults: u64,
    major_faults: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Io {
    read_chars: u64,
    written_chars: u64,
    read_bytes: u64,
    written_bytes: u64,
}

impl Readings {
    /// Reads a thread at its exit stop.
    pub(crate) fn read(&mut self, tgid: Tid, tid: Tid, has_threads: bool, tick_ns: u64) {
        let mut thread = Folder::of_thread(tgid, tid);
        let status = thread.read("status").unwrap_or_default();
        let number = |name| numbers(&status, name).next().unwrap_or_default();
        self.voluntary_switches += number("voluntary_ctxt_switches");
        self.involuntary_switches += number("nonvoluntary_ctxt_switches");
        // These are the values of the thread. Those of the process count its reaped children too.
        if let Ok(io) = thread.read("io") {
            let number = |name| numbers(&io, name).next().unwrap_or_default();
            self.io.read_chars += number("rchar");
            self.io.written_chars += number("wchar");
            self.io.read_bytes += number("read_bytes");
            self.io.written_bytes += number("write_bytes");
        }
        let Ok(stat) = Folder::of(tgid).read("stat") else { return };
        // Fields 10, 12, 14 and 15 of proc_pid_stat(5).
        let mut fields = stat_fields(&stat).skip(7).map(|field| field.max(0) as u64);
        let mut next = |skipped| fields.nth(skipped).unwrap_or_default();
        let (minor_faults, major_faults, user, system) = (next(0), next(1), next(1), next(0));
        let (mut user_ns, mut system_ns) = (user * tick_ns, system * tick_ns);
        // Ticks are not precise. The running time of a single thread is exact.
        let runtime = if has_threads { None } else { runtime(&mut thread) };
        // It exceeds the sum of user and system time by two ticks at most.
        if let Some(rest) = runtime.and_then(|runtime| runtime.checked_sub(user_ns + system_ns)) {
            user_ns += rest / 2;
            system_ns += rest - rest / 2;
        }
        let peak_resident_bytes = number("VmHWM") * 1024;
        self.process = Some(Reading { user_ns, system_ns, peak_resident_bytes, minor_faults, major_faults });
    }

    /// The usage, if it was read. `total` counts the process and the children that it has waited for. `children` counts
    /// all its children; the peak is the largest of them.
    pub(crate) fn usage(&self, total: &Usage, children: &Usage, has_threads: bool, tick_ns: u64) -> Option<Usage> {
        let process = self.process?;
        // The peak of `total` also counts programs before the last exec. But it can be the peak of a child.
        let is_own_peak = total.peak_resident_bytes > children.peak_resident_bytes;
        let mut usage = Usage {
            user_ns: process.user_ns,
            system_ns: process.system_ns,
            peak_resident_bytes: if is_own_peak { total.peak_resident_bytes } else { process.peak_resident_bytes },
            minor_faults: process.minor_faults,
            major_faults: process.major_faults,
            voluntary_switches: self.voluntary_switches,
            involuntary_switches: self.involuntary_switches,
            read_chars: self.io.read_chars,
            written_chars: self.io.written_chars,
            read_bytes: self.io.read_bytes,
            written_bytes: self.io.written_bytes,
            ..Usage::default()
        };
        // For a process with threads, ticks are not precise, and the switches of threads that ended early are missing.
        // `total` minus `children` is exact if all children were waited for.
        let rest = without(*total, children);
        let is_near = |one: u64, other: u64| one.abs_diff(other) <= 2 * tick_ns;
        if has_threads && is_near(rest.user_ns, usage.user_ns) && is_near(rest.system_ns, usage.system_ns) {
            (usage.user_ns, usage.system_ns) = (rest.user_ns, rest.system_ns);
            usage.voluntary_switches = rest.voluntary_switches.max(usage.voluntary_switches);
            usage.involuntary_switches = rest.involuntary_switches.max(usage.involuntary_switches);
        }
        Some(usage)
    }
}

/// The total without the children.
pub(crate) fn without(total: Usage, children: &Usage) -> Usage {
    Usage {
        user_ns: total.user_ns.saturating_sub(children.user_ns),
        system_ns: total.system_ns.saturating_sub(children.system_ns),
        minor_faults: total.minor_faults.saturating_sub(children.minor_faults),
        major_faults: total.major_faults.saturating_sub(children.major_faults),
        voluntary_switches: total.voluntary_switches.saturating_sub(children.voluntary_switches),
        involuntary_switches: total.involuntary_switches.saturating_sub(children.involuntary_switches),
        read_bytes: total.read_bytes.saturating_sub(children.read_bytes),
        written_bytes: total.written_bytes.saturating_sub(children.written_bytes),
        ..total
    }
}

/// Nanoseconds that a thread has run, if the kernel counts them.
fn runtime(thread: &mut Folder) -> Option<u64> {
    let schedstat = thread.read("schedstat").ok()?;
    str::from_utf8(&schedstat).ok()?.split_whitespace().next()?.parse().ok()
}

/// The counts of getrusage(2) and wait4(2): the process, and the children that it has waited for.
#[must_use]
pub fn total(usage: &rusage) -> Usage {
    /// The unit of `ru_inblock` and `ru_oublock`, bytes.
    const BLOCK: u64 = 512;
    let ns = |time: timeval| (time.tv_sec * 1_000_000_000 + time.tv_usec * 1000) as u64;
    Usage {
        user_ns: ns(usage.ru_utime),
        system_ns: ns(usage.ru_stime),
        peak_resident_bytes: usage.ru_maxrss as u64 * 1024,
        minor_faults: usage.ru_minflt as u64,
        major_faults: usage.ru_majflt as u64,
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
        read_bytes: usage.ru_inblock as u64 * BLOCK,
        written_bytes: usage.ru_oublock as u64 * BLOCK,
        ..Usage::default()
    }
}

/// Nanoseconds in a tick of `/proc/PID/stat`.
pub(crate) fn tick_ns() -> u64 {
    // SAFETY: no memory is involved.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / ticks.max(1) as u64
}
