//! The command as a child process.

pub(crate) mod wait;
