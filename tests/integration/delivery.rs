//! Broken and slow collectors. Each span arrives or is kept, the exit status is the command's, and the exit is in time.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::signal::{self, Signal},
    unistd::Pid,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::ResourceSpans,
};
use prost::Message;
use tempfile::TempDir;

use crate::{
    harness::process_tracer,
    rotel::{Rotel, wait_until},
    trace::Trace,
};

pub type Ids = BTreeSet<String>;

/// Writes an answer.
type Writes = dyn FnOnce(&mut dyn Write) -> io::Result<()>;

/// The action of a collector at a request.
pub enum Action {
    Accept,
    /// Status line, more headers with their line ends, body.
    Answer(&'static str, &'static str, Vec<u8>),
    Hang,
    /// Closes the connection in the middle of the answer.
    Cut,
    /// Writes the answer itself, then closes the connection.
    Write(Box<Writes>),
}

/// A collector over HTTP whose behaviour the test chooses.
pub struct Collector {
    address: String,
    taken: Arc<Mutex<Ids>>,
    /// Spans in all requests. A span that was sent twice counts twice.
    asked: Arc<AtomicUsize>,
    /// From the last request.
    path: Arc<Mutex<String>>,
    ends: Arc<AtomicBool>,
}

impl Collector {
    /// `action` receives the number of the request, counted from 0, and the number of spans in it.
    pub fn start(action: impl Fn(usize, usize) -> Action + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", action)
    }

    fn start_at(address: &str, action: impl Fn(usize, usize) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (taken, ends) = (Arc::new(Mutex::new(Ids::new())), Arc::new(AtomicBool::new(false)));
        let (path, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let counted = {
            let asked = Arc::clone(&asked);
            move |number, spans| {
                asked.fetch_add(spans, Ordering::Relaxed);
                action(number, spans)
            }
        };
        let shared = Arc::new((Mutex::new(0), counted));
        thread::spawn({
            let (taken, path, ends) = (Arc::clone(&taken), Arc::clone(&path), Arc::clone(&ends));
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let (taken, path, shared) = (Arc::clone(&taken), Arc::clone(&path), Arc::clone(&shared));
                    thread::spawn(move || serve(&stream.unwrap(), &taken, &path, &shared.0, &shared.1));
                }
            }
        });
        Self { address, taken, asked, path, ends }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn taken(&self) -> Ids {
        self.taken.lock().unwrap().clone()
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(
    stream: &TcpStream,
    taken: &Mutex<Ids>,
    path: &Mutex<String>,
    requests: &Mutex<usize>,
    action: &impl Fn(usize, usize) -> Action,
) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).is_ok_and(|size| size > 2) {
            if let Some(rest) = line.strip_prefix("POST ") {
                *path.lock().unwrap() = rest.split(' ').next().unwrap().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return; // the client has closed the connection
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let ids = ids(&request.resource_spans);
        let number = {
            let mut requests = requests.lock().unwrap();
            *requests += 1;
            *requests - 1
        };
        let mut answer = |status: &str, headers: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
            writer.write_all(&[head.as_bytes(), body].concat()).is_ok()
        };
        let goes_on = match action(number, ids.len()) {
            Action::Accept => {
                taken.lock().unwrap().extend(ids);
                answer("200 OK", "", &[])
            }
            Action::Answer(status, headers, body) => answer(status, headers, &body),
            Action::Hang => {
                thread::sleep(Duration::from_secs(60));
                false
            }
            Action::Cut => {
                let _ = writer.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nhalf");
                false
            }
            Action::Write(write) => {
                // The client may have closed the connection.
                let _ = write(&mut writer);
                false
            }
        };
        if !goes_on {
            return;
        }
    }
}

fn ids(spans: &[ResourceSpans]) -> Ids {
    let scopes = spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    spans.map(|span| span.span_id.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}

/// The result of a run against a collector.
pub struct Delivery {
    folder: TempDir,
    pub stderr: String,
    elapsed: Duration,
    /// All spans, from the copy in a file.
    pub all: Ids,
}

impl Delivery {
    /// Traces a script, which ends with status 3, to an endpoint.
    pub fn run(endpoint: &str, flags: &[&str], script: &str) -> Self {
        Self::run_by(process_tracer(), endpoint, flags, script)
    }

    /// Does the same, with variables for the command.
    pub fn run_by(mut command: Command, endpoint: &str, flags: &[&str], script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let copy = folder.path().join("copy.jsonl");
        command
            .args(["--endpoint", endpoint, "-o", "otlp", "-o"])
            .arg(&copy)
            .arg("--spool")
            .arg(folder.path().join("spool"));
        command.args(flags).args(["--", "sh", "-c", &format!("{script}; exit 3")]);
        let started = Instant::now();
        let output = command.output().unwrap();
        let elapsed = started.elapsed();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        let trace = Trace::read(&copy);
        trace.assert_complete();
        let all = trace.spans.iter().map(|span| span.span_id.clone()).collect();
        Self { folder, stderr, elapsed, all }
    }

    /// The file of kept spans, if there is one.
    pub fn kept_in(&self) -> Option<PathBuf> {
        let mut files = fs::read_dir(self.folder.path().join("spool")).ok()?.map(|entry| entry.unwrap().path());
        let file = files.next();
        assert!(files.next().is_none());
        file
    }

    pub fn kept(&self) -> Ids {
        let spans = self.kept_in().map(|file| Trace::read(&file).spans).unwrap_or_default();
        spans.into_iter().map(|span| span.span_id).collect()
    }

    pub fn assert_delivered(&self, taken: &Ids) {
        assert_eq!((taken, self.kept_in()), (&self.all, None), "{}", self.stderr);
        assert!(self.stderr.trim_end().ends_with("complete"), "{}", self.stderr);
    }

    /// Checks that each span exists exactly once, and that the printed command delivers the rest.
    fn assert_kept(&self, taken: &Ids, reason: &str) {
        let kept = self.kept();
        assert!(!kept.is_empty() && kept.is_disjoint(taken), "{}", self.stderr);
        assert_eq!(kept.union(taken).cloned().collect::<Ids>(), self.all, "{}", self.stderr);
        assert!(self.stderr.contains(reason) && self.stderr.contains("complete once delivered"), "{}", self.stderr);
        let file = self.kept_in().unwrap();
        let hint = self
            .stderr
            .lines()
            .find(|line| line.contains("kept; to deliver: ") && line.contains("/process-tracer send --endpoint "))
            .unwrap();
        assert!(hint.ends_with(file.to_str().unwrap()), "{hint}");
        let collector = Collector::start(|_, _| Action::Accept);
        let (code, stderr) = send(&file, &collector.endpoint());
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!((collector.taken(), file.exists()), (kept, false));
    }
}

/// Checks that a run has not made the wait that the test excludes. That wait takes ten minutes, or never ends. The limit is
/// far below it, and far above the time of a run on a slow machine.
#[track_caller]
fn assert_ended_early(elapsed: Duration) {
    assert!(elapsed < Duration::from_secs(120), "{elapsed:?}");
}

pub fn send(file: &Path, endpoint: &str) -> (Option<i32>, String) {
    let output = process_tracer().args(["send", "--endpoint", endpoint]).arg(file).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// More than a second, so that spans are also sent while the command runs.
const LONG: &str = "for i in 1 2 3 4 5 6 7 8; do /bin/true; sleep 0.4; done";
pub const SHORT: &str = "/bin/true; /bin/true";

#[test]
fn spans_are_kept_if_nothing_listens_at_the_endpoint() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for script in [SHORT, LONG] {
        let delivery = Delivery::run(&format!("http://{nobody}"), &["--flush-timeout", "600"], script);
        delivery.assert_kept(&Ids::new(), "refused");
        assert_ended_early(delivery.elapsed);
    }
}

#[test]
fn spans_are_kept_if_the_name_of_the_collector_does_not_resolve() {
    let delivery = Delivery::run("http://collector.invalid:4318", &[], SHORT);
    delivery.assert_kept(&Ids::new(), "spans did not reach http://collector.invalid:4318");
    assert_ended_early(delivery.elapsed);
}

#[test]
fn spans_are_kept_if_a_collector_never_answers() {
    let collector = Collector::start(|_, _| Action::Hang);
    for script in [SHORT, LONG] {
        let delivery = Delivery::run(&collector.endpoint(), &["--flush-timeout", "1"], script);
        delivery.assert_kept(&Ids::new(), "no answer in time");
        assert_ended_early(delivery.elapsed);
    }
}

#[test]
fn spans_arrive_after_the_time_that_a_collector_asks_for() {
    let collector = Collector::start(|number, _| match number {
        0 => Action::Answer("429 Too Many Requests", "Retry-After: 2\r\n", Vec::new()),
        _ => Action::Accept,
    });
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    delivery.assert_delivered(&collector.taken());
    assert!(delivery.elapsed >= Duration::from_secs(2), "{:?}", delivery.elapsed);
}

#[test]
fn spans_are_kept_if_a_collector_asks_for_more_time_than_is_left() {
    let collector =
        Collector::start(|_, _| Action::Answer("429 Too Many Requests", "Retry-After: 3600\r\n", Vec::new()));
    for script in [SHORT, LONG] {
        let delivery = Delivery::run(&collector.endpoint(), &["--flush-timeout", "600"], script);
        delivery.assert_kept(&Ids::new(), "429 Too Many Requests");
        assert_ended_early(delivery.elapsed);
    }
}

#[test]
fn a_collector_gets_no_request_before_the_time_in_retry_after() {
    // The second date is one of the obsolete forms that a recipient must accept: RFC 9110, section 5.6.7.
    for header in [
        "Retry-After: 3600\r\n",
        "Retry-After: Tue, 31 Dec 2199 23:59:59 GMT\r\n",
        "Retry-After: Tue Dec 31 23:59:59 2199\r\n",
    ] {
        let requests = Arc::new(AtomicUsize::new(0));
        let collector = Collector::start({
            let requests = Arc::clone(&requests);
            move |_, _| {
                requests.fetch_add(1, Ordering::Relaxed);
                Action::Answer("503 Service Unavailable", header, Vec::new())
            }
        });
        // The first request comes after a second, when the command still runs.
        let delivery = Delivery::run(&collector.endpoint(), &[], LONG);
        assert_eq!(requests.load(Ordering::Relaxed), 1, "{header}: {}", delivery.stderr);
        delivery.assert_kept(&Ids::new(), "503 Service Unavailable");
    }
}

#[test]
fn spans_arrive_if_a_collector_is_away_for_twenty_seconds() {
    let started = Instant::now();
    let collector = Collector::start(move |_, _| match started.elapsed().as_secs() {
        0..20 => Action::Answer("503 Service Unavailable", "", Vec::new()),
        _ => Action::Accept,
    });
    Delivery::run(&collector.endpoint(), &["--flush-timeout", "60"], LONG).assert_delivered(&collector.taken());
}

#[test]
fn spans_arrive_if_a_collector_restarts_during_the_run() {
    let first = Collector::start(|_, _| Action::Accept);
    let (address, endpoint, taken) = (first.address.clone(), first.endpoint(), Arc::clone(&first.taken));
    let restart = thread::spawn(move || {
        while first.taken().is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
        drop(first);
        thread::sleep(Duration::from_millis(500));
        Collector::start_at(&address, |_, _| Action::Accept)
    });
    let delivery = Delivery::run(&endpoint, &[], &format!("{LONG}; {LONG}"));
    let second = restart.join().unwrap();
    delivery.assert_delivered(&taken.lock().unwrap().union(&second.taken()).cloned().collect());
}

#[test]
fn spans_arrive_in_small_requests_if_a_collector_accepts_only_these() {
    let collector = Collector::start(|_, spans| match spans {
        0..=3 => Action::Accept,
        _ => Action::Answer("413 Payload Too Large", "", Vec::new()),
    });
    let delivery = Delivery::run(&collector.endpoint(), &[], "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done");
    delivery.assert_delivered(&collector.taken());
    let nothing = Collector::start(|_, _| Action::Answer("413 Payload Too Large", "", Vec::new()));
    Delivery::run(&nothing.endpoint(), &[], SHORT).assert_kept(&Ids::new(), "413 Payload Too Large");
}

#[test]
fn the_status_counts_if_a_collector_answers_nonsense() {
    // Without a status there is no answer. Otherwise the status counts.
    let collector = Collector::start(|_, _| Action::Answer("200 OK", "", b"\xff\xff nonsense".to_vec()));
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    assert!(delivery.stderr.trim_end().ends_with("complete"), "{}", delivery.stderr);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    Delivery::run(&endpoint, &[], SHORT).assert_kept(&Ids::new(), "spans did not reach");
}

#[test]
fn spans_are_kept_if_a_collector_refuses_them() {
    let collector = Collector::start(|_, _| Action::Answer("401 Unauthorized", "", Vec::new()));
    Delivery::run(&collector.endpoint(), &[], LONG).assert_kept(&Ids::new(), "the collector answers 401 Unauthorized");
}

#[test]
fn spans_are_kept_if_a_collector_redirects() {
    // A redirected request would lose its spans.
    let collector = Collector::start(|_, _| Action::Answer("302 Found", "Location: /login\r\n", Vec::new()));
    Delivery::run(&collector.endpoint(), &[], SHORT).assert_kept(&Ids::new(), "the collector answers 302 Found");
}

#[test]
fn no_span_is_missing_if_a_collector_closes_connections_early() {
    let collector = Collector::start(|number, _| if number % 2 == 0 { Action::Cut } else { Action::Accept });
    let delivery = Delivery::run(&collector.endpoint(), &[], LONG);
    // While the command runs, there is time for another attempt. Afterwards an absent collector gets no more time.
    let (taken, kept) = (collector.taken(), delivery.kept());
    assert!(kept.is_disjoint(&taken) && !taken.is_empty());
    assert_eq!(taken.union(&kept).cloned().collect::<Ids>(), delivery.all, "{}", delivery.stderr);
}

#[test]
fn spans_that_a_collector_rejects_are_reported() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let collector = Collector::start(move |_, _| Action::Answer("200 OK", "", answer.clone()));
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    let stderr = &delivery.stderr;
    assert!(
        stderr.contains("2 of 3 spans did not reach") && stderr.contains("rejected by the collector: too old"),
        "{stderr}"
    );
    assert!(stderr.trim_end().ends_with("incomplete: not all delivered") && delivery.kept_in().is_none(), "{stderr}");
}

#[test]
fn spans_are_kept_if_a_collector_refuses_even_single_spans() {
    let requests = Arc::new(Mutex::new(0));
    let collector = Collector::start({
        let requests = Arc::clone(&requests);
        move |number, _| {
            *requests.lock().unwrap() = number + 1;
            Action::Answer("413 Payload Too Large", "", Vec::new())
        }
    });
    let script = "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done";
    Delivery::run(&collector.endpoint(), &["--flush-timeout", "60"], script)
        .assert_kept(&Ids::new(), "413 Payload Too Large");
    assert!(
        *requests.lock().unwrap() < 50,
        "{} requests are too many: the collector refuses all of them",
        requests.lock().unwrap()
    );
}

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
fn passwords_are_not_shown() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://me:hunter2@{nobody}");
    let delivery = Delivery::run(&endpoint, &[], SHORT);
    assert!(
        delivery.stderr.contains(&format!("@{nobody}")) && !delivery.stderr.contains("hunter2"),
        "{}",
        delivery.stderr
    );
    let (_, stderr) = send(&delivery.kept_in().unwrap(), &endpoint);
    assert!(stderr.contains(&format!("@{nobody}")) && !stderr.contains("hunter2"), "{stderr}");
    let doctor = process_tracer().args(["doctor", "--endpoint", &endpoint]).output().unwrap();
    let stdout = String::from_utf8_lossy(&doctor.stdout);
    assert!(stdout.contains(&format!("@{nobody}")) && !stdout.contains("hunter2"), "{stdout}");
}

#[test]
fn without_trusted_authorities_a_run_fails_only_if_a_flag_asks_for_the_export() {
    let collector = Collector::start(|_, _| Action::Accept);
    let run = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = process_tracer();
        command.envs([("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere")]).envs(variables.iter().copied());
        let output = command.args(["--spool", "none"]).args(flags).args(["--", "sh", "-c", "exit 3"]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let endpoint = collector.endpoint();
    let (code, stderr) = run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], &[]);
    assert_eq!((code, collector.taken().len()), (Some(3), 1), "{stderr}");
    // If only a variable asks for the output, the run starts without it. If a flag asks for it, the run fails.
    let https = "https://127.0.0.1:1";
    for protocol in ["http/protobuf", "grpc"] {
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let (code, stderr) = run(&[protocol, ("OTEL_EXPORTER_OTLP_ENDPOINT", https)], &[]);
        assert!(code == Some(3) && stderr.contains("warning: an output is left out: cannot export"), "{stderr}");
        let (code, stderr) = run(&[protocol], &["--endpoint", https]);
        assert!(code == Some(125) && stderr.contains("cannot export to https://127.0.0.1:1"), "{stderr}");
    }
}

#[test]
fn an_invalid_client_certificate_is_ignored() {
    let folder = TempDir::new().unwrap();
    let pem = folder.path().join("pem");
    fs::write(&pem, "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let mut command = process_tracer();
        for name in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            command.env(format!("OTEL_EXPORTER_OTLP_{name}"), &pem);
        }
        command.args(["--endpoint", "https://127.0.0.1:1", "--protocol", protocol, "--spool", "none"]);
        let output = command.args(["--", "sh", "-c", "exit 3"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("the client certificate is ignored"), "{stderr}");
    }
}

/// A run whose file is a pipe. The other end is open, but no process reads from it.
fn run_into_a_stuck_pipe(flush_timeout: &str) -> (TempDir, fs::File, Child) {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("t.jsonl");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let holder = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let mut command = process_tracer();
    command.args(["--flush-timeout", flush_timeout, "-o"]).arg(&pipe).stdout(Stdio::piped()).stderr(Stdio::piped());
    let script = "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done; echo over; exit 3";
    let mut child = command.args(["--", "sh", "-c", script]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "over\n");
    (folder, holder, child)
}

#[test]
fn a_pipe_without_a_reader_does_not_delay_the_exit() {
    let started = Instant::now();
    let (_folder, _holder, child) = run_into_a_stuck_pipe("1");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("it accepts no more data") && stderr.contains("not all delivered"), "{stderr}");
    assert_ended_early(started.elapsed());
}

#[test]
fn the_first_signal_ends_the_delivery_and_the_second_ends_process_tracer() {
    use std::os::unix::process::ExitStatusExt;
    let collector = Collector::start(|_, _| Action::Hang);
    let folder = TempDir::new().unwrap();
    let mut command = process_tracer();
    command.args(["--flush-timeout", "600", "--endpoint", &collector.endpoint(), "--spool"]).arg(folder.path());
    command.args(["--", "sh", "-c", "echo over; exit 3"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let signal = |child: &Child| {
        thread::sleep(Duration::from_secs(2));
        signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    };
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    signal(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("1 span kept; to deliver: "), "{stderr}");
    assert_eq!(Trace::read(&fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path()).spans.len(), 1);

    let (_folder, _holder, mut child) = run_into_a_stuck_pipe("600");
    signal(&child);
    thread::sleep(Duration::from_millis(500));
    signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
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

#[test]
fn a_spool_that_cannot_be_written_prints_a_warning() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (spool, reason) in [("/dev/null/x", "cannot make '/dev/null/x'"), ("none", "not kept, because --spool is none")]
    {
        let mut command = process_tracer();
        let output = command.args(["--endpoint", &format!("http://{nobody}"), "--spool", spool, "--", "true"]).output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.contains("refused") && stderr.contains(reason), "{stderr}");
        assert!(stderr.trim_end().ends_with("incomplete: not all delivered"), "{stderr}");
    }
}

#[test]
fn in_a_long_outage_spans_beyond_the_memory_limit_go_to_the_spool() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = TempDir::new().unwrap();
    let (copy, spool) = (folder.path().join("copy.jsonl"), folder.path().join("spool"));
    // Each span has the variable of 120 KiB as an attribute. The memory has room for 64 MiB, which is 546 spans. The buffer
    // holds all records, even on a busy machine.
    let script = format!(
        "i=0; while [ $i -lt 650 ]; do /bin/true; i=$((i+1)); done
         i=0; while [ $i -lt 600 ] && ! ls {0}/* > /dev/null 2>&1; do sleep 0.1; i=$((i+1)); done; ls {0} | wc -l",
        spool.display()
    );
    let mut command = process_tracer();
    command.args(["--buffer-size", "256M"]);
    command.env("BIG", "x".repeat(120 << 10)).args(["-a", "big=env[\"BIG\"]", "-o", "otlp"]);
    command.args(["--endpoint", &format!("http://{nobody}"), "--spool"]).arg(&spool).arg("-o").arg(&copy);
    let output = command.args(["--", "sh", "-c", &script]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.trim(), "1", "{stderr}");
    let ids = |file: &Path| Trace::read(file).spans.into_iter().map(|span| span.span_id).collect::<Ids>();
    let file = fs::read_dir(&spool).unwrap().next().unwrap().unwrap().path();
    assert_eq!(ids(&file), ids(&copy), "{stderr}");
    assert!(ids(&copy).len() > 650, "{stderr}");
}

#[test]
fn the_certificate_counts_spans_lost_before_the_end() {
    let collector = Collector::start(|_, _| Action::Answer("401 Unauthorized", "", Vec::new()));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.args(["--endpoint", &collector.endpoint(), "--spool=none", "-o", "otlp", "-o"]).arg(&file);
    assert!(command.args(["--", "sh", "-c", "/bin/true; sleep 4"]).status().unwrap().success());
    let trace = Trace::read(&file);
    trace.assert_sound();
    assert_eq!(trace.root().attribute("process_tracer.complete"), "false");
    assert_eq!(trace.root().attribute("process_tracer.lost.undelivered"), "1");
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

/// A line that is no OTLP, one of logs and one of metrics, and one of a trace between them.
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

/// A collector over gRPC: its answer for a number of spans, and the spans that it has accepted.
struct Grpc {
    answer: Box<dyn Fn(usize, usize) -> Result<ExportTraceServiceResponse, tonic::Status> + Send + Sync>,
    requests: Mutex<usize>,
    taken: Arc<Mutex<Ids>>,
}

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let ids = ids(&request.into_inner().resource_spans);
        let number = {
            let mut requests = self.requests.lock().unwrap();
            *requests += 1;
            *requests - 1
        };
        let answer = (self.answer)(number, ids.len())?;
        self.taken.lock().unwrap().extend(ids);
        Ok(tonic::Response::new(answer))
    }
}

/// Runs against such a collector. Returns the spans that it has accepted.
fn run_over_grpc(
    answer: impl Fn(usize, usize) -> Result<ExportTraceServiceResponse, tonic::Status> + Send + Sync + 'static,
) -> (Delivery, Ids) {
    let taken = Arc::new(Mutex::new(Ids::new()));
    let service = Grpc { answer: Box::new(answer), requests: Mutex::new(0), taken: Arc::clone(&taken) };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (endpoint, serve) = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(service));
        (endpoint, server.serve_with_incoming(incoming))
    });
    runtime.spawn(serve);
    let delivery = Delivery::run(&endpoint, &["--protocol", "grpc"], "for i in 1 2 3 4 5 6 7; do /bin/true; done");
    let taken = taken.lock().unwrap().clone();
    (delivery, taken)
}

#[test]
fn spans_arrive_in_small_requests_at_a_busy_collector_over_grpc() {
    let (delivery, taken) = run_over_grpc(|number, spans| match (number, spans) {
        (0, _) => Err(tonic::Status::unavailable("not yet")),
        (_, 0..=3) => Ok(ExportTraceServiceResponse::default()),
        _ => Err(tonic::Status::resource_exhausted("too large")),
    });
    delivery.assert_delivered(&taken);
}

#[test]
fn spans_that_a_collector_rejects_over_grpc_are_reported() {
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    let (delivery, _) = run_over_grpc(move |_, _| Ok(answer.clone()));
    let stderr = &delivery.stderr;
    assert!(
        stderr.contains("3 of 8 spans did not reach") && stderr.contains("rejected by the collector: too old"),
        "{stderr}"
    );
}

#[test]
fn spans_are_kept_if_a_collector_over_grpc_refuses_them() {
    let (delivery, taken) = run_over_grpc(|_, _| Err(tonic::Status::unauthenticated("who are you")));
    assert!(taken.is_empty());
    assert!(delivery.stderr.contains("who are you"), "{}", delivery.stderr);
    assert_eq!(delivery.kept(), delivery.all);
}
