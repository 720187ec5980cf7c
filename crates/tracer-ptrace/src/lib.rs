//! Observes a command and its descendants with ptrace(2), without any privilege.
//!
//! One thread is the tracer. It takes notes of forks, execs and exits while a process stands still, and lets it go on. The
//! [stream](PtraceStream) turns the notes into events in the thread that reads them.
//!
//! Nobody kills the processes when the tracer ends, for example by SIGKILL: the kernel lets them run on.
//!
//! No other thread may wait for any child: it would take stops away from the tracer.

pub mod aside;
mod image;
mod interrupted;
mod kernel;
mod launch;
mod procfs;
pub mod reexec;
mod shared;
mod stream;
mod tracer;
mod tree;
mod usage;

use std::{io, sync::Arc};

use tracer_model::{
    Losses,
    source::{Child, Source, Spawn},
};

use self::shared::Shared;
pub use self::{launch::check, stream::PtraceStream};

/// The source.
pub struct Ptrace {
    shared: Arc<Shared>,
    needs_environment: bool,
}

/// Makes the source and its stream. `needs_environment`: the events need the whole environment of each program.
///
/// # Errors
///
/// The kernel has no descriptors for us.
pub fn observe(needs_environment: bool) -> io::Result<(Ptrace, PtraceStream)> {
    let shared = Arc::new(Shared::new()?);
    Ok((Ptrace { shared: Arc::clone(&shared), needs_environment }, PtraceStream { shared }))
}

impl Source for Ptrace {
    fn launch(&self, spawn: Spawn) -> io::Result<Box<dyn Child>> {
        launch::launch(&self.shared, self.needs_environment, spawn)
    }

    fn live_processes(&self) -> u64 {
        self.shared.live()
    }

    fn wake_for_any(&self, any: bool) {
        self.shared.wake_for_any(any);
    }

    fn losses(&self) -> Losses {
        Losses::default()
    }
}
