//! Secrets in argument vectors. A text that looks like a secret does not leave the machine.
//!
//! An argument vector is a command. It can contain other commands: after a wrapper such as `env`, and in the script of
//! `sh -c`. All of them are checked in the same way:
//!
//! - `names` knows the names whose values are secrets,
//! - `programs` knows the secret options and operands of programs,
//! - `text`, `tokens` and `url` find secrets in any text,
//! - `shell` splits scripts into commands,
//! - `pipes` finds the commands of a script that write a secret for another program,
//! - `command` applies all of these to a command,
//! - `redactor` applies them to an argument vector,
//! - `policy` says how many arguments are exported at all.
//!
//! These modules find byte ranges, so that only the bytes of a secret are replaced. The rules are tables and code, so
//! that a malformed rule does not compile. Most arguments have no secret. A regular expression makes a first look. If
//! it finds nothing, the rules are not applied.

mod command;
mod cut;
mod names;
mod pipes;
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
