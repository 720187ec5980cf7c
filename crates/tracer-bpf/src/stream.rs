//! The ring buffer, drained into events.

use std::os::fd::{AsFd, BorrowedFd};

use tracer_model::{Event, Ktime};

use crate::{decode::Decoder, flows::Flows, ring::Ring};

/// What the programs report. Readable (poll) when much has come in; otherwise to be drained from time to time.
pub struct Stream {
    ring: Ring,
    decoder: Decoder,
    flows: Flows,
    undecodable: u64,
}

impl Stream {
    pub(crate) fn new(ring: Ring, flows: Flows) -> Self {
        Self { ring, decoder: Decoder::default(), flows, undecodable: 0 }
    }

    /// Hands on what has come in until `now`, and says how many records that was.
    pub fn drain(&mut self, now: Ktime, mut handle: impl FnMut(Event)) -> usize {
        let read = self.ring.read(|record| {
            let decoded = self.decoder.decode(record, |event| {
                self.flows.note(&event);
                handle(event);
            });
            self.undecodable += u64::from(decoded.is_err());
        });
        self.flows.look(now, handle);
        read.unwrap_or_else(|_| {
            // The certificate must not say that all was read.
            self.undecodable += 1;
            0
        })
    }

    /// Hands on the last of what flows have carried, when all else is drained.
    pub fn finish(&mut self, handle: impl FnMut(Event)) {
        self.flows.finish(handle);
    }

    /// Records so far that were not understood.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
