//! Untrusted text: arguments, names, paths, answers of a collector, and every string of a saved trace.
//!
//! A terminal obeys control characters. Bidirectional marks reorder the text around them. Characters without a glyph make two
//! different names look the same. [`visible`] writes all of them as escapes. All untrusted text goes through it on its way to
//! a terminal or to Markdown. The page has the same rule in `page/format.js`. Files for programs keep the exact text.

use std::{borrow::Cow, fmt::Write, sync::Arc};

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};

/// Text of a trace. It has no `Display`, so a report for people cannot print it unescaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Untrusted {
    text: Arc<str>,
    /// Its bytes, if U+FFFD replaces some of them in the text.
    bytes: Option<Arc<[u8]>>,
}

impl Untrusted {
    /// The exact text, for files that programs read and for the page.
    pub fn exact(&self) -> &str {
        &self.text
    }

    /// The text for people: see [`visible`].
    pub fn visible(&self) -> Cow<'_, str> {
        visible(&self.text)
    }

    /// The text for people, for a terminal that draws only ASCII.
    pub fn visible_in_ascii(&self) -> Cow<'_, str> {
        escaped_where(&self.text, |c| !c.is_ascii() || is_unseen(c))
    }

    /// The bytes. They can be wrong if they are not [known](Self::has_unknown_bytes).
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }

    /// The bytes of memory behind it.
    pub(crate) fn size(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + self.text.len() + self.bytes.as_ref().map_or(0, |bytes| COUNTS + bytes.len())
    }

    /// Whether U+FFFD replaces bytes that nobody knows.
    pub(crate) fn has_unknown_bytes(&self) -> bool {
        self.bytes.is_none() && self.text.contains(REPLACED)
    }

    /// The texts with their bytes. `bytes` has a NUL after each text. Bytes that do not decode to their text are ignored,
    /// because a saved trace can contain any bytes.
    pub(crate) fn with_bytes(mut texts: Vec<Self>, bytes: Option<&[u8]>) -> Vec<Self> {
        let bytes = bytes.into_iter().flat_map(|bytes| bytes.split(|byte| *byte == 0));
        for (text, bytes) in texts.iter_mut().zip(bytes) {
            if text.text.contains(REPLACED) && String::from_utf8_lossy(bytes) == *text.text {
                text.bytes = Some(bytes.into());
            }
        }
        texts
    }
}

/// `String::from_utf8_lossy` writes it for bytes that are not UTF-8.
pub(crate) const REPLACED: char = char::REPLACEMENT_CHARACTER;

impl<T: Into<Arc<str>>> From<T> for Untrusted {
    fn from(text: T) -> Self {
        Self { text: text.into(), bytes: None }
    }
}

/// Escapes every character that draws nothing or changes the text beside it.
///
/// Joiners and variation selectors are escaped too, although some scripts and emoji need them. Here it is more
/// important to see every character of a name. Python's `repr` and Rust's `escape_debug` also escape joiners.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped_where(text, is_unseen)
}

fn escaped_where(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_escaped(c) {
            escape(c, &mut escaped);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Controls, format characters (also the bidirectional ones), line and paragraph separators, and characters that
/// Unicode does not draw: <https://www.unicode.org/reports/tr44/#General_Category_Values>,
/// `#Default_Ignorable_Code_Point`.
pub(crate) fn is_unseen(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        CodePointMapData::<GeneralCategory>::new().get(c),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    ) || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Writes a character as bash reads it between `$'` and `'`.
fn escape(c: char, to: &mut String) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match c {
        '\n' => to.write_str("\\n"),
        '\t' => to.write_str("\\t"),
        '\r' => to.write_str("\\r"),
        _ if code < 0x80 => write!(to, "\\x{code:02x}"),
        _ if code < 0x1_0000 => write!(to, "\\u{code:04x}"),
        _ => write!(to, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The characters that no output for people may contain, from another implementation of Unicode.
    fn unseen() -> BTreeSet<char> {
        let file = include_str!("../../../tests/integration/unseen.txt");
        let ranges = file.lines().filter(|line| !line.starts_with('#'));
        let code = |text| u32::from_str_radix(text, 16).unwrap();
        ranges
            .flat_map(|range| {
                let (first, last) = range.split_once("..").unwrap();
                code(first)..=code(last)
            })
            .map(|code| char::from_u32(code).unwrap())
            .collect()
    }

    #[test]
    fn exactly_the_invisible_characters_are_escaped() {
        let unseen = unseen();
        assert_eq!(unseen.len(), 4_273, "the list is whole");
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            assert_eq!(visible(&text) != text, unseen.contains(&c), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn escapes_follow_bash() {
        assert_eq!(visible("a\x1b[2Jb\nc\u{9b}\u{202e}\u{e0041}d"), "a\\x1b[2Jb\\nc\\u009b\\u202e\\U000e0041d");
        assert!(matches!(visible("grün, 日本語"), Cow::Borrowed(_)));
        assert_eq!(Untrusted::from("grün\u{200b}").visible_in_ascii(), "gr\\u00fcn\\u200b");
    }

    proptest! {
        #[test]
        fn visible_text_has_no_invisible_characters(text in "(\\PC|\\pC|\\p{Cf}|[\u{202a}-\u{202e}\u{fe00}-\u{fe0f}]){0,40}") {
            let (shown, unseen) = (visible(&text), unseen());
            prop_assert!(!shown.chars().any(|c| unseen.contains(&c)), "{shown:?}");
            prop_assert_eq!(visible(&shown), &*shown, "a second escape changes nothing");
            prop_assert!(Untrusted::from(text).visible_in_ascii().chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
    }
}
