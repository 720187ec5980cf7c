//! Broken and slow collectors. Each span arrives or is kept, the exit status is the command's, and the exit is in time.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::signal::{self, Signal},
    unistd::Pid,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use prost::Message;
use tempfile::TempDir;

use crate::stand_in::{Action, Collector, Delivery, Ids, LONG, SHORT, assert_ended_early, ids, send};
use crate::{harness::process_tracer, trace::Trace};

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
fn the_root_counts_spans_lost_before_the_end() {
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

/// A collector over gRPC.
struct Grpc {
    /// Gets the number of the request, from 0, and the number of its spans.
    answer: Box<dyn Fn(usize, usize) -> Result<ExportTraceServiceResponse, tonic::Status> + Send + Sync>,
    requests: Mutex<usize>,
    /// The accepted spans.
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
