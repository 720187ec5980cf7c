//! The value of an attribute, borrowed from the span.

use std::{borrow::Cow, net::IpAddr};

use crate::{event::Strings, span::Value};

/// The value of an attribute, in one of OpenTelemetry's types. It borrows from the span where it can.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum ValueRef<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Cow<'a, str>),
    Bytes(&'a [u8]),
    Bools(&'a [bool]),
    Ints(&'a [i64]),
    Floats(&'a [f64]),
    Strings(Texts<'a>),
}

impl ValueRef<'_> {
    /// The same value, independent of the span.
    #[must_use]
    pub fn into_owned(self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::String(text) => Value::String(text.into_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Self::Bools(values) => Value::Bools(values.to_vec()),
            Self::Ints(values) => Value::Ints(values.to_vec()),
            Self::Floats(values) => Value::Floats(values.to_vec()),
            Self::Strings(texts) => Value::Strings(texts.iter().map(Cow::into_owned).collect()),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Float(value) => Self::Float(*value),
            Value::String(text) => Self::String(Cow::Borrowed(text)),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Bools(values) => Self::Bools(values),
            Value::Ints(values) => Self::Ints(values),
            Value::Floats(values) => Self::Floats(values),
            Value::Strings(texts) => Self::Strings(Texts::List(texts)),
        }
    }
}

/// A list of strings, in the form in which the span has it.
#[derive(Clone, Copy, Debug)]
pub enum Texts<'a> {
    /// Strings that end with NUL, as argv is in memory.
    Captured(&'a Strings),
    /// Strings.
    List(&'a [String]),
    /// Constant strings of our own code.
    Words(&'a [&'static str]),
    /// IP addresses.
    Addresses(&'a [IpAddr]),
}

impl<'a> Texts<'a> {
    /// The strings, one after the other.
    pub fn iter(self) -> impl Iterator<Item = Cow<'a, str>> {
        let (captured, list, words, addresses) = match self {
            Self::Captured(strings) => (Some(strings), &[][..], &[][..], &[][..]),
            Self::List(list) => (None, list, &[][..], &[][..]),
            Self::Words(words) => (None, &[][..], words, &[][..]),
            Self::Addresses(addresses) => (None, &[][..], &[][..], addresses),
        };
        let captured = captured.into_iter().flat_map(Strings::iter);
        let list = list.iter().map(String::as_str).chain(words.iter().copied()).map(Cow::Borrowed);
        captured.chain(list).chain(addresses.iter().map(|address| Cow::Owned(address.to_string())))
    }
}

/// What an accessor may return. `None`: the span has no such attribute.
pub(super) trait IntoValue<'a> {
    fn into_value(self) -> Option<ValueRef<'a>>;
}

impl<'a, T: IntoValue<'a>> IntoValue<'a> for Option<T> {
    fn into_value(self) -> Option<ValueRef<'a>> {
        self?.into_value()
    }
}

macro_rules! into_value {
    ($($kind:ty: |$value:ident| $result:expr;)*) => {$(
        impl<'a> IntoValue<'a> for $kind {
            fn into_value(self) -> Option<ValueRef<'a>> {
                let $value = self;
                Some($result)
            }
        }
    )*};
}

into_value! {
    bool: |value| ValueRef::Bool(value);
    i8: |number| ValueRef::Int(number.into());
    u8: |number| ValueRef::Int(number.into());
    u16: |number| ValueRef::Int(number.into());
    u32: |number| ValueRef::Int(number.into());
    u64: |number| ValueRef::Int(number.try_into().unwrap_or(i64::MAX));
    f64: |number| ValueRef::Float(number);
    &'a [u8]: |bytes| ValueRef::Bytes(bytes);
    &'a str: |text| ValueRef::String(Cow::Borrowed(text));
    String: |text| ValueRef::String(Cow::Owned(text));
    Cow<'a, str>: |text| ValueRef::String(text);
    IpAddr: |address| ValueRef::String(Cow::Owned(address.to_string()));
    Texts<'a>: |texts| ValueRef::Strings(texts);
}
