//! The rules of a trace. Each test is a short history.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod connections;
mod flows;
mod images;
mod lookups;
mod losses;
mod processes;
#[path = "../story/mod.rs"]
mod story;

use tracer_model::{Value, semconv::describe};

/// An expected value, made from a literal.
struct Told(Value);

impl From<&str> for Told {
    fn from(text: &str) -> Self {
        Self(Value::String(text.to_owned()))
    }
}

impl From<i64> for Told {
    fn from(number: i64) -> Self {
        Self(Value::Int(number))
    }
}

impl story::Trace {
    fn attribute_of_root(&self, key: &str) -> Option<Value> {
        let description = describe(self.spans.last().unwrap());
        description.attributes.into_iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }
}
