//! Access to the live page. The address of the page contains a random token, and each request must show it. A request for
//! another host name is refused, because another site could let its name resolve to this machine.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::task::{self, AbortHandle};

/// The most connections that have not shown the token.
const STRANGERS: usize = 32;

/// The most connections that have shown the token.
const GUESTS: usize = 32;

/// The open connections. If there are too many, the oldest is closed. So idle connections do not block new ones, and
/// they cannot use up the file descriptors of process-tracer.
#[derive(Debug, Default)]
struct Room {
    strangers: VecDeque<AbortHandle>,
    guests: VecDeque<AbortHandle>,
}

impl Room {
    fn enter(&mut self, connection: AbortHandle) {
        seat(&mut self.strangers, connection, STRANGERS);
    }

    /// Moves a connection that has shown the token, so that connections without the token cannot displace it.
    fn welcome(&mut self, connection: task::Id) {
        if let Some(at) = self.strangers.iter().position(|stranger| stranger.id() == connection)
            && let Some(guest) = self.strangers.remove(at)
        {
            seat(&mut self.guests, guest, GUESTS);
        }
    }
}

fn seat(seats: &mut VecDeque<AbortHandle>, connection: AbortHandle, limit: usize) {
    seats.retain(|seated| !seated.is_finished());
    if seats.len() == limit
        && let Some(oldest) = seats.pop_front()
    {
        oldest.abort();
    }
    seats.push_back(connection);
}

/// The conditions that a request must meet.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) token: String,
    pub(super) address: SocketAddr,
}

/// Decides about requests, and knows the open connections.
#[derive(Clone, Debug)]
pub(super) struct Door {
    lock: Lock,
    room: Arc<Mutex<Room>>,
}

impl Door {
    pub(super) fn new(lock: Lock) -> Self {
        Self { lock, room: Arc::default() }
    }

    /// Adds a connection that has not shown the token yet.
    pub(super) fn enter(&self, connection: AbortHandle) {
        self.room().enter(connection);
    }

    /// Closes the connections that have not shown the token.
    pub(super) fn close(&self) {
        self.room().strangers.drain(..).for_each(|stranger| stranger.abort());
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lock {
    /// The address of the page.
    pub(super) fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            // The server listens on all addresses. Only the user knows which of them other machines can reach. So
            // this is the address for this machine.
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        format!("http://{address}/?token={}", self.token)
    }

    /// Whether a request names this server: by an address, which no name service can redirect, or as `localhost`.
    fn admits_host(&self, host: &str) -> bool {
        // Clients omit port 80.
        let is_port = |port: &str| port.parse() == Ok(self.address.port());
        let (name, has_port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, is_port(port)),
            _ => (host, self.address.port() == 80),
        };
        let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_ours = |address: IpAddr| self.address.ip().is_unspecified() || address == self.address.ip();
        has_port && (name.eq_ignore_ascii_case("localhost") || address.is_some_and(is_ours))
    }
}

/// Admits requests with the token and with our own host name.
pub(super) async fn admit(
    State(door): State<Door>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_ours = door.lock.admits_host(host);
    let has_token = query.iter().any(|(name, value)| name == "token" && *value == door.lock.token);
    if !is_ours || !has_token {
        return (
            StatusCode::FORBIDDEN,
            "wrong address: open the address that process-tracer printed, with its token\n",
        )
            .into_response();
    }
    if let Some(connection) = task::try_id() {
        door.room().welcome(connection);
    }
    let mut response = next.run(request).await;
    for (name, value) in
        [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff")]
    {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_host_names_are_admitted() {
        let admits = |address: &str, host: &str| {
            Lock { token: String::new(), address: address.parse().unwrap() }.admits_host(host)
        };
        for (address, host) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "LOCALHOST:8080"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("0.0.0.0:8080", "192.0.2.7:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::]:80", "[2001:db8::1]"),
        ] {
            assert!(admits(address, host), "{address} {host}");
        }
        for (address, host) in [
            ("127.0.0.1:8080", "evil.example:8080"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("127.0.0.1:8080", "127.0.0.2:8080"),
            ("0.0.0.0:8080", "evil.example:8080"),
            ("127.0.0.1:8080", ""),
        ] {
            assert!(!admits(address, host), "{address} {host}");
        }
    }
}
