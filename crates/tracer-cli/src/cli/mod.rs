//! The command line and the environment: flags and variables in, one valid configuration out.
//!
//! `args` defines each flag, `values` reads its value, `origin` finds the value in flags and variables, and `config` decides
//! what depends on several options. `collector` reads how to reach a collector. `otel`, `sampler` and `propagation` read
//! OpenTelemetry's variables. `rules` makes the rules of a run. `dashes` helps a user who has forgotten the `--` before the
//! command, and `help` chooses what the help shows.

pub(crate) mod args;
mod collector;
pub(crate) mod config;
pub(crate) mod dashes;
pub(crate) mod help;
pub(crate) mod origin;
pub(crate) mod otel;
pub(crate) mod propagation;
mod rules;
mod sampler;
mod similar;
mod values;
