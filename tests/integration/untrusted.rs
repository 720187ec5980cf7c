//! Untrusted text on its way to people: it cannot control a terminal or look like something else.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    thread,
};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::process_tracer,
    reports::{python, script},
};

/// Characters of each kind: controls, bidirectional marks, separators, invisible characters, tags.
const EVIL: &str = "\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J\r\u{7f}\u{85}\u{61c}\u{200b}\u{200d}\u{200e}\u{202e}\u{2066}\u{2028}\u{2029}\u{feff}\u{fe0f}\u{e0041}evil\nfake";

/// The characters that no output may contain, except for line ends.
fn forbidden() -> BTreeSet<char> {
    let ranges = include_str!("unseen.txt").lines().filter(|line| !line.starts_with('#'));
    let code = |text| u32::from_str_radix(text, 16).unwrap();
    let all = ranges.flat_map(|range| {
        let (first, last) = range.split_once("..").unwrap();
        code(first)..=code(last)
    });
    all.filter_map(char::from_u32).filter(|c| *c != '\n').collect()
}

/// Asserts that a text contains the evil text, without its invisible characters.
fn assert_harmless(text: &str, what: &str) {
    assert_unsteered(text, what);
    assert!(text.contains("evil\\nfake"), "{what}: the text is not there: {text}");
}

/// Asserts the same for an output that shows only a part of the evil text.
fn assert_unsteered(text: &str, what: &str) {
    let forbidden = forbidden();
    let found = text.char_indices().find(|(_, c)| forbidden.contains(c));
    assert!(found.is_none(), "{what}: {found:?} in {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("fake")), "{what}: a line of its own in {text}");
    assert!(text.contains("evil"), "{what}: nothing of the text is there: {text}");
}

fn text(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

/// Replaces every string value in JSON by its place and the evil text.
fn make_evil(value: &mut Value, place: &str) {
    match value {
        Value::String(text) => *text = format!("{place} {EVIL}"),
        Value::Array(values) => values.iter_mut().for_each(|value| make_evil(value, place)),
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| make_evil(value, key)),
        _ => {}
    }
}

/// Writes a trace in which every free string is evil. Each process was killed, and has two connections and a lookup.
fn crafted(processes: u64, folder: &Path, file: &str) -> std::path::PathBuf {
    let text = |text: &str| json!({"stringValue": text});
    let number = |number: u64| json!({"intValue": number.to_string()});
    let attribute = |key: &str, value: Value| json!({"key": key, "value": value});
    let mut spans = Vec::new();
    let mut add = |id: u64, parent: u64, kind: u64, mut attributes: Vec<Value>| {
        // Known keys keep their names. Their values become evil.
        for attribute in &mut attributes {
            let key = attribute["key"].as_str().unwrap().to_owned();
            make_evil(&mut attribute["value"], &key);
            if let Some(number) = attribute["value"].get_mut("intValue") {
                *number = id.to_string().into();
            }
        }
        attributes.push(attribute(&format!("key {EVIL}"), text(EVIL)));
        let values = json!({"values": [{"stringValue": EVIL}, {"boolValue": true}]});
        attributes.push(attribute("mixed", json!({"arrayValue": values})));
        attributes.push(attribute("map", json!({"kvlistValue": {"values": [attribute(EVIL, text(EVIL))]}})));
        spans.push(json!({
            "traceId": "1".repeat(32),
            "spanId": format!("{id:016x}"),
            "parentSpanId": if parent > 0 { format!("{parent:016x}") } else { String::new() },
            "traceState": EVIL,
            "name": format!("name{} {EVIL}", id % 40),
            "kind": kind,
            "startTimeUnixNano": (1_000_000_000 + id * 1000).to_string(),
            "endTimeUnixNano": (9_000_000_000 - id * 1000).to_string(),
            "attributes": attributes,
            "events": [{"name": EVIL, "timeUnixNano": "2000000000", "attributes": [attribute(EVIL, text(EVIL))]}],
            "links": [{"traceId": "1".repeat(32), "spanId": "2".repeat(16), "traceState": EVIL}],
            "status": {"code": 2, "message": EVIL},
        }));
    };
    for id in 1..=processes {
        let arguments = json!({"arrayValue": {"values": [text("sh"), text("-c")]}});
        let mut attributes = vec![
            attribute("process.pid", number(id)),
            attribute("process.command_args", arguments),
            attribute("process.exit.code", number(1)),
        ];
        for key in [
            "process.working_directory",
            "process.executable.name",
            "process.executable.path",
            "process.command",
            "process.user.name",
            "process_tracer.args.raw",
            "process_tracer.exit.signal",
            "process_tracer.unobserved",
            "process_tracer.version",
            "error.type",
            "container.id",
        ] {
            attributes.push(attribute(key, text("")));
        }
        if id == 1 {
            attributes.push(attribute("process_tracer.complete", json!({"boolValue": false})));
        }
        add(id, id - 1, 1, attributes);
        let transport = || attribute("network.transport", text("tcp"));
        for (nth, key) in [(1, "server.address"), (2, "network.peer.address"), (3, "dns.question.name")] {
            let mut attributes = vec![transport(), attribute(key, text("")), attribute("error.type", text(""))];
            if nth == 1 {
                attributes.push(attribute("server.port", number(1)));
            }
            add(processes * nth + id, id, 2 + id % 2, attributes);
        }
    }
    let data = json!({"resourceSpans": [{
        "resource": {"attributes": [attribute("service.name", text(EVIL)), attribute(EVIL, text(EVIL)), attribute("host.name", text(EVIL))]},
        "schemaUrl": EVIL,
        "scopeSpans": [{"scope": {"name": EVIL, "version": EVIL}, "schemaUrl": EVIL, "spans": spans}],
    }]});
    let path = folder.join(file);
    fs::write(&path, format!("{data}\n")).unwrap();
    path
}

fn report(action: &str, arguments: &[&OsStr]) -> Output {
    let mut command = process_tracer();
    command.env("LC_ALL", "C.UTF-8").arg(action).args(arguments).output().unwrap()
}

#[test]
fn a_saved_trace_cannot_control_the_terminal() {
    let folder = TempDir::new().unwrap();
    for processes in [2, 60] {
        let file = crafted(processes, folder.path(), "a.jsonl");
        for kind in ["summary", "tree"] {
            let output = report("report", &[file.as_ref(), "-o".as_ref(), kind.as_ref()]);
            assert!(output.status.success(), "{}", text(&output));
            assert_harmless(&text(&output), kind);
        }
        let other = crafted(processes + 1, folder.path(), "b.jsonl");
        let output = report("diff", &[file.as_ref(), other.as_ref()]);
        assert!(output.status.success(), "{}", text(&output));
        assert_harmless(&text(&output), "diff");
    }
}

#[test]
fn a_broken_trace_cannot_control_the_terminal() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(format!("{}.jsonl", EVIL.replace('/', "")));
    // Each of them causes an error that may quote the file.
    for content in [
        json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": EVIL, "spanId": EVIL, "parentSpanId": EVIL}]}]}]}),
        json!({"resourceSpans": EVIL}),
        json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": EVIL, "startTimeUnixNano": EVIL}]}]}]}),
        json!(EVIL),
    ] {
        fs::write(&file, content.to_string()).unwrap();
        let page = folder.path().join(format!("{EVIL}.html"));
        let output = report("report", &[file.as_ref(), "-o".as_ref(), page.as_ref()]);
        assert_eq!(output.status.code(), Some(125), "{content}: {}", text(&output));
        assert_harmless(&text(&output), "report");
        let endpoint = "--endpoint=http://127.0.0.1:1".as_ref();
        let output = report("send", &[endpoint, "--keep".as_ref(), file.as_ref()]);
        assert!(!output.status.success(), "{content}: {}", text(&output));
        assert_harmless(&text(&output), "send");
    }
}

#[test]
fn the_page_shows_no_invisible_characters() {
    let folder = TempDir::new().unwrap();
    let (file, page) = (crafted(30, folder.path(), "a.jsonl"), folder.path().join("a.html"));
    let output = report("report", &[file.as_ref(), "-o".as_ref(), page.as_ref()]);
    assert!(output.status.success(), "{}", text(&output));
    let chromium = std::env::var_os("CHROMIUM").expect("CHROMIUM names the browser; `cargo xtask test` sets it");
    let mut command = Command::new(python());
    let told = command.arg(script("page_text.py")).arg(chromium).arg(page).arg(script("unseen.txt")).output().unwrap();
    assert!(told.status.success(), "{}", text(&told));
    assert!(text(&told).contains("evil\\nfake"), "{}", text(&told));
}

#[test]
fn a_run_cannot_control_the_terminal_or_the_page_of_a_job() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join(EVIL);
    fs::create_dir(&directory).unwrap();
    let (program, summary) = (directory.join(EVIL), folder.path().join("summary.md"));
    crate::harness::copy_program("/bin/sh", &program);
    for (count, kind) in [(1, "summary"), (20, "summary"), (20, "tree")] {
        fs::write(&summary, "").unwrap();
        let script = "\"$0\" -c 'exit 3' \"$1\"; ".repeat(count) + "exit 3";
        let mut command = process_tracer();
        command.env("LC_ALL", "C.UTF-8").env("GITHUB_STEP_SUMMARY", &summary).current_dir(&directory);
        for variable in [
            "OTEL_SERVICE_NAME",
            "OTEL_RESOURCE_ATTRIBUTES",
            "OTEL_TRACES_EXPORTER",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "PROCESS_TRACER_WAIT",
            "PROCESS_TRACER_PARENT",
            "TRACEPARENT",
            "EVIL",
        ] {
            command.env(variable, EVIL);
        }
        command.args(["-a", "fails=env[\"EVIL\"] + args[99]", "-a", "evil=env[\"EVIL\"]", "-o", kind]);
        command.arg("-o").arg(directory.join(format!("{EVIL}.jsonl")));
        let output = command.arg("--").arg(&program).args(["-c", &script]).arg(&program).arg(EVIL).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert_harmless(&text(&output), kind);
        assert_harmless(&fs::read_to_string(&summary).unwrap(), "GITHUB_STEP_SUMMARY");
    }
}

#[test]
fn an_error_cannot_control_the_terminal() {
    let evil = OsStr::new(EVIL);
    let file = format!("/dev/full/{EVIL}.jsonl");
    for arguments in [
        &[evil][..],
        &[OsStr::new(&format!("--{EVIL}"))],
        &["--wait".as_ref(), evil, "--".as_ref(), "true".as_ref()],
        &["--attribute".as_ref(), OsStr::new(&format!("a={EVIL}")), "--".as_ref(), "true".as_ref()],
        &["-o".as_ref(), evil, "--".as_ref(), "true".as_ref()],
        &["-o".as_ref(), OsStr::new(&file), "--".as_ref(), "true".as_ref()],
        &["-u".as_ref(), evil, "--".as_ref(), "true".as_ref()],
        &["--endpoint".as_ref(), evil, "--".as_ref(), "true".as_ref()],
        &["--endpoint".as_ref(), evil, "doctor".as_ref()],
        &["report".as_ref(), evil],
        &["report".as_ref(), evil, "-o".as_ref(), evil],
        &["report".as_ref(), evil, "-t".as_ref(), evil],
        &["diff".as_ref(), evil, evil],
        &["--".as_ref(), evil],
    ] {
        let output = process_tracer().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
        // clap shows only the first line.
        assert_unsteered(&text(&output), &format!("{arguments:?}"));
    }
}

#[test]
fn a_collector_cannot_control_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let refusal = ExportTracePartialSuccess { rejected_spans: 1, error_message: EVIL.to_owned() };
    let body = ExportTraceServiceResponse { partial_success: Some(refusal) }.encode_to_vec();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A request with one span.
            let _ = stream.read(&mut vec![0; 1 << 16]);
            let kind = "Content-Type: application/x-protobuf\r\nConnection: close";
            let head = format!("HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    let output = process_tracer().args(["--endpoint", &endpoint, "--spool", "none", "--", "true"]).output().unwrap();
    assert!(text(&output).contains("did not reach"), "{}", text(&output));
    // The text of a refusal is shown in one line.
    assert_unsteered(&text(&output), "a collector's refusal");
    assert!(text(&output).contains("evil fake"), "{}", text(&output));
}
