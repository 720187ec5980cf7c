//! The commands besides a run.

mod copy;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod packaging;
pub(crate) mod report;
pub(crate) mod rules;
mod saved;
pub(crate) mod send;
pub(crate) mod setup;
