//! Regular expressions, in the dialect of the expression language.

use regex::bytes::{Captures, Regex};

/// A compiled regular expression.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        tracer_expr::regex::Pattern::new(text)?.compile().map(Self)
    }

    /// A text with `*` for any text and `?` for any character.
    pub(crate) fn of_glob(glob: &str) -> Result<Self, String> {
        let mut text = String::from(r"(?s)\A");
        for next in glob.chars() {
            match next {
                '*' => text.push_str(".*"),
                '?' => text.push('.'),
                next => text.push_str(&regex::escape(next.encode_utf8(&mut [0; 4]))),
            }
        }
        text.push_str(r"\z");
        Self::compile(&text)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }

    pub(crate) fn captures<'a>(&self, text: &'a str) -> Option<Captures<'a>> {
        self.0.captures(text.as_bytes())
    }

    /// All matches, from left to right.
    pub(crate) fn all<'a>(&self, text: &'a str) -> impl Iterator<Item = Captures<'a>> {
        self.0.captures_iter(text.as_bytes())
    }

    /// The number of groups, with the whole match.
    pub(crate) fn groups(&self) -> usize {
        self.0.captures_len()
    }

    /// The number of the group with this name.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        self.0.capture_names().position(|known| known == Some(name))
    }

    /// The named groups that take part in a match.
    pub(crate) fn named<'a>(&self, captures: &Captures<'a>) -> impl Iterator<Item = (String, String)> {
        let named = self.0.capture_names().flatten().filter_map(|name| {
            let text = String::from_utf8_lossy(captures.name(name)?.as_bytes()).into_owned();
            Some((name.to_owned(), text))
        });
        named.collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_the_whole_text() {
        let matches = |glob: &str, text: &str| Pattern::of_glob(glob).unwrap().matches(text);
        assert!(
            matches("prod-*", "prod-1") && matches("*", "") && matches("a?c.d", "abc.d") && matches("*\n*", "a\nb")
        );
        assert!(
            !matches("prod-*", "x prod-1") && !matches("a.c", "abc") && !matches("a", "ab") && !matches("[a]", "a")
        );
    }
}
