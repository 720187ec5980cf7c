//! A secret's place in a text, and the text without it.

use std::ops::Range;

/// The text that replaces a secret.
pub const REDACTED: &str = "***";

/// A part of a text that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) range: Range<usize>,
    /// Another cut has the beginning of the same secret. The text of this cut is removed, and nothing replaces it.
    pub(super) is_rest: bool,
}

impl Cut {
    pub(super) fn new(range: Range<usize>) -> Self {
        Self { range, is_rest: false }
    }

    pub(super) fn moved_by(self, offset: usize) -> Self {
        Self { range: self.range.start + offset..self.range.end + offset, ..self }
    }
}

/// Makes the cuts in a text. Returns `None` if the text stays the same.
pub(super) fn apply(text: &str, mut cuts: Vec<Cut>) -> Option<String> {
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
        // Ranges begin and end between characters. If a range does not, no part of the text is safe to show.
        let Some(before) = text.get(from..cut.range.start) else { return Some(REDACTED.to_owned()) };
        changed.push_str(before);
        changed.push_str(if cut.is_rest { "" } else { REDACTED });
        from = cut.range.end;
    }
    let Some(after) = text.get(from..) else { return Some(REDACTED.to_owned()) };
    changed.push_str(after);
    (changed != text).then_some(changed)
}
