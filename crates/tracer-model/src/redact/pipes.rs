//! Secrets that a script writes for another program: `echo SECRET | docker login --password-stdin`.

use std::ops::Range;

use super::{
    cut::Cut,
    names::{Kind, Names},
    shell::{Command, Part, Script, Word},
};
use crate::event::base_name;

/// Words of commands that read a secret from their standard input. A command has them in this order, with any words between
/// them. A letter such as `-S` can be one of several: `sudo -kS`.
const READERS: [&str; 39] = [
    "login",
    "passwd",
    "chpasswd",
    "chgpasswd",
    "smbpasswd",
    "htpasswd -i",
    "mkpasswd",
    "vncpasswd",
    "slappasswd",
    "kinit",
    "cryptsetup",
    "sudo -S",
    "sudo --stdin",
    "ssh-add",
    "wg pubkey",
    "openssl -stdin",
    "openssl stdin",
    "openssl fd:0",
    "curl -K",
    "curl --config",
    "rclone obscure",
    "ansible-vault encrypt_string",
    "secret-tool store",
    "keyctl padd",
    "pass insert",
    "aws configure",
    "adduser",
    "vercel env add",
    "pulumi config set",
    "vault write -",
    "kv put -",
    "kv patch -",
    "secret create",
    "secret set",
    "secret put",
    "secret stdin",
    "secrets create",
    "secrets import",
    "--with-token",
];

/// Programs that print their operands.
const WRITERS: [&str; 4] = ["echo", "printf", "print", "yes"];

/// Ends of the names of options for the file of a secret.
const FILES: [&str; 2] = ["-file", "-path"];

/// The first word of each reader, for the first look at all arguments.
pub(super) fn readers() -> impl Iterator<Item = &'static str> {
    READERS.iter().filter_map(|reader| reader.split(' ').next())
}

/// The commands of a script that write secrets for a program, and those that read them.
pub(super) struct Flow {
    /// Whether a program reads a secret from the output of the command with this index.
    pub(super) output: Vec<bool>,
    /// Whether the command gets a secret in a here-string or in a here-document.
    pub(super) input: Vec<bool>,
}

/// A group of commands, read from its end.
#[derive(Default)]
struct Group {
    /// Whether a program reads a secret from the output of all its commands.
    is_read: bool,
    /// Whether a program reads a secret from the output of the next command. The search goes backwards, so the next command
    /// is the one before in the text.
    is_next_read: bool,
    /// Whether a command of the pipeline reads a secret.
    pipeline_reads: bool,
    /// Whether a command of the group reads a secret.
    reads: bool,
    /// The command after the group. It has the redirections of the group.
    after: Option<usize>,
}

impl Flow {
    /// `is_read`: a program reads a secret from the output of the script.
    pub(super) fn new(script: &Script, names: &Names, is_read: bool) -> Self {
        let count = script.commands.len();
        let mut flow = Self { output: vec![is_read; count], input: vec![is_read; count] };
        let has_input = script.parts.contains(&Part::Pipe)
            || !script.documents.is_empty()
            || !script.substitutions.is_empty()
            || script.commands.iter().any(|command| !command.here_strings.is_empty());
        if is_read || !has_input {
            return flow;
        }
        let (mut group, mut outer, mut after) = (Group::default(), Vec::new(), None);
        for part in script.parts.iter().rev() {
            let behind = after.take();
            match *part {
                Part::Command(index) => {
                    let reads = is_reader(&script.commands[index].words, names);
                    flow.output[index] = group.is_next_read;
                    flow.input[index] = group.is_next_read || reads;
                    group.pipeline_reads |= reads;
                    group.reads |= reads;
                    after = Some(index);
                }
                Part::Pipe => group.is_next_read |= group.pipeline_reads,
                Part::End => (group.is_next_read, group.pipeline_reads) = (group.is_read, false),
                Part::Close => {
                    let is_read = group.is_next_read;
                    outer.push(group);
                    group = Group { is_read, is_next_read: is_read, after: behind, ..Group::default() };
                }
                Part::Open => {
                    let Group { reads, after, .. } = group;
                    group = outer.pop().unwrap_or_default();
                    group.pipeline_reads |= reads;
                    group.reads |= reads;
                    if let Some(index) = after.filter(|_| reads) {
                        flow.input[index] = true;
                    }
                }
            }
        }
        flow
    }

    /// The words of a command that are secrets.
    pub(super) fn secrets<'a>(&self, index: usize, command: &'a Command) -> impl Iterator<Item = &'a Word> {
        let printed = if self.output[index] { printed(&command.words) } else { &[] };
        let here_strings = if self.input[index] { &*command.here_strings } else { &[] };
        printed.iter().chain(here_strings)
    }

    /// The words of a command whose substitutions print secrets.
    pub(super) fn sources<'a>(&self, index: usize, command: &'a Command) -> impl Iterator<Item = &'a Word> {
        let (is_output, is_input) = (self.output[index], self.input[index]);
        let is_process = |word: &&Word| word.text.contains("<(");
        let words = command.lists().flatten().filter(move |word| is_output || is_input && is_process(word));
        words.chain(command.here_strings.iter().filter(move |_| is_input))
    }
}

/// Whether a command reads a secret from its standard input or from a process substitution.
fn is_reader(words: &[Word], names: &Names) -> bool {
    // A word can be a script. So its words count, too.
    let is_separator = |c: char| c.is_whitespace() || "'\"`;|&()=".contains(c);
    let words = words.iter().flat_map(|word| word.text.split(is_separator)).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(|word| (word, base_name(word))).collect();
    let has = |reader: &&str| {
        let mut words = words.iter();
        reader.split(' ').all(|wanted| words.any(|(word, name)| *name == wanted || is_letter(word, wanted)))
    };
    let is_secret = |name: &str| names.kind(name) != Kind::Harmless;
    let is_option = |word: &str| {
        let name = word.strip_suffix("-stdin").or_else(|| word.strip_suffix("-fd"));
        word.starts_with('-') && name.is_some_and(is_secret)
    };
    // `--password-file -`, `--token=/dev/stdin` and `--key-file <(a)`
    let is_standard_input = |(word, name): &(&str, &str)| ["-", "@-", "<"].contains(word) || *name == "stdin";
    let has_value = |[(name, _), value]: &[(&str, &str); 2]| {
        let plain = FILES.iter().find_map(|file| name.strip_suffix(file)).unwrap_or(name);
        is_standard_input(value) && is_secret(plain)
    };
    READERS.iter().any(has)
        || words.iter().any(|(word, _)| is_option(word))
        || words.array_windows().any(has_value)
        // `read PASSWORD`
        || words.iter().skip_while(|(word, _)| *word != "read").skip(1).any(|(word, _)| is_secret(word))
}

/// Whether a word has the letter of an option: `-kS` has `-S`.
fn is_letter(word: &str, option: &str) -> bool {
    let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
    letter.is_some_and(|letter| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
}

/// The words that a command prints, if its program prints operands.
fn printed(words: &[Word]) -> &[Word] {
    let Some(program) = words.iter().position(|word| WRITERS.contains(&base_name(&word.text))) else { return &[] };
    let is_format = |text: &str| text.replace("%s", "").replace("%b", "").replace("\\n", "").trim().is_empty();
    let is_option = |text: &str| text.starts_with('-') && text.bytes().all(|letter| b"-neEr".contains(&letter));
    let operands = &words[program + 1..];
    let before = operands.iter().take_while(|word| is_option(&word.text) || is_format(&word.text)).count();
    &operands[before..]
}

/// The text of a here-document. If it only has variables, the secret is elsewhere.
pub(super) fn document(text: &str) -> Option<Cut> {
    let is_variable = |line: &str| {
        let name = line.trim().strip_prefix('$');
        let name = name.map(|name| name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name));
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    };
    let start = text.len() - text.trim_start().len();
    let end = text.trim_end().len();
    let is_secret = start < end && !text.lines().all(is_variable);
    is_secret.then(|| Cut::new(start..end))
}

/// The substitutions of a script, and whether they print secrets.
pub(super) struct Printed<'a>(Vec<(&'a Range<usize>, bool)>);

impl<'a> Printed<'a> {
    pub(super) fn new(substitutions: &'a [Range<usize>]) -> Self {
        Self(substitutions.iter().map(|range| (range, false)).collect())
    }

    /// All the substitutions at this place print secrets.
    pub(super) fn add(&mut self, place: Range<usize>) {
        let first = self.0.partition_point(|(range, _)| range.start < place.start);
        let inside = self.0[first..].iter_mut().take_while(|(range, _)| range.end <= place.end);
        inside.for_each(|(_, is_secret)| *is_secret = true);
    }

    pub(super) fn scripts(self) -> impl Iterator<Item = (&'a Range<usize>, bool)> {
        self.0.into_iter()
    }
}
