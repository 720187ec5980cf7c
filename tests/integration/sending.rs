//! `process-tracer send`, and the spans of runs that were killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use tempfile::TempDir;

use crate::stand_in::{Action, Collector, Ids, LONG, SHORT, assert_ended_early, send};
use crate::{
    harness::process_tracer,
    rotel::{Rotel, wait_until},
    trace::Trace,
};

#[test]
fn the_printed_send_command_works_from_any_folder() {
    let folder = TempDir::new().unwrap();
    let spool = folder.path().join("it's a \"spool\"");
    fs::create_dir(&spool).unwrap();
    for (name, value, path) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/some where".replace(' ', "%20"), "/some%20where"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/base".to_owned(), "/base/v1/traces"),
    ] {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = process_tracer();
        command.current_dir(folder.path()).env(name, format!("http://{nobody}{value}"));
        let output = command.arg("--spool").arg(spool.file_name().unwrap()).args(["--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let hint = stderr.split_once("1 span kept; to deliver: ").unwrap_or_else(|| panic!("{stderr}")).1;
        let collector = Collector::start_at(&nobody.to_string(), |_, _| Action::Accept);
        let output =
            Command::new("env").args(["-i", "/bin/sh", "-c", hint.lines().next().unwrap()]).current_dir("/").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{hint}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((collector.taken().len(), collector.path.lock().unwrap().as_str()), (1, path));
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
    }
}

#[test]
fn send_refuses_a_file_that_a_run_is_still_writing() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let collector = Collector::start(|_, _| Action::Accept);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.args(["--endpoint", &format!("http://{nobody}"), "--spool", "none", "-o"]).arg(&file);
    let script = "/bin/true; echo one; read line; exit 3";
    command.args(["--", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    while fs::metadata(&file).unwrap().len() == 0 {
        thread::sleep(Duration::from_millis(50));
    }
    let (code, stderr) = send(&file, &collector.endpoint());
    assert!(code == Some(1) && stderr.contains("a run is still writing this file"), "{stderr}");
    let output = process_tracer().arg("-o").arg(&file).args(["--", "true"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(125) && stderr.contains("another run is writing it"), "{stderr}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(Trace::read(&file).spans.len(), 2);
    assert_eq!(send(&file, &collector.endpoint()).0, Some(0));
    assert_eq!((collector.taken().len(), file.exists()), (2, false));
}

#[test]
fn send_keeps_a_file_if_a_part_is_rejected() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "sh", "-c", SHORT]).status().unwrap().success());
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let collector = Collector::start(move |_, _| Action::Answer("200 OK", "", answer.clone()));
    let (code, stderr) = send(&file, &collector.endpoint());
    assert!(
        code == Some(1) && stderr.contains("has rejected 2 of 3 spans: ") && stderr.contains("too old"),
        "{stderr}"
    );
    assert_eq!(Trace::read(&file).spans.len(), 3);
}

#[test]
fn send_gives_up_after_its_time_limit() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "true"]).status().unwrap().success());
    let collector =
        Collector::start(|_, _| Action::Answer("429 Too Many Requests", "Retry-After: 3600\r\n", Vec::new()));
    let started = Instant::now();
    let (code, stderr) = send(&file, &collector.endpoint());
    assert!(code == Some(1) && stderr.contains("429 Too Many Requests"), "{stderr}");
    assert_ended_early(started.elapsed());
}

/// A run that is killed after the collector has got some of its spans. Returns its root span, as the file has it, and the file.
fn killed_run(collector: &Collector, spool: &Path) -> (crate::trace::Span, PathBuf) {
    let mut command = process_tracer();
    command.args(["-o", "otlp", "--endpoint", &collector.endpoint(), "--spool"]).arg(spool);
    command.args(["--", "sh", "-c", "/bin/true; read line"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let before = collector.taken().len();
    wait_until("the collector has the first span", || collector.taken().len() > before);
    child.kill().unwrap();
    child.wait().unwrap();
    let files: Vec<_> = fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let root = Trace::read(&files[0]).spans.remove(0);
    (root, files[0].clone())
}

#[test]
fn the_next_run_sends_the_root_of_a_run_that_was_killed() {
    let folder = TempDir::new().unwrap();
    let collector = Collector::start(|_, _| Action::Accept);
    let (root, file) = killed_run(&collector, folder.path());
    assert_eq!((root.name.as_str(), root.attribute("process_tracer.complete")), ("sh", "false"));
    assert!(root.attribute("process_tracer.cut_off") == "true" && root.has("process_tracer.unfinished"), "{root:?}");
    assert!(!root.has("process_tracer.processes") && root.end > root.start, "{root:?}");
    assert!(!collector.taken().contains(&root.span_id));

    let run = |endpoint: &str| {
        let mut command = process_tracer();
        command.args(["-o", "otlp", "--endpoint", endpoint, "--spool"]).arg(folder.path()).args(["--", "true"]);
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let other = Collector::start(|_, _| Action::Accept);
    let stderr = run(&other.endpoint());
    assert!(file.exists() && other.taken().len() == 1, "another collector does not have the trace: {stderr}");

    let stderr = run(&collector.endpoint());
    assert!(collector.taken().contains(&root.span_id), "{stderr}");
    assert!(stderr.contains(&format!("sent the missing root span of an earlier run: trace {}", root.trace_id)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let asked = collector.asked();
    assert!(!run(&collector.endpoint()).contains("earlier run"));
    assert_eq!(collector.asked(), asked + 1, "it is sent once");
}

#[test]
fn send_sends_the_roots_of_runs_that_were_killed() {
    let folder = TempDir::new().unwrap();
    let collector = Collector::start(|_, _| Action::Accept);
    let (root, file) = killed_run(&collector, folder.path());
    let other = folder.path().join("t.jsonl");
    fs::write(&other, "").unwrap();
    let (code, stderr) = send(&other, &collector.endpoint());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(&root.trace_id) && collector.taken().contains(&root.span_id), "{stderr}");
    assert!(!file.exists());
}

#[test]
fn the_root_of_a_live_run_is_not_sent() {
    let folder = TempDir::new().unwrap();
    let collector = Collector::start(|_, _| Action::Accept);
    let mut command = process_tracer();
    command.args(["-o", "otlp", "--endpoint", &collector.endpoint(), "--spool"]).arg(folder.path());
    command.args(["--", "sh", "-c", "/bin/true; read line"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut live = command.spawn().unwrap();
    wait_until("the collector has the first span", || collector.taken().len() == 1);
    let mut command = process_tracer();
    command.args(["-o", "otlp", "--endpoint", &collector.endpoint(), "--spool"]).arg(folder.path());
    let output = command.args(["--", "true"]).output().unwrap();
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("earlier run"));
    assert_eq!(collector.taken().len(), 2);
    drop(live.stdin.take());
    live.wait().unwrap();
    assert_eq!((collector.taken().len(), collector.asked()), (3, 3));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file of a finished run is deleted");
}

#[test]
fn send_continues_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let script = format!("{LONG}; exit 0");
    let mut command = process_tracer();
    assert!(command.arg("-o").arg(&file).args(["--", "sh", "-c", &script]).status().unwrap().success());
    let all: Ids = Trace::read(&file).spans.into_iter().map(|span| span.span_id).collect();
    let lines = fs::read_to_string(&file).unwrap().lines().count();
    assert!(lines > 1, "several lines are needed");

    let fickle =
        Collector::start(
            |number, _| if number == 0 { Action::Accept } else { Action::Answer("400 Bad Request", "", vec![]) },
        );
    let (code, stderr) = send(&file, &fickle.endpoint());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("400 Bad Request") && stderr.contains("bytes are left"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), lines - 1);

    let well = Collector::start(
        |_, spans| if spans > 2 { Action::Answer("413 Too Large", "", vec![]) } else { Action::Accept },
    );
    let output = process_tracer().args(["send", "--keep", "--endpoint", &well.endpoint()]).arg(&file).output().unwrap();
    assert!(output.status.success() && file.exists());
    let (code, stderr) = send(&file, &well.endpoint());
    assert_eq!((code, file.exists()), (Some(0), false), "{stderr}");
    assert!(fickle.taken().is_disjoint(&well.taken()));
    assert_eq!(fickle.taken().union(&well.taken()).cloned().collect::<Ids>(), all);
}

#[test]
fn send_does_not_change_a_file_that_is_not_a_trace() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let collector = Collector::start(|_, _| Action::Accept);
    for (line, reason) in [
        ("nonsense\n", "line 2 is not OTLP/JSON: expected ident at line 1 column 2"),
        ("{\"resourceSpans\":[", "the file ends in the middle of line 2"),
    ] {
        fs::write(&file, format!("{{\"resourceSpans\":[]}}\n{line}")).unwrap();
        let (code, stderr) = send(&file, &collector.endpoint());
        assert_eq!(code, Some(1));
        assert!(stderr.ends_with(&format!("t.jsonl: nothing has been sent: {reason}\n")), "{stderr}");
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
    }
    for other in ["{\"level\":\"info\"}\n", "{}", "{\"resourceSpans\":[]}\n"] {
        fs::write(&file, other).unwrap();
        let (code, stderr) = send(&file, &collector.endpoint());
        assert_eq!((code, collector.asked()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains("t.jsonl: no spans of OTLP/JSON; nothing has been sent"), "{stderr}");
        assert_eq!(fs::read_to_string(&file).unwrap(), other);
    }
    let (code, stderr) = send(&folder.path().join("none.jsonl"), &collector.endpoint());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("none.jsonl: No such file"), "{stderr}");
}

/// Writes a file with a line that is not OTLP, and then lines of logs, a trace and metrics.
fn file_of_all_signals(folder: &Path) -> PathBuf {
    let trace = folder.join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&trace).args(["--", "true"]).status().unwrap().success());
    let all = folder.join("all.jsonl");
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x"}]}]}]}"#;
    let content = ["{\"level\":\"info\"}\n", logs, "\n", &fs::read_to_string(trace).unwrap(), metrics, "\n"].concat();
    fs::write(&all, content).unwrap();
    all
}

#[test]
fn send_skips_and_counts_lines_of_other_signals() {
    let folder = TempDir::new().unwrap();
    let file = file_of_all_signals(folder.path());
    let before = fs::read_to_string(&file).unwrap();
    let collector = Collector::start(|_, _| Action::Accept);
    let (code, stderr) = send(&file, &collector.endpoint());
    assert_eq!((code, collector.taken().len(), collector.asked()), (Some(0), 1, 1), "{stderr}");
    assert!(stderr.contains("3 lines of logs, metrics or other data are skipped, and the file is kept"), "{stderr}");
    assert!(stderr.contains(" delivered to "), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before, "the other lines are still there");
}

#[test]
fn a_report_skips_and_counts_lines_of_other_signals() {
    let folder = TempDir::new().unwrap();
    let file = file_of_all_signals(folder.path());
    let output = process_tracer().args(["report", "-o", "tree"]).arg(&file).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("true"), "{stdout}{stderr}");
    assert!(stderr.contains("3 lines of logs, metrics or other data are skipped"), "{stderr}");
}

#[test]
fn send_delivers_a_file_to_a_real_collector() {
    let rotel = Rotel::start();
    for (protocol, endpoint) in [("http/protobuf", &rotel.http), ("grpc", &rotel.grpc)] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("t.jsonl");
        assert!(process_tracer().arg("-o").arg(&file).args(["--", "sh", "-c", SHORT]).status().unwrap().success());
        let spans = Trace::read(&file).spans;
        let mut command = process_tracer();
        let output =
            command.args(["send", "--protocol", protocol, "--endpoint", endpoint]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let received = rotel.received(spans.len());
        assert!(spans.iter().all(|span| received.contains_key(&span.span_id)));
    }
}
