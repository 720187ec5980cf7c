//! The command line and the environment: flags and variables in, one validated configuration out.

pub(crate) mod args;
pub(crate) mod config;
pub(crate) mod variables;
