//! OTLP/JSON: ids in hexadecimal, 64-bit integers as strings, enumerations as numbers.

use super::writer::{Field, Writer};

/// An object under construction.
#[derive(Debug)]
pub(super) struct Json(Vec<u8>);

impl Json {
    pub(super) fn begin() -> Self {
        Self(vec![b'{'])
    }

    /// Ends the object and its line.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }

    /// Every text ends with a quote, so that a bracket at the end has just been opened.
    fn comma(&mut self) {
        if !matches!(self.0.last(), Some(b'{' | b'[')) {
            self.0.push(b',');
        }
    }

    fn name(&mut self, Field(_, name): Field) {
        self.comma();
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn serialized(&mut self, value: &(impl serde::Serialize + ?Sized)) {
        // Writing these types to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn quoted(&mut self, number: impl serde::Serialize) {
        self.0.push(b'"');
        self.serialized(&number);
        self.0.push(b'"');
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
        // A chain of iterators is faster from within than from outside.
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
        self.serialized(&number);
    }

    fn uint32(&mut self, field: Field, number: u32) {
        self.fixed32(field, number);
    }

    fn one_string(&mut self, field: Field, text: &str) {
        self.string(field, text);
    }

    fn one_bool(&mut self, field: Field, is_true: bool) {
        self.name(field);
        self.serialized(&is_true);
    }

    fn one_int(&mut self, field: Field, number: i64) {
        self.name(field);
        self.quoted(number);
    }

    /// A number that JSON does not have is `null`: `opentelemetry-proto` reads no other form of it.
    fn one_double(&mut self, field: Field, number: f64) {
        self.name(field);
        self.serialized(&number);
    }
}
