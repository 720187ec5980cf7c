//! Runs the example.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/summarise.rs"]
mod summarise;

use tracer_report::text::Style;

/// `make`, which starts `cc`, as `process-tracer -o FILE.jsonl` writes them.
const TRACE: &str = concat!(
    r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#,
    r#"{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0000000000000002","parentSpanId":"0000000000000001","#,
    r#""name":"cc","startTimeUnixNano":"1500000000","endTimeUnixNano":"3000000000","#,
    r#""attributes":[{"key":"process.pid","value":{"intValue":"8"}}]},"#,
    r#"{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0000000000000001","#,
    r#""name":"make","startTimeUnixNano":"1000000000","endTimeUnixNano":"3500000000","#,
    r#""attributes":[{"key":"process.pid","value":{"intValue":"7"}},"#,
    r#"{"key":"process_tracer.complete","value":{"boolValue":true}}]}"#,
    r#"]}]}]}"#,
);

#[test]
fn the_example_summarises_a_saved_trace() {
    let style = Style { width: 80, height: 24, is_coloured: false, is_unicode: true };
    let summary = summarise::summarise(TRACE.as_bytes(), &style).unwrap();
    let expected = "make\n  2.50 s: 2 processes\n   2.50 s  make\n   1.50 s  └─ cc\n";
    assert_eq!(summary, expected);
    assert!(summarise::summarise(&TRACE.as_bytes()[..100], &style).is_err(), "half a line is no trace");
}
