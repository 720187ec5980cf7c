//! The search for secrets in an argument vector, and a quick first look.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use regex::bytes::{Regex, RegexBuilder};

use super::{
    command,
    cut::{Cut, apply},
    names::{self, Names, Pattern},
    pipes, programs, tokens, url,
};
use crate::event::Strings;

/// Removes secrets from arguments.
///
/// ```
/// use tracer_model::{event::Strings, redact::Redactor};
///
/// let arguments: Strings = ["curl", "-u", "me:s3cret", "https://crates.example"].iter().collect();
/// let redacted = Redactor::default().redact(&arguments).expect("a secret");
/// assert_eq!(redacted.iter().nth(2).as_deref(), Some("me:***"));
/// ```
#[derive(Debug, Default)]
pub struct Redactor {
    names: Names,
    first_look: OnceLock<Option<Regex>>,
    /// Bytes of arguments that were searched without the first look.
    searched: AtomicUsize,
}

/// This many bytes of arguments are searched without the first look. Compiling the first look takes about as long, and
/// a short run ends before it needs one.
const WITHOUT_FIRST_LOOK: usize = 32 * 1024;

impl Redactor {
    /// A redactor with patterns for names that a user adds and removes. A removed name is not a secret, even if it was added.
    #[must_use]
    pub fn new(added: Vec<Pattern>, removed: Vec<Pattern>) -> Self {
        Self { names: Names { added, removed }, ..Self::default() }
    }

    /// Compiles the first look now.
    pub fn prepare(&self) {
        self.first_look.get_or_init(|| first_look(&self.names));
    }

    /// The arguments without secrets. `None` if they have no secrets.
    #[must_use]
    pub fn redact(&self, arguments: &Strings) -> Option<Strings> {
        let may_have_secrets = self.first_look(arguments).is_none_or(|look| look.is_match(&arguments.bytes));
        may_have_secrets.then(|| self.redact_without_first_look(arguments))?
    }

    /// The same with the rules only, for tests. The first look may only save time. It must not change the result.
    #[doc(hidden)]
    #[must_use]
    pub fn redact_without_first_look(&self, arguments: &Strings) -> Option<Strings> {
        let texts: Vec<_> = arguments.iter().collect();
        let words: Vec<_> = texts.iter().map(AsRef::as_ref).collect();
        let mut cuts: Vec<Vec<Cut>> = vec![Vec::new(); words.len()];
        for (index, cut) in command::search(&words, &self.names) {
            if let Some(cuts) = cuts.get_mut(index) {
                cuts.push(cut);
            }
        }
        let changed: Vec<_> = words.iter().zip(cuts).map(|(word, cuts)| apply(word, cuts)).collect();
        if changed.iter().all(Option::is_none) {
            return None;
        }
        let all = arguments.exact().zip(&changed);
        let mut redacted: Strings = all.map(|(old, new)| new.as_ref().map_or(old, |text| text.as_bytes())).collect();
        // The end of truncated arguments is still missing.
        redacted.size += arguments.size - arguments.bytes.len() as u64;
        Some(redacted)
    }

    fn first_look(&self, arguments: &Strings) -> Option<&Regex> {
        if self.first_look.get().is_none() {
            let size = arguments.bytes.len();
            if self.searched.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= WITHOUT_FIRST_LOOK {
                return None;
            }
            self.prepare();
        }
        self.first_look.get()?.as_ref()
    }
}

/// An expression that matches all arguments with a secret, joined as they are in memory. It also matches some without.
fn first_look(names: &Names) -> Option<Regex> {
    // A pattern without a fixed text can match any name.
    if names.added.iter().any(|pattern| pattern.literal().is_empty()) {
        return None;
    }
    let any_of = |texts: Vec<String>| format!("(?:{})", texts.join("|"));
    let escaped = |text: &str| regex::escape(text);
    // A word ends before a character that is not a letter, or before the next word in camelCase.
    let ends = any_of(names::ENDS.iter().map(|end| (*end).to_owned()).collect());
    let words = names::WORDS.iter().map(|(word, _)| {
        let (first, rest) = word.split_at(1);
        format!("(?:(?:^|[^A-Za-z]){first}|{})(?i:{rest})", first.to_ascii_uppercase())
    });
    let pairs = names::PAIRS.iter().map(|(first, second)| format!("(?i:{first}[^A-Za-z0-9]*{second})"));
    let mut named: Vec<_> = std::iter::once(format!("(?i:{ends})")).chain(words).chain(pairs).collect();
    named.push("(?i:cookie)".to_owned());
    let named = format!("{}(?:[^a-z]|$)", any_of(named));
    let programs = any_of(programs::with_secrets().chain(pipes::readers()).map(escaped).collect());
    let programs = format!("(?:^|[^A-Za-z0-9]){programs}(?:[^A-Za-z0-9]|$)");
    let tokens = any_of(tokens::prefixes().map(escaped).collect());
    let mut all = vec![
        named,
        programs,
        format!("(?:^|[^A-Za-z0-9_]){tokens}"),
        // A user name in a URL, and a private key.
        r#":['"\\]*/['"\\]*/[^\x00]*@"#.to_owned(),
        "-----BEGIN".to_owned(),
        r"(?i:identified)".to_owned(),
        // Quotes in the middle of a word: a shell removes them, and the result may be any of these words.
        r#"[A-Za-z0-9_.-](?:['"\\$\n]*['"\\])['"\\$\n]*[A-Za-z0-9_.-]"#.to_owned(),
    ];
    all.extend(url::hosts_with_secrets().map(escaped));
    all.extend(names.added.iter().map(|pattern| format!("(?i:{})", escaped(pattern.literal()))));
    RegexBuilder::new(&all.join("|")).unicode(false).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_comes_after_many_arguments_and_changes_nothing() {
        let redactor = Redactor::default();
        let secret: Strings = ["x", "--password=s3cret"].iter().collect();
        let plain: Strings = ["x", "--verbose"].iter().collect();
        let redacted = redactor.redact_without_first_look(&secret);
        assert!(redacted.is_some());
        let mut before = 0;
        while redactor.first_look.get().is_none() {
            assert_eq!((redactor.redact(&secret), redactor.redact(&plain)), (redacted.clone(), None));
            before += secret.bytes.len() + plain.bytes.len();
        }
        assert!(before > WITHOUT_FIRST_LOOK, "{before}");
        assert_eq!((redactor.redact(&secret), redactor.redact(&plain)), (redacted, None));
    }

    #[test]
    fn an_argument_with_a_secret_is_lossy_and_the_others_keep_their_bytes() {
        let arguments: Strings = [&b"\xff"[..], b"--password=\xfe\xffs3cret", b"a\xff"].into_iter().collect();
        let redacted = Redactor::default().redact(&arguments).unwrap();
        assert_eq!(redacted.bytes, b"\xff\0--password=***\0a\xff\0");
    }

    #[test]
    fn the_first_look_comes_at_once_with_long_arguments() {
        let redactor = Redactor::default();
        let long: Strings = ["x", &"y".repeat(WITHOUT_FIRST_LOOK)].iter().collect();
        assert_eq!(redactor.redact(&long), None);
        assert!(redactor.first_look.get().is_some());
    }
}
