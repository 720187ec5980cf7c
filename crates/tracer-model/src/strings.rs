//! Lists of strings as a process has them in its memory.

use std::borrow::Cow;

/// Strings that end with NUL, as argv and environ have them in memory. They may be captured in part.
///
/// ```
/// use tracer_model::event::Strings;
///
/// let captured = Strings { bytes: b"cc\0-c\0hel".to_vec(), size: 14 };
/// assert_eq!(captured.iter().collect::<Vec<_>>(), ["cc", "-c", "hel"]);
/// assert!(captured.is_truncated());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    /// The captured beginning.
    pub bytes: Vec<u8>,
    /// Number of bytes in the memory of the process.
    pub size: u64,
}

impl Strings {
    /// Whether the end is missing.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        (self.bytes.len() as u64) < self.size
    }

    /// The strings. Bytes that are not UTF-8 become U+FFFD, since strings of OpenTelemetry are UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.exact().map(lossy)
    }

    /// The strings, byte by byte.
    pub fn exact(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.bytes.strip_suffix(b"\0").unwrap_or(&self.bytes);
        let some = !self.bytes.is_empty();
        bytes.split(|byte| *byte == 0).filter(move |_| some)
    }

    /// The captured beginning, if [`Self::iter`] does not have the same bytes. If the capture
    /// cuts the last character, this character does not count.
    #[must_use]
    pub fn not_utf8(&self) -> Option<&[u8]> {
        let error = str::from_utf8(&self.bytes).err()?;
        (error.error_len().is_some() || !self.is_truncated()).then_some(&self.bytes)
    }

    /// The first `limit` captured bytes of it.
    #[must_use]
    pub fn limited(&self, limit: usize) -> Self {
        Self { bytes: self.bytes[..self.bytes.len().min(limit)].to_vec(), size: self.size }
    }
}

/// Does the same as `String::from_utf8_lossy`, and is faster if the bytes are UTF-8.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

impl<S: AsRef<[u8]>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut bytes = Vec::new();
        for string in strings {
            bytes.extend_from_slice(string.as_ref());
            bytes.push(0);
        }
        let size = bytes.len() as u64;
        Self { bytes, size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_strings_are_kept_and_invalid_utf8_is_replaced() {
        let strings: Strings = [&b"a"[..], b"", b"\xff"].into_iter().collect();
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", "", "\u{fffd}"]);
        assert!(!strings.is_truncated());
        assert!(strings.limited(2).is_truncated());
        assert_eq!(Strings::default().iter().count(), 0);
    }

    #[test]
    fn a_character_that_the_capture_cut_is_still_utf8() {
        let strings: Strings = ["ä", "ö"].into_iter().collect();
        assert_eq!((strings.not_utf8(), strings.limited(4).not_utf8()), (None, None));
        let cut_by_process = Strings { bytes: b"a\xc3".to_vec(), size: 2 };
        assert_eq!(cut_by_process.not_utf8(), Some(&b"a\xc3"[..]), "the process itself cut the character");
        let strings: Strings = [&b"a\xff"[..], "ö".as_bytes()].into_iter().collect();
        assert_eq!(strings.limited(4).not_utf8(), Some(&b"a\xff\0\xc3"[..]));
    }
}
