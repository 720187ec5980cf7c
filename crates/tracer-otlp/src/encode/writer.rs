//! The fields that a format must be able to write.

/// A field of a message. [`field!`] makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Its number in protobuf.
    pub(super) number: u32,
    /// Its name in JSON, with the quotes and the colon.
    pub(super) name: &'static str,
}

/// `field!(NUMBER, "name")`.
macro_rules! field {
    ($number:literal, $name:literal) => {
        Field { number: $number, name: concat!("\"", $name, "\":") }
    };
}
pub(super) use field;

/// Writes the fields of a message, in the order of the calls.
///
/// A protobuf writer leaves out a field that has the default value. Fields of a `oneof` are always written.
pub(super) trait Writer {
    /// A message within the message.
    fn message(&mut self, field: Field, content: impl FnOnce(&mut Self));

    /// A list of messages.
    fn messages<T>(&mut self, field: Field, items: impl IntoIterator<Item = T>, content: impl FnMut(&mut Self, T));

    /// The id of a trace or a span; empty if there is none.
    fn id(&mut self, field: Field, id: &[u8]);

    /// A text.
    fn string(&mut self, field: Field, text: &str);

    /// A number of 64 bits and fixed width.
    fn fixed64(&mut self, field: Field, number: u64);

    /// A number of 32 bits and fixed width.
    fn fixed32(&mut self, field: Field, number: u32);

    /// A number of 32 bits, or the number of an enumeration's value.
    fn uint32(&mut self, field: Field, number: u32);

    /// A text of a `oneof`.
    fn one_string(&mut self, field: Field, text: &str);

    /// A boolean of a `oneof`.
    fn one_bool(&mut self, field: Field, is_true: bool);

    /// An integer of a `oneof`.
    fn one_int(&mut self, field: Field, number: i64);

    /// A double of a `oneof`.
    fn one_double(&mut self, field: Field, number: f64);

    /// Bytes of a `oneof`.
    fn one_bytes(&mut self, field: Field, bytes: &[u8]);
}
