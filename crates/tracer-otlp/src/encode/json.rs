//! OTLP/JSON: ids in hexadecimal, 64-bit integers as strings, enumerations as numbers.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::writer::{Field, Writer};
use crate::message::not_finite;

/// A line under construction, and the lines before it.
#[derive(Debug)]
pub(super) struct Json(Vec<u8>);

impl Json {
    /// Begins a line after the given lines.
    pub(super) fn begin(mut lines: Vec<u8>) -> Self {
        lines.push(b'{');
        Self(lines)
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    /// Ends the line.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }

    /// Writes a comma, unless this is the first item in its brackets. Then the last byte is `{` or `[`. This byte
    /// cannot be part of a text, because every text ends with a quote.
    fn comma(&mut self) {
        if !matches!(self.0.last(), Some(b'{' | b'[')) {
            self.0.push(b',');
        }
    }

    fn name(&mut self, field: Field) {
        self.comma();
        self.0.extend_from_slice(field.name.as_bytes());
    }

    fn number(&mut self, number: impl itoa::Integer) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn quoted(&mut self, number: impl itoa::Integer) {
        self.0.push(b'"');
        self.number(number);
        self.0.push(b'"');
    }

    fn serialized(&mut self, value: &(impl serde::Serialize + ?Sized)) {
        // Writing texts and numbers to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.0, value);
    }
}

impl Writer for Json {
    fn message(&mut self, field: Field, content: impl FnOnce(&mut Self)) {
        self.name(field);
        self.0.push(b'{');
        content(self);
        self.0.push(b'}');
    }

    fn messages<T>(&mut self, field: Field, items: impl IntoIterator<Item = T>, mut content: impl FnMut(&mut Self, T)) {
        self.name(field);
        self.0.push(b'[');
        // If the iterator is a chain, `for_each` is faster than a `for` loop.
        items.into_iter().for_each(|item| {
            self.comma();
            self.0.push(b'{');
            content(self, item);
            self.0.push(b'}');
        });
        self.0.push(b']');
    }

    fn id(&mut self, field: Field, id: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.name(field);
        self.0.push(b'"');
        for byte in id {
            self.0.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        self.0.push(b'"');
    }

    fn string(&mut self, field: Field, text: &str) {
        self.name(field);
        self.serialized(text);
    }

    fn fixed64(&mut self, field: Field, number: u64) {
        self.name(field);
        self.quoted(number);
    }

    fn fixed32(&mut self, field: Field, number: u32) {
        self.name(field);
        self.number(number);
    }

    fn uint32(&mut self, field: Field, number: u32) {
        self.fixed32(field, number);
    }

    fn one_string(&mut self, field: Field, text: &str) {
        self.string(field, text);
    }

    fn one_bool(&mut self, field: Field, is_true: bool) {
        self.name(field);
        self.0.extend_from_slice(if is_true { b"true" } else { b"false" });
    }

    fn one_int(&mut self, field: Field, number: i64) {
        self.name(field);
        self.quoted(number);
    }

    fn one_double(&mut self, field: Field, number: f64) {
        self.name(field);
        match not_finite(number) {
            Some(word) => self.serialized(&word),
            None => self.serialized(&number),
        }
    }

    fn one_bytes(&mut self, field: Field, bytes: &[u8]) {
        self.string(field, &BASE64_STANDARD.encode(bytes));
    }
}
