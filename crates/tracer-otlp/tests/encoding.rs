//! The encoder against `opentelemetry-proto`: the same spans must give the same message in protobuf, and the same JSON.
#![allow(clippy::unwrap_used)]

mod oracle;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{Array, KeyValue, StringValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::Resource;
use proptest::prelude::*;
use prost::Message;
use tracer_model::{
    ExitStatus, Ktime, Losses, Span, SpanId, TraceId, Value,
    calls::{CallCounts, UnixConnectSpan},
    context::SpanContext,
    dns::Answer,
    event::{Connection, Direction, End, Flow, Image, Strings, Transport, Usage},
    semconv::SCHEMA_URL,
    source::Description,
    span::{
        Certificate, ConnectionSpan, Execution, FailedExec, FailureOrigin, FlowSpan, Gap, LookupSpan, ProcessSpan,
        Reply, Subject,
    },
};
use tracer_otlp::{Counts, Encoder};

/// Compares both formats with the oracle, and reads them back.
fn compare(spans: &[Span], limit: Option<usize>) {
    compare_in(spans, limit, ("", true));
}

/// As [`compare`], for a trace with this state, sampled or not.
fn compare_in(spans: &[Span], limit: Option<usize>, trace: (&'static str, bool)) {
    let array = Array::String(vec![StringValue::from("x"), StringValue::from("\"\u{1}ü")]);
    let attributes =
        [KeyValue::new("service.name", "a long name"), KeyValue::new("list", opentelemetry::Value::Array(array))];
    let resource = Resource::builder_empty().with_schema_url(attributes, SCHEMA_URL).build();
    let ours = resource.iter().map(|(key, value)| {
        let value = match value {
            opentelemetry::Value::String(text) => Value::String(text.to_string()),
            _ => Value::Strings(vec!["x".to_owned(), "\"\u{1}ü".to_owned()]),
        };
        (key.to_string(), value)
    });
    let encoder = Encoder::new(ours.collect(), limit).with_context(trace.0.to_owned(), trace.1);
    let expected = oracle::message(spans, &(&resource).into(), limit, trace);
    let request = encoder.request(spans);
    let decoded = ExportTraceServiceRequest::decode(request.as_slice()).unwrap();
    assert_eq!(decoded.resource_spans, expected.resource_spans);
    // The fields can have any order. No field may be written twice or in a longer form.
    assert_eq!(request.len(), expected.encoded_len());
    let line = encoder.json_lines(spans);
    let json = serde_json::to_vec(&expected).unwrap();
    let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
    assert_eq!((line.len(), value(&line)), (json.len() + 1, value(&json)));
    // Our own reader reads the same message from both.
    let read = serde_json::from_slice::<tracer_otlp::message::TracesData>(&line).unwrap();
    assert!(read.encode_to_vec() == expected.encode_to_vec());
    assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::from_slice::<serde_json::Value>(&line).unwrap());
    assert!(tracer_otlp::message::TracesData::decode(request.as_slice()).unwrap() == read);
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + milliseconds)
}

fn span(subject: Subject) -> Span {
    Span {
        trace_id: TraceId([0xa1; 16]),
        span_id: SpanId([0xb2; 8]),
        parent_id: Some(SpanId([0xc3; 8])),
        links: Vec::new(),
        start: at(1),
        end: at(2000),
        is_unfinished: false,
        is_repaired: false,
        owner: None,
        is_handled: false,
        attributes: [].into(),
        subject,
    }
}

fn process() -> ProcessSpan {
    let image = Image {
        file: "/bin/sh".to_owned(),
        executable: Some("/usr/bin/dash".to_owned()),
        directory: Some("/src/\"quoted\"".into()),
        arguments: ["sh", "-c", "make \u{7f}\n\t\\ ü 語"].into_iter().collect::<Strings>(),
        argument_count: 3,
        user_id: 1000,
        ..Image::default()
    };
    ProcessSpan {
        pid: 42,
        parent_pid: 41,
        forked_by: None,
        name: "sh".to_owned(),
        image: Some(Arc::new(image)),
        executions: vec![Execution {
            at: at(2),
            executable: Some("/usr/bin/dash".to_owned()),
            arguments: ["sh", "-c"].into_iter().collect(),
        }],
        failed_execs: vec![FailedExec { at: at(3), file: "/usr/local/bin/cc".to_owned(), errno: 2, attempts: 3 }],
        dropped_executions: 7,
        is_fork: false,
        exit: Some(ExitStatus::Code(2)),
        is_oom_victim: false,
        usage: Some(Box::new(Usage { user_ns: 1_250_000_000, read_chars: u64::MAX, ..Usage::default() })),
        group: None,
        folded: tracer_model::span::Folded::default(),
        certificate: None,
    }
}

fn of_process(change: impl FnOnce(&mut ProcessSpan)) -> Span {
    let mut process = process();
    change(&mut process);
    span(Subject::Process(Box::new(process)))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(direction: Direction, error: Option<i32>) -> Span {
    span(Subject::Connection(Box::new(ConnectionSpan {
        connection: Connection {
            direction,
            local: address("192.0.2.1:40000"),
            peer: address("[2001:db8::1]:443"),
            network_namespace: 1,
            bytes_sent: 517,
            bytes_received: 1 << 40,
            network_inode: 0,
            packets_sent: 6,
            packets_received: 5,
            retransmits: 1,
            syn_retransmits: 2,
            round_trip_us: 12_300,
            round_trip_variance_us: 2_100,
            error,
            closed_by: error.is_none().then_some(End::Remote),
        },
        established: error.is_none().then(|| at(5)),
        host: Some("crates.example".into()),
    })))
}

fn lookup(reply: Reply) -> Span {
    span(Subject::Lookup(Box::new(LookupSpan {
        name: "crates.example".to_owned(),
        kind: "AAAA".to_owned(),
        transport: Transport::Udp,
        local: address("192.0.2.1:5353"),
        server: address("192.0.2.53:53"),
        attempts: 2,
        reply,
    })))
}

fn every_type() -> Arc<[(String, Value)]> {
    Arc::new([
        ("bool".to_owned(), Value::Bool(false)),
        ("int".to_owned(), Value::Int(i64::MIN)),
        ("zero".to_owned(), Value::Int(0)),
        ("float".to_owned(), Value::Float(0.1)),
        ("whole".to_owned(), Value::Float(-3.0)),
        ("large".to_owned(), Value::Float(1e300)),
        ("string".to_owned(), Value::String("ääää \u{1f600}".to_owned())),
        (String::new(), Value::String(String::new())),
        ("bytes".to_owned(), Value::Bytes(b"a\0\xff".to_vec())),
        ("no bytes".to_owned(), Value::Bytes(Vec::new())),
        ("bools".to_owned(), Value::Bools(vec![true, false])),
        ("ints".to_owned(), Value::Ints(vec![1, 0, -1])),
        ("floats".to_owned(), Value::Floats(vec![0.0, 2.5])),
        ("strings".to_owned(), Value::Strings(vec!["".to_owned(), "long ".repeat(40)])),
        ("none".to_owned(), Value::Strings(Vec::new())),
        // A user's attribute replaces ours.
        ("process.pid".to_owned(), Value::Int(1)),
    ])
}

fn all() -> Vec<Span> {
    let certificate = Certificate {
        is_complete: false,
        is_cut_off: false,
        processes: 3,
        connections: 2,
        flows: 1,
        lookups: 9,
        calls: CallCounts::default(),
        failed_expressions: 2,
        losses: Losses { unobserved: Some("missing CAP_BPF".to_owned()), ..Losses::default() },
        gaps: vec![Gap { at: at(9), records: 34 }],
        tree: Some(Box::new(Usage { system_ns: 5, ..Usage::default() })),
        cpus: 2,
        shortage: Box::default(),
        version: "0.1.0".to_owned(),
        trace_id_source: "SHA-256 of env.CI_PIPELINE_ID".to_owned(),
        source: Some(Description { name: "ptrace", unobserved_kinds: vec!["connections", "flows"] }),
        failure: Some(Box::new(FailureOrigin {
            span_id: SpanId([0xd4; 8]),
            pid: 43,
            name: "cc1".to_owned(),
            status: ExitStatus::Signal { number: 9, core_dumped: false },
            arguments: ["cc1", "a.c"].into_iter().collect::<Strings>(),
        })),
    };
    let flow = Flow {
        opened: Ktime(1),
        local: address("192.0.2.1:40000"),
        peer: address("192.0.2.7:443"),
        network_namespace: 1,
        datagrams_sent: 14,
        datagrams_received: 40,
        bytes_sent: 8200,
        bytes_received: 46_100,
    };
    let answer = Answer {
        code: "NOERROR".to_owned(),
        addresses: vec![address("192.0.2.7:0").ip()],
        aliases: vec!["cdn.example".to_owned()],
        is_truncated: false,
    };
    let context = SpanContext { trace_id: TraceId([1; 16]), span_id: SpanId([2; 8]) };
    vec![
        of_process(|_| ()),
        of_process(|process| process.certificate = Some(certificate.clone())),
        Span { parent_id: None, ..of_process(|process| process.certificate = Some(certificate.clone())) },
        Span { attributes: every_type(), ..of_process(|_| ()) },
        of_process(|process| process.exit = Some(ExitStatus::Signal { number: 9, core_dumped: true })),
        of_process(|process| process.exit = Some(ExitStatus::Withheld)),
        of_process(|process| {
            let arguments: Strings = [&b"cat"[..], b"a\xffb", b"\xfe\n"].into_iter().collect();
            process.executions[0].arguments = arguments.limited(9);
            process.image =
                Some(Arc::new(Image { directory: Some(b"/caf\xe9".to_vec()), arguments, ..Image::default() }));
        }),
        of_process(|process| (process.image, process.is_fork) = (None, true)),
        Span { is_handled: true, ..of_process(|_| ()) },
        Span { is_unfinished: true, ..of_process(|process| process.exit = None) },
        Span { is_repaired: true, links: vec![context, context], ..of_process(|_| ()) },
        Span { start: UNIX_EPOCH, end: UNIX_EPOCH, ..of_process(|process| process.name = String::new()) },
        connection(Direction::Connect, None),
        connection(Direction::Connect, Some(111)),
        connection(Direction::Accept, None),
        Span { attributes: every_type(), ..connection(Direction::Accept, None) },
        span(Subject::Flow(Box::new(FlowSpan { flow, host: None }))),
        span(Subject::Call(UnixConnectSpan { path: "@bus".to_owned(), error: Some(2) }.into())),
        span(Subject::Call(UnixConnectSpan { path: "/run/bus".to_owned(), error: None }.into())),
        lookup(Reply::None),
        lookup(Reply::Unread),
        lookup(Reply::Answer(answer)),
    ]
}

#[test]
fn every_kind_of_span_has_the_message_of_opentelemetry_proto() {
    for span in all() {
        compare(&[span], None);
    }
    compare(&all(), None);
}

#[test]
fn long_values_are_cut_at_characters() {
    for limit in [0, 1, 2, 5, 100] {
        compare(&all(), Some(limit));
    }
}

#[test]
fn spans_and_links_have_the_state_and_the_flag_of_their_trace() {
    let [other, ours] = [[1; 16], [0xa1; 16]].map(|id| SpanContext { trace_id: TraceId(id), span_id: SpanId([2; 8]) });
    let spans = [Span { links: vec![other, ours], ..of_process(|_| ()) }, connection(Direction::Connect, None)];
    for trace in [("vendor=1,other=a b", true), ("vendor=1", false), ("", false)] {
        compare_in(&spans, None, trace);
    }
}

#[test]
fn items_beyond_a_count_are_counted_as_dropped() {
    let link = SpanContext { trace_id: TraceId([1; 16]), span_id: SpanId([2; 8]) };
    let span = Span { links: vec![link; 3], ..of_process(|_| ()) };
    let attributes = tracer_model::semconv::attributes(&span).count();
    let counts = Counts { attributes: Some(4), events: Some(1), links: Some(2), event_attributes: Some(0) };
    let encoder = Encoder::new(tracer_model::Resource::default(), None).with_counts(counts);
    let request = ExportTraceServiceRequest::decode(encoder.request([&span]).as_slice()).unwrap();
    let written = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((written.attributes.len(), written.dropped_attributes_count as usize), (4, attributes - 4));
    // The process itself has dropped seven. It has an exec and a failed exec.
    assert_eq!((written.events.len(), written.dropped_events_count), (1, 7 + 1));
    assert_eq!((written.events[0].attributes.len(), written.events[0].dropped_attributes_count), (0, 2));
    assert_eq!((written.links.len(), written.dropped_links_count), (2, 1));
    let all = encoder.with_counts(Counts { attributes: Some(attributes), ..Counts::default() }).request([&span]);
    assert_eq!(all, Encoder::new(tracer_model::Resource::default(), None).request([&span]));
}

/// opentelemetry-proto cannot write NaN and infinity as JSON.
#[test]
fn a_double_that_is_not_finite_is_a_string() {
    for (number, text) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
        let span = Span { attributes: Arc::new([("x".to_owned(), Value::Float(number))]), ..of_process(|_| ()) };
        let line = Encoder::new(tracer_model::Resource::default(), None).json_lines([&span]);
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains(&format!(r#"{{"key":"x","value":{{"doubleValue":"{text}"}}}}"#)), "{line}");
    }
}

#[test]
fn a_long_line_becomes_several() {
    let argument = "a".repeat(2000);
    let one = of_process(|process| {
        let image = Image { arguments: [argument.as_str()].into_iter().collect::<Strings>(), ..Image::default() };
        process.image = Some(Arc::new(image));
    });
    let spans = vec![one; 3000];
    let lines = Encoder::new(tracer_model::Resource::default(), None).json_lines(&spans);
    let lines: Vec<_> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(lines.len() > 6 && lines.iter().all(|line| line.ends_with(b"\n") && line.len() < 1 << 20));
    let read = |line: &[u8]| serde_json::from_slice::<tracer_otlp::message::TracesData>(line).unwrap().span_count();
    assert_eq!(lines.iter().map(|line| read(line)).sum::<usize>(), spans.len());
}

#[test]
fn the_first_bytes_of_two_traces_differ() {
    let resource = [("os.description", Value::String("a".repeat(2000)))];
    let encoder = Encoder::new(tracer_model::Resource::from_iter(resource), None);
    let first_bytes = |trace| {
        let line = encoder.json_lines([&Span { trace_id: TraceId([trace; 16]), ..of_process(|_| ()) }]);
        // A message that was read is written in the same order again.
        let read = serde_json::from_slice::<tracer_otlp::message::TracesData>(&line).unwrap();
        [line, serde_json::to_vec(&read).unwrap()].map(|line| line[..1000].to_vec())
    };
    let (one, other) = (first_bytes(1), first_bytes(2));
    assert!(one[0] != other[0] && one[1] != other[1]);
}

#[test]
fn a_long_span_makes_no_long_line() {
    let of_size = |size| {
        let large = ("large".to_owned(), Value::String("a".repeat(size)));
        Span { attributes: Arc::new([large]), ..of_process(|_| ()) }
    };
    let (small, large) = (of_size(200 << 10), of_size(900 << 10));
    let spans = [&small, &large, &small, &small, &large, &large, &small].map(Clone::clone);
    let lines = Encoder::new(tracer_model::Resource::default(), None).json_lines(&spans);
    let lines: Vec<_> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(
        lines.iter().all(|line| line.len() < 1 << 20),
        "{:?}",
        lines.iter().map(|line| line.len()).collect::<Vec<_>>()
    );
    let read = |line: &&[u8]| serde_json::from_slice::<tracer_otlp::message::TracesData>(line).unwrap();
    let sizes = lines.iter().map(read).flat_map(|data| data.resource_spans).flat_map(|group| group.scope_spans);
    let sizes = sizes.flat_map(|scope| scope.spans).map(|span| {
        let of_value = |attribute: &tracer_otlp::message::KeyValue| {
            attribute.value.as_ref()?.string_value.as_ref().map(String::len)
        };
        span.attributes.iter().find(|attribute| attribute.key == "large").and_then(of_value).unwrap()
    });
    assert!(sizes.eq([200, 900, 200, 200, 900, 900, 200].map(|size| size << 10)), "each span once, in order");
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        proptest::num::f64::NORMAL.prop_map(Value::Float),
        any::<String>().prop_map(Value::String),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<Vec<bool>>().prop_map(Value::Bools),
        any::<Vec<i64>>().prop_map(Value::Ints),
        proptest::collection::vec(proptest::num::f64::NORMAL, 0..20).prop_map(Value::Floats),
        any::<Vec<String>>().prop_map(Value::Strings),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_span_has_the_message_of_opentelemetry_proto(
        base in proptest::sample::select(all()),
        ids in any::<([u8; 16], [u8; 8], Option<[u8; 8]>)>(),
        times in any::<(u32, u32)>(),
        name in any::<String>(),
        attributes in proptest::collection::vec((any::<String>(), value()), 0..8),
        links in proptest::collection::vec(any::<([u8; 16], [u8; 8])>(), 0..4),
        arguments in any::<Vec<u8>>(),
        limit in any::<Option<u8>>(),
    ) {
        let (trace_id, span_id, parent_id) = ids;
        // An id of zeros means no id.
        prop_assume!(parent_id != Some([0; 8]));
        let mut span = Span {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            parent_id: parent_id.map(SpanId),
            links: links.into_iter().map(|(trace, span)| SpanContext { trace_id: TraceId(trace), span_id: SpanId(span) }).collect(),
            start: at(u64::from(times.0)),
            end: at(u64::from(times.0) + u64::from(times.1)),
            attributes: attributes.into(),
            ..base
        };
        if let Subject::Process(process) = &mut span.subject {
            process.name = name;
            let size = arguments.len() as u64;
            process.image = Some(Arc::new(Image { arguments: Strings { bytes: arguments, size }, ..Image::default() }));
        }
        compare(&[span], limit.map(usize::from));
    }
}
