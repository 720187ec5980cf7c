//! Answers of collectors. The status decides the result. No answer needs much memory. The user can read the text.

use std::{
    convert::Infallible,
    io::{self, Write},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use axum::body::{Body, Bytes};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use prost::Message;
use tempfile::TempDir;
use tonic::{codec::CompressionEncoding, service::Routes, transport::server::TcpIncoming};

use crate::{
    harness::process_tracer,
    stand_in::{Action, Collector, Delivery, SHORT, send},
};

/// The server cannot write this many bytes of an endless answer. The client reads only 4 MiB, and two sockets buffer some
/// more.
const FAR_BELOW_ENDLESS: usize = 64 << 20;

/// The size of a test's "endless" answer.
const ENDLESS: usize = 256 << 20;

/// An answer with an endless body. `written` counts its bytes.
fn endless(head: &'static str, written: &Arc<AtomicUsize>) -> Action {
    let written = Arc::clone(written);
    Action::Write(Box::new(move |writer| {
        writer.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes())?;
        let piece = if head.contains("chunked") {
            [b"10000\r\n", vec![b'x'; 0x10000].as_slice(), b"\r\n"].concat()
        } else {
            vec![b'x'; 0x10000]
        };
        while written.load(Ordering::Relaxed) < ENDLESS {
            writer.write_all(&piece)?;
            written.fetch_add(piece.len(), Ordering::Relaxed);
        }
        Ok(())
    }))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small answer that becomes large when it is unpacked.
fn bomb() -> Vec<u8> {
    gzip(&vec![0; 64 << 20])
}

fn partial_success(rejected_spans: i64, error_message: &str) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: error_message.to_owned() };
    ExportTraceServiceResponse { partial_success: Some(partial) }
}

/// The spans were sent once, count as delivered, and the user is warned.
fn assert_accepted(delivery: &Delivery, asked: usize, warning: &str) {
    let stderr = &delivery.stderr;
    assert_eq!((asked, delivery.kept_in()), (delivery.all.len(), None), "{stderr}");
    let line = stderr.lines().find(|line| line.contains(warning)).unwrap_or_else(|| panic!("{warning:?}: {stderr}"));
    assert!(line.starts_with("process-tracer: warning: http://127.0.0.1:"), "{line}");
    assert!(stderr.trim_end().ends_with(", complete"), "{stderr}");
}

/// The spans are kept, and the user reads the reason.
fn assert_refused(delivery: &Delivery, reason: &str) {
    assert_eq!(delivery.kept(), delivery.all, "{}", delivery.stderr);
    let line = delivery.stderr.lines().find(|line| line.contains("spans did not reach"));
    assert!(line.is_some_and(|line| line.ends_with(reason)), "{reason:?}: {}", delivery.stderr);
}

#[test]
fn an_endless_answer_is_read_up_to_4_mib_and_its_status_counts() {
    for head in ["200 OK\r\nTransfer-Encoding: chunked", "200 OK\r\nContent-Length: 1000000000000", "200 OK"] {
        let written = Arc::new(AtomicUsize::new(0));
        let collector = Collector::start({
            let written = Arc::clone(&written);
            move |_, _| endless(head, &written)
        });
        let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
        assert!(written.load(Ordering::Relaxed) < FAR_BELOW_ENDLESS, "{head}: {written:?}");
        assert_accepted(&delivery, collector.asked(), "cannot be read: it is larger than 4 MiB");
    }
    let written = Arc::new(AtomicUsize::new(0));
    let collector = Collector::start({
        let written = Arc::clone(&written);
        move |_, _| endless("400 Bad Request\r\nTransfer-Encoding: chunked", &written)
    });
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    assert!(written.load(Ordering::Relaxed) < FAR_BELOW_ENDLESS, "{written:?}");
    assert_refused(&delivery, "xxx…");
    assert!(delivery.stderr.contains("the collector answers 400 Bad Request: xxx"), "{}", delivery.stderr);
}

#[test]
fn a_compressed_answer_that_would_become_large_is_not_unpacked() {
    let bomb = bomb();
    let collector = Collector::start(move |_, _| Action::Answer("200 OK", "Content-Encoding: gzip\r\n", bomb.clone()));
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    assert_accepted(&delivery, collector.asked(), "cannot be read: it is larger than 4 MiB");
}

#[test]
fn an_endless_head_counts_as_no_answer() {
    let written = Arc::new(AtomicUsize::new(0));
    let collector = Collector::start({
        let written = Arc::clone(&written);
        move |_, _| {
            let written = Arc::clone(&written);
            Action::Write(Box::new(move |writer| {
                writer.write_all(b"HTTP/1.1 200 OK\r\n")?;
                let header = format!("X-Filler: {}\r\n", "x".repeat(4096));
                while written.load(Ordering::Relaxed) < ENDLESS {
                    writer.write_all(header.as_bytes())?;
                    written.fetch_add(header.len(), Ordering::Relaxed);
                }
                Ok(())
            }))
        }
    });
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    assert_eq!(delivery.kept(), delivery.all, "{}", delivery.stderr);
    assert!(written.load(Ordering::Relaxed) < FAR_BELOW_ENDLESS, "{written:?}");
}

/// Runs with a short time for each request.
fn run_in_haste(endpoint: &str, flags: &[&str]) -> Delivery {
    let mut command: Command = process_tracer();
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    Delivery::run_by(command, endpoint, flags, SHORT)
}

#[test]
fn the_status_counts_if_the_rest_of_the_answer_does_not_arrive() {
    let cut = |status: &'static str| {
        move |_, _| {
            Action::Write(Box::new(move |writer| write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\nhalf")))
        }
    };
    let collector = Collector::start(cut("200 OK"));
    assert_accepted(
        &Delivery::run(&collector.endpoint(), &[], SHORT),
        collector.asked(),
        "its answer cannot be read: ",
    );
    let collector = Collector::start(cut("401 Unauthorized"));
    assert_refused(
        &Delivery::run(&collector.endpoint(), &[], SHORT),
        "the collector answers 401 Unauthorized: half; put the credentials into OTEL_EXPORTER_OTLP_HEADERS, such as \
         authorization=Bearer%20TOKEN",
    );

    let trickle = |status: &'static str| {
        move |_, _| {
            Action::Write(Box::new(move |writer| {
                write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 1000000\r\n\r\n")?;
                for _ in 0..600 {
                    writer.write_all(b"x")?;
                    thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            }))
        }
    };
    let collector = Collector::start(trickle("200 OK"));
    let delivery = run_in_haste(&collector.endpoint(), &[]);
    assert_accepted(&delivery, collector.asked(), "its answer cannot be read: the rest did not come in time");
    let collector = Collector::start(trickle("401 Unauthorized"));
    let delivery = run_in_haste(&collector.endpoint(), &[]);
    assert_eq!(delivery.kept(), delivery.all, "{}", delivery.stderr);
    assert!(delivery.stderr.contains("the collector answers 401 Unauthorized: x"), "{}", delivery.stderr);
}

#[test]
fn a_compressed_answer_over_http_is_understood() {
    let answer = gzip(&partial_success(2, "too old").encode_to_vec());
    let collector =
        Collector::start(move |_, _| Action::Answer("200 OK", "Content-Encoding: gzip\r\n", answer.clone()));
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    let stderr = &delivery.stderr;
    assert!(
        stderr.contains("2 of 3 spans did not reach") && stderr.contains("rejected by the collector: too old"),
        "{stderr}"
    );
}

#[test]
fn an_answer_that_is_a_web_page_prints_a_warning() {
    let page = b"<html>\n<title>Please log in</title>\n</html>";
    let collector =
        Collector::start(|_, _| Action::Answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", page.to_vec()));
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    let warning = "cannot be read: it is not OTLP: <html> <title>Please log in</title> </html>";
    assert_accepted(&delivery, collector.asked(), warning);
    let doctor = process_tracer().args(["doctor", "--endpoint", &collector.endpoint()]).output().unwrap();
    let stdout = String::from_utf8_lossy(&doctor.stdout);
    assert!(stdout.contains(warning), "{stdout}");
}

#[test]
fn an_answer_in_json_is_understood() {
    let json = br#"{"partialSuccess":{"errorMessage":"this endpoint is deprecated"}}"#;
    let collector =
        Collector::start(|_, _| Action::Answer("200 OK", "Content-Type: application/json\r\n", json.to_vec()));
    let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
    assert_accepted(&delivery, collector.asked(), "the collector warns: this endpoint is deprecated");
}

#[test]
fn a_warning_of_the_collector_is_shown_and_the_spans_count_as_delivered() {
    let answer = partial_success(0, "please batch\nmore \x1b[31m");
    let warning = "the collector warns: please batch more \\x1b[31m";
    let body = answer.encode_to_vec();
    let collector = Collector::start(move |_, _| Action::Answer("200 OK", "", body.clone()));
    assert_accepted(&Delivery::run(&collector.endpoint(), &[], SHORT), collector.asked(), warning);

    let frames = vec![Frame::data(message(0, &answer.encode_to_vec())), ok()];
    let collector = Grpc::start(move |_| grpc(frames_of(&frames)));
    assert_accepted(&collector.run(&[]), collector.asked(), warning);

    let (_folder, file) = a_file();
    let body = answer.encode_to_vec();
    let collector = Collector::start(move |_, _| Action::Answer("200 OK", "", body.clone()));
    let (code, stderr) = send(&file, &collector.endpoint());
    assert!(code == Some(0) && stderr.contains(warning) && !file.exists(), "{stderr}");
}

#[test]
fn the_text_of_a_refusal_is_shown() {
    let status = tonic_types::Status { code: 3, message: "no tenant\n for this token".to_owned(), details: Vec::new() };
    let protobuf = status.encode_to_vec();
    let long = "x".repeat(5000);
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("Content-Type: application/x-protobuf\r\n", protobuf.clone(), ": no tenant for this token"),
        (
            "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n",
            gzip(&protobuf),
            ": no tenant for this token",
        ),
        ("Content-Type: application/json\r\n", br#"{"code":3,"message":"no tenant"}"#.to_vec(), ": no tenant"),
        ("Content-Type: application/json\r\n", br#"{"error":"no tenant"}"#.to_vec(), r#": {"error":"no tenant"}"#),
        ("Content-Type: text/plain\r\n", b"\n no\x1b[2J \ttenant\r\n".to_vec(), ": no\\x1b[2J tenant"),
        ("", long.into_bytes(), "xxx…"),
        ("", Vec::new(), "the collector answers 403 Forbidden"),
    ];
    for (headers, body, shown) in cases {
        let collector = Collector::start(move |_, _| Action::Answer("403 Forbidden", headers, body.clone()));
        let delivery = Delivery::run(&collector.endpoint(), &[], SHORT);
        assert_refused(&delivery, shown);
        assert!(delivery.stderr.contains("the collector answers 403 Forbidden"), "{}", delivery.stderr);
        assert!(delivery.stderr.lines().all(|line| line.len() < 1000), "{}", delivery.stderr);
    }
    let collector = Grpc::start(|_| grpc(vec![trailers(&[("grpc-status", "3"), ("grpc-message", "no%0Atenant")])]));
    assert_refused(&collector.run(&[]), ": no tenant");
}

/// The answer of the OpenTelemetry Collector to a body over its limit.
const TOO_LARGE: &[u8] = b"\x08\x03\x12\x1chttp: request body too large";

#[test]
fn a_collector_that_answers_400_to_a_large_body_gets_smaller_ones() {
    let collector = Collector::start(|_, spans| match spans {
        0..=3 => Action::Accept,
        _ => Action::Answer("400 Bad Request", "Content-Type: application/x-protobuf\r\n", TOO_LARGE.to_vec()),
    });
    let script = "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done";
    Delivery::run(&collector.endpoint(), &[], script).assert_delivered(&collector.taken());
}

#[test]
fn a_collector_on_tonic_that_answers_out_of_range_to_a_large_message_gets_smaller_ones() {
    let large = "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes";
    let collector = Grpc::start(move |spans| match spans {
        0..=3 => grpc(vec![Frame::data(message(0, &[])), ok()]),
        _ => grpc(vec![trailers(&[("grpc-status", "11"), ("grpc-message", large)])]),
    });
    let delivery = collector.run(&[]);
    assert!(delivery.kept_in().is_none() && delivery.stderr.trim_end().ends_with(", complete"), "{}", delivery.stderr);
}

#[test]
fn a_collector_that_answers_in_gzip_over_grpc_is_understood() {
    struct Collects(Arc<AtomicUsize>);

    #[tonic::async_trait]
    impl TraceService for Collects {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            self.0.fetch_add(count(request.get_ref()), Ordering::Relaxed);
            Ok(tonic::Response::new(partial_success(0, "in gzip")))
        }
    }

    // A server in Go answers in the encoding of the request, even if the client does not accept it.
    let mirror = |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("grpc-accept-encoding", "gzip".parse().unwrap());
        Ok(request)
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let service = TraceServiceServer::new(Collects(Arc::clone(&asked)))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let incoming = runtime.block_on(async { TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap() });
    let endpoint = format!("http://{}", incoming.local_addr().unwrap());
    let service = tonic::service::interceptor::InterceptedService::new(service, mirror);
    runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    for compression in ["gzip", "none"] {
        asked.store(0, Ordering::Relaxed);
        let mut command = process_tracer();
        command.env("OTEL_EXPORTER_OTLP_COMPRESSION", compression);
        let delivery = Delivery::run_by(command, &endpoint, &["--protocol", "grpc"], SHORT);
        assert_accepted(&delivery, asked.load(Ordering::Relaxed), "the collector warns: in gzip");
    }
}

#[test]
fn an_accepted_call_is_not_repeated_if_its_answer_cannot_be_read() {
    let bomb = bomb();
    let answers: [(&str, Vec<Frame<Bytes>>, &str); 5] = [
        ("zstd", vec![Frame::data(message(1, b"what is this")), ok()], "zstd"),
        ("gzip", vec![Frame::data(message(1, b"no gzip")), ok()], "Error decompressing"),
        ("gzip", vec![Frame::data(message(1, &bomb)), ok()], "4194304 bytes"),
        ("identity", vec![Frame::data(message(0, b"\xff\xff")), ok()], "cannot be read: "),
        ("identity", vec![ok()], "cannot be read: Missing response message"),
    ];
    for (encoding, frames, reason) in answers {
        let collector = Grpc::start(move |_| {
            let mut answer = grpc(frames_of(&frames));
            answer.headers_mut().insert("grpc-encoding", HeaderValue::from_static(encoding));
            answer
        });
        assert_accepted(&collector.run(&[]), collector.asked(), reason);
    }
}

#[test]
fn an_endless_answer_over_grpc_is_read_up_to_4_mib() {
    // One message that is too large, many small messages, and the page of a server without gRPC.
    let large: &'static [u8] = b"\0\x40\0\0\0";
    let small: &'static [u8] = b"\0\0\0\0\0";
    for (first, piece) in [(large, vec![0; 0x10000]), (b"", small.repeat(0x4000))] {
        let written = Arc::new(AtomicUsize::new(0));
        let collector = Grpc::start({
            let written = Arc::clone(&written);
            move |_| endless_grpc("application/grpc", first, piece.clone(), &written)
        });
        let delivery = collector.run(&[]);
        assert!(written.load(Ordering::Relaxed) < FAR_BELOW_ENDLESS, "{written:?}");
        assert_accepted(&delivery, collector.asked(), "cannot be read: it is larger than 4 MiB");
    }
    let written = Arc::new(AtomicUsize::new(0));
    let collector = Grpc::start({
        let written = Arc::clone(&written);
        move |_| endless_grpc("text/html", b"", vec![b'<'; 0x10000], &written)
    });
    let delivery = collector.run(&[]);
    assert!(written.load(Ordering::Relaxed) < FAR_BELOW_ENDLESS, "{written:?}");
    assert_eq!(delivery.kept(), delivery.all, "{}", delivery.stderr);
}

#[test]
fn the_spans_of_a_call_without_a_status_are_kept() {
    let whole = || Frame::data(message(0, &[]));
    for frames in [vec![whole()], vec![Frame::data(Bytes::from_static(b"\0\0"))], vec![]] {
        let collector = Grpc::start(move |_| grpc(frames_of(&frames)));
        let delivery = collector.run(&[]);
        assert_eq!(delivery.kept(), delivery.all, "{}", delivery.stderr);
    }
    // The message arrives, but its status does not arrive within the time limit of a request.
    let collector = Grpc::start(|_| {
        let frames = stream::iter([Ok::<_, Infallible>(Frame::data(message(0, &[])))]).chain(stream::pending());
        grpc_response("application/grpc", Body::new(StreamBody::new(frames)))
    });
    let mut command = process_tracer();
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    let delivery = Delivery::run_by(command, &collector.endpoint, &["--protocol", "grpc"], SHORT);
    assert_refused(&delivery, "no answer in time");
}

#[test]
fn status_details_with_invalid_base64_lose_no_spans() {
    for code in ["0", "3"] {
        let status = [("grpc-status", code), ("grpc-message", "why"), ("grpc-status-details-bin", "???")];
        let collector = Grpc::start(move |_| grpc(vec![Frame::data(message(0, &[])), trailers(&status)]));
        let delivery = collector.run(&[]);
        let stderr = &delivery.stderr;
        assert!(!stderr.contains("this is a bug"), "{stderr}");
        match code {
            "0" => assert!(stderr.trim_end().ends_with(", complete") && delivery.kept_in().is_none(), "{stderr}"),
            _ => assert_refused(&delivery, ": why"),
        }
    }
}

#[test]
fn send_does_not_repeat_accepted_spans() {
    let written = Arc::new(AtomicUsize::new(0));
    let collector = Collector::start({
        let written = Arc::clone(&written);
        move |_, _| endless("200 OK\r\nTransfer-Encoding: chunked", &written)
    });
    let (_folder, file) = a_file();
    let (code, stderr) = send(&file, &collector.endpoint());
    assert!(code == Some(0) && !file.exists() && collector.asked() == 3, "{stderr}");
    assert!(stderr.contains("cannot be read: it is larger than 4 MiB"), "{stderr}");
}

/// A file of three spans.
fn a_file() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "sh", "-c", SHORT]).status().unwrap().success());
    (folder, file)
}

/// A collector over gRPC that answers with frames that the test makes.
struct Grpc {
    endpoint: String,
    asked: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Grpc {
    /// `answer` receives the number of spans in the call.
    fn start(answer: impl Fn(usize) -> Response<Body> + Send + Sync + 'static) -> Self {
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let handler = {
            let asked = Arc::clone(&asked);
            move |request: axum::extract::Request| {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                async move {
                    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
                    let spans = count(&ExportTraceServiceRequest::decode(unframed(&body).as_slice()).unwrap());
                    asked.fetch_add(spans, Ordering::Relaxed);
                    answer(spans)
                }
            }
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let incoming = runtime.block_on(async { TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap() });
        let endpoint = format!("http://{}", incoming.local_addr().unwrap());
        let routes = Routes::from(axum::Router::new().fallback(handler));
        runtime.spawn(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming));
        Self { endpoint, asked, _runtime: runtime }
    }

    fn run(&self, flags: &[&str]) -> Delivery {
        let script = "for i in 1 2 3 4 5 6 7; do /bin/true; done";
        Delivery::run(&self.endpoint, &[&["--protocol", "grpc"], flags].concat(), script)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn count(request: &ExportTraceServiceRequest) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

/// A gRPC message with its prefix: whether it is compressed, and its length.
fn message(flag: u8, bytes: &[u8]) -> Bytes {
    [&[flag], u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat().into()
}

fn unframed(body: &[u8]) -> Vec<u8> {
    let (prefix, message) = body.split_at(5);
    if prefix[0] == 0 {
        return message.to_vec();
    }
    let mut unpacked = Vec::new();
    io::Read::read_to_end(&mut GzDecoder::new(message), &mut unpacked).unwrap();
    unpacked
}

fn trailers(status: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    let pairs = status.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Frame::trailers(pairs.collect::<HeaderMap>())
}

fn ok() -> Frame<Bytes> {
    trailers(&[("grpc-status", "0")])
}

/// Frames cannot be cloned.
fn frames_of(frames: &[Frame<Bytes>]) -> Vec<Frame<Bytes>> {
    let copy = |frame: &Frame<Bytes>| match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => Frame::data(data.clone()),
        (_, trailers) => Frame::trailers(trailers.unwrap().clone()),
    };
    frames.iter().map(copy).collect()
}

fn grpc(frames: Vec<Frame<Bytes>>) -> Response<Body> {
    grpc_response(
        "application/grpc",
        Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, Infallible>)))),
    )
}

fn grpc_response(media: &'static str, body: Body) -> Response<Body> {
    Response::builder().header("content-type", media).body(body).unwrap()
}

fn endless_grpc(
    media: &'static str,
    first: &'static [u8],
    piece: Vec<u8>,
    written: &Arc<AtomicUsize>,
) -> Response<Body> {
    let (written, piece) = (Arc::clone(written), Bytes::from(piece));
    let pieces = stream::iter(std::iter::repeat_n((), ENDLESS / piece.len())).map(move |()| {
        written.fetch_add(piece.len(), Ordering::Relaxed);
        piece.clone()
    });
    let frames =
        stream::iter([Bytes::from_static(first)]).chain(pieces).map(|data| Ok::<_, Infallible>(Frame::data(data)));
    grpc_response(media, Body::new(StreamBody::new(frames)))
}
