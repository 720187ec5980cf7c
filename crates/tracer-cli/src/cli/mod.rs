//! The command line and the environment: flags and variables in, one valid configuration out.
//!
//! `args` defines each flag. `values` reads its value. `origin` finds the value in flags and variables. `config`
//! resolves the rules that concern several options. `collector` reads the settings of a collector.

pub(crate) mod args;
mod collector;
pub(crate) mod config;
pub(crate) mod origin;
mod values;
pub(crate) mod variables;
