//! The files that the command line of a process names. Jobs of a build tool that name the same file depend on each other.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use crate::untrusted::Untrusted;

/// The most processes whose words are kept. The memory of a run must have a limit.
pub(super) const PROCESSES: usize = 20_000;

/// The most words of a process.
const WORDS: usize = 256;

/// The words of each process that look like files, as hashes.
#[derive(Debug, Default)]
pub(crate) struct Words {
    by_row: Vec<Box<[u32]>>,
}

impl Words {
    /// Keeps the words of a row. Rows come in ascending order.
    pub(crate) fn add(&mut self, row: usize, arguments: &[Untrusted]) {
        if row >= PROCESSES {
            return;
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let words = arguments.iter().skip(1).flat_map(|argument| files(argument.exact())).take(WORDS);
        let mut words: Vec<u32> = words.map(|word| hasher.hash_one(word) as u32).collect();
        words.sort_unstable();
        words.dedup();
        self.by_row.resize(row, Box::default());
        self.by_row.push(words.into());
    }

    pub(super) fn of(&self, row: usize) -> &[u32] {
        self.by_row.get(row).map_or(&[], |words| words)
    }
}

/// The parts of an argument, or of a script, that look like files.
fn files(argument: &str) -> impl Iterator<Item = &str> {
    let parts = argument.split(|c: char| c.is_whitespace() || "\"'`;|&<>()=,".contains(c));
    let plain = parts.map(|part| part.strip_prefix("./").unwrap_or(part));
    plain.filter(|part| part.len() > 2 && !part.starts_with('-') && part.contains(['.', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_command_line_and_of_a_script_are_words() {
        let found: Vec<_> = files("cd ../deps && cc -O2 -I../x -c ./a.c -o 'a.o'; echo done>out.log").collect();
        assert_eq!(found, ["../deps", "a.c", "a.o", "out.log"]);
        let mut words = Words::default();
        words.add(2, &["cc".into(), "a.c".into(), "x/a.c".into(), "a.c".into()]);
        assert_eq!((words.of(0).len(), words.of(2).len(), words.of(9).len()), (0, 2, 0));
    }
}
