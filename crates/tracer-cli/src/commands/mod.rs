//! The commands that need no run.

pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod report;
mod saved;
