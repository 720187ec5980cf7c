//! Calls of connect for unix sockets.

use super::{CallSpan, Peer};
use crate::event::TEMPORARY_FOLDERS;

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
        if can_differ(&self.path) { "connect unix".to_owned() } else { format!("connect {}", self.path) }
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

/// Whether the path can be different in each run. If so, it is not in the name of the span. Programs often choose an abstract
/// name at random, or the kernel chooses it: unix(7).
fn can_differ(path: &str) -> bool {
    path.starts_with('@') || TEMPORARY_FOLDERS.iter().any(|folder| path.starts_with(folder))
}
