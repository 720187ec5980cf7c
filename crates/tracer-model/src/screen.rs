//! The user's rules for connections, flows and lookups, as the model sees them.

use std::{fmt, net::SocketAddr, time::SystemTime};

use crate::{
    event::{Direction, Transport},
    expression::Failure,
};

/// Decides which connections, flows and lookups have spans.
pub trait Screen: fmt::Debug + Send {
    /// Whether a connection, a flow or a lookup is left out of the trace.
    ///
    /// `at` is the time of its end.
    fn drops(&mut self, at: SystemTime, traffic: &Traffic<'_>) -> bool;

    /// The expressions that failed.
    fn failures(&self) -> Vec<Failure<'_>>;
}

/// A connection, a flow or a lookup.
#[derive(Clone, Copy, Debug)]
pub struct Traffic<'a> {
    /// The transport.
    pub transport: Transport,
    /// The address and port of the process.
    pub local: SocketAddr,
    /// The other end. It is the name server of a lookup.
    pub peer: SocketAddr,
    /// The name by which the process found the other end, or the name that it looks up.
    pub host: Option<&'a str>,
    /// The end that began it. A process begins its flows and its lookups itself.
    pub direction: Direction,
    /// The name of the program.
    pub process: &'a str,
}
