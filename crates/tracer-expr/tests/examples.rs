//! Runs the example.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/evaluate.rs"]
mod evaluate;

use tracer_expr::Value;

#[test]
fn the_example_names_the_job_and_its_source() {
    let value = evaluate::sources().unwrap();
    assert!(matches!(&value, Value::String(text) if **text == *"build: t_hash.c"), "{value:?}");
}
