//! The commands that need no run.

pub(crate) mod diff;
pub(crate) mod report;
mod saved;
