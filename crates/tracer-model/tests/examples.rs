//! Runs the example.

#[allow(dead_code)]
#[path = "../examples/by_hand.rs"]
mod by_hand;

use tracer_model::semconv;

#[test]
fn the_example_makes_a_trace_of_two_processes() {
    let spans = by_hand::trace();
    let names: Vec<_> = spans.iter().map(|span| (span.name(), span.parent_id)).collect();
    assert_eq!(names, [("cc".into(), Some(spans[1].span_id)), ("make".into(), None)]);
    let message = semconv::error(&spans[0]).map(|error| error.message);
    assert_eq!(message.as_deref(), Some("exit code 1"));
}
