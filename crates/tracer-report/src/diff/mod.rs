//! The comparison of two sides, each with one or several runs of the same command.
//!
//! [`Recording`] collects the spans of a run and reduces them to steps. [`align`] finds the same step in each run.
//! [`Comparison`] has the facts, and `text`, `markdown` and `json` show them. This module opens no file and chooses no
//! exit status.

mod align;
mod compare;
mod json;
mod labels;
mod markdown;
mod sample;
mod steps;
mod text;

pub use self::{
    compare::Comparison,
    steps::{Recording, Run},
};
