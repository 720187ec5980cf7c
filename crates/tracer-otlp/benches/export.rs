//! The path of a finished span to a collector. It is encoded, packed, and sent over HTTP to a listener on this machine.
//! For comparison, the same spans are also encoded as messages of `opentelemetry-proto`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/oracle/mod.rs"]
mod oracle;

use std::{
    hint::black_box,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::SystemTime,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prost::Message;
use tracer_model::{
    Accounts, Anchor, Captured, Errors, Event, ExitStatus, Hosts, Identity, Ktime, Settings, Span, SpanId, TraceId,
    Tracer,
    event::{Image, Strings, Usage},
    redact::Policy,
    semconv::describe,
};
use tracer_otlp::Encoder;

/// About as many spans as a batch has.
const SPANS: u32 = 2000;

/// Compilers that have ended.
fn spans() -> Vec<Span> {
    let mut tracer = Tracer::new(Settings {
        trace_id: TraceId([1; 16]),
        trace_id_source: "random".to_owned(),
        root_span_id: SpanId([2; 8]),
        root_parent_id: None,
        root_name: "make".to_owned(),
        root_label: None,
        anchor: Anchor { ktime: Ktime(0), wall: SystemTime::now() },
        seed: [3; 32],
        attributes: [].into_iter().collect(),
        arguments: Policy::default(),
        captured: Captured::default(),
        own_name: "process-tracer".to_owned(),
        accounts: Accounts::default(),
        cpus: 2,
        hosts: Hosts::new(String::new()),
        peer_names: tracer_model::PeerNames::default(),
        version: "1".to_owned(),
        errors: Errors::All,
        rules: tracer_model::judge::Rules::default(),
    });
    let root = Identity { tgid: 2, start: Ktime(1) };
    let outside = Identity { tgid: 1, start: Ktime(0) };
    tracer.handle(Event::Fork { process: root, parent: outside, is_root: true });
    for number in 0..SPANS {
        let at = Ktime(u64::from(number) * 1000 + 2);
        let process = Identity { tgid: 100 + number, start: at };
        let arguments =
            ["cc1", "-quiet", "-I../deps/hiredis", "-O2", "-Wall", "-std=c11", "server.c", "-o", "server.s"];
        let image = Image {
            file: "/usr/lib/gcc/x86_64-linux-gnu/12/cc1".to_owned(),
            executable: Some("/usr/lib/gcc/x86_64-linux-gnu/12/cc1".to_owned()),
            directory: Some("/home/someone/redis/src".into()),
            arguments: arguments.into_iter().collect::<Strings>(),
            argument_count: 9,
            cgroup: Some("0::/user.slice/user-1000.slice/session-2.scope".into()),
            user_id: 1000,
            ..Image::default()
        };
        let (status, usage) = (ExitStatus::Code(0), Some(Box::new(Usage { user_ns: 40_000_000, ..Usage::default() })));
        tracer.handle(Event::Fork { process, parent: root, is_root: false });
        tracer.handle(Event::Exec {
            at,
            process,
            parent: root,
            image: Arc::new(image),
            environment: None,
            context: None,
        });
        tracer.handle(Event::Exit { at, process, parent: root, status, is_oom_victim: false, usage });
    }
    std::iter::from_fn(|| tracer.poll_span()).collect()
}

/// Not inlined, because its instructions are counted by its name.
#[inline(never)]
fn counted_encode(spans: &[Span], encoder: &Encoder) -> Vec<u8> {
    encoder.request(spans)
}

/// Packs a request as an OTLP exporter does.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Accepts every request.
fn listen() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 {
                    return;
                }
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    address
}

fn post(stream: &mut TcpStream, body: &[u8]) {
    write!(stream, "POST /v1/traces HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = [0; 128];
    assert!(stream.read(&mut answer).unwrap() > 0);
}

fn benches(criterion: &mut Criterion) {
    let (spans, encoder) = (spans(), Encoder::new(tracer_model::Resource::default(), None));
    let resource = ResourceAttributesWithSchema::from(&Resource::builder_empty().build());
    let request = encoder.request(&spans);
    let mut stream = TcpStream::connect(listen()).unwrap();
    let mut group = criterion.benchmark_group("export");
    group.throughput(Throughput::Elements(spans.len() as u64));
    group.sample_size(20);
    group.bench_function("describe", |bencher| {
        bencher.iter(|| spans.iter().map(|span| describe(black_box(span)).attributes.len()).sum::<usize>());
    });
    group.bench_function("encode", |bencher| bencher.iter(|| counted_encode(black_box(&spans), &encoder)));
    group.bench_function("encode as JSON", |bencher| bencher.iter(|| encoder.json_lines(black_box(&spans))));
    group.bench_function("gzip", |bencher| bencher.iter(|| pack(black_box(&request))));
    group.bench_function("send", |bencher| bencher.iter(|| post(&mut stream, black_box(&request))));
    group.bench_function("messages of opentelemetry-proto", |bencher| {
        bencher.iter(|| oracle::message(black_box(&spans), &resource, None, ("", true)).encode_to_vec());
    });
    group.bench_function("messages of opentelemetry-proto as JSON", |bencher| {
        bencher.iter(|| serde_json::to_vec(&oracle::message(black_box(&spans), &resource, None, ("", true))).unwrap());
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
