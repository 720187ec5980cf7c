//! The hosts file: the names of an address that also occur in a command line.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use crate::event::Strings;

/// A hosts file. It is parsed at the first question, because some hosts files have a hundred thousand lines.
#[derive(Debug, Default)]
pub struct Hosts {
    text: String,
    table: OnceCell<Table>,
}

/// The parsed file. Names are in lower case.
#[derive(Debug, Default)]
struct Table {
    of_addresses: HashMap<IpAddr, HashSet<Arc<str>>>,
    all: HashSet<Arc<str>>,
    /// Length of the longest name in bytes.
    longest: usize,
}

/// The names from the hosts file that the arguments of one image contain. The arguments are searched only once, because they
/// can be long and a process can make many connections.
#[derive(Debug, Default)]
pub(crate) struct NamedHosts(OnceLock<Box<[Arc<str>]>>);

impl Hosts {
    /// A hosts file with this text, in the form of hosts(5).
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, table: OnceCell::new() }
    }

    /// The name of an address in the arguments of a process. `None` if the arguments have several names of the address,
    /// because process-tracer cannot know which one the process used.
    pub(crate) fn name_in(&self, address: IpAddr, arguments: &Strings, named: &NamedHosts) -> Option<Arc<str>> {
        let table = self.table.get_or_init(|| Table::read(&self.text));
        let names = table.of_addresses.get(&address)?;
        let mut found = named.0.get_or_init(|| table.named_in(arguments)).iter().filter(|name| names.contains(*name));
        found.next().filter(|_| found.next().is_none()).cloned()
    }
}

impl Table {
    fn read(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            let names = table.of_addresses.entry(address.to_canonical()).or_default();
            for name in words.map(|word| Arc::<str>::from(word.to_ascii_lowercase())) {
                table.longest = table.longest.max(name.len());
                table.all.insert(Arc::clone(&name));
                names.insert(name);
            }
        }
        table
    }

    /// The names in the arguments, without repetition.
    fn named_in(&self, arguments: &Strings) -> Box<[Arc<str>]> {
        let mut found = HashSet::new();
        let mut lower = String::new();
        // The first argument is the name of the program.
        for argument in arguments.iter().skip(1) {
            for word in hosts_in(&argument).filter(|word| word.len() <= self.longest) {
                lower.clear();
                lower.push_str(word);
                lower.make_ascii_lowercase();
                found.extend(self.all.get(lower.as_str()).cloned());
            }
        }
        found.into_iter().collect()
    }
}

/// The words of a text that may be hosts. Parts of longer names and folders of a path are not hosts.
fn hosts_in(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_alphanumeric() || "-._".contains(character);
    let words = text.split(move |character| !is_part(character));
    words.filter_map(move |word| {
        // `word` is a part of `text`, so the difference of their addresses is its place in `text`.
        let before = &text[..word.as_ptr() as usize - text.as_ptr() as usize];
        let is_of_path = before.ends_with('/') && !before.ends_with("//");
        let word = word.strip_suffix('.').unwrap_or(word);
        (!word.is_empty() && !is_of_path).then_some(word)
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
        Hosts::new(HOSTS.to_owned())
            .name_in(address.parse().unwrap(), &arguments, &NamedHosts::default())
            .map(|name| name.to_string())
    }

    #[test]
    fn a_host_is_found_in_any_form_of_argument() {
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
    fn parts_of_names_and_paths_are_not_hosts() {
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
    fn the_arguments_of_an_image_are_searched_once() {
        let (hosts, named) = (Hosts::new(HOSTS.to_owned()), NamedHosts::default());
        let name_in = |address: &str, arguments: &[&str]| {
            hosts.name_in(address.parse().unwrap(), &arguments.iter().collect(), &named).map(|name| name.to_string())
        };
        // The arguments are not searched if the address has no name.
        assert_eq!(name_in("10.0.0.9", &["x", "db", "six"]), None);
        assert_eq!(name_in("10.0.0.1", &["x", "db", "six"]).as_deref(), Some("db"));
        for _ in 0..2 {
            assert_eq!(name_in("fe80::1", &[]).as_deref(), Some("six"));
            assert_eq!(name_in("10.0.0.1", &["x", "primary"]).as_deref(), Some("db"));
        }
        assert_eq!(name_in("127.0.0.1", &["x", "localhost"]), None);
    }

    #[test]
    fn several_names_of_an_address_give_no_name() {
        assert_eq!(name("10.0.0.1", &["db", "primary"]), None);
        assert_eq!(name("10.0.0.1", &["db", "DB", "localhost"]).as_deref(), Some("db"));
    }
}
