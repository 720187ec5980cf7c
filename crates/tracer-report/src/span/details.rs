//! All attributes and events of a span, as they are exported.

use std::borrow::Cow;

use tracer_model::{
    Value,
    semconv::{self, KeyValues},
};

use super::{Origin, Span, nanoseconds};

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

impl Span<'_> {
    /// All attributes and events, as they are exported.
    pub(crate) fn details(&self) -> Details {
        let mut details = match self.origin {
            Origin::Run(span) => {
                let description = semconv::describe(span);
                let events = description.events.into_iter().map(|event| Event {
                    name: Cow::Borrowed(event.name),
                    at: nanoseconds(event.at),
                    attributes: event.attributes,
                });
                Details { attributes: description.attributes, events: events.collect() }
            }
            Origin::Saved(span) => {
                let owned = |attributes: &[(String, Value)]| {
                    attributes.iter().map(|(key, value)| (Cow::Owned(key.clone()), value.clone())).collect()
                };
                let events = span.events.iter().map(|event| Event {
                    name: Cow::Owned(event.name.clone()),
                    at: event.at,
                    attributes: owned(&event.attributes),
                });
                Details { attributes: owned(&span.attributes), events: events.collect() }
            }
        };
        let is_replaced = |key: &str| self.added.iter().any(|(added, _)| added == key);
        details.attributes.retain(|(key, _)| !is_replaced(key));
        details.attributes.extend(self.added.iter().cloned());
        if let Some(limit) = self.value_limit {
            let attributes = details.events.iter_mut().map(|event| &mut event.attributes);
            attributes.chain([&mut details.attributes]).flatten().for_each(|(_, value)| cut(value, limit));
        }
        details
    }
}

pub(super) fn cut(value: &mut Value, limit: usize) {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(limit) {
            text.truncate(end);
        }
    };
    match value {
        Value::String(text) => cut(text),
        Value::Strings(texts) => texts.iter_mut().for_each(cut),
        _ => {}
    }
}
