//! The words of a command line, and what each of them probably is.

use std::borrow::Cow;

use tracer_model::event::is_temporary;

/// A word of a command line. `T` is its text, or stands for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<T> {
    pub(crate) text: T,
    pub(crate) role: Role,
}

/// What a word probably is. The first role says most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// A file, or the script of a shell.
    File,
    /// Another word, for example a subcommand.
    Word,
    /// It follows an option, and is perhaps its value.
    Value,
    /// A file to write.
    Output,
    Option,
    /// A file directly in /tmp. Its name says nothing.
    Temporary,
}

impl Role {
    /// The weight of a word. The word with the smallest product of its weight and the number of processes that have it
    /// says most.
    pub(crate) fn weight(self) -> usize {
        match self {
            Self::File => 2,
            Self::Word | Self::Value => 3,
            Self::Output => 5,
            Self::Option => 12,
            Self::Temporary => 40,
        }
    }
}

/// The most words of a command line to look at.
const WORDS: usize = 200;

/// The longest word to keep, and the longest option, in bytes. A longer option is rarely readable.
const LONGEST: usize = 120;
const LONGEST_OPTION: usize = 24;

/// The longest script to show, in characters.
const SCRIPT: usize = 50;

/// Replaces the end of a script that is too long.
pub(crate) const DOTS: char = '…';

/// Reads the words of a command line, without the program itself.
pub(crate) fn words<'a>(is_shell: bool, arguments: &'a [Cow<'_, str>]) -> Vec<Word<Cow<'a, str>>> {
    let mut words = Vec::new();
    let mut option = None;
    for text in arguments.iter().skip(1).take(WORDS).map(|text| &**text) {
        let before: Option<&str> = option.take();
        if is_shell && before.is_some_and(runs_script) {
            words.push(Word { text: shortened(text), role: Role::File });
            words.extend(files(text));
            break;
        }
        if text.starts_with('-') && text.len() > 1 {
            option = Some(text);
            if text.len() <= LONGEST_OPTION {
                words.push(Word { text: text.into(), role: Role::Option });
            }
            continue;
        }
        if text.is_empty() || text.len() > LONGEST || before.is_some_and(|option| is_setting(option, text)) {
            continue;
        }
        let role = match before {
            _ if is_temporary(text) => Role::Temporary,
            Some("-o" | "--output" | "-out") => Role::Output,
            _ if text.contains('=') => Role::Option,
            // Most options of one letter have no value, or their value is a file. So a word after such an
            // option that looks like a file is a file: `rm -f a.o`.
            option if is_file(text) && option.is_none_or(|option| !option.starts_with("--")) => Role::File,
            Some(_) => Role::Value,
            None => Role::Word,
        };
        words.push(Word { text: text.into(), role });
    }
    words
}

/// `-c`, `-ec` and so on.
fn runs_script(option: &str) -> bool {
    !option.starts_with("--") && option.ends_with('c')
}

/// Whether the word after a compiler's option is its value, and is a setting or repeats the name of the source.
fn is_setting(option: &str, value: &str) -> bool {
    const SETTINGS: [&str; 16] = [
        "-D",
        "-I",
        "-L",
        "-include",
        "-isystem",
        "-iquote",
        "-idirafter",
        "-imultiarch",
        "-MF",
        "-MT",
        "-MQ",
        "-dumpbase",
        "-dumpbase-ext",
        "-dumpdir",
        "-auxbase",
        "-auxbase-strip",
    ];
    // These have a value only if gcc calls its own compiler.
    matches!(option, "-MD" | "-MMD") && value.ends_with(".d") || SETTINGS.contains(&option)
}

/// Whether the word looks like the name of a file.
fn is_file(text: &str) -> bool {
    text.contains(['.', '/']) && text.contains(|c: char| c.is_alphabetic())
}

/// The files that a script names. They distinguish scripts that begin alike.
fn files<'a>(script: &'a str) -> impl Iterator<Item = Word<Cow<'a, str>>> {
    let mut before = "";
    let words =
        script.split(|c: char| c.is_whitespace() || "\"'`;|&<>()=,".contains(c)).filter(|word| !word.is_empty());
    let mut role = move |word: &'a str| {
        let option = std::mem::replace(&mut before, word);
        let is_plain = word.len() <= LONGEST && !word.starts_with('-') && !word.contains(['\\', '$', '*', '?']);
        if !is_plain || !is_file(word) || is_setting(option, word) {
            return None;
        }
        Some(match option {
            _ if is_temporary(word) => Role::Temporary,
            "-o" => Role::Output,
            _ => Role::Value,
        })
    };
    words.take(WORDS).filter_map(move |word| Some(Word { text: word.into(), role: role(word)? })).take(SCRIPT_FILES)
}

/// The most files of a script to look at.
const SCRIPT_FILES: usize = 16;

/// The beginning of a script, on one line.
fn shortened(script: &str) -> Cow<'_, str> {
    let mut line = String::new();
    for word in script.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(SCRIPT) {
            line.truncate(end);
            line.push(DOTS);
            break;
        }
    }
    line.into()
}
