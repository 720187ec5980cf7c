//! Secrets in a command: by its program, by the names of its options, and in its scripts.

use std::ops::Range;

use super::{
    cut::Cut,
    names::{Kind, Names},
    pipes::{self, Flow},
    programs::{self, Program, Value},
    shell::Script,
    text, tokens,
};
use crate::event::base_name;

/// Depth of scripts within scripts. Deeper scripts are searched as text.
const DEPTH: u32 = 8;

/// Number of programs in one command whose operands are searched. Each search reads all following words.
const PROGRAMS: u32 = 64;

/// Options whose value is a name. The name can be that of a program: `docker run --name mysql`.
const NAMING: [&str; 8] =
    ["--name", "--hostname", "--network", "--network-alias", "--service", "--package", "--image", "--container-name"];

/// Words after which `NAME VALUE` are two operands: `aws configure set NAME VALUE`.
const SETTERS: [&str; 8] = ["set", "config", "configure", "modify", "connect", "--arg", "--argjson", "machine"];

/// Cuts in the words of a command. Each has the index of its word.
pub(super) type Found = Vec<(usize, Cut)>;

/// Finds the secrets in the words of a command.
pub(super) fn search(words: &[&str], names: &Names) -> Found {
    search_words(words, names, 0, false)
}

fn search_words(words: &[&str], names: &Names, depth: u32, is_read: bool) -> Found {
    let mut walk = Walk { words, names, depth, is_read, found: Vec::new(), asked: Vec::new() };
    walk.walk();
    walk.found
}

/// Finds the secrets in a script. `is_read`: a program reads a secret from the output of the script.
fn search_script(script: &str, names: &Names, depth: u32, is_read: bool, cuts: &mut Vec<Cut>) {
    if depth > DEPTH {
        return text::search(script, names, cuts);
    }
    tokens::search(script, cuts);
    let parsed = Script::parse(script);
    let flow = Flow::new(&parsed, names, is_read);
    let mut printed = pipes::Printed::new(&parsed.substitutions);
    for (index, command) in parsed.commands.iter().enumerate() {
        for list in command.lists() {
            let words: Vec<_> = list.iter().map(|word| word.text.as_str()).collect();
            for (at, cut) in search_words(&words, names, depth, flow.output[index]) {
                printed.add(list[at].place(&cut.range));
                cuts.extend(list[at].in_script(&cut));
            }
        }
        for word in flow.secrets(index, command) {
            cuts.extend(word.in_script(&Cut::new(0..word.text.len())));
        }
        for word in flow.sources(index, command) {
            printed.add(word.place(&(0..word.text.len())));
        }
    }
    let mut inner = |range: &Range<usize>, search: &dyn Fn(&str, &mut Vec<Cut>)| {
        let mut found = Vec::new();
        search(&script[range.clone()], &mut found);
        cuts.extend(found.into_iter().map(|cut| cut.moved_by(range.start)));
    };
    for (range, is_read) in printed.scripts() {
        inner(range, &|script, cuts| search_script(script, names, depth + 1, is_read, cuts));
    }
    // A here-document can be a script of a shell, or the text of a file. It is searched as both.
    for document in &parsed.documents {
        let is_secret = flow.input[document.command];
        inner(&document.range, &|document, cuts| {
            search_script(document, names, depth + 1, false, cuts);
            let mut found = Vec::new();
            text::search(document, names, &mut found);
            cuts.extend(found.into_iter().filter(|cut| !document[cut.range.clone()].starts_with('$')));
            if is_secret {
                cuts.extend(pipes::document(document));
            }
        });
    }
    for range in &parsed.comments {
        inner(range, &|comment, cuts| text::search(comment, names, cuts));
    }
}

/// What the next word is expected to be.
enum Expected {
    ByProgram(Value),
    ByName(Kind),
    Script,
}

struct Walk<'a> {
    words: &'a [&'a str],
    names: &'a Names,
    depth: u32,
    /// A program reads a secret from the output of the command.
    is_read: bool,
    found: Found,
    /// Words that were searched for in the command, and whether the command has them.
    asked: Vec<(&'static str, bool)>,
}

impl Walk<'_> {
    fn walk(&mut self) {
        let words = self.words;
        let (mut program, mut expected, mut is_setting, mut programs) = (None::<&Program>, None, false, 0_u32);
        for (index, word) in words.iter().enumerate() {
            match expected.take() {
                // `sh -c -e SCRIPT`
                Some(Expected::Script) if is_option(word) => expected = Some(Expected::Script),
                Some(Expected::Script) => {
                    self.script(index, 0);
                    continue;
                }
                // An option follows instead of the value. So there is no value.
                Some(Expected::ByName(_)) if is_option(word) => {}
                Some(Expected::ByName(kind)) if kind.hides(word) => {
                    self.found.push((index, Cut::new(0..word.len())));
                    continue;
                }
                Some(Expected::ByName(_)) => {}
                Some(Expected::ByProgram(Value::All | Value::AllWith(_))) if word.starts_with("--") => {}
                Some(Expected::ByProgram(value)) => self.hide(index, 0, value),
                None => {}
            }
            // The name of a program begins a new command. The words before it are a wrapper, such as `sudo -u me`.
            let is_name = index > 0 && NAMING.contains(&words[index - 1]);
            let name = base_name(word);
            // The name of a login shell is `-sh`.
            let name = if index == 0 { name.trim_start_matches('-') } else { name };
            if let Some(found) = programs::find(name).filter(|_| !is_name) {
                (program, is_setting) = (Some(found), false);
                programs += 1;
                let operands =
                    found.operands.filter(|_| programs <= PROGRAMS).map(|operands| operands(&words[index..]));
                let operands = operands.unwrap_or_default();
                self.found.extend(operands.into_iter().map(|(at, range)| (index + at, Cut::new(range))));
                // Perhaps the word only ends like a path of the program: `https://me:SECRET@host/docker`. So it is
                // searched, too.
                self.text(index, 0);
                self.inner_script(index);
                continue;
            }
            let is_setter = SETTERS.iter().any(|setter| setter.eq_ignore_ascii_case(word));
            if index == 0 {
                is_setting = is_setter;
                self.text(index, 0);
                self.inner_script(index);
                continue;
            }
            expected = self.option(index, program);
            let is_script = program.is_some_and(|program| program.runs_operands)
                && word.contains(|c: char| c.is_whitespace() || ";|&<>".contains(c));
            if is_script {
                self.script(index, 0);
            } else {
                self.text(index, 0);
                self.inner_script(index);
            }
            if is_setting && expected.is_none() {
                expected = self.setting(word);
            }
            is_setting |= is_setter;
        }
    }

    /// Hides the value that is attached to an option. Returns the meaning of the next word.
    fn option(&mut self, index: usize, program: Option<&Program>) -> Option<Expected> {
        let word = self.words[index];
        if !word.starts_with(['-', '/']) {
            return None;
        }
        if let Some(program) = program {
            if program.is_shell && !word.starts_with("--") && word.starts_with('-') && word.contains('c') {
                return Some(Expected::Script);
            }
            if let Some((value, start)) = program.option(word) {
                let is_meant = match value {
                    Value::AllWith(other) => self.has(other),
                    _ => true,
                };
                match start {
                    _ if !is_meant => return None,
                    Some(start) => self.hide(index, start, value),
                    None if value == Value::Attached || value == Value::Nothing => {}
                    None => return Some(Expected::ByProgram(value)),
                }
                return None;
            }
        }
        let is_named = word.len() > 2
            && word.starts_with('-')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let kind = if is_named { self.names.kind_of_option(word) } else { Kind::Harmless };
        (kind != Kind::Harmless).then_some(Expected::ByName(kind))
    }

    fn has(&mut self, wanted: &'static str) -> bool {
        if let Some((_, is_there)) = self.asked.iter().find(|(asked, _)| *asked == wanted) {
            return *is_there;
        }
        let is_there = self.words.contains(&wanted);
        self.asked.push((wanted, is_there));
        is_there
    }

    /// The meaning of the word after an operand that is the name of a secret.
    fn setting(&self, word: &str) -> Option<Expected> {
        let name = word.rsplit(['/', ':']).next().unwrap_or_default();
        let kind = if word.contains('=') || word.starts_with('-') { Kind::Harmless } else { self.names.kind(name) };
        let is_meant = kind == Kind::Secret || (kind != Kind::Harmless && name.contains(['_', '-', '.']));
        is_meant.then_some(Expected::ByName(kind))
    }

    /// Hides the secret part of an option's value. The value begins at `start` in the word.
    fn hide(&mut self, index: usize, start: usize, value: Value) {
        let word = self.words[index];
        let Some(text) = word.get(start..) else { return };
        let mut cut = |range: Range<usize>| {
            if !range.is_empty() {
                self.found.push((index, Cut::new(start + range.start..start + range.end)));
            }
        };
        match value {
            Value::All | Value::Attached | Value::AllWith(_) => cut(0..text.len()),
            Value::Behind(separator) => {
                if let Some((before, _)) = text.split_once(separator) {
                    cut(before.len() + separator.len_utf8()..text.len());
                }
            }
            Value::Cookie => {
                let mut at = 0;
                for cookie in text.split_inclusive(';') {
                    let end = at + cookie.trim_end_matches(';').len();
                    if let Some((name, _)) = cookie.split_once('=') {
                        cut(at + name.len() + 1..end);
                    }
                    at += cookie.len();
                }
            }
            Value::Header => {
                let mut cuts = Vec::new();
                text::header(text, self.names, &mut cuts);
                self.found.extend(cuts.into_iter().map(|cut| (index, cut.moved_by(start))));
            }
            Value::Source => {
                if text.starts_with("pass:") {
                    cut("pass:".len()..text.len());
                }
            }
            Value::Nothing => {}
        }
    }

    fn text(&mut self, index: usize, start: usize) {
        let mut cuts = Vec::new();
        text::search(&self.words[index][start..], self.names, &mut cuts);
        self.found.extend(cuts.into_iter().map(|cut| (index, cut.moved_by(start))));
    }

    fn script(&mut self, index: usize, start: usize) {
        let mut cuts = Vec::new();
        search_script(&self.words[index][start..], self.names, self.depth + 1, self.is_read, &mut cuts);
        self.found.extend(cuts.into_iter().map(|cut| (index, cut.moved_by(start))));
    }

    /// An argument with spaces may be a command too: of make, of cron, or of an unknown program.
    fn inner_script(&mut self, index: usize) {
        let word = self.words[index];
        if !word.contains(char::is_whitespace) {
            return;
        }
        // `CMD=mysql -pX`
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let start = word.split_once('=').filter(|(name, _)| is_name(name)).map_or(0, |(name, _)| name.len() + 1);
        self.script(index, start);
    }
}

/// Whether a word is an option and not a value: a long option, or one or two letters.
fn is_option(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else { return false };
    let is_long = rest.strip_prefix('-').is_some_and(|long| !long.starts_with('-'));
    is_long || (rest.len() <= 2 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
