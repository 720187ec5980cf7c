//! The decisions of a tracer at an exec, with real programs. `aside.rs` and `reexec.rs` use a minimal tracer, and compare
//! it with a run without a tracer. `departures.rs` uses the whole source.
//!
//! These tests need root: they make setuid files, and then become an ordinary user.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod aside;
mod departures;
mod reexec;
mod tracer;
