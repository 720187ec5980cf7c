//! Compares with the recorded answers of the Go library. `cargo xtask expr-oracle` records them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{collections::BTreeMap, fs, io::Read};

use flate2::read::GzDecoder;

mod support;

use support::{encode, evaluate};

/// An expression, and its value if the reference gives one.
fn answers() -> Vec<(String, Option<String>)> {
    let mut lines = String::new();
    let name = std::env::var("EXPR_ANSWERS").ok();
    if let Some(name) = name {
        lines = fs::read_to_string(name).unwrap();
    } else {
        let recorded: &[u8] = include_bytes!("answers.jsonl.gz");
        GzDecoder::new(recorded).read_to_string(&mut lines).unwrap();
    }
    let lines = lines.lines().map(|line| serde_json::from_str::<Vec<String>>(line).unwrap());
    lines
        .map(|mut line| {
            let value = (line[1] == "v").then(|| line.pop().unwrap());
            (line.swap_remove(0), value)
        })
        .collect()
}

#[test]
fn every_recorded_expression_has_the_value_or_the_refusal_of_the_reference() {
    let answers = answers();
    let other = std::env::var_os("EXPR_ANSWERS").is_some();
    assert!(other || answers.len() >= 20_000, "only {} expressions", answers.len());
    let mut differences: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut same = [0, 0];
    for (expression, expected) in &answers {
        match (expected, evaluate(expression)) {
            (Some(expected), Ok(value)) if *expected == encode(&value) => same[0] += 1,
            (None, Err(_)) => same[1] += 1,
            (Some(expected), Ok(value)) => differences
                .entry("different value")
                .or_default()
                .push(format!("{expression}\n    expected {expected}\n    found    {}", encode(&value))),
            (Some(expected), Err(error)) => differences
                .entry("refused, but the reference gives a value")
                .or_default()
                .push(format!("{expression}\n    expected {expected}\n    found    {error}")),
            (None, Ok(value)) => differences
                .entry("a value, but the reference refuses")
                .or_default()
                .push(format!("{expression}\n    found    {}", encode(&value))),
        }
    }
    println!("{} expressions: {} have the same value, {} are refused by both", answers.len(), same[0], same[1]);
    for (kind, expressions) in &differences {
        println!("\n{}: {kind}", expressions.len());
        expressions.iter().take(120).for_each(|expression| println!("  {expression}"));
    }
    assert!(differences.is_empty());
}
