//! A description of a span that does not borrow from it, for tests and reports.

use std::{borrow::Cow, time::SystemTime};

use super::{
    attributes::attributes,
    event::{dropped_events, events},
    failure::{Error, error},
    kind::{Kind, kind},
    value::ValueRef,
};
use crate::span::{Span, Value};

/// Keys and values.
pub type KeyValues = Vec<(Cow<'static, str>, Value)>;

/// A span in OpenTelemetry's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its kind.
    pub kind: Kind,
    /// Its attributes.
    pub attributes: KeyValues,
    /// Its events, in the order of time.
    pub events: Vec<SpanEvent>,
    /// The number of events beyond the limit of one span.
    pub dropped_events: u32,
    /// Why it failed, if it did.
    pub error: Option<Error<'static>>,
}

/// An event on a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// What happened.
    pub name: &'static str,
    /// When.
    pub at: SystemTime,
    /// Its attributes.
    pub attributes: KeyValues,
}

/// Describes a span in OpenTelemetry's terms.
#[must_use]
pub fn describe(span: &Span) -> Description {
    let events = events(span).into_iter().map(|event| SpanEvent {
        name: event.name(),
        at: event.at,
        attributes: event.attributes().map(owned).collect(),
    });
    Description {
        kind: kind(span),
        attributes: attributes(span).map(owned).collect(),
        events: events.collect(),
        dropped_events: dropped_events(span),
        error: error(span).map(Error::into_owned),
    }
}

fn owned((key, value): (&str, ValueRef<'_>)) -> (Cow<'static, str>, Value) {
    (Cow::Owned(key.to_owned()), value.into_owned())
}
