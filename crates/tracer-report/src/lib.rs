//! A trace for people: texts, files for viewers, the page, and the page while the command runs.
//!
//! This crate takes spans as OpenTelemetry's SDK has them, so the spans of a run and of a saved trace give the same report.
//! It owns what follows from the spans ([`Rows`] and the analysis), how each [format](formats) looks, and how text that
//! others wrote is shown ([`untrusted`]).
//!
//! It reads no environment variable, opens no file for a report and prints nothing. The caller passes in writers, a
//! [`Style`](text::Style) and addresses. Only the live page does more: it listens, it has a thread of its own, and it reads
//! from /proc how much running processes use.
//!
//! A saved trace, summarised:
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
//!     summary.add(&span?);
//! }
//! trace.finish()?;
//! let style = Style { width: 80, height: 24, is_coloured: false, is_unicode: true };
//! assert!(summary.render(&style).starts_with("make\n  2.50 s: 1 process\n"));
//! # Ok::<(), tracer_report::ReadError>(())
//! ```
#![forbid(unsafe_code)]

mod analysis;
mod columns;
mod command_line;
pub mod files;
pub mod formats;
mod json;
pub mod live;
mod page;
mod read;
mod report;
mod row;
#[cfg(test)]
mod story;
pub mod text;
pub mod untrusted;

pub use read::{ReadError, SavedTrace};
pub use report::Report;
pub use row::{Rows, SPAN_LIMIT};
