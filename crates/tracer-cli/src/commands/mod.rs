//! The commands besides a run.

pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod packaging;
pub(crate) mod report;
mod saved;
pub(crate) mod send;
pub(crate) mod setup;
