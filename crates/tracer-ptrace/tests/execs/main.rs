//! The decisions of a tracer at an exec, with real programs. A minimal tracer asks the crate. The same command also
//! runs without a tracer.
//!
//! These tests need root: they make setuid files, and then become an ordinary user.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod aside;
mod departures;
mod reexec;
mod tracer;
