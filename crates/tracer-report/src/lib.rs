//! Reports for people: texts, files for viewers, the page, and the live page.
//!
//! A report is made of [`Span`]s: typed, from the model or from a saved trace. So a run and its saved trace give the same
//! report. This crate owns the facts that follow from the spans ([`Rows`] and the analysis). It also owns the look of
//! each [format](formats), and the escapes of untrusted text ([`untrusted`]).
//!
//! It reads no environment variable, opens no file for a report and prints nothing. The caller passes in writers, a
//! [`Style`](text::Style) and addresses. Only the live page does more. It listens on a port, has its own thread, and
//! reads the usage of running processes from /proc.
//!
//! The summary of a saved trace:
//!
//! ```
//! use tracer_report::{SavedTrace, formats::Text, text::{Style, TextReport}};
//!
//! let file = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
//!     "traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"make",
//!     "startTimeUnixNano":"1000000000","endTimeUnixNano":"3500000000",
//!     "attributes":[{"key":"process.pid","value":{"intValue":"7"}}]}]}]}]}"#;
//! # let file = String::from_utf8_lossy(file).replace('\n', "").into_bytes();
//! let mut summary = TextReport::new(Text::Summary, usize::MAX);
//! let mut trace = SavedTrace::new(&file[..], None);
//! for span in &mut trace {
//!     summary.add(&(&span?).into());
//! }
//! trace.finish()?;
//! let style = Style { width: 80, height: 24, is_coloured: false, is_unicode: true };
//! assert!(summary.render(&style).starts_with("make\n  2.50 s: 1 process\n"));
//! # Ok::<(), tracer_report::ReadError>(())
//! ```
#![forbid(unsafe_code)]

mod analysis;
mod argument;
mod by;
mod causes;
mod columns;
mod command_line;
pub mod compilations;
pub mod compression;
pub mod diff;
pub mod files;
mod filter;
pub mod formats;
mod json;
mod judged;
pub mod live;
mod network;
mod page;
mod parquet;
mod read;
mod report;
mod row;
mod runs;
mod saved;
mod span;
#[cfg(test)]
mod story;
pub mod text;
pub mod untrusted;
mod whatif;
mod words;

pub use by::By;
pub use filter::{Filter, Selection};
pub use judged::Judged;
pub use read::{ReadError, SavedTrace};
pub use report::Report;
pub use row::{Rows, SPAN_LIMIT};
pub use runs::Runs;
pub use saved::Span as SavedSpan;
pub use span::Span;
