//! Calls of connect for unix sockets.

use super::{CallSpan, Peer};

/// One call of connect for a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixConnectSpan {
    /// The path that the process passed, or `@` and the abstract name.
    pub path: String,
    /// The errno, if connect failed.
    pub error: Option<i32>,
}

impl CallSpan for UnixConnectSpan {
    fn name(&self) -> String {
        if is_temporary(&self.path) { "connect unix".to_owned() } else { format!("connect {}", self.path) }
    }

    fn errno(&self) -> Option<i32> {
        self.error
    }

    fn peer(&self) -> Option<Peer<'_>> {
        Some(Peer { transport: "unix", address: &self.path })
    }

    fn text_bytes(&self) -> usize {
        // The path is in the name and in the address.
        2 * self.path.len()
    }
}

/// The path is different in each run, so it cannot be in the name of a span.
fn is_temporary(path: &str) -> bool {
    let path = path.strip_prefix('@').unwrap_or(path);
    ["/tmp/", "/var/tmp/", "/dev/shm/"].iter().any(|folder| path.starts_with(folder))
}
