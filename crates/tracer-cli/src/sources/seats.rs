//! Limits how many runs of ordinary users can observe system calls at the same time. The eBPF program for this slows down
//! every system call of every user.
//!
//! A seat is the name of an abstract unix socket. Only one socket can have it. The kernel frees the name when the process ends,
//! however it ends. Root needs no seat.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// The first program adds about 0.15 microseconds to every system call. Each further program adds about 0.06 (measured
/// on Linux 6.18).
const SEATS: u32 = 4;

/// A taken seat. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Seat {
    _socket: UnixDatagram,
}

impl Seat {
    /// Takes a free seat. `None` if there is none.
    ///
    /// # Errors
    ///
    /// The machine cannot make a unix socket.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        for number in 0..SEATS {
            let name = SocketAddr::from_abstract_name(format!("process-tracer/system-calls/{number}"))?;
            match UnixDatagram::bind_addr(&name) {
                Ok(socket) => return Ok(Some(Self { _socket: socket })),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
