//! The one argument of a process that says which of several processes of the same name it is: `t_hash.c` of a compiler.
//!
//! All reports take it from here. Most words of a command line are the same for all processes of a name. So a word counts
//! more if fewer of them have it. Among equally rare words, the input of a program says more than its output, and both say
//! more than an option or a temporary file.

use std::{cmp::Reverse, collections::HashMap, num::NonZeroU32};

use crate::{
    row::{Kind, Label, Rows, Word},
    untrusted::Untrusted,
    words::Role,
};

/// For each process, the argument that distinguishes it from other processes of its name.
pub(crate) struct Arguments {
    /// The place in `texts`, counted from 1.
    of_row: Vec<Option<NonZeroU32>>,
    texts: Vec<Untrusted>,
}

/// A process with more inputs than this is known by its output.
const INPUTS: usize = 3;

impl Arguments {
    pub(crate) fn new(rows: &Rows) -> Self {
        // A fork without an exec has the arguments of its parent.
        let is_program = |row: usize| rows.rows[row].kind == Kind::Process && !rows.rows[row].is_fork;
        let programs = || (0..rows.rows.len()).filter(|row| is_program(*row));
        let mut processes: HashMap<Label, usize> = HashMap::new();
        let mut users: HashMap<(Label, Label), usize> = HashMap::new();
        let mut seen = Vec::new();
        for row in programs() {
            let name = rows.rows[row].name;
            *processes.entry(name).or_default() += 1;
            seen.clear();
            seen.extend(rows.words(row).iter().map(|word| word.text));
            seen.sort_unstable();
            seen.dedup();
            for text in &seen {
                *users.entry((name, *text)).or_default() += 1;
            }
        }
        let mut arguments = Self { of_row: vec![None; rows.rows.len()], texts: Vec::new() };
        let mut known: HashMap<(Label, bool), NonZeroU32> = HashMap::new();
        for row in programs() {
            let name = rows.rows[row].name;
            let users = |text| users.get(&(name, text)).copied().unwrap_or(1);
            let count = processes.get(&name).copied().unwrap_or(1);
            let Some((text, has_more)) = choose(rows.words(row), users, count) else { continue };
            let texts = &mut arguments.texts;
            let place = *known.entry((text, has_more)).or_insert_with(|| {
                let text = rows.text(text);
                texts.push(if has_more { format!("{} and more", text.exact()).into() } else { text.clone() });
                NonZeroU32::MIN.saturating_add(texts.len() as u32 - 1)
            });
            arguments.of_row[row] = Some(place);
        }
        arguments
    }

    /// The argument of a process, if it has one that says something.
    pub(crate) fn of(&self, row: usize) -> Option<&Untrusted> {
        self.text(self.number(row)?)
    }

    /// A number that is equal for equal arguments.
    pub(crate) fn number(&self, row: usize) -> Option<NonZeroU32> {
        self.of_row.get(row).copied().flatten()
    }

    /// All arguments, by their numbers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &Untrusted> {
        self.texts.iter()
    }

    pub(crate) fn text(&self, number: NonZeroU32) -> Option<&Untrusted> {
        self.texts.get(number.get() as usize - 1)
    }
}

/// The word that says most, and whether it stands for several like it. `users` is the number of processes that have a word,
/// of `processes` with the same name.
fn choose(words: &[Word], users: impl Fn(Label) -> usize, processes: usize) -> Option<(Label, bool)> {
    let is_common = |word: &Word| processes > 1 && users(word.text) == processes;
    // If all of them have the same command line, its input is still of interest. An option is not.
    let is_distinct = |word: &Word| if is_common(word) { word.role <= Role::Output } else { true };
    let candidates = || words.iter().filter(|word| is_distinct(word));
    let cost = |word: &Word| (is_common(word), users(word.text) * word.role.weight(), word.role);
    // Among equals, the first one.
    let best = candidates().min_by_key(|word| cost(word))?;
    if best.role == Role::Option && processes == 1 || best.role == Role::Temporary {
        return None;
    }
    let is_like = |word: &&Word| word.role == best.role && cost(word) == cost(best) && word.text != best.text;
    if best.role != Role::File || candidates().filter(is_like).count() < INPUTS {
        return Some((best.text, false));
    }
    let output = candidates().filter(|word| word.role == Role::Output).min_by_key(|word| Reverse(users(word.text)));
    output.map(|word| (word.text, false)).or(Some((best.text, true)))
}

#[cfg(test)]
mod tests {
    use tracer_model::event::base_name;

    use super::*;
    use crate::story::{Story, story};

    /// The arguments of the children, one for each command line.
    fn arguments(commands: &[&str]) -> Vec<Option<String>> {
        let starts = |story: Story, command: &str| {
            let words: Vec<_> = command.split(' ').map(|word| word.replace('_', " ")).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            story.starts(base_name(words[0]), 0, 1, |it| it.arguments(&words))
        };
        let rows = commands.iter().fold(story("root", 0, 9), |story, command| starts(story, command)).rows();
        let arguments = Arguments::new(&rows);
        let text = |row| arguments.of(row).map(|text| text.exact().to_owned());
        (0..commands.len()).map(text).collect()
    }

    #[track_caller]
    fn assert_arguments(pairs: &[(&str, &str)]) {
        let commands: Vec<_> = pairs.iter().map(|(command, _)| *command).collect();
        let expected: Vec<_> = pairs.iter().map(|(_, argument)| Some(argument.to_string())).collect();
        assert_eq!(arguments(&commands), expected);
    }

    #[test]
    fn a_compiler_is_known_by_its_source() {
        assert_arguments(&[
            (
                "cc1 -quiet -I ../deps -MMD a.d -MQ a.o -D X= a.c -quiet -dumpbase a.c -dumpbase-ext .c -o /tmp/ccX.s",
                "a.c",
            ),
            (
                "cc1 -quiet -I ../deps -MMD b.d -MQ b.o -D X= b.c -quiet -dumpbase b.c -dumpbase-ext .c -o /tmp/ccY.s",
                "b.c",
            ),
            ("cc1 -quiet -I ../deps -M a.c", "a.c"),
            ("cc -std=c99 -I../deps -o a.o -c a.c", "a.c"),
            ("cc -std=c99 -I../deps -o b.o -c b.c", "b.c"),
            ("as -I ../deps --64 -o a.o /tmp/ccX.s", "a.o"),
            ("as -I ../deps --64 -o b.o /tmp/ccY.s", "b.o"),
            ("as -I ../lua --64 -o c.o /tmp/ccZ.s", "c.o"),
            ("rustc --crate-name foo --edition=2021 src/lib.rs --crate-type lib", "foo"),
            ("rustc --crate-name bar --edition=2021 src/lib.rs --crate-type lib", "bar"),
        ]);
    }

    #[test]
    fn a_program_with_many_inputs_is_known_by_its_output() {
        assert_arguments(&[
            ("ld -z relro -o server a.o b.o c.o d.o libc.a", "server"),
            ("ld -z relro -o client e.o f.o g.o h.o libc.a", "client"),
            ("rm -f a.o b.o c.o d.o", "a.o and more"),
            ("rm -f libx.a", "libx.a"),
        ]);
    }

    #[test]
    fn scripts_subcommands_and_options_distinguish_too() {
        let script = "cd_/a_&&_make_all_install_check_and_then_something_that_is_too_long";
        assert_arguments(&[
            ("git log --oneline", "log"),
            ("git diff --oneline", "diff"),
            (&format!("sh -ec {script}"), "cd /a && make all install check and then something…"),
            ("uname -m", "-m"),
            ("uname -s", "-s"),
            ("python3 -m pytest tests/a.py", "tests/a.py"),
            ("python3 -m pytest tests/b.py", "tests/b.py"),
            ("sleep 5", "5"),
        ]);
    }

    #[test]
    fn scripts_that_begin_alike_show_where_they_differ() {
        let script = |file: &str| {
            format!(
                "sh -c printf_'_%b_%b_%b_%b_%b_%b'_'\\033[34mCC\\033[0m'_'\\033[33m{file}\\033[0m'_1>&2;cc_-c_{file}"
            )
        };
        let (a, b) = (script("hash.c"), script("list.c"));
        let shown: Vec<_> = arguments(&[&a, &b]).into_iter().flatten().collect();
        assert!(shown[0] != shown[1] && shown[0].contains("hash.c") && shown[1].contains("list.c"), "{shown:?}");
        assert!(shown.iter().all(|text| text.chars().count() <= 54), "{shown:?}");
    }

    #[test]
    fn a_command_line_without_a_word_of_its_own_has_no_argument() {
        assert_eq!(arguments(&["make -j2", "true", "cat /tmp/x1"]), [None, None, None]);
        assert_arguments(&[("test.sh a.c", "a.c"), ("test.sh a.c", "a.c")]);
        let rows = story("sh", 0, 9).arguments(&["sh", "a.sh"]).starts("sh", 1, 1, |sh| sh.forks()).rows();
        assert!(Arguments::new(&rows).of(0).is_none(), "a fork has the arguments of its parent");
    }
}
