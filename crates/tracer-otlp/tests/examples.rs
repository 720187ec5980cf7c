//! Runs the example.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/encode.rs"]
mod encode;

use opentelemetry_proto::tonic::trace::v1::TracesData;

#[test]
fn the_example_encodes_one_span() {
    let data: TracesData = serde_json::from_slice(&encode::line()).unwrap();
    let span = &data.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.parent_span_id.as_slice()), ("connect /run/bus", [0xcc; 8].as_slice()));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000_000_000, 2_000_000_000));
}
