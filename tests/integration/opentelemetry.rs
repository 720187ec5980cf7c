//! OpenTelemetry's variables: sampling, and the context that comes in and goes out.

use std::{fs, path::Path, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{process_tracer, trace_python},
    trace::{KIND_CLIENT, KIND_SERVER},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Prints the context that the command gets.
const PRINT: &str = "echo \"$TRACEPARENT|$TRACESTATE|$B3|$X_B3_TRACEID|$X_B3_SPANID|$X_B3_SAMPLED\"";

/// Runs a shell script with these flags and variables.
fn run(flags: &[&str], variables: &[(&str, &str)], script: &str) -> Output {
    let mut command = process_tracer();
    for name in ["B3", "X_B3_TRACEID", "X_B3_SPANID", "X_B3_SAMPLED"] {
        command.env_remove(name);
    }
    command.args(flags).envs(variables.iter().copied()).args(["--", "sh", "-c", script]).output().unwrap()
}

/// Traces a shell script into a file. Returns its spans, its stdout and our stderr.
fn trace(flags: &[&str], variables: &[(&str, &str)], script: &str) -> (Vec<Value>, String, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let output = run(&[flags, &["-o", file.to_str().unwrap()]].concat(), variables, script);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (spans(&file), text(&output.stdout), text(&output.stderr))
}

fn spans(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.flat_map(|line| line["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()).collect()
}

fn root(spans: &[Value]) -> &Value {
    spans.last().unwrap()
}

#[test]
fn an_unsampled_trace_goes_into_files_only() {
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let flags = ["-v", "--endpoint", "http://127.0.0.1:9", "--spool", "none"];
    let (spans, stdout, stderr) = trace(&flags, &[("TRACEPARENT", &parent)], &format!("{PRINT}; /bin/true"));
    assert_eq!(spans.len(), 2);
    assert_eq!((&root(&spans)["traceId"], &root(&spans)["parentSpanId"]), (&TRACE.into(), &SPAN.into()));
    // The lowest bit of the flags says whether the trace is sampled.
    assert!(spans.iter().all(|span| span["flags"].as_u64().unwrap() & 1 == 0), "{spans:#?}");
    assert!(stdout.starts_with(&format!("00-{TRACE}-{}-00|", root(&spans)["spanId"].as_str().unwrap())), "{stdout}");
    assert!(stderr.contains("is not sampled: nothing is sent over OTLP"), "{stderr}");
    assert!(!stderr.contains("did not reach"), "{stderr}");

    // Without a file, the command runs and nothing is printed.
    let output = run(&flags[1..], &[("TRACEPARENT", &parent)], "exit 3");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(3), ""));
}

#[test]
fn the_sampler_decides_about_each_trace() {
    let [sampled, unsampled] = ["01", "00"].map(|flags| format!("00-{TRACE}-{SPAN}-{flags}"));
    for (sampler, argument, parent, expected) in [
        ("always_on", "", Some(&unsampled), "01"),
        ("always_off", "", Some(&sampled), "00"),
        ("traceidratio", "0", Some(&sampled), "00"),
        ("traceidratio", "", None, "01"),
        ("parentbased_always_on", "", Some(&unsampled), "00"),
        ("parentbased_always_off", "", Some(&sampled), "01"),
        ("parentbased_always_off", "", None, "00"),
        ("parentbased_traceidratio", "0", None, "00"),
        ("parentbased_traceidratio", "0", Some(&sampled), "01"),
    ] {
        let mut variables = vec![("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)];
        variables.extend(parent.map(|parent| ("TRACEPARENT", parent.as_str())));
        let (spans, stdout, stderr) = trace(&[], &variables, PRINT);
        let flags = stdout.split('|').next().unwrap().rsplit('-').next().unwrap();
        assert_eq!(flags, expected, "{sampler} {argument} {parent:?}: {stderr}");
        assert_eq!(root(&spans)["flags"].as_u64().unwrap() & 1, expected.parse::<u64>().unwrap());
        assert!(!stderr.contains("warning"), "{stderr}");
    }
}

#[test]
fn spans_have_the_state_of_their_trace() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let variables = [("TRACEPARENT", parent.as_str()), ("TRACESTATE", "vendor=1,tenant@other=2")];
    let (spans, stdout, _) = trace(&[], &variables, &format!("{PRINT}; /bin/true"));
    assert!(spans.iter().all(|span| span["traceState"] == "vendor=1,tenant@other=2"), "{spans:#?}");
    assert!(stdout.contains("|vendor=1,tenant@other=2|"), "{stdout}");

    // Another trace has another state.
    let own = "ab".repeat(16);
    let (spans, stdout, _) = trace(&["-t", &own], &variables, PRINT);
    assert!(spans.iter().all(|span| span["traceState"] == ""), "{spans:#?}");
    assert!(!stdout.contains("vendor"), "{stdout}");

    let (spans, _, stderr) = trace(&[], &[variables[0], ("TRACESTATE", "vendor")], "true");
    assert_eq!(root(&spans)["traceState"], "");
    assert!(stderr.contains("warning: TRACESTATE is ignored: 'vendor' is not a W3C trace state"), "{stderr}");
}

#[test]
fn the_propagators_choose_the_formats_of_the_context() {
    let b3 = format!("{TRACE}-{SPAN}-1");
    let (spans, stdout, _) = trace(&[], &[("OTEL_PROPAGATORS", "b3"), ("B3", &b3)], PRINT);
    let id = root(&spans)["spanId"].as_str().unwrap();
    assert_eq!((&root(&spans)["traceId"], &root(&spans)["parentSpanId"]), (&TRACE.into(), &SPAN.into()));
    assert_eq!(stdout, format!("||{TRACE}-{id}-1|||"));

    let variables = [
        ("OTEL_PROPAGATORS", "b3multi,tracecontext"),
        ("X_B3_TRACEID", TRACE),
        ("X_B3_SPANID", SPAN),
        ("X_B3_SAMPLED", "0"),
    ];
    let (spans, stdout, _) = trace(&[], &variables, PRINT);
    let id = root(&spans)["spanId"].as_str().unwrap();
    assert_eq!(root(&spans)["parentSpanId"], SPAN);
    assert_eq!(stdout, format!("00-{TRACE}-{id}-00|||{TRACE}|{id}|0"));

    // Without a propagator, the variables stay as they are.
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let (spans, stdout, _) = trace(&[], &[("OTEL_PROPAGATORS", "none"), ("TRACEPARENT", &parent)], PRINT);
    assert_ne!(root(&spans)["traceId"], TRACE);
    assert_eq!(stdout, format!("{parent}|||||"));
}

#[test]
fn a_list_of_exporters_has_several_outputs() {
    let variables = [("OTEL_TRACES_EXPORTER", "otlp,console"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:9")];
    let output = run(&["--spool", "none"], &variables, "true");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("did not reach http://127.0.0.1:9/v1/traces"), "{stderr}");
    assert!(stderr.starts_with("sh -c true\n"), "the summary: {stderr}");
}

#[test]
fn count_limits_leave_out_attributes() {
    let (spans, _, stderr) = trace(&[], &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")], "true");
    let root = root(&spans);
    assert_eq!(root["attributes"].as_array().unwrap().len(), 3, "{stderr}");
    assert!(root["droppedAttributesCount"].as_u64().unwrap() > 10, "{root}");
}

#[test]
fn variables_for_other_programs_print_nothing() {
    let variables = [("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_PYTHON_LOG_CORRELATION", "true")];
    let (_, _, stderr) = trace(&[], &variables, "true");
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn connections_have_the_name_of_the_service_at_the_other_end() {
    let script = "\
import socket
server = socket.create_server(('127.0.0.1', 0))
socket.create_connection(server.getsockname())
server.accept()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', 5432))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', 5433))";
    let run = trace_python(&["--peer-name", "127.0.0.1=web", "--peer-name", "127.0.0.2:5432=postgres"], script, &[]);
    let name = |span: &crate::trace::Span| span.attributes.get("service.peer.name").cloned();
    let connections: Vec<_> = run.trace.connections().map(|span| (span.kind, name(span))).collect();
    assert!(connections.contains(&(KIND_CLIENT, Some("web".to_owned()))), "{connections:?}");
    assert!(connections.contains(&(KIND_SERVER, None)), "{connections:?}");
    assert_eq!(name(run.trace.named("udp 127.0.0.2:5432")).unwrap(), "postgres");
    assert_eq!(name(run.trace.named("udp 127.0.0.2:5433")), None);
}
