//! Compares two traces of the same processes, span by span: one of ptrace, one of eBPF.

use crate::trace::{Span, Trace};

/// The relation between the pids of the two traces.
#[derive(Clone, Copy)]
pub enum Pids {
    /// Both have the same pids.
    Same,
    /// ptrace was in a container, and eBPF outside of it. So both have different ids of processes, namespaces and control groups,
    /// and different names of users.
    OfContainer,
}

impl Pids {
    /// The attribute of eBPF's spans with the same value as `process.pid` of ptrace's spans.
    fn key(self) -> &'static str {
        match self {
            Self::Same => "process.pid",
            Self::OfContainer => "process.vpid",
        }
    }

    fn is_exact(self, key: &str) -> bool {
        let counts =
            ["process_tracer.cpu.", "process_tracer.context_switches.", "process_tracer.io.", "process_tracer.memory."];
        let outside = [
            "process.pid",
            "process.parent_pid",
            "process.vpid",
            "process.group_leader.pid",
            "process.session_leader.pid",
            "process.linux.cgroup",
            "container.id",
            "process_tracer.namespace.",
            "process.user.name",
            "process.real_user.name",
            "process_tracer.group.name",
            "process_tracer.real_group.name",
        ];
        let is_of_container = matches!(self, Self::OfContainer) && outside.iter().any(|prefix| key.starts_with(prefix));
        !(is_of_the_root(key)
            || is_of_container
            || counts.iter().any(|prefix| key.starts_with(prefix))
            || key == "process.creation.time")
    }
}

/// Whether only root spans have this attribute. The root of ptrace's trace is not the root of eBPF's.
fn is_of_the_root(key: &str) -> bool {
    let names = [
        "tree.",
        "processes",
        "connections",
        "flows",
        "lookups",
        "cpus",
        "version",
        "complete",
        "source",
        "trace_id",
        "unobserved",
        "failure",
        "cgroup.",
        "host.",
    ];
    key.strip_prefix("process_tracer.").is_some_and(|key| names.iter().any(|name| key.starts_with(name)))
}

/// Attributes that two observers of the same process know exactly.
fn exact(span: &Span, pids: Pids) -> Vec<(&str, &str)> {
    let mut attributes: Vec<_> = span.attributes.iter().filter(|(key, _)| pids.is_exact(key)).collect();
    attributes.sort();
    attributes.into_iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Compares all processes of ptrace's trace with those of eBPF's trace. eBPF's trace can have more processes around
/// them. Returns the number of processes.
pub fn assert_same_processes(by_ptrace: &Trace, by_ebpf: &Trace, pids: Pids) -> usize {
    by_ptrace.assert_complete();
    by_ebpf.assert_complete();
    let root = by_ptrace.root();
    let counterpart = |span: &Span| {
        let pid = span.attribute("process.pid");
        let same = |other: &&Span| other.attributes.get(pids.key()).is_some_and(|other| other == pid);
        let found: Vec<_> = by_ebpf.processes().filter(same).collect();
        assert_eq!(found.len(), 1, "process {pid}: {span:#?}");
        found[0]
    };
    let parent = |trace: &Trace, span: &Span| trace.spans.iter().find(|other| other.span_id == span.parent_id).cloned();
    for span in by_ptrace.processes() {
        let other = counterpart(span);
        assert_eq!(span.name, other.name, "{span:#?} {other:#?}");
        assert_eq!((span.status, &span.status_message), (other.status, &other.status_message), "{span:#?} {other:#?}");
        assert_eq!(exact(span, pids), exact(other, pids), "{}", span.name);
        if span.span_id != root.span_id {
            let parents = [parent(by_ptrace, span), parent(by_ebpf, other)].map(Option::unwrap);
            assert_eq!(counterpart(&parents[0]).span_id, parents[1].span_id, "parent of {span:#?}");
        }
        assert_near(span, other);
        let execs = |span: &Span| {
            let execs = span.events.iter().filter(|event| event.name == "exec");
            execs.map(|event| event.attributes.get("process.command_args").cloned()).collect::<Vec<_>>()
        };
        assert_eq!(execs(span), execs(other));
    }
    let mut left = vec![counterpart(root)];
    let mut count = 0;
    while let Some(span) = left.pop() {
        count += 1;
        left.extend(by_ebpf.children_of(span).filter(|child| child.is_process()));
    }
    assert_eq!(count, by_ptrace.processes().count(), "processes");
    count
}

fn assert_near(span: &Span, other: &Span) {
    let number = |span: &Span, key: &str| span.attributes.get(key).map_or(0.0, |value| value.parse::<f64>().unwrap());
    let is_near = |key: &str, tolerance: f64| {
        let (one, other_value) = (number(span, key), number(other, key));
        assert!((one - other_value).abs() <= tolerance, "{key}: {one} is not {other_value}: {span:#?}");
    };
    // Two ticks of the clock.
    is_near("process_tracer.cpu.user_time", 0.02);
    is_near("process_tracer.cpu.system_time", 0.02);
    // The kernel's count for getrusage(2) is less precise than that of /proc.
    is_near("process_tracer.memory.peak", 512.0 * 1024.0);
    is_near("process_tracer.context_switches.voluntary", 3.0);
}
