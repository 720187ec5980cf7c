//! Expressions for the comparison of tracer-expr with the Go library. They are written by hand, made from tables, or
//! random.

mod chance;
mod random;
mod tables;
mod typed;

use std::collections::BTreeSet;

use self::chance::Chance;

/// Written by hand, one a line.
const BY_HAND: &str = include_str!("../../expr-oracle/expressions.txt");

/// The names of the variables that are set.
const SET: [&str; 13] =
    ["HOME", "CI", "JOBS", "EMPTY", "BRANCH", "VERSION", "LIST", "SPACES", "FLOAT", "JSON", "DATE", "in", "with-dash"];

/// Whether an expression uses a variable that is not set. tracer-expr deliberately differs from the Go library there.
fn asks_for_absent(expression: &str) -> bool {
    let access = ["env.", "env?.", "env[\"", "env?.[\""];
    access.iter().any(|access| {
        expression.split(access).skip(1).any(|rest| {
            let is_name = |next: char| next.is_alphanumeric() || next == '_' || next == '-' && access.ends_with('"');
            let name: String = rest.chars().take_while(|next| is_name(*next)).collect();
            !name.is_empty() && !SET.contains(&name.as_str())
        })
    })
}

/// All expressions, each one once.
pub(crate) fn all(seed: u64) -> Vec<String> {
    let mut chance = Chance::new(seed);
    let mut all: Vec<String> = BY_HAND.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    tables::add(&mut all, &mut chance);
    random::add(&mut all, &mut chance);
    let mut seen = BTreeSet::new();
    all.retain(|expression| seen.insert(expression.clone()) && !asks_for_absent(expression));
    all
}
