//! The command as a child process: what it inherits, its start, its signals, its end.

pub(crate) mod inheritance;
pub(crate) mod launch;
pub(crate) mod outcome;
pub(crate) mod privileges;
pub(crate) mod refusal;
pub(crate) mod signals;
pub(crate) mod user;
pub(crate) mod wait;
