//! The one argument of a process that says which of several processes it is: `t_hash.c` of a compiler.
//!
//! All reports take it from here. Most words of a command line are the same for all processes of a name. So a word counts
//! more if fewer of them have it. Among equally rare words, the input of a program says more than its output, and both say
//! more than an option or a temporary file. A word that is also in the name of the process says nothing.

use std::{cmp::Reverse, collections::HashMap, hash::Hash, num::NonZeroU32};

use tracer_model::event::base_name;

use crate::{
    row::{Kind, Label, Rows},
    untrusted::Untrusted,
    words::{Role, Word},
};

/// For each process, the argument that distinguishes it from other processes of its name.
pub(crate) struct Arguments {
    /// The place in `texts`, counted from 1.
    of_row: Vec<Option<NonZeroU32>>,
    texts: Vec<Untrusted>,
}

impl Arguments {
    pub(crate) fn new(rows: &Rows) -> Self {
        let mut of_name: HashMap<Label, Vec<usize>> = HashMap::new();
        for (index, row) in rows.rows.iter().enumerate() {
            // A fork without an exec has the arguments of its parent.
            if row.kind == Kind::Process && !row.is_fork {
                of_name.entry(row.name).or_default().push(index);
            }
        }
        let mut choices = vec![None; rows.rows.len()];
        for (name, processes) in of_name {
            let commands: Vec<_> = processes.iter().map(|row| rows.words(*row)).collect();
            let chosen = choose(rows.text(name).exact(), &commands, |text| rows.text(text).exact());
            processes.into_iter().zip(chosen).for_each(|(row, choice)| choices[row] = choice);
        }
        let mut texts = Vec::new();
        let mut known: HashMap<Choice<Label>, NonZeroU32> = HashMap::new();
        let mut number = |choice: Choice<Label>| {
            *known.entry(choice).or_insert_with(|| {
                texts.push(choice.shown(rows.text(choice.word)));
                NonZeroU32::MIN.saturating_add(texts.len() as u32 - 1)
            })
        };
        let of_row = choices.into_iter().map(|choice| choice.map(&mut number)).collect();
        Self { of_row, texts }
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

/// The word of a command line that says most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Choice<T> {
    pub(crate) word: T,
    /// Whether the process has more words that say as much.
    has_more: bool,
}

/// A process with more inputs than this is known by its output.
const INPUTS: usize = 3;

impl<T: Copy + Eq> Choice<T> {
    /// `users` returns how many of the `processes` have a word. If it returns `None`, the word does not count.
    fn new(words: &[Word<T>], users: impl Fn(T) -> Option<usize>, processes: usize) -> Option<Self> {
        let is_common = |users: usize| processes > 1 && users == processes;
        // If all of them have the same command line, its input is still of interest. An option is not.
        let is_distinct = |word: &Word<T>, users| !is_common(users) || word.role <= Role::Output;
        let candidates = || {
            let with_users = words.iter().filter_map(|word| Some((word, users(word.text)?)));
            with_users.filter(|(word, users)| is_distinct(word, *users))
        };
        let cost = |(word, users): &(&Word<T>, usize)| (is_common(*users), users * word.role.weight(), word.role);
        // Among equals, the first one.
        let best = candidates().min_by_key(cost)?;
        let Word { text, role } = *best.0;
        if role == Role::Option && processes == 1 || role == Role::Temporary {
            return None;
        }
        let is_like = |other: &(&Word<T>, usize)| cost(other) == cost(&best) && other.0.text != text;
        if role != Role::File || candidates().filter(is_like).count() < INPUTS {
            return Some(Self { word: text, has_more: false });
        }
        let outputs = candidates().filter(|(word, _)| word.role == Role::Output);
        let output = outputs.min_by_key(|(_, users)| Reverse(*users)).map(|(word, _)| word.text);
        Some(Self { word: output.unwrap_or(text), has_more: output.is_none() })
    }

    /// The argument for people. `text` is the text of the word.
    pub(crate) fn shown(self, text: &Untrusted) -> Untrusted {
        if self.has_more { format!("{} and more", text.exact()).into() } else { text.clone() }
    }
}

/// Chooses the argument of each command line. All command lines are from processes with this name.
pub(crate) fn choose<'a, T: Copy + Ord + Hash>(
    name: &str,
    commands: &[impl AsRef<[Word<T>]>],
    text: impl Fn(T) -> &'a str,
) -> Vec<Option<Choice<T>>> {
    let mut users: HashMap<T, usize> = HashMap::new();
    let mut seen = Vec::new();
    for words in commands {
        seen.clear();
        seen.extend(words.as_ref().iter().map(|word| word.text));
        seen.sort_unstable();
        seen.dedup();
        for word in &seen {
            *users.entry(*word).or_default() += 1;
        }
    }
    users.retain(|word, _| !is_in_name(name, text(*word)));
    let users = |word| users.get(&word).copied();
    commands.iter().map(|words| Choice::new(words.as_ref(), users, commands.len())).collect()
}

/// Whether a name has a word: the name of a script, or a name that a rule made, such as `cc1 t_hash.c`.
fn is_in_name(name: &str, word: &str) -> bool {
    let base = base_name(word);
    name == base || name.split(' ').any(|part| part == base || part == word)
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
            ("cc -MMD d.c -o d", "d.c"),
            ("cc -c -MD e.c", "e.c"),
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
    fn scripts_subcommands_and_options_also_distinguish_processes() {
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
    fn an_argument_that_the_name_has_is_not_repeated() {
        let rows = story("make", 0, 9)
            .starts("bash a.sh", 0, 1, |it| it.arguments(&["bash", "./a.sh", "one"]))
            .starts("bash a.sh", 1, 1, |it| it.arguments(&["bash", "./a.sh", "two"]))
            .starts("go compile net/http", 2, 1, |it| it.arguments(&["compile", "-p", "net/http", "a.go"]))
            .starts("cc1 a.c", 3, 1, |it| it.arguments(&["cc1", "-quiet", "a.c"]))
            .rows();
        let arguments = Arguments::new(&rows);
        let shown: Vec<_> = (0..4).map(|row| arguments.of(row).map(Untrusted::exact)).collect();
        assert_eq!(shown, [Some("one"), Some("two"), Some("a.go"), None]);
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
    fn the_option_of_a_single_process_and_temporary_files_are_no_arguments() {
        assert_eq!(arguments(&["make -j2", "true", "cat /tmp/x1"]), [None, None, None]);
        assert_arguments(&[("test.sh a.c", "a.c"), ("test.sh a.c", "a.c")]);
        let rows = story("sh", 0, 9).arguments(&["sh", "a.sh"]).starts("sh", 1, 1, |sh| sh.forks()).rows();
        assert!(Arguments::new(&rows).of(0).is_none(), "a fork has the arguments of its parent");
    }
}
