//! Parquet files: two engines read them, and `report` reads them back.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::process_tracer,
    reports::{self, python},
    trace::Trace,
};

#[test]
fn duckdb_and_arrow_read_what_the_trace_has() {
    let folder = TempDir::new().unwrap();
    let trace = reports::run_with_all(folder.path());
    let file = folder.path().join("t.parquet");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/integration/parquet_sql.py");
    let output = Command::new(python()).arg(script).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut engines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(engines.len(), 2);
    assert_eq!(engines[0], engines[1], "the engines differ");
    let rows = engines.remove(0);
    assert_eq!(rows.as_array().unwrap().len(), trace.spans.len());
    for (row, span) in rows.as_array().unwrap().iter().zip(&trace.spans) {
        let text = |name: &str| row[name].as_str().unwrap();
        assert_eq!(text("SpanId"), span.span_id);
        assert_eq!([text("TraceId"), text("ParentSpanId")], [&*span.trace_id, &*span.parent_id]);
        assert_eq!([text("SpanName"), text("StatusMessage")], [&*span.name, &*span.status_message]);
        assert_eq!(text("SpanKind"), ["Unspecified", "Internal", "Server", "Client"][span.kind as usize]);
        assert_eq!(text("StatusCode"), ["Unset", "Ok", "Error"][span.status as usize]);
        assert_eq!(row["Timestamp"], span.start);
        assert_eq!(row["Duration"], span.end - span.start);
        assert_eq!(text("ServiceName"), "process-tracer");
        assert_eq!(row["ResourceAttributes"]["service.name"], "process-tracer");
        let attributes = row["SpanAttributes"].as_object().unwrap();
        assert_eq!(attributes.len(), span.attributes.len());
        for (key, value) in &span.attributes {
            let text = attributes[key].as_str().unwrap();
            // Lists have another form in the trace.
            let is_start = key == "process.creation.time" && text.is_empty();
            let is_same = is_start || text == value || text.parse::<f64>().ok() == value.parse().ok();
            assert!(value.starts_with('[') || is_same, "{key}: {text}, {value}");
        }
        let events: Vec<_> = row["Events"].as_array().unwrap().iter().collect();
        assert!(events.iter().map(|event| &event["Name"]).eq(span.events.iter().map(|event| event.name.as_str())));
        assert!(events.iter().map(|event| &event["Timestamp"]).eq(span.events.iter().map(|event| event.at)));
        let links = row["Links"].as_array().unwrap().iter().map(|link| link["SpanId"].as_str().unwrap().to_owned());
        assert!(links.eq(span.links.iter().map(|(_, id)| id.clone())));
    }
}

#[test]
fn a_parquet_file_gives_the_same_reports_as_the_trace() {
    let folder = TempDir::new().unwrap();
    reports::run_with_all(folder.path());
    let report = |file: &str, output: &str| {
        let mut command = process_tracer();
        let output = command.args(["report", file, "-o", output]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    assert_eq!(report("t.parquet", "tree"), report("t.jsonl", "tree"));
    assert_eq!(report("t.parquet", "summary"), report("t.jsonl", "summary"));
    let read = |file: &str| fs::read(folder.path().join(file)).unwrap();
    // The `.json` files have all attributes with their types.
    report("t.parquet", "from-parquet.json");
    report("t.jsonl", "from-lines.json");
    assert!(read("from-parquet.json") == read("from-lines.json"));
    report("t.jsonl", "converted.parquet");
    report("converted.parquet", "converted.json");
    assert!(read("converted.json") == read("from-lines.json"));
    assert!(Trace::read(&folder.path().join("t.jsonl")).spans.len() > 10);
}
