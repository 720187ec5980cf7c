//! How a span looks in OpenTelemetry: all attributes of a trace, one row each.
//!
//! A row has the documentation of an attribute and reads its value from the span. The names are those of the semantic
//! conventions. Attributes that the conventions do not have begin with `process_tracer.`.

mod any;
mod event;
mod failure;
mod network;
mod owned;
mod process;
mod root;
mod value;

use crate::{
    event::Direction,
    losses::{LOSSES, Loss},
    span::{Span, Subject},
};

pub use any::*;
pub use event::*;
pub use failure::*;
pub use network::*;
pub use owned::*;
pub use process::*;
pub use root::*;
pub use value::{Texts, ValueRef};

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
struct Row {
    attribute: Attribute,
    of_span: Option<for<'a> fn(&'a Span) -> Option<ValueRef<'a>>>,
    of_event: Option<for<'a> fn(EventRef<'a>) -> Option<ValueRef<'a>>>,
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

        pub(super) const $table: &[$crate::semconv::Row] = &[$($crate::semconv::Row {
            attribute: $crate::semconv::Attribute {
                key: $key,
                on: $on,
                kind: $kind,
                unit: $unit,
                source: $source,
                example: $example,
                meaning: $meaning,
            },
            of_span: $crate::semconv::accessor!($($of_span |$span| $span_value)?),
            of_event: $crate::semconv::accessor!($($of_event |$event| $event_value)?),
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

use {accessor, rows};

/// All attributes, except those of the user.
pub const ATTRIBUTES: &[Attribute] = &{
    const TABLES: [&[Row]; 4] = [PROCESS, NETWORK, ROOT, ANY];
    const COUNT: usize = PROCESS.len() + NETWORK.len() + ROOT.len() + ANY.len() + LOSSES.len();
    let mut all = [PROCESS[0].attribute; COUNT];
    let (mut index, mut table) = (0, 0);
    while table < TABLES.len() {
        let mut row = 0;
        while row < TABLES[table].len() {
            all[index] = TABLES[table][row].attribute;
            (index, row) = (index + 1, row + 1);
        }
        table += 1;
    }
    while index < COUNT {
        all[index] = of_loss(&LOSSES[index + LOSSES.len() - COUNT]);
        index += 1;
    }
    all
};

const fn of_loss(loss: &Loss) -> Attribute {
    let Loss { key, source, example, meaning, .. } = *loss;
    Attribute { key, on: "root", kind: "int", unit: "", source, example, meaning }
}

/// The attributes of a span. The user's own attributes come last. They replace ours that have the same key.
///
/// Each attribute borrows from the span, so that an encoder can write it where it belongs in one pass.
pub fn attributes(span: &Span) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
    let (rows, root, own): (_, &[Row], &[_]) = match &span.subject {
        Subject::Process(process) if process.certificate.is_some() => (PROCESS, ROOT, &process.attributes),
        Subject::Process(process) => (PROCESS, &[], &process.attributes),
        _ => (NETWORK, &[], &[]),
    };
    let of_rows = |rows: &'static [Row]| rows.iter().filter_map(|row| Some((row.attribute.key, row.of_span?(span)?)));
    let losses = losses(span).map(|(loss, count)| (loss.key, ValueRef::Int(count.try_into().unwrap_or(i64::MAX))));
    let ours = of_rows(rows).chain(of_rows(root)).chain(losses).chain(of_rows(ANY));
    ours.filter(move |(key, _)| own.iter().all(|(name, _)| name != key))
        .chain(own.iter().map(|(name, value)| (name.as_str(), value.into())))
}

/// OpenTelemetry's span kinds, as far as they occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process.
    Internal,
    /// A connection that the process made, a flow, a lookup.
    Client,
    /// A connection that the process accepted.
    Server,
}

/// The kind of a span.
#[must_use]
pub fn kind(span: &Span) -> Kind {
    match &span.subject {
        Subject::Process(_) => Kind::Internal,
        Subject::Connection(subject) if subject.connection.direction == Direction::Accept => Kind::Server,
        Subject::Connection(_) | Subject::Flow(_) | Subject::UnixConnect(_) | Subject::Lookup(_) => Kind::Client,
    }
}

/// A count, unless it is 0.
fn positive<N: Copy + Default + PartialOrd>(count: N) -> Option<N> {
    (count > N::default()).then_some(count)
}

/// A number, unless it is the usual one.
fn differing<N: PartialEq>(number: N, usual: N) -> Option<N> {
    (number != usual).then_some(number)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_one_row() {
        for (index, attribute) in ATTRIBUTES.iter().enumerate() {
            let next = &ATTRIBUTES[index + 1..];
            assert!(next.iter().all(|other| other.key != attribute.key), "{} has two rows", attribute.key);
            assert!(!attribute.meaning.is_empty(), "{} has no meaning", attribute.key);
        }
    }
}
