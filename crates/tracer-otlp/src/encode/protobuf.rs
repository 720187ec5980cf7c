//! The wire format of protobuf.
//!
//! The length of a message comes before the message. The writer reserves one byte for it. A longer length moves the message.
//! Almost all messages of a span are shorter than 128 bytes, so this is rare.

use super::writer::{Field, Writer};

/// Types of fields on the wire.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// A message under construction.
#[derive(Debug, Default)]
pub(super) struct Protobuf(Vec<u8>);

impl Protobuf {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, field: Field, wire_type: u32) {
        self.varint(u64::from(field.number << 3 | wire_type));
    }

    fn varint(&mut self, number: u64) {
        let mut rest = number;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    fn delimited(&mut self, field: Field, bytes: &[u8]) {
        self.key(field, DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

impl Writer for Protobuf {
    fn message(&mut self, field: Field, content: impl FnOnce(&mut Self)) {
        self.key(field, DELIMITED);
        let start = self.0.len();
        self.0.push(0);
        content(self);
        let (end, length) = (self.0.len(), self.0.len() - start - 1);
        if length < 0x80 {
            self.0[start] = length as u8;
        } else {
            // The length is first written behind the message, and then moved before it.
            self.varint(length as u64);
            let size = self.0.len() - end;
            let mut varint = [0; 10];
            varint[..size].copy_from_slice(&self.0[end..]);
            self.0.truncate(end + size - 1);
            self.0.copy_within(start + 1..end, start + size);
            self.0[start..start + size].copy_from_slice(&varint[..size]);
        }
    }

    fn messages<T>(&mut self, field: Field, items: impl IntoIterator<Item = T>, mut content: impl FnMut(&mut Self, T)) {
        // If the iterator is a chain, `for_each` is faster than a `for` loop.
        items.into_iter().for_each(|item| self.message(field, |writer| content(writer, item)));
    }

    fn id(&mut self, field: Field, id: &[u8]) {
        if !id.is_empty() {
            self.delimited(field, id);
        }
    }

    fn string(&mut self, field: Field, text: &str) {
        if !text.is_empty() {
            self.delimited(field, text.as_bytes());
        }
    }

    fn fixed64(&mut self, field: Field, number: u64) {
        if number != 0 {
            self.key(field, FIXED64);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn fixed32(&mut self, field: Field, number: u32) {
        if number != 0 {
            self.key(field, FIXED32);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn uint32(&mut self, field: Field, number: u32) {
        if number != 0 {
            self.key(field, VARINT);
            self.varint(u64::from(number));
        }
    }

    fn one_string(&mut self, field: Field, text: &str) {
        self.delimited(field, text.as_bytes());
    }

    fn one_bool(&mut self, field: Field, is_true: bool) {
        self.key(field, VARINT);
        self.varint(u64::from(is_true));
    }

    fn one_int(&mut self, field: Field, number: i64) {
        self.key(field, VARINT);
        self.varint(number.cast_unsigned());
    }

    fn one_double(&mut self, field: Field, number: f64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn one_bytes(&mut self, field: Field, bytes: &[u8]) {
        self.delimited(field, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::writer::field, *};

    #[test]
    fn lengths_of_every_width_precede_their_message() {
        for size in [0, 1, 125, 126, 127, 128, 16_380, 16_384, 2_097_152] {
            let text = "x".repeat(size);
            let mut writer = Protobuf::default();
            writer.message(field!(1, "outer"), |writer| writer.one_string(field!(2, "inner"), &text));
            let inner = [prost_varint(size), text.into_bytes()].concat();
            let expected = [vec![0x0a], prost_varint(inner.len() + 1), vec![0x12], inner].concat();
            assert!(writer.into_bytes() == expected, "{size}");
        }
    }

    fn prost_varint(number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(number as u64, &mut bytes);
        bytes
    }
}
