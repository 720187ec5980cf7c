//! Secrets in argument vectors: what is taken for one does not leave the machine.
//!
//! An argument vector is a command, and may hold others: behind a wrapper such as `env`, and in the script of `sh -c`. Each is
//! judged in the same way:
//!
//! - `names` knows the names whose values are secrets,
//! - `programs` knows which options and operands of which programs are secrets,
//! - `text` finds what looks like a secret in any text, `url` those in URLs,
//! - `shell` splits scripts into commands,
//! - `command` puts these together,
//! - `policy` says how much is exported at all.
//!
//! All of them find byte ranges, so that only a secret's own bytes are replaced. The rules are tables and code: one that is
//! malformed does not compile. Most arguments have no secret, and one look by a regular expression shows that; without that
//! expression the rules would be asked every time.

mod command;
mod names;
mod policy;
mod programs;
mod shell;
mod text;
mod url;

use std::{borrow::Cow, ops::Range, sync::OnceLock};

use regex::bytes::{Regex, RegexBuilder};

pub use names::{Pattern, PatternError};
pub use policy::{Extent, Policy};
pub use url::user_info;

use crate::event::Strings;
use names::Names;

/// What stands in a secret's place.
pub const REDACTED: &str = "***";

/// A stretch of a text that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    range: Range<usize>,
    /// It belongs to a secret whose beginning was replaced already: nothing stands in its place.
    is_rest: bool,
}

impl Cut {
    fn new(range: Range<usize>) -> Self {
        Self { range, is_rest: false }
    }

    fn moved_by(self, offset: usize) -> Self {
        Self { range: self.range.start + offset..self.range.end + offset, ..self }
    }
}

/// Takes secrets out of arguments.
#[derive(Debug, Default)]
pub struct Redactor {
    names: Names,
    first_look: OnceLock<Option<Regex>>,
}

impl Redactor {
    /// With names of secrets that a user adds, and others that are none; these count more.
    #[must_use]
    pub fn new(added: Vec<Pattern>, removed: Vec<Pattern>) -> Self {
        Self { names: Names { added, removed }, first_look: OnceLock::new() }
    }

    /// Gets ready, which takes a millisecond and would otherwise be done at the first call.
    pub fn prepare(&self) {
        self.first_look();
    }

    /// The arguments without secrets; `None` if there are none in them.
    #[must_use]
    pub fn redact(&self, arguments: &Strings) -> Option<Strings> {
        let may_have_secrets = self.first_look().is_none_or(|look| look.is_match(&arguments.bytes));
        may_have_secrets.then(|| self.redact_without_first_look(arguments))?
    }

    /// The same by the rules alone, for tests: the first look may only save time.
    #[doc(hidden)]
    #[must_use]
    pub fn redact_without_first_look(&self, arguments: &Strings) -> Option<Strings> {
        let mut texts: Vec<_> = arguments.iter().collect();
        let words: Vec<_> = texts.iter().map(AsRef::as_ref).collect();
        let mut cuts: Vec<Vec<Cut>> = vec![Vec::new(); words.len()];
        for (index, cut) in command::search(&words, &self.names) {
            if let Some(cuts) = cuts.get_mut(index) {
                cuts.push(cut);
            }
        }
        let changed: Vec<_> = words.iter().zip(cuts).map(|(word, cuts)| apply(word, cuts)).enumerate().collect();
        let mut is_changed = false;
        for (index, text) in changed {
            if let Some(text) = text {
                (texts[index], is_changed) = (Cow::Owned(text), true);
            }
        }
        if !is_changed {
            return None;
        }
        let mut redacted: Strings = texts.iter().map(|text| text.as_bytes()).collect();
        // What is missing at the end is still missing.
        redacted.size += arguments.size - arguments.bytes.len() as u64;
        Some(redacted)
    }

    fn first_look(&self) -> Option<&Regex> {
        self.first_look.get_or_init(|| first_look(&self.names)).as_ref()
    }
}

/// What there is in any arguments that have a secret, all of them in a row. It finds more than that, but nothing less.
fn first_look(names: &Names) -> Option<Regex> {
    // Nobody could say what such a pattern matches.
    if names.added.iter().any(|pattern| pattern.literal().is_empty()) {
        return None;
    }
    let any_of = |texts: Vec<String>| format!("(?:{})", texts.join("|"));
    let escaped = |text: &str| regex::escape(text);
    // A word ends before what is no letter, or before another word in camelCase.
    let ends = any_of(names::ENDS.iter().map(|end| (*end).to_owned()).collect());
    let words = names::WORDS.iter().map(|(word, _)| {
        let (first, rest) = word.split_at(1);
        format!("(?:(?:^|[^A-Za-z]){first}|{})(?i:{rest})", first.to_ascii_uppercase())
    });
    let pairs = names::PAIRS.iter().map(|(first, second)| format!("(?i:{first}[^A-Za-z0-9]*{second})"));
    let mut named: Vec<_> = std::iter::once(format!("(?i:{ends})")).chain(words).chain(pairs).collect();
    named.push("(?i:cookie)".to_owned());
    let named = format!("{}(?:[^a-z]|$)", any_of(named));
    let programs = any_of(programs::with_secrets().map(escaped).collect());
    let programs = format!("(?:^|[^A-Za-z0-9]){programs}(?:[^A-Za-z0-9]|$)");
    let tokens = any_of(text::token_prefixes().map(escaped).collect());
    let mut all = vec![
        named,
        programs,
        format!("(?:^|[^A-Za-z0-9_]){tokens}"),
        // A user name in a URL, and a private key.
        r#":['"\\]*/['"\\]*/[^\x00]*@"#.to_owned(),
        "-----BEGIN".to_owned(),
        r"(?i:identified)".to_owned(),
        // Quotes in the middle of a word: a shell removes them, and the word may be any of these.
        r#"[A-Za-z0-9_.-](?:['"\\$\n]*['"\\])['"\\$\n]*[A-Za-z0-9_.-]"#.to_owned(),
    ];
    all.extend(url::hosts_with_secrets().map(escaped));
    all.extend(names.added.iter().map(|pattern| format!("(?i:{})", escaped(pattern.literal()))));
    RegexBuilder::new(&all.join("|")).unicode(false).build().ok()
}

/// The text with its cuts made; `None` if that changes nothing.
fn apply(text: &str, mut cuts: Vec<Cut>) -> Option<String> {
    if cuts.is_empty() {
        return None;
    }
    cuts.sort_by_key(|cut| (cut.range.start, cut.range.end));
    let mut merged: Vec<Cut> = Vec::with_capacity(cuts.len());
    for cut in cuts {
        match merged.last_mut() {
            Some(last) if cut.range.start < last.range.end => {
                last.range.end = last.range.end.max(cut.range.end);
                last.is_rest &= cut.is_rest;
            }
            _ => merged.push(cut),
        }
    }
    let (mut changed, mut from) = (String::with_capacity(text.len()), 0);
    for cut in merged {
        // Ranges lie between characters. If one did not, no part of the text would be safe to show.
        let Some(before) = text.get(from..cut.range.start) else { return Some(REDACTED.to_owned()) };
        changed.push_str(before);
        changed.push_str(if cut.is_rest { "" } else { REDACTED });
        from = cut.range.end;
    }
    let Some(after) = text.get(from..) else { return Some(REDACTED.to_owned()) };
    changed.push_str(after);
    (changed != text).then_some(changed)
}

/// A text that is no command, without what looks like a secret in it.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let mut cuts = Vec::new();
    text::search(text, &Names::default(), &mut cuts);
    apply(text, cuts).map_or(Cow::Borrowed(text), Cow::Owned)
}
