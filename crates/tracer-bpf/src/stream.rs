//! The ring buffer, drained into events.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use tracer_model::Event;

use crate::decode::Decoder;

/// What the programs report. Readable (poll) when much has come in; otherwise to be drained from time to time.
pub struct Stream {
    ring: RingBuf<MapData>,
    decoder: Decoder,
    undecodable: u64,
}

impl Stream {
    pub(crate) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, decoder: Decoder::default(), undecodable: 0 }
    }

    /// Hands on what has come in, and says how many records that was.
    pub fn drain(&mut self, mut handle: impl FnMut(Event)) -> usize {
        let mut records = 0;
        while let Some(record) = self.ring.next() {
            records += 1;
            match self.decoder.decode(&record) {
                Ok(Some(event)) => handle(event),
                Ok(None) => {}
                Err(_) => self.undecodable += 1,
            }
        }
        records
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
