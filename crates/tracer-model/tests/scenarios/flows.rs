//! UDP flows.

use tracer_model::{
    Value,
    event::Flow,
    semconv::{Description, KeyValues, Kind},
    span::Subject,
};

use crate::{
    Told,
    story::{Story, flow, ns, string},
};

#[test]
fn a_flow_lasts_from_first_to_last_datagram_and_names_its_peer() {
    let quic = flow(60, "10.0.0.1:40000", "10.0.0.9:443");
    let story = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.9"))
        .flow(3, 0, false, Flow { datagrams_sent: 0, ..quic })
        .flow(2, 1, false, flow(80, "[fe80::1]:5000", "[fe80::2]:6000"));
    let trace = story.flow(3, 0, true, quic).flow(3, 0, true, quic).exit(3, 0).exit(2, 0).finish();
    assert_eq!(
        trace.tree(),
        "sh exit=0\n\
         ├─ curl exit=0\n\
         │  ├─ lookup a.test NOERROR\n\
         │  └─ udp a.test:443 1:2\n\
         └─ udp [fe80::2]:6000 1:2 unfinished"
    );
    let span = trace.span("udp a.test:443");
    assert_eq!((ns(span.start), ns(span.end), span.links.len()), (60, 90, 0));
    let Description { kind, attributes, error, .. } = trace.describe("udp a.test:443");
    assert_eq!((kind, error), (Kind::Client, None));
    let expected: KeyValues = [
        ("process.pid", 3.into()),
        ("process.executable.name", "curl".into()),
        ("network.transport", "quic".into()),
        ("network.protocol.name", "quic".into()),
        ("network.type", "ipv4".into()),
        ("network.peer.address", "10.0.0.9".into()),
        ("network.peer.port", 443.into()),
        ("network.local.address", "10.0.0.1".into()),
        ("network.local.port", 40000.into()),
        ("server.address", "a.test".into()),
        ("server.port", 443.into()),
        ("process_tracer.udp.datagrams_sent", 1.into()),
        ("process_tracer.udp.datagrams_received", 2.into()),
        ("process_tracer.udp.bytes_sent", 10.into()),
        ("process_tracer.udp.bytes_received", 200.into()),
    ]
    .map(|(key, value): (&'static str, Told)| (key.into(), value.0))
    .into();
    assert_eq!(attributes, expected);
    let other = "udp [fe80::2]:6000";
    assert_eq!(trace.attribute(other, "network.protocol.name"), None);
    assert_eq!(trace.attribute(other, "network.transport"), string("udp"));
    assert_eq!(trace.attribute(other, "server.address"), string("fe80::2"));
    assert_eq!(ns(trace.span(other).end), 81, "a span lasts at least a nanosecond");
    assert_eq!(trace.attribute("sh", "process_tracer.flows"), Some(Value::Int(2)));
    assert_eq!(trace.attribute("sh", "process_tracer.connections"), Some(Value::Int(0)));
}

#[test]
fn the_two_spans_of_a_flow_link_to_each_other() {
    let (one, other) = ("127.0.0.1:5000", "127.0.0.1:6000");
    let elsewhere = Flow { network_namespace: 2, ..flow(30, other, one) };
    let trace = Story::new()
        .flow(2, 0, false, flow(10, one, other))
        .flow(2, 1, false, elsewhere)
        .flow(2, 2, false, flow(30, other, one))
        .flow(2, 2, true, flow(30, other, one))
        .flow(2, 0, true, flow(10, one, other))
        // A new flow with the same ends.
        .flow(2, 3, false, flow(70, one, other))
        .exit(2, 0)
        .finish();
    let spans: Vec<_> = trace.spans.iter().filter(|span| matches!(span.subject, Subject::Flow(_))).collect();
    let links: Vec<Vec<_>> = spans.iter().map(|span| span.links.iter().map(|link| link.span_id).collect()).collect();
    assert_eq!(links, [vec![spans[1].span_id], vec![spans[0].span_id], vec![], vec![]]);
}
