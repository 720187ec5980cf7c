//! A script, split as a shell splits it: commands, their words without quotes, and the place of each byte of a word.
//!
//! Crates that split command lines return words without their places. A secret can only be replaced within the script
//! if its place is known. Variables and patterns are not expanded. No script is refused: an open quote ends with the
//! script.

use std::{collections::VecDeque, ops::Range};

use super::cut::Cut;

/// The commands of a script, and the scripts within it.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    /// The structure of the commands, in their order.
    pub(super) parts: Vec<Part>,
    /// The places of command substitutions and process substitutions.
    pub(super) substitutions: Vec<Range<usize>>,
    /// The places of comments.
    pub(super) comments: Vec<Range<usize>>,
    /// The here-documents.
    pub(super) documents: Vec<Document>,
}

/// A simple command.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    /// The targets of its redirections, without here-strings.
    pub(super) targets: Vec<Word>,
    pub(super) here_strings: Vec<Word>,
}

impl Command {
    /// Its words, and each text of a redirection as a separate command.
    pub(super) fn lists(&self) -> impl Iterator<Item = &[Word]> {
        let redirections = self.targets.iter().chain(&self.here_strings).map(std::slice::from_ref);
        std::iter::once(&*self.words).chain(redirections)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The command with this index.
    Command(usize),
    /// The output of the part before is the input of the next part.
    Pipe,
    /// The end of a pipeline.
    End,
    /// The beginning of a group, such as `(` or `if`. Each group has a beginning and an end.
    Open,
    Close,
}

#[derive(Debug)]
pub(super) struct Document {
    pub(super) range: Range<usize>,
    /// The index of the command that gets it.
    pub(super) command: usize,
}

/// A word as the program gets it, without expansion.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) text: String,
    origins: Vec<Origin>,
}

/// The origin of a byte of a word.
#[derive(Clone, Copy, Debug)]
struct Origin {
    start: usize,
    end: usize,
    /// A part of `$NAME` or of a command substitution. The secret is elsewhere.
    is_expansion: bool,
}

impl Word {
    /// The place of a part of this word in the script.
    pub(super) fn place(&self, range: &Range<usize>) -> Range<usize> {
        match self.origins.get(range.clone()) {
            Some([first, .., last]) => first.start..last.end,
            Some([one]) => one.start..one.end,
            _ => 0..0,
        }
    }

    /// The cuts in the script for a cut in this word. They keep the quotes, so that the result is still a script.
    pub(super) fn in_script(&self, cut: &Cut) -> Vec<Cut> {
        let origins = self.origins.get(cut.range.clone()).unwrap_or_default();
        if origins.iter().all(|origin| origin.is_expansion) {
            return Vec::new();
        }
        let mut cuts: Vec<Cut> = Vec::new();
        for origin in origins {
            match cuts.last_mut() {
                Some(last) if last.range.end >= origin.start => last.range.end = last.range.end.max(origin.end),
                last => {
                    let is_rest = last.is_some() || cut.is_rest;
                    cuts.push(Cut { range: origin.start..origin.end, is_rest });
                }
            }
        }
        cuts
    }
}

impl Script {
    pub(super) fn parse(text: &str) -> Self {
        let mut parser = Parser {
            text,
            at: 0,
            script: Self::default(),
            command: Command::default(),
            word: None,
            redirection: None,
            delimiters: VecDeque::new(),
            groups: Vec::new(),
        };
        parser.parse();
        parser.script
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    script: Script,
    command: Command,
    word: Option<Word>,
    /// The operator of a redirection, if the next word is its target.
    redirection: Option<Range<usize>>,
    /// Delimiters of the here-documents that begin at the next line, and the commands that get these.
    delimiters: VecDeque<(String, usize)>,
    /// The groups that are open.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Parentheses,
    Words,
}

impl Parser<'_> {
    fn parse(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            let start = self.at;
            self.at += c.len_utf8();
            match c {
                ' ' | '\t' | '\r' => self.end_word(),
                '\n' => {
                    self.end_command();
                    self.separate(Part::End);
                    self.documents();
                }
                '<' | '>' if self.rest().starts_with('(') => {
                    let inner = self.at + 1;
                    self.substitution(start, inner, closing(&self.text[inner..], '(', ')'));
                }
                '&' if self.rest().starts_with('>') => self.redirection(start),
                '<' | '>' => self.redirection(start),
                '|' if self.rest().starts_with('|') => {
                    self.at += 1;
                    self.end_command();
                    self.separate(Part::End);
                }
                '|' => {
                    self.at += usize::from(self.rest().starts_with('&'));
                    self.end_command();
                    self.separate(Part::Pipe);
                }
                '(' if self.word.as_ref().is_some_and(|word| word.text.ends_with('=')) => {
                    // The values of an array: `A=(a b)`.
                    let end = closing(self.rest(), '(', ')').map_or(self.text.len(), |length| self.at + length + 1);
                    self.push(start..end, false);
                    self.at = end;
                }
                '(' => {
                    self.end_command();
                    self.open(Group::Parentheses);
                }
                ')' => {
                    self.end_command();
                    self.close(Group::Parentheses);
                }
                ';' | '&' => {
                    self.end_command();
                    self.separate(Part::End);
                }
                '#' if self.word.is_none() => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                    self.script.comments.push(start..self.at);
                }
                '\'' => {
                    let end = self.rest().find('\'').map_or(self.text.len(), |length| self.at + length);
                    self.push(self.at..end, false);
                    self.at = (end + 1).min(self.text.len());
                }
                '"' => self.double_quotes(),
                '\\' => self.escaped(),
                '$' | '`' => self.expansion(start, c),
                _ => self.push(start..self.at, false),
            }
        }
        self.end_command();
        self.script.parts.extend(self.groups.iter().map(|_| Part::Close));
    }

    /// The here-documents that begin here. Each ends at a line with only its delimiter.
    fn documents(&mut self) {
        while let Some((delimiter, command)) = self.delimiters.pop_front() {
            let start = self.at;
            while self.at < self.text.len() {
                let end = self.rest().find('\n').map_or(self.text.len(), |length| self.at + length);
                let is_end = self.text[self.at..end].trim_start_matches('\t') == delimiter;
                if is_end {
                    break;
                }
                self.at = (end + 1).min(self.text.len());
            }
            self.script.documents.push(Document { range: start..self.at, command });
            self.at += self.rest().find('\n').map_or(self.rest().len(), |length| length + 1);
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Adds a part of the script to the current word.
    fn push(&mut self, range: Range<usize>, is_expansion: bool) {
        let word = self.word.get_or_insert_default();
        word.text.push_str(&self.text[range.clone()]);
        word.origins.extend(range.map(|start| Origin { start, end: start + 1, is_expansion }));
    }

    /// The next character is literal. If it is a newline, it is removed.
    fn escaped(&mut self) {
        let start = self.at - 1;
        let Some(c) = self.rest().chars().next() else { return self.push(start..self.at, false) };
        self.at += c.len_utf8();
        if c != '\n' {
            let word = self.word.get_or_insert_default();
            word.text.push(c);
            word.origins.extend((0..c.len_utf8()).map(|_| Origin { start, end: self.at, is_expansion: false }));
        }
    }

    fn double_quotes(&mut self) {
        self.word.get_or_insert_default();
        while let Some(c) = self.rest().chars().next() {
            let start = self.at;
            self.at += c.len_utf8();
            match c {
                '"' => return,
                '\\' if self.rest().starts_with(['$', '`', '"', '\\', '\n']) => self.escaped(),
                '$' if self.rest().starts_with('\'') => self.push(start..self.at, false),
                '$' | '`' => self.expansion(start, c),
                _ => self.push(start..self.at, false),
            }
        }
    }

    /// `$NAME`, `${NAME}`, `$(command)`, `` `command` ``, or `$'text'`.
    fn expansion(&mut self, start: usize, first: char) {
        let rest = self.rest();
        let inner = self.at + 1;
        let command = match first {
            '`' => Some((self.at, closing_backtick(rest))),
            _ if rest.starts_with('(') => Some((inner, closing(&self.text[inner..], '(', ')'))),
            _ => None,
        };
        if let Some((inner, length)) = command {
            self.substitution(start, inner, length);
        } else if rest.starts_with('{') {
            let end = closing(&self.text[inner..], '{', '}').map_or(self.text.len(), |length| inner + length);
            // The default may be a secret: `${PASSWORD:-hunter2}`, but not `${PASSWORD:-}` or `${PASSWORD:?message}`.
            let inside = &self.text[inner..end];
            let inside = inside.split_once('?').map_or(inside, |(name, _)| name).trim_end_matches([':', '-', '=', '+']);
            let is_plain = inside.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            self.at = (end + 1).min(self.text.len());
            self.push(start..self.at, is_plain);
        } else if rest.starts_with('\'') {
            self.at += 1;
            while let Some(c) = self.rest().chars().next() {
                let start = self.at;
                self.at += c.len_utf8();
                match c {
                    '\'' => break,
                    '\\' => self.escaped(),
                    _ => self.push(start..self.at, false),
                }
            }
        } else {
            let name = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            let length =
                if name == 0 { usize::from(rest.starts_with(['@', '*', '#', '?', '$', '!', '-'])) } else { name };
            self.at += length;
            self.push(start..self.at, length > 0);
        }
    }

    /// A substitution is a separate script, and is not searched as a part of this word.
    fn substitution(&mut self, start: usize, inner: usize, length: Option<usize>) {
        let end = length.map_or(self.text.len(), |length| inner + length);
        self.script.substitutions.push(inner..end);
        self.push(start..inner, true);
        self.at = (end + 1).min(self.text.len());
        self.push(end..self.at, true);
    }

    fn redirection(&mut self, start: usize) {
        // The number in `2>` is not a word.
        let is_after_digit = self.text[..start].ends_with(|c: char| c.is_ascii_digit());
        self.word.take_if(|word| is_after_digit && word.text.len() == 1);
        self.end_word();
        self.at += self.rest().bytes().take_while(|byte| b"<>&|-".contains(byte)).count();
        self.redirection = Some(start..self.at);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        let text = self.text;
        match self.redirection.take().map(|operator| &text[operator]) {
            None => self.command.words.push(word),
            Some("<<<") => self.command.here_strings.push(word),
            Some(operator) => {
                if ["<<", "<<-"].contains(&operator) {
                    self.delimiters.push_back((word.text.clone(), self.script.commands.len()));
                }
                self.command.targets.push(word);
            }
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.redirection = None;
        let command = std::mem::take(&mut self.command);
        if command.lists().all(<[Word]>::is_empty) {
            return;
        }
        for word in &command.words {
            match word.text.as_str() {
                "{" | "if" | "while" | "until" => self.open(Group::Words),
                "}" | "fi" | "done" | "esac" => self.close(Group::Words),
                "then" | "do" | "else" | "elif" | "!" | "time" => {}
                "for" | "case" | "select" => {
                    self.open(Group::Words);
                    break;
                }
                _ => break,
            }
        }
        self.script.parts.push(Part::Command(self.script.commands.len()));
        self.script.commands.push(command);
    }

    fn separate(&mut self, part: Part) {
        // A pipe goes on in the next line.
        if self.script.parts.last() != Some(&Part::Pipe) {
            self.script.parts.push(part);
        }
    }

    fn open(&mut self, group: Group) {
        self.groups.push(group);
        self.script.parts.push(Part::Open);
    }

    fn close(&mut self, group: Group) {
        let is_open = self.groups.pop_if(|open| *open == group).is_some();
        // The pattern of `case` ends with `)`, too.
        self.script.parts.push(if is_open { Part::Close } else { Part::End });
    }
}

/// The place at which the open bracket closes. Brackets in quotes do not count.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let (mut depth, mut quote, mut is_escaped) = (1_usize, None, false);
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => is_escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if c == open => depth += 1,
            (None, _) if c == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn closing_backtick(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let is_end = c == '`' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Vec<String>> {
        let words = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect();
        Script::parse(text).commands.iter().flat_map(Command::lists).map(words).collect()
    }

    #[test]
    fn a_script_is_split_as_a_shell_splits_it() {
        assert_eq!(split("a b; c 'd e' \"f g\""), [&["a", "b"][..], &["c", "d e", "f g"]]);
        assert_eq!(split("a&&b||c|d &e\nf"), [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]);
        assert_eq!(split(r#"a b\ c "d\"e" 'f\' x\'y"#), [["a", "b c", "d\"e", "f\\", "x'y"]]);
        assert_eq!(split("a >out <in b"), [&["a", "b"][..], &["out"], &["in"]]);
        assert_eq!(split("a # it's\nb"), [["a"], ["b"]]);
        assert_eq!(split("(a; b) $'c\\'d'"), [["a"], ["b"], ["c'd"]]);
        assert_eq!(split("a 'open"), [["a", "open"]]);
        assert_eq!(split("a\\\nb ''"), [["ab", ""]]);
        assert_eq!(split("a \\\n b"), [["a", "b"]]);
        assert_eq!(split("a 2>b &>c '2'>d <<<e"), [&["a", "2"][..], &["b"], &["c"], &["d"], &["e"]]);
    }

    #[test]
    fn every_group_that_opens_closes() {
        use Part::{Close, End, Open, Pipe};
        let parts = |text| {
            let parts = Script::parse(text).parts.into_iter();
            parts.filter(|part| !matches!(part, Part::Command(_))).collect::<Vec<_>>()
        };
        assert_eq!(parts("a; (b |\n c) || d |& e"), [End, Open, Pipe, Close, End, Pipe]);
        assert_eq!(parts("if ! { a; }; then b; fi"), [Open, Open, End, Close, End, End, Close]);
        assert_eq!(parts("case a in b) c;; esac"), [Open, End, End, End, Close]);
        assert_eq!(parts("(a; { b) }"), [Open, End, Open, End, Close, Close]);
    }

    #[test]
    fn substitutions_are_separate_scripts() {
        let script = Script::parse("a $(b ')' $(c)) `d` \"$(e)\"");
        let inner: Vec<_> =
            script.substitutions.iter().map(|range| &"a $(b ')' $(c)) `d` \"$(e)\""[range.clone()]).collect();
        assert_eq!(inner, ["b ')' $(c)", "d", "e"]);
    }
}
