//! All attributes and events of a span, as they are exported.

use std::borrow::Cow;

use tracer_model::{
    Value,
    semconv::{self, KeyValues, ValueRef},
};

use super::{Origin, Span, nanoseconds};
use crate::saved;

/// The attributes and events of a span, for a reader who wants to see all of it.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) attributes: KeyValues,
    pub(crate) events: Vec<Event>,
}

/// A moment within a span.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: Cow<'static, str>,
    /// Nanoseconds since the epoch.
    pub(crate) at: u64,
    pub(crate) attributes: KeyValues,
}

/// An event that borrows from its span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventRef<'a> {
    Run(semconv::EventRef<'a>),
    Saved(&'a saved::Event),
}

impl Span<'_> {
    /// All attributes, as they are exported, but not cut.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
        let (run, saved) = match self.origin {
            Origin::Run(span) => (Some(semconv::attributes(span)), &[][..]),
            Origin::Saved(span) => (None, span.attributes.as_slice()),
        };
        let is_replaced = |key: &str| self.added.iter().any(|(added, _)| semconv::replaces(added, key));
        let own = run.into_iter().flatten().chain(saved.iter().map(borrowed));
        let added = self.added.iter().map(|(key, value)| (key.as_ref(), value.into()));
        own.filter(move |(key, _)| !is_replaced(key)).chain(added)
    }

    /// All events, as they are exported, but not cut.
    pub(crate) fn events(&self) -> Vec<EventRef<'_>> {
        match self.origin {
            Origin::Run(span) => semconv::events(span).into_iter().map(EventRef::Run).collect(),
            Origin::Saved(span) => span.events.iter().map(EventRef::Saved).collect(),
        }
    }

    /// All attributes and events, as they are exported.
    pub(crate) fn details(&self) -> Details {
        let owned = |(key, value): (&str, ValueRef<'_>)| {
            let mut value = value.into_owned();
            self.value_limit.into_iter().for_each(|limit| cut(&mut value, limit));
            (Cow::Owned(key.to_owned()), value)
        };
        let events = self.events().into_iter().map(|event| Event {
            name: Cow::Owned(event.name().to_owned()),
            at: event.at(),
            attributes: event.attributes().map(owned).collect(),
        });
        Details { attributes: self.attributes().map(owned).collect(), events: events.collect() }
    }
}

impl<'a> EventRef<'a> {
    pub(crate) fn name(&self) -> &'a str {
        match self {
            Self::Run(event) => event.name(),
            Self::Saved(event) => &event.name,
        }
    }

    /// Nanoseconds since the epoch.
    pub(crate) fn at(&self) -> u64 {
        match self {
            Self::Run(event) => nanoseconds(event.at),
            Self::Saved(event) => event.at,
        }
    }

    /// Its attributes, not cut.
    pub(crate) fn attributes(self) -> impl Iterator<Item = (&'a str, ValueRef<'a>)> {
        let (run, saved) = match self {
            Self::Run(event) => (Some(event.attributes()), &[][..]),
            Self::Saved(event) => (None, event.attributes.as_slice()),
        };
        run.into_iter().flatten().chain(saved.iter().map(borrowed))
    }
}

fn borrowed((key, value): &(String, Value)) -> (&str, ValueRef<'_>) {
    (key, value.into())
}

pub(super) fn cut(value: &mut Value, limit: usize) {
    let cut = |text: &mut String| text.truncate(first(text, Some(limit)).len());
    match value {
        Value::String(text) => cut(text),
        Value::Bytes(bytes) => bytes.truncate(limit),
        Value::Strings(texts) => texts.iter_mut().for_each(cut),
        _ => {}
    }
}

/// The first characters of a text.
pub(crate) fn first(text: &str, limit: Option<usize>) -> &str {
    let end = limit.and_then(|limit| text.char_indices().nth(limit)).map_or(text.len(), |(end, _)| end);
    &text[..end]
}
