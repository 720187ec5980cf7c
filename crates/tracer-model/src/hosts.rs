//! The hosts file: which of the names that it gives to an address a command line names.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use crate::event::Strings;

/// A hosts file. It is read when it is first asked: some have a hundred thousand lines.
#[derive(Debug, Default)]
pub struct Hosts {
    text: String,
    /// In lower case.
    names: OnceCell<HashMap<IpAddr, HashSet<String>>>,
}

impl Hosts {
    /// Of the file's text, in the form of hosts(5).
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, names: OnceCell::new() }
    }

    /// The name of an address that a process was given among its arguments: by that it has found it, unless it was given several.
    pub(crate) fn name_in(&self, address: IpAddr, arguments: &Strings) -> Option<Arc<str>> {
        let names = self.names.get_or_init(|| read(&self.text)).get(&address)?;
        let mut found: Option<String> = None;
        // The first one is what the program is called.
        for argument in arguments.iter().skip(1) {
            for name in hosts_in(&argument).filter(|name| names.contains(name)) {
                if found.as_ref().is_some_and(|found| *found != name) {
                    return None;
                }
                found = Some(name);
            }
        }
        found.map(Into::into)
    }
}

fn read(text: &str) -> HashMap<IpAddr, HashSet<String>> {
    let mut names: HashMap<IpAddr, HashSet<String>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) {
            names.entry(address.to_canonical()).or_default().extend(words.map(str::to_ascii_lowercase));
        }
    }
    names
}

/// The words of a text that may be hosts, in lower case: neither parts of longer names nor folders of a path.
fn hosts_in(text: &str) -> impl Iterator<Item = String> {
    let is_part = |character: char| character.is_alphanumeric() || "-._".contains(character);
    let words = text.split(move |character| !is_part(character));
    words.filter_map(move |word| {
        // Both are of the same text.
        let before = &text[..word.as_ptr() as usize - text.as_ptr() as usize];
        let is_of_path = before.ends_with('/') && !before.ends_with("//");
        let word = word.strip_suffix('.').unwrap_or(word);
        (!word.is_empty() && !is_of_path).then(|| word.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "\
127.0.0.1 localhost  # loopback
# 10.0.0.1 commented
10.0.0.1\tdb.test DB\tprimary
10.0.0.1 again
::ffff:10.0.0.2 mapped
fe80::1 six
fe80::2%eth0 scoped
nonsense
";

    fn name(address: &str, arguments: &[&str]) -> Option<String> {
        let arguments: Strings = ["db"].iter().chain(arguments).collect();
        Hosts::new(HOSTS.to_owned()).name_in(address.parse().unwrap(), &arguments).map(|name| name.to_string())
    }

    #[test]
    fn a_name_is_found_where_it_stands_as_a_host() {
        for argument in [
            "db.test",
            "http://db.test/x",
            "postgres://me:secret@DB.test:5432/x",
            "--host=db.test",
            "me@db.test:/srv/x",
            "db.test.",
            "[db.test]:22",
            "a=b,db.test,c",
            "see db.test for more",
            "db.test/path",
        ] {
            assert_eq!(name("10.0.0.1", &[argument]).as_deref(), Some("db.test"), "{argument}");
        }
        for (address, argument) in
            [("10.0.0.1", "again"), ("10.0.0.2", "mapped"), ("fe80::1", "six"), ("127.0.0.1", "localhost")]
        {
            assert_eq!(name(address, &["-x", argument]).as_deref(), Some(argument));
        }
    }

    #[test]
    fn what_only_looks_like_it_is_no_name() {
        for arguments in [
            &[][..],
            &["xdb.test"],
            &["db.test.org"],
            &["my-db"],
            &["db_1"],
            &["--db"],
            &["/srv/db"],
            &["./db"],
            &["commented"],
            &["localhost"],
            &["loopback"],
            &["dé.db.test"],
        ] {
            assert_eq!(name("10.0.0.1", arguments), None, "{arguments:?}");
        }
        assert_eq!(name("10.0.0.9", &["db"]), None);
        assert_eq!(name("fe80::2", &["scoped"]), None);
    }

    #[test]
    fn of_several_names_nobody_knows_which_it_was() {
        assert_eq!(name("10.0.0.1", &["db", "primary"]), None);
        assert_eq!(name("10.0.0.1", &["db", "DB", "localhost"]).as_deref(), Some("db"));
    }
}
