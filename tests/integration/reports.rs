//! Reports: the formats for people and for other viewers.

use std::{
    collections::{BTreeSet, HashMap},
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{PROCESS_TRACER, process_tracer},
    snapshots,
    trace::{KIND_CLIENT, Span, Trace},
};

/// Nested processes: one fails and has an argument that is not UTF-8, one only forks, and one is below another program's span.
/// Three connections to one address, two of them at the same time. A flow. Both ends of the connections and of the flow are
/// in the trace.
const SCRIPT: &str = r#"
(:; true; sleep 0.05)
sh -c 'sh -c "exit 3"; exit 2' "$(printf 'caf\351')"
TRACEPARENT=${TRACEPARENT%-*-*}-00000000000000ab-01 sh -c 'true; true'
python3 - <<'END'
import socket, os
server = socket.create_server(("127.0.0.1", 0))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 0))
if os.fork() == 0:
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.sendto(b"x", datagrams.getsockname())
    asking.recv(1)
    for count in (2, 1):
        clients = [socket.create_connection(server.getsockname()) for _ in range(count)]
        for client in clients:
            client.sendall(b"x" * 1000)
            client.recv(1)
            client.close()
    os._exit(0)
datagrams.sendto(b"y", datagrams.recvfrom(1)[1])
for count in (2, 1):
    for end in [server.accept()[0] for _ in range(count)]:
        end.recv(1000)
        end.sendall(b"y")
        end.close()
os.wait()
END
exit 4
"#;

const FILES: [&str; 8] =
    ["t.html", "t.pftrace", "t.json", "t.parquet", "t.folded", "t.cpu.folded", "t.processes.json", "t.csv"];

/// Runs the script with every file format, as `t.*` in this folder.
pub fn run_with_all(folder: &Path) -> Trace {
    let mut command = process_tracer();
    for file in ["t.jsonl"].iter().chain(&FILES) {
        command.arg("-o").arg(folder.join(file));
    }
    let output = command.args(["--", "sh", "-c", SCRIPT]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = Trace::read(&folder.join("t.jsonl"));
    assert_eq!(trace.root().attribute("process_tracer.complete"), "true");
    trace
}

pub fn python() -> PathBuf {
    env::var_os("TEST_PYTHON")
        .expect("TEST_PYTHON must name a Python with the packages of the tests; `cargo xtask test` sets it")
        .into()
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/integration").join(name)
}

#[test]
fn files_of_a_run_and_of_its_saved_trace_are_the_same() {
    let folder = TempDir::new().unwrap();
    let trace = run_with_all(folder.path());
    let mut command = Command::new(PROCESS_TRACER);
    command.arg("report").arg(folder.path().join("t.jsonl"));
    for file in FILES {
        command.arg("-o").arg(folder.path().join(format!("again-{file}")));
    }
    let output = command.args(["-o", "tree"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("sleep"));
    for file in FILES {
        let [first, again] = [file.to_owned(), format!("again-{file}")].map(|name| folder.path().join(name));
        let is_same = fs::read(&first).unwrap() == fs::read(&again).unwrap();
        // The page counts time from its first span, and is compressed. Other tests check it.
        assert!(is_same || file == "t.html", "{file}");
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let names: BTreeSet<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1 + 2 * FILES.len(), "nothing else is left: {names:?}");
    assert!(trace.spans.len() > 10);
}

/// Checks the page in a browser, and returns the output of the check.
pub fn look_at(page: &Path) -> String {
    let chromium = env::var_os("CHROMIUM").expect("CHROMIUM names the browser; `cargo xtask test` sets it");
    let output = Command::new(python()).arg(script("page.py")).arg(chromium).arg(page).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!told.lines().any(|line| line.starts_with("skip ")), "{told}");
    told
}

#[test]
fn the_page_shows_the_whole_trace() {
    let folder = TempDir::new().unwrap();
    let trace = run_with_all(folder.path());
    let told = look_at(&folder.path().join("t.html"));
    assert!(told.contains(&format!("{} spans", trace.spans.len())), "{told}");
}

#[test]
fn the_page_works_with_100_000_spans() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("large.html");
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer-report/src/page");
    let made = Command::new(python()).arg(script("synthetic_report.py")).arg("100000").arg(&page).arg(parts).status();
    assert!(made.unwrap().success());
    assert!(look_at(&page).contains("100000 spans"));
}

/// The id of the span of the process that forked this process, or that owns this connection. `parent_id` can be another
/// program's span instead, if the environment names one.
fn above(span: &Span) -> &str {
    // The link of the root names the process where the failure began.
    let is_root = span.has("process_tracer.complete");
    if span.is_process() && !is_root && !span.links.is_empty() { &span.links[0].1 } else { &span.parent_id }
}

/// A file as Perfetto's own engine reads it.
struct InPerfetto {
    tracks: HashMap<u64, Value>,
    slices: HashMap<u64, Value>,
    /// Pairs of slice ids.
    arrows: Vec<(u64, u64)>,
}

impl InPerfetto {
    /// Reads a file. Any complaint of the engine is an error.
    fn read(file: &Path) -> Result<Self, String> {
        let output = Command::new(python()).arg(script("perfetto_sql.py")).arg(file).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let items = |what: &str| read[what].as_array().unwrap().iter();
        let number = |value: &Value| value.as_u64().unwrap();
        let endless = items("slices").filter(|slice| slice["dur"].as_i64() < Some(0)).count();
        if endless > 0 || items("errors").len() > 0 {
            return Err(format!("{}, {endless} slices without an end", read["errors"]));
        }
        let by_id = |what| items(what).map(|item| (number(&item["id"]), item.clone())).collect();
        let arrows = items("arrows").map(|arrow| (number(&arrow["from"]), number(&arrow["to"]))).collect();
        Ok(Self { tracks: by_id("tracks"), slices: by_id("slices"), arrows })
    }

    fn track(&self, slice: &Value) -> &Value {
        &self.tracks[&slice["track"].as_u64().unwrap()]
    }

    /// The slices by span id.
    fn spans(&self) -> HashMap<&str, &Value> {
        self.slices.values().filter_map(|slice| Some((slice["span"].as_str()?, slice))).collect()
    }

    /// Asserts that it has exactly the spans of a trace, with times since `zero`, and the expected arrows.
    fn assert_has(&self, trace: &Trace, zero: u64) {
        let slices = self.spans();
        assert_eq!(slices.len(), trace.spans.len());
        assert_eq!(self.slices.values().filter(|slice| slice["span"].is_string()).count(), trace.spans.len());
        for span in &trace.spans {
            let slice = slices[span.span_id.as_str()];
            assert_eq!(slice["name"], span.name);
            assert!(slice["parent"].is_null(), "{slice} is inside another");
            assert_eq!((&slice["ts"], &slice["dur"]), (&(span.start - zero).into(), &(span.end - span.start).into()));
        }
        let forks = trace.processes().map(|span| (above(span), span)).filter(|(above, _)| !above.is_empty());
        let forks = forks.map(|(above, span)| (above, span.span_id.as_str()));
        let ends = trace.spans.iter().filter(|span| !span.is_process() && !span.links.is_empty());
        let ends = ends.map(|span| [span, trace.spans.iter().find(|other| other.span_id == span.links[0].1).unwrap()]);
        let connections = ends.map(|mut ends| {
            ends.sort_by_key(|end| end.start);
            (ends[0].span_id.as_str(), ends[1].span_id.as_str())
        });
        let expected: BTreeSet<_> = forks.chain(connections).collect();
        let arrows: BTreeSet<_> = self.arrows.iter().map(|arrow| self.ends(*arrow)).collect();
        assert_eq!((arrows, self.arrows.len()), (expected.clone(), expected.len()));
    }

    /// The two spans of an arrow.
    fn ends<'a>(&'a self, (from, to): (u64, u64)) -> (&'a str, &'a str) {
        let (mut from, to) = (&self.slices[&from], &self.slices[&to]);
        if from["name"] == "fork" {
            assert_eq!(from["ts"], to["ts"]);
            from = &self.slices[&from["parent"].as_u64().unwrap()];
        }
        let id = |slice: &'a Value| slice["span"].as_str().unwrap_or_else(|| panic!("{slice} has no span"));
        (id(from), id(to))
    }
}

#[test]
fn in_perfetto_each_span_has_a_track_below_its_parents_track() {
    let folder = TempDir::new().unwrap();
    let trace = run_with_all(folder.path());
    let read = InPerfetto::read(&folder.path().join("t.pftrace")).unwrap();
    read.assert_has(&trace, 0);
    let slices = read.spans();
    for span in &trace.spans {
        let track = read.track(slices[span.span_id.as_str()]);
        let parent = track["parent"].as_u64().map_or("", |parent| read.tracks[&parent]["uuid"].as_str().unwrap());
        assert_eq!((&track["uuid"], parent), (&span.span_id.as_str().into(), above(span)), "{span:?}");
    }
    assert_eq!(read.tracks.len(), trace.spans.len());
    let connects: Vec<_> = trace.connections().filter(|span| span.kind == KIND_CLIENT).collect();
    assert!(trace.flows().any(|span| !span.links.is_empty()));
    assert!(trace.processes().any(|span| above(span) != span.parent_id));
    assert!(connects.len() == 3 && connects.iter().all(|span| span.name == connects[0].name), "{connects:?}");
}

#[test]
fn chrome_events_are_exact_to_the_nanosecond_in_perfetto() {
    let folder = TempDir::new().unwrap();
    let trace = run_with_all(folder.path());
    let file = folder.path().join("t.json");
    let text: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let read = InPerfetto::read(&file).unwrap();
    read.assert_has(&trace, text["otherData"]["zero_unix_seconds"].as_u64().unwrap() * 1_000_000_000);
    let slices = read.spans();
    let track = |span: &Span| read.track(slices[span.span_id.as_str()]);
    for span in &trace.spans {
        assert_eq!(track(span)["process"], trace.root().name);
        let thread = track(span)["tid"].as_u64().map(|tid| tid.to_string());
        let pid = span.attributes.get("process.pid").filter(|_| span.is_process());
        assert_eq!(thread.as_ref(), pid, "{span:?}");
    }
}

#[test]
fn perfetto_refuses_broken_files() {
    let folder = TempDir::new().unwrap();
    run_with_all(folder.path());
    let broken = folder.path().join("broken");
    for file in ["t.pftrace", "t.json"] {
        let whole = fs::read(folder.path().join(file)).unwrap();
        let mut flipped = whole.clone();
        flipped[0] ^= 0xff;
        for bytes in [&flipped, &whole[..whole.len() - 2]] {
            fs::write(&broken, bytes).unwrap();
            assert!(InPerfetto::read(&broken).is_err(), "{file}, {} of {} bytes", bytes.len(), whole.len());
        }
    }
}

#[test]
fn folded_stacks_make_flame_graphs() {
    let folder = TempDir::new().unwrap();
    run_with_all(folder.path());
    for file in ["t.folded", "t.cpu.folded"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        let (mut options, mut graph) = (inferno::flamegraph::Options::default(), Vec::new());
        inferno::flamegraph::from_lines(&mut options, text.lines(), &mut graph).unwrap();
        let graph = String::from_utf8(graph).unwrap();
        assert!(graph.contains("<title>sh") && !graph.contains("ERROR"), "{text}");
        assert!(text.lines().all(|line| line.starts_with("sh")), "{text}");
    }
    let wall = fs::read_to_string(folder.path().join("t.folded")).unwrap();
    let slept = wall.lines().find_map(|line| Some(line.split_once(";sleep ")?.1)).expect(&wall);
    // The argument comes before the number.
    let slept = slept.rsplit(' ').next().unwrap();
    assert!(slept.parse::<u64>().unwrap() >= 50_000, "{wall}");
}

#[test]
fn a_report_replaces_a_file_only_when_it_is_complete() {
    let folder = TempDir::new().unwrap();
    let [page, full] = ["t.html", "full.json"].map(|name| folder.path().join(name));
    fs::write(&page, "from yesterday").unwrap();
    let mut run =
        process_tracer().arg("-o").arg(&page).args(["--", "sleep", "60"]).stderr(Stdio::piped()).spawn().unwrap();
    let sleeper = loop {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
        if !children.is_empty() {
            break children;
        }
        assert!(run.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(10));
    };
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(Command::new("kill").arg(sleeper.trim()).status().unwrap().success());
    assert_eq!(fs::read_to_string(&page).unwrap(), "from yesterday");

    symlink("/dev/full", &full).unwrap();
    let output = process_tracer().arg("-o").arg(&full).args(["--", "sh", "-c", "exit 5"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(5) && stderr.contains("1 of 1 span did not reach"), "{stderr}");
    assert!(stderr.contains("No space left on device") && stderr.contains("incomplete: not all delivered"), "{stderr}");
}

#[test]
fn a_line_that_is_no_trace_is_reported_by_its_number() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let report = |outputs: &[&str]| {
        let output = Command::new(PROCESS_TRACER).arg("report").arg(&file).args(outputs).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(report(&[]).1.contains("cannot read"), "{:?}", report(&[]));
    fs::write(&file, "").unwrap();
    assert!(report(&[]).1.contains("has no spans"), "{:?}", report(&[]));
    fs::write(&file, "{\"resourceSpans\":[]}\nwhat?\n").unwrap();
    let (code, stderr) = report(&["-o", folder.path().join("x.html").to_str().unwrap()]);
    assert!(code == Some(125) && stderr.contains("line 2: not OTLP/JSON"), "{stderr}");
    assert!(!folder.path().join("x.html").exists());
    let (_, stderr) = report(&["-o", "otlp"]);
    assert!(stderr.contains("process-tracer send"), "{stderr}");
}

/// Writes a trace of processes. Each has an id, its parent's id, a start and an end in nanoseconds.
fn write_trace(file: &Path, processes: impl Iterator<Item = [u64; 4]>) {
    let spans: Vec<_> = processes
        .map(|[id, parent, start, end]| {
            json!({
                "traceId": "1".repeat(32), "spanId": format!("{id:016x}"), "parentSpanId": format!("{parent:016x}"),
                "name": format!("p{}", id % 7), "kind": 1,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": end.to_string(),
                "attributes": [{"key": "process.pid", "value": {"intValue": "1"}}],
            })
        })
        .collect();
    fs::write(file, json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string() + "\n").unwrap();
}

/// Makes every report of a trace, and a comparison with itself.
fn assert_reported(file: &Path) {
    let report = |arguments: &[&str]| {
        let output = Command::new(PROCESS_TRACER).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let name = file.to_str().unwrap();
    for output in ["summary", "tree"].into_iter().chain(FILES) {
        let to = if output.contains('.') { format!("{name}-{output}") } else { output.to_owned() };
        report(&["report", name, "-o", &to]);
    }
    report(&["diff", name, name]);
}

#[test]
fn a_chain_of_100_000_processes_is_reported() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    write_trace(&file, (1..=100_000).map(|id| [id, id - 1, id * 10, 1_000_000_000 - id * 10]));
    assert_reported(&file);
}

#[test]
fn extreme_times_do_not_break_a_report() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    for (count, start, end) in [(2, 0, u64::MAX), (60, 0, u64::MAX), (60, u64::MAX, 0), (60, u64::MAX, u64::MAX)] {
        // All are below the first, so that their times add up.
        write_trace(&file, (1..=count).map(|id| [id, u64::from(id > 1), start, end]));
        assert_reported(&file);
    }
}

#[test]
fn a_file_that_was_cut_off_is_reported_up_to_the_cut() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "true"]).status().unwrap().success());
    let line = fs::read(&file).unwrap();
    let report = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        let Output { status, stdout, stderr } = Command::new(PROCESS_TRACER).arg("report").arg(&file).output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    };
    let (code, stdout, stderr) = report(&[&line[..], b"{\"resourceSpans\":[{"].concat());
    assert!(code == Some(0) && stderr.contains("ends in the middle of line 2"), "{stderr}");
    assert!(stdout.starts_with("true\n"), "{stdout}");
    let (code, _, stderr) = report(&line[..100]);
    assert!(code == Some(125) && stderr.contains("ends in the middle of line 1"), "{stderr}");
    assert!(stderr.ends_with("t.jsonl' has no spans\n"), "{stderr}");
}

#[test]
fn one_of_several_traces_in_a_file_can_be_chosen() {
    let folder = TempDir::new().unwrap();
    let (one, other) = ("1".repeat(32), "2".repeat(32));
    let mut both = String::new();
    for (id, command) in [(&one, "true"), (&other, "false")] {
        let file = folder.path().join("t.jsonl");
        process_tracer().arg("-o").arg(&file).args(["-t", id, "--", command]).status().unwrap();
        both += &fs::read_to_string(&file).unwrap();
    }
    let file = folder.path().join("both.jsonl");
    fs::write(&file, both).unwrap();
    let report = |flags: &[&str]| {
        // Variables apply to runs only.
        let mut command = Command::new(PROCESS_TRACER);
        let output =
            command.env("PROCESS_TRACER_OUTPUT", "otlp").arg("report").arg(&file).args(flags).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = report(&[]);
    assert!(code == Some(125) && told.contains("has 2 traces") && told.contains(&format!("{one}, {other}")), "{told}");
    let (code, told) = report(&["-t", &other]);
    assert!(code == Some(0) && told.starts_with("false\n  exit 1 after "), "{told}");
    let (code, told) = report(&["-t", &"3".repeat(32)]);
    assert!(code == Some(125) && told.contains("has no spans of trace 3333"), "{told}");
}

#[test]
fn a_command_that_cannot_run_leaves_no_file() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("t.html");
    let status = process_tracer().arg("-o").arg(&page).args(["--", "/no/such/command"]).status().unwrap();
    assert_eq!((status.code(), fs::read_dir(folder.path()).unwrap().count()), (Some(127), 0));
    // A link of the same user is followed, even if its target does not exist yet.
    let (link, target) = (folder.path().join("link.json"), folder.path().join("target.json"));
    symlink("target.json", &link).unwrap();
    assert!(process_tracer().arg("-o").arg(&link).args(["--", "true"]).status().unwrap().success());
    assert!(target.is_file() && link.is_symlink());
}

#[test]
fn two_traces_are_compared() {
    let folder = TempDir::new().unwrap();
    let trace = |name: &str, seconds: &str| {
        let file = folder.path().join(name);
        let command = ["sh", "-c", &format!("sleep {seconds}; true")].map(str::to_owned);
        assert!(process_tracer().arg("-o").arg(&file).arg("--").args(command).status().unwrap().success());
        file
    };
    let (before, after) = (trace("a.jsonl", "0.05"), trace("b.jsonl", "0.6"));
    let output = Command::new(PROCESS_TRACER).arg("diff").args([before, after]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let slower = told.lines().skip_while(|line| !line.starts_with("by name")).nth(1).unwrap();
    assert!(slower.starts_with("sleep ") && slower.contains("(+"), "{told}");
}

/// Compares saved traces: the status, stdout and stderr.
fn diff(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROCESS_TRACER).arg("diff").args(arguments).current_dir(folder).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), stdout, stderr)
}

#[test]
fn the_exit_status_of_a_comparison_shows_whether_something_became_slower() {
    let folder = snapshots::path("");
    let (status, text, _) = diff(&folder, &["before.jsonl", "after.jsonl", "--threshold", "10%"]);
    assert!(status == Some(1) && text.contains("\nslower by more than 10 %\nthe whole  +"), "{text}");
    let same = ["before.jsonl", "before.jsonl", "--threshold", "10%", "-o", "markdown"];
    let (status, text, _) = diff(&folder, &same);
    assert!(status == Some(0) && text.contains("Nothing is slower by more than 10 %"), "{text}");
    let several =
        ["before.jsonl", "before.jsonl", "--to", "after.jsonl", "after.jsonl", "-o", "json", "--threshold=10%"];
    let (status, text, _) = diff(&folder, &several);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &json["whole_is_regression"]), (Some(1), &json!(true)), "{text}");
    assert_eq!(json["wall_seconds"]["before"]["runs"].as_array().map(Vec::len), Some(2), "{text}");
    let (status, _, stderr) = diff(&folder, &["before.jsonl", "after.jsonl", "after.jsonl"]);
    assert!(status == Some(125) && stderr.contains("more than two files without --to"), "{stderr}");
}

#[test]
fn traces_of_one_file_are_compared() {
    let folder = TempDir::new().unwrap();
    let [before, after] = ["before", "after"].map(|name| {
        let text = fs::read_to_string(snapshots::path(&format!("{name}.jsonl"))).unwrap();
        fs::write(folder.path().join(name), &text).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let span = &first["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        (text, span["traceId"].as_str().unwrap().to_owned())
    });
    fs::write(folder.path().join("both"), before.0 + &after.0).unwrap();
    let diff = |arguments: &[&str]| diff(folder.path(), arguments);
    let expected = diff(&["before", "after"]).1;
    let (status, _, stderr) = diff(&["both", "both"]);
    assert!(status == Some(125) && stderr.contains("has 2 traces; choose one with --trace-id"), "{stderr}");
    for chosen in [
        &["both", "both", "--trace-id", &before.1, "-t", &after.1][..],
        &["before", "both", "-t", &after.1],
        &["both", "after", "-t", &before.1],
        &["both", "both", "-t", &after.1, "-t", &before.1],
    ] {
        let (status, text, stderr) = diff(chosen);
        let is_turned = chosen[3] == after.1 && chosen.len() == 6;
        assert!(status == Some(0) && (text == expected) != is_turned, "{chosen:?}: {text}{stderr}");
    }
    let unknown = "0af7651916cd43dd8448eb211c80319c";
    let (status, _, stderr) = diff(&["before", "after", "-t", unknown]);
    assert!(status == Some(125) && stderr.contains(unknown), "{stderr}");
}

#[test]
fn the_page_of_a_ci_job_gets_the_summary() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("summary.md");
    fs::write(&file, "before\n").unwrap();
    let mut command = process_tracer();
    command.env("GITHUB_STEP_SUMMARY", &file).args(["-o", "tree", "--", "sh", "-c", "true; exit 1"]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("before\n\n### `sh -c 'true; exit 1'`\n\n❌ `exit 1` after "), "{text}");
    let mut command = process_tracer();
    let output = command.env("GITHUB_STEP_SUMMARY", "/dev/full").args(["--", "true"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("was not appended to '/dev/full'"), "{stderr}");
}

/// The summary of a run on stderr, and the summary of its saved trace.
fn summaries(command: &mut Command, arguments: &[&str]) -> [String; 2] {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let run = command.args(["-o", "summary", "-o"]).arg(&file).args(arguments).output().unwrap();
    let saved = Command::new(PROCESS_TRACER).arg("report").arg(&file).output().unwrap();
    assert!(saved.status.success(), "{saved:?}");
    [run.stderr, saved.stdout].map(|text| String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_users_attributes_do_not_turn_processes_into_lookups() {
    let mut command = process_tracer();
    command.args(["-a", "dns.question.name='x'", "-a", "network.transport='tcp'", "-a", "process.exit.code=0"]);
    for summary in summaries(&mut command, &["--", "sh", "-c", "/bin/true; /bin/true; exit 3"]) {
        assert!(summary.contains(": 3 processes (1 failed)\n"), "{summary}");
        assert!(summary.contains("exit 3 after "), "{summary}");
    }
}

#[test]
fn a_limit_of_values_does_not_cut_the_name_of_a_signal() {
    let mut command = process_tracer();
    command.env("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5");
    for summary in summaries(&mut command, &["--", "sh", "-c", "kill -KILL $$"]) {
        assert!(summary.contains("SIGKILL after "), "{summary}");
    }
}
