//! Reads the ring buffer and decodes its records into events.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Duration,
};

use tracer_model::{
    Event, Ktime,
    source::{End, EventStream},
};

use crate::read::{decode::Decoder, flows::Flows, ring::Ring};

/// At the end, the ring buffer is read at most this many times, a millisecond apart.
const LAST_LOOKS: u32 = 100;

/// The events that the programs report. The stream becomes readable (poll(2)) when many records have come in. Drain it
/// from time to time even if it is not readable.
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
}

impl EventStream for Stream {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ring.as_fd())
    }

    fn drain(&mut self, now: Ktime, handle: &mut dyn FnMut(Event)) -> io::Result<usize> {
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

    /// Also passes on the last counts of the flows. Waits for a record that is still being written. Writing a record takes a
    /// microsecond, unless the processor does other work in the meantime.
    fn finish(&mut self, now: Ktime, _end: &End, handle: &mut dyn FnMut(Event)) {
        for _ in 0..LAST_LOOKS {
            let _ = self.drain(now, handle);
            if !self.ring.is_held_up() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.flows.finish(handle);
    }

    /// If the reader is stuck at a record, this record and all records behind it count as one.
    fn undecodable(&self) -> u64 {
        self.undecodable + u64::from(self.is_stuck || self.ring.is_held_up())
    }
}
