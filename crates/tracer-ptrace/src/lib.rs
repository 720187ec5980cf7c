//! Observes a command and its descendants with ptrace(2), without any privilege.
//!
//! One thread is the tracer. It takes notes of forks, execs and exits while a process is stopped. Then it lets the
//! process continue. The [stream](PtraceStream) turns the notes into events in the thread that reads them.
//!
//! Some programs do not work under a tracer. The tracer *leaves* such a program: it detaches at the exec, and the program
//! continues without a tracer.
//!
//! If the tracer ends, for example by SIGKILL, the processes are not killed. The kernel lets them continue.
//!
//! No other thread may wait for any child, because it would take stops away from the tracer.

pub mod accounts;
mod arch;
pub mod aside;
mod cgroup;
pub mod clock;
pub mod exe;
mod gate;
mod image;
mod interrupted;
mod kernel;
mod launch;
mod lock;
mod notes;
pub mod probe;
mod procfs;
pub mod reexec;
mod shared;
mod stream;
mod tracer;
mod tree;
pub mod usage;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracer_model::{
    Losses,
    calls::Call,
    source::{Child, Description, Source, Spawn},
};

pub use self::stream::PtraceStream;
use self::{notes::Lost, shared::Shared};

/// The source.
pub struct Ptrace {
    shared: Arc<Shared>,
    needs_environment: bool,
}

/// Makes the source and its stream. `needs_environment`: the events need the whole environment of each program.
/// `buffer_bytes`: memory for events that have not been read yet. Events beyond this limit are lost and counted.
///
/// # Errors
///
/// The kernel has no free descriptors.
pub fn observe(needs_environment: bool, buffer_bytes: usize) -> io::Result<(Ptrace, PtraceStream)> {
    let shared = Arc::new(Shared::new(buffer_bytes)?);
    Ok((Ptrace { shared: Arc::clone(&shared), needs_environment }, PtraceStream { shared, departed: Vec::new() }))
}

/// The kinds of things that ptrace(2) cannot show. These are network activity, connects to unix sockets, failed execs, the
/// bytes that processes without children read and write, children made with CLONE_UNTRACED, and kills by the
/// out-of-memory killer.
const UNOBSERVED: [&[&str]; 3] = [
    &["connections", "flows", "lookups"],
    Call::KINDS,
    &["failed_execs", "io_of_leaves", "untraced_clones", "oom_kills"],
];

impl Source for Ptrace {
    fn launch(&self, spawn: Spawn) -> io::Result<Box<dyn Child>> {
        launch::launch(&self.shared, self.needs_environment, spawn)
    }

    fn description(&self) -> Description {
        let mut unobserved_kinds = UNOBSERVED.concat();
        if self.shared.counts.refused.load(Ordering::Relaxed) > 0 {
            unobserved_kinds.push("withheld_attributes");
        }
        Description { name: "ptrace", unobserved_kinds }
    }

    fn live_processes(&self) -> u64 {
        self.shared.live()
    }

    fn paired_signals(&self, signal: i32, sender: u32) -> u32 {
        self.shared.paired_signals(signal, sender)
    }

    /// Programs that run without the privileges of their file because of the tracer, each with the reason.
    fn warnings(&self) -> Vec<String> {
        self.shared.lost_privileges()
    }

    fn wake_for_any(&self, any: bool) {
        self.shared.notes.wake_for_any(any);
    }

    fn lost_events(&self) -> u64 {
        let Lost { forks, execs, exits } = &self.shared.notes.lost;
        [forks, execs, exits].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn losses(&self) -> Losses {
        let (counts, lost) = (&self.shared.counts, &self.shared.notes.lost);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Losses {
            forks: count(&lost.forks),
            execs: count(&lost.execs),
            exits: count(&lost.exits),
            privileged_programs: count(&counts.privileged_programs),
            unreadable_programs: count(&counts.unreadable_programs),
            tracing_programs: count(&counts.tracing_programs),
            traced_targets: count(&counts.traced_targets),
            lost_privileges: count(&counts.lost_privileges),
            programs: self.shared.left_programs(),
            unobserved: self.shared.is_abandoned().then(|| {
                "processes not observed after a panic of the tracer: this is a bug, please report it".to_owned()
            }),
            ..Losses::default()
        }
    }
}
