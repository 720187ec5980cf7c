//! The names that this machine has for users, groups and addresses.

use std::{collections::BTreeMap, fs, sync::Arc};

use tracer_model::{Accounts, Hosts};

/// The names of users and groups, from the files of this machine only. getpwuid(3) could ask over the network and take
/// long.
pub(crate) fn accounts() -> Accounts {
    // The lines of both passwd(5) and group(5) begin with NAME:PASSWORD:ID.
    let read = |path| -> BTreeMap<u32, Arc<str>> {
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut names = BTreeMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
                // The first one counts.
                names.entry(id).or_insert_with(|| name.into());
            }
        }
        names
    };
    Accounts { users: read("/etc/passwd"), groups: read("/etc/group") }
}

/// The names of addresses, from the hosts file of this machine only.
pub(crate) fn hosts() -> Hosts {
    Hosts::new(String::from_utf8_lossy(&fs::read("/etc/hosts").unwrap_or_default()).into_owned())
}
