//! The parts of an attribute's row.

use super::{event::EventRef, value::ValueRef};
use crate::span::Span;

/// The documentation of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its key.
    pub key: &'static str,
    /// The spans and events that may have it.
    pub on: &'static str,
    /// Its type, as OpenTelemetry names types.
    pub kind: &'static str,
    /// Its unit, by UCUM. Empty for texts, flags and plain numbers.
    pub unit: &'static str,
    /// The origin of the value. Fields are those of the kernel's structures.
    pub source: &'static str,
    /// A value.
    pub example: &'static str,
    /// The meaning of a value.
    pub meaning: &'static str,
}

/// An attribute: its documentation, and where its value is.
pub(super) struct Row {
    pub(super) attribute: Attribute,
    pub(super) of_span: Option<for<'a> fn(&'a Span) -> Option<ValueRef<'a>>>,
    pub(super) of_event: Option<for<'a> fn(EventRef<'a>) -> Option<ValueRef<'a>>>,
}

/// Makes a table of attributes, and a constant for each key.
macro_rules! rows {
    ($table:ident: $(
        $name:ident = $key:literal, $on:literal, $kind:literal, $unit:literal, $source:literal, $example:literal,
            $meaning:literal
            $(, span $of_span:ident |$span:pat_param| $span_value:expr)?
            $(, event $of_event:ident |$event:pat_param| $event_value:expr)?;
    )*) => {
        $(#[doc = $meaning] pub const $name: &str = $key;)*

        pub(super) const $table: &[$crate::semconv::row::Row] = &[$($crate::semconv::row::Row {
            attribute: $crate::semconv::row::Attribute {
                key: $key,
                on: $on,
                kind: $kind,
                unit: $unit,
                source: $source,
                example: $example,
                meaning: $meaning,
            },
            of_span: $crate::semconv::row::accessor!($($of_span |$span| $span_value)?),
            of_event: $crate::semconv::row::accessor!($($of_event |$event| $event_value)?),
        }),*];
    };
}

macro_rules! accessor {
    () => {
        None
    };
    ($view:ident |$subject:pat_param| $value:expr) => {
        Some(|whole| {
            let $subject = $view(whole)?;
            $crate::semconv::value::IntoValue::into_value($value)
        })
    };
}

pub(super) use {accessor, rows};

/// A count, unless it is 0.
pub(super) fn positive<N: Copy + Default + PartialOrd>(count: N) -> Option<N> {
    (count > N::default()).then_some(count)
}

/// A number, unless it is the usual one.
pub(super) fn differing<N: PartialEq>(number: N, usual: N) -> Option<N> {
    (number != usual).then_some(number)
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
