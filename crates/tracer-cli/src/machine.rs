//! The names that this machine has for users, groups and addresses.

use std::fs;

use tracer_model::{Accounts, Hosts};

/// The names of users and groups, from the files of this machine only. getpwuid(3) could ask over the network and take
/// long.
pub(crate) fn accounts() -> Accounts {
    let read = |path| fs::read(path).unwrap_or_default();
    Accounts::new(&read("/etc/passwd"), &read("/etc/group"))
}

/// The names of addresses, from the hosts file of this machine only.
pub(crate) fn hosts() -> Hosts {
    Hosts::new(String::from_utf8_lossy(&fs::read("/etc/hosts").unwrap_or_default()).into_owned())
}
