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
    /// The commands, as lists of words. The target of a redirection is a separate command.
    pub(super) commands: Vec<Vec<Word>>,
    /// The places of command substitutions.
    pub(super) substitutions: Vec<Range<usize>>,
    /// The places of comments.
    pub(super) comments: Vec<Range<usize>>,
    /// The places of here-documents.
    pub(super) documents: Vec<Range<usize>>,
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
            command: Vec::new(),
            word: None,
            is_target: false,
            is_delimiter: false,
            delimiters: VecDeque::new(),
        };
        parser.parse();
        parser.script
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    script: Script,
    command: Vec<Word>,
    word: Option<Word>,
    /// The next word is the target of a redirection.
    is_target: bool,
    /// That target is the delimiter of a here-document.
    is_delimiter: bool,
    /// Delimiters of the here-documents that begin at the next line.
    delimiters: VecDeque<String>,
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
                    self.documents();
                }
                ';' | '&' | '|' | '(' | ')' => self.end_command(),
                '<' | '>' => {
                    self.end_word();
                    self.at += self.rest().bytes().take_while(|byte| b"<>&|-".contains(byte)).count();
                    self.is_target = true;
                    self.is_delimiter = ["<<", "<<-"].contains(&&self.text[start..self.at]);
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
    }

    /// The here-documents that begin here. Each ends at a line with only its delimiter.
    fn documents(&mut self) {
        while let Some(delimiter) = self.delimiters.pop_front() {
            let start = self.at;
            while self.at < self.text.len() {
                let end = self.rest().find('\n').map_or(self.text.len(), |length| self.at + length);
                let is_end = self.text[self.at..end].trim_start_matches('\t') == delimiter;
                if is_end {
                    break;
                }
                self.at = (end + 1).min(self.text.len());
            }
            self.script.documents.push(start..self.at);
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
        let word = self.word.get_or_insert_default();
        if c != '\n' {
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
            // It is a separate script, and is not searched as a part of this word.
            let end = length.map_or(self.text.len(), |length| inner + length);
            self.script.substitutions.push(inner..end);
            self.push(start..inner, true);
            self.at = (end + 1).min(self.text.len());
            self.push(end..self.at, true);
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

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.is_target) {
            if std::mem::take(&mut self.is_delimiter) {
                self.delimiters.push_back(word.text.clone());
            }
            self.script.commands.push(vec![word]);
        } else {
            self.command.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        (self.is_target, self.is_delimiter) = (false, false);
        if !self.command.is_empty() {
            self.script.commands.push(std::mem::take(&mut self.command));
        }
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
        let words = |command: Vec<Word>| command.into_iter().map(|word| word.text).collect();
        Script::parse(text).commands.into_iter().map(words).collect()
    }

    #[test]
    fn a_script_is_split_as_a_shell_splits_it() {
        assert_eq!(split("a b; c 'd e' \"f g\""), [&["a", "b"][..], &["c", "d e", "f g"]]);
        assert_eq!(split("a&&b||c|d &e\nf"), [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]);
        assert_eq!(split(r#"a b\ c "d\"e" 'f\' x\'y"#), [["a", "b c", "d\"e", "f\\", "x'y"]]);
        assert_eq!(split("a >out <in b"), [&["out"][..], &["in"], &["a", "b"]]);
        assert_eq!(split("a # it's\nb"), [["a"], ["b"]]);
        assert_eq!(split("(a; b) $'c\\'d'"), [["a"], ["b"], ["c'd"]]);
        assert_eq!(split("a 'open"), [["a", "open"]]);
        assert_eq!(split("a\\\nb ''"), [["ab", ""]]);
    }

    #[test]
    fn substitutions_are_separate_scripts() {
        let script = Script::parse("a $(b ')' $(c)) `d` \"$(e)\"");
        let inner: Vec<_> =
            script.substitutions.iter().map(|range| &"a $(b ')' $(c)) `d` \"$(e)\""[range.clone()]).collect();
        assert_eq!(inner, ["b ')' $(c)", "d", "e"]);
    }
}
