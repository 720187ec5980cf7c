//! The whole product on the real kernel. Small workloads print their actions, and the tests compare the trace with this
//! output.
//!
//! These tests need root, a collector and a browser. `cargo xtask test` provides all of it.
//! Without them the tests fail. They are never skipped.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, unreachable_pub)]

mod accounts;
mod answers;
mod backends;
mod ci_examples;
mod collector;
mod command_line;
mod compare;
mod compilations;
mod connections;
mod containers;
mod delivery;
mod documentation;
mod errors;
mod expressions;
mod files;
mod first_contact;
mod flows;
mod harness;
mod inputs;
mod limits;
mod live;
mod losses;
mod names;
mod nesting;
mod opentelemetry;
mod parquet;
mod pasting;
mod privileges;
mod processes;
mod ptrace;
mod reports;
mod rotel;
mod rules;
mod secrets;
mod sending;
mod snapshots;
mod stand_in;
mod tags;
mod trace;
mod transparency;
mod transport;
mod unix;
mod untrusted;
