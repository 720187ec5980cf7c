//! Passes observations of compilers from the thread that reads events to the compilation database.

use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use tracer_model::Event;
use tracer_report::compilations::{Observation, Observer};

/// Observations that may wait. The arguments of a compiler take a few KiB.
const WAITING: usize = 4096;

/// Looks at each event before the model does. It never waits.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    observer: Observer,
    /// `None` after the end.
    sender: Option<SyncSender<Observation>>,
    lost: u64,
}

impl Recorder {
    /// A recorder, and the other end of its channel. The channel ends with [`Recorder::end`].
    pub(super) fn new() -> (Self, Receiver<Observation>) {
        let (sender, receiver) = sync_channel(WAITING);
        let state = State { observer: Observer::default(), sender: Some(sender), lost: 0 };
        (Self(Arc::new(Mutex::new(state))), receiver)
    }

    pub(super) fn record(&self, event: &Event) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(observation) = state.observer.observe(event) else { return };
        let Some(Err(error)) = state.sender.as_ref().map(|sender| sender.try_send(observation)) else { return };
        // If only the end of a process is lost, its entries are added at the end of the run.
        if let TrySendError::Full(Observation::Compiler { .. }) = error {
            state.lost += 1;
        }
    }

    /// No more events come. Returns the number of calls that did not fit.
    pub(super) fn end(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.sender = None;
        state.lost
    }
}
