//! The wait of a new process until the tracer has seized it.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::errno::Errno;
use tracer_model::source::AfterFork;

use crate::kernel::Tid;

/// The tracer's side of the wait.
pub(crate) struct Gate(UnixStream);

impl Gate {
    /// Waits for the new process. `None`: there is no new process.
    pub(crate) fn wait(&mut self) -> Option<Tid> {
        let mut tid = [0; size_of::<Tid>()];
        self.0.read_exact(&mut tid).ok()?;
        Some(Tid::from_ne_bytes(tid))
    }

    /// Lets the new process continue.
    pub(crate) fn open(mut self) {
        // If the new process is dead, no process waits.
        let _ = self.0.write_all(&[0]);
    }
}

/// Makes the tracer's side, and the side of the new process. The new process sends its pid. It waits until the tracer
/// has seized it or is dead.
pub(crate) fn pair() -> io::Result<(Gate, AfterFork)> {
    let (gate, outside) = UnixStream::pair()?;
    let inside = gate.as_raw_fd();
    Ok((Gate(gate), after_fork(outside, inside)))
}

/// `inside` is the descriptor of the tracer's side. The new process has a copy of it.
///
/// It uses send(2) and recv(2), because the kernel would count the bytes of write(2) and read(2) as the command's.
fn after_fork(gate: UnixStream, inside: RawFd) -> AfterFork {
    Box::new(move || {
        // This copy must be closed. Otherwise the death of the tracer does not end the wait. SAFETY: this process does
        // not use it.
        unsafe { libc::close(inside) };
        // A process that runs a file with capabilities is not dumpable, and cannot be seized. So it becomes dumpable here. This
        // is safe, because it gives up these capabilities before it executes the command.
        make_dumpable();
        // SAFETY: no memory is involved.
        let tid = unsafe { libc::getpid() }.to_ne_bytes();
        // SAFETY: the bytes outlive the call.
        unsafe { libc::send(gate.as_raw_fd(), tid.as_ptr().cast(), tid.len(), libc::MSG_NOSIGNAL) };
        loop {
            let mut byte = 0u8;
            // SAFETY: the byte outlives the call.
            let result = unsafe { libc::recv(gate.as_raw_fd(), (&raw mut byte).cast(), 1, 0) };
            if Errno::result(result) != Err(Errno::EINTR) {
                return Ok(());
            }
        }
    })
}

fn make_dumpable() {
    // SAFETY: no memory is involved.
    let is_dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } == 1;
    if !is_dumpable {
        // SAFETY: likewise.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    }
}
