//! Secrets in argument vectors: what is taken for one does not leave the machine.
//!
//! An argument vector is a command, and may hold others: behind a wrapper such as `env`, and in the script of `sh -c`. Each is
//! judged in the same way:
//!
//! - `names` knows the names whose values are secrets,
//! - `programs` knows which options and operands of which programs are secrets,
//! - `text` finds what looks like a secret in any text, `url` those in URLs,
//! - `shell` splits scripts into commands,
//! - `command` puts these together,
//! - `policy` says how much is exported at all.
//!
//! All of them find byte ranges, so that only a secret's own bytes are replaced. The rules are tables and code: one that is
//! malformed does not compile. Most arguments have no secret, and one look by a regular expression shows that; without that
//! expression the rules would be asked every time.

mod command;
mod cut;
mod names;
mod policy;
mod programs;
mod redactor;
mod shell;
mod text;
mod tokens;
mod url;

pub use cut::REDACTED;
pub use names::{Pattern, PatternError};
pub use policy::{Extent, Policy};
pub use redactor::Redactor;
pub use text::text;
pub use url::user_info;
