//! The form of a span in OpenTelemetry: all attributes of a trace, one row each.
//!
//! A row has the documentation of an attribute and reads its value from the span. The names are those of the semantic
//! conventions. Attributes that the conventions do not have begin with `process_tracer.`.

mod any;
mod attributes;
mod event;
mod failure;
mod kind;
mod network;
mod owned;
mod process;
mod root;
mod row;
mod value;

pub use any::*;
pub use attributes::*;
pub use event::*;
pub use failure::*;
pub use kind::*;
pub use network::*;
pub use owned::*;
pub use process::*;
pub use root::*;
pub use row::Attribute;
pub use value::{Texts, ValueRef};

/// The version of the semantic conventions that the names come from. Backends use it to translate names between versions.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
