//! The ring buffer, drained into events.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Duration,
};

use tracer_model::{Event, Ktime};

use crate::{decode::Decoder, flows::Flows, ring::Ring};

/// At the end, a millisecond apart.
const LAST_LOOKS: u32 = 100;

/// What the programs report. Readable (poll) when much has come in; otherwise to be drained from time to time.
pub struct Stream {
    ring: Ring,
    decoder: Decoder,
    flows: Flows,
    undecodable: u64,
    is_stuck: bool,
}

impl Stream {
    pub(crate) fn new(ring: Ring, flows: Flows) -> Self {
        Self { ring, decoder: Decoder::default(), flows, undecodable: 0, is_stuck: false }
    }

    /// Hands on what has come in until `now`, and says how many records that was.
    ///
    /// # Errors
    ///
    /// If the memory cannot be mapped: what has come in is still there, and the stream readable.
    pub fn drain(&mut self, now: Ktime, mut handle: impl FnMut(Event)) -> io::Result<usize> {
        let read = self.ring.read(|record| {
            let decoded = self.decoder.decode(record, |event| {
                self.flows.note(&event);
                handle(event);
            });
            self.undecodable += u64::from(decoded.is_err());
        });
        self.flows.look(now, handle);
        self.is_stuck = read.is_err();
        read
    }

    /// Hands on what has come in since, and the last of what flows have carried. A record that is still being written, which
    /// takes a microsecond unless its processor does something else meanwhile, is waited for.
    pub fn finish(&mut self, now: Ktime, mut handle: impl FnMut(Event)) {
        for _ in 0..LAST_LOOKS {
            let _ = self.drain(now, &mut handle);
            if !self.ring.is_held_up() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.flows.finish(handle);
    }

    /// Records so far that were not understood; one more, if there are some that could not be read.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable + u64::from(self.is_stuck || self.ring.is_held_up())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
