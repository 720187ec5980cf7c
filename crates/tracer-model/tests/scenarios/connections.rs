//! Connections and unix connects: their owners, ends and names.

use std::time::Duration;

use tracer_model::{
    Value,
    event::{Change, Connection, Direction, Image, Namespaces, Visibility},
    semconv::{Kind, describe},
    span::Subject,
};

use crate::story::{Story, accept, connect, flow, ns, string};

#[test]
fn a_connection_lasts_from_syn_to_close() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .connection(3, 50, Change::Opened, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Established, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Closed, connect("10.0.0.9:80"))
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ curl exit=0\n   └─ connect 10.0.0.9:80");
    let description = trace.describe("connect 10.0.0.9:80");
    assert_eq!(description.kind, Kind::Client);
    assert_eq!(description.events.len(), 1);
    assert_eq!(description.events[0].name, "established");
    assert_eq!(description.error, None);
    let attribute = |key| trace.attribute("connect 10.0.0.9:80", key);
    assert_eq!(attribute("network.transport"), string("tcp"));
    assert_eq!(attribute("network.type"), string("ipv4"));
    assert_eq!(attribute("network.peer.address"), string("10.0.0.9"));
    assert_eq!(attribute("network.peer.port"), Some(Value::Int(80)));
    assert_eq!(attribute("network.local.address"), string("10.0.0.1"));
    assert_eq!(attribute("server.address"), string("10.0.0.9"));
    assert_eq!(attribute("server.port"), Some(Value::Int(80)));
    assert_eq!(attribute("process_tracer.tcp.bytes_sent"), Some(Value::Int(1)));
    assert_eq!(attribute("process_tracer.tcp.bytes_received"), Some(Value::Int(2)));
    assert_eq!(attribute("process_tracer.tcp.retransmits"), Some(Value::Int(3)));
    assert_eq!(attribute("process_tracer.tcp.round_trip_time"), Some(Value::Float(4e-6)));
}

#[test]
fn a_span_names_the_process_that_it_belongs_to() {
    let trace = Story::new()
        .fork(2, 3)
        .exec_image(3, Image { executable: Some("/usr/bin/curl-real".to_owned()), ..Image::default() })
        .connection(2, 50, Change::Opened, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Owned, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Closed, connect("10.0.0.9:80"))
        .flow(3, 1, true, flow(60, "10.0.0.1:5", "10.0.0.9:6"))
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.8"))
        .unix_connect(3, "/run/bus", None)
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    for name in ["connect 10.0.0.9:80", "udp 10.0.0.9:6", "lookup a.test", "connect /run/bus"] {
        assert_eq!(trace.attribute(name, "process.pid"), Some(Value::Int(3)), "{name}");
        assert_eq!(trace.attribute(name, "process.executable.name"), string("curl-real"), "{name}");
    }
}

#[test]
fn a_connection_keeps_the_facts_about_its_dead_owner() {
    let mut settings = crate::story::settings(&["tool=args[0]"]);
    settings.attributes = settings.attributes.on_all_spans(true);
    let trace = Story::of(settings)
        .root(2)
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .connection(3, 50, Change::Opened, connect("10.0.0.9:80"))
        .exit(3, 0)
        .connection(3, 50, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .finish();
    let attribute = |key| trace.attribute("connect 10.0.0.9:80", key);
    assert_eq!(attribute("process.pid"), Some(Value::Int(3)));
    assert_eq!(attribute("process.executable.name"), string("curl"));
    assert_eq!(attribute("tool"), string("/bin/curl"));
}

#[test]
fn without_process_spans_all_spans_belong_to_the_root() {
    let mut settings = crate::story::settings(&[]);
    settings.captured.processes = false;
    let trace = Story::of(settings)
        .root(2)
        .exec(2, "/bin/sh")
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.9"))
        .connection(3, 90, Change::Opened, connect("10.0.0.9:80"))
        .exit(3, 0)
        .connection(3, 90, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n├─ lookup a.test NOERROR\n└─ connect a.test:80");
    assert_eq!(trace.attribute("connect a.test:80", "process.executable.name"), string("curl"));
    assert_eq!(trace.attribute("sh", "process_tracer.processes"), Some(Value::Int(1)));
    assert_eq!(trace.attribute("connect a.test:80", "process_tracer.repaired"), None);
}

#[test]
fn a_connection_names_its_network_namespace_if_the_root_has_another_one() {
    let image = Image {
        visibility: Visibility::All,
        namespaces: Namespaces { mount: 1, pid: 2, network: 3, user: 4 },
        ..Image::default()
    };
    let connection = |network_inode| Connection { network_inode, ..connect("10.0.0.9:80") };
    for (inode, expected) in [(3, None), (7, Some(Value::Int(7)))] {
        let trace = Story::without_root(&[])
            .root(2)
            .exec_image(2, image.clone())
            .connection(2, 50, Change::Opened, connection(inode))
            .connection(2, 50, Change::Closed, connection(inode))
            .exit(2, 0)
            .finish();
        assert_eq!(trace.attribute("connect 10.0.0.9:80", "process_tracer.namespace.network"), expected);
    }
}

#[test]
fn a_failed_connection_has_the_name_of_its_error() {
    for (errno, name) in [(111, "connection_refused"), (110, "timed_out"), (104, "connection_reset"), (5, "errno_5")] {
        let failed = Connection { error: Some(errno), ..connect("[::1]:80") };
        let trace = Story::new()
            .connection(2, 20, Change::Opened, connect("[::1]:80"))
            .connection(2, 20, Change::Closed, failed)
            .exit(2, 0)
            .finish();
        assert_eq!(trace.attribute("connect [::1]:80", "error.type"), string(name));
        assert_eq!(trace.attribute("connect [::1]:80", "network.type"), string("ipv6"));
        assert!(trace.describe("connect [::1]:80").events.is_empty());
        assert!(trace.describe("connect [::1]:80").error.is_some());
    }
}

#[test]
fn the_two_spans_of_a_connection_link_to_each_other() {
    let client = connect("10.0.0.9:80");
    let server = |peer, network_namespace| Connection {
        direction: Direction::Accept,
        local: client.peer,
        peer,
        network_namespace,
        ..client
    };
    let trace = Story::new()
        .connection(2, 10, Change::Opened, client)
        .connection(2, 20, Change::Established, server("10.0.0.1:40001".parse().unwrap(), 1))
        .connection(2, 30, Change::Established, server(client.local, 2))
        .connection(2, 10, Change::Established, client)
        .connection(2, 30, Change::Closed, server(client.local, 2))
        .connection(2, 10, Change::Closed, client)
        .finish();
    let spans: Vec<_> = trace.spans.iter().filter(|span| matches!(span.subject, Subject::Connection(_))).collect();
    let links: Vec<Vec<_>> = spans.iter().map(|span| span.links.iter().map(|link| link.span_id).collect()).collect();
    assert_eq!(links, [vec![spans[1].span_id], vec![spans[0].span_id], vec![]]);
}

#[test]
fn a_unix_connect_is_a_span_of_one_nanosecond() {
    let story = Story::new().fork(2, 3).exec(3, "/bin/x").unix_connect(3, "/run/a.sock", None);
    let trace = story.unix_connect(3, "@b", Some(111)).exit(3, 0).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ x exit=0\n   ├─ connect /run/a.sock\n   └─ connect unix errno=111");
    let span = trace.span("connect /run/a.sock");
    assert_eq!(span.end, span.start + Duration::from_nanos(1));
    assert_eq!(trace.describe("connect /run/a.sock").kind, Kind::Client);
    assert_eq!(trace.attribute("connect unix", "network.transport"), string("unix"));
    assert_eq!(trace.attribute("connect unix", "network.peer.address"), string("@b"));
    assert_eq!(trace.attribute("connect unix", "server.address"), string("@b"));
    let error = trace.describe("connect unix").error.unwrap();
    assert_eq!((error.status_message(None), error.status_message(Some(5))), ("", "connection refused"));
    assert_eq!(trace.attribute("connect unix", "error.type"), string("connection_refused"));
    assert_eq!(trace.attribute("sh", "process_tracer.unix_connects"), Some(Value::Int(2)));
}

#[test]
fn a_span_name_has_no_ephemeral_port() {
    let mut story = Story::new();
    for (number, connection, change) in [
        (20, connect("10.0.0.9:443"), Change::Opened),
        (21, connect("10.0.0.9:32767"), Change::Opened),
        (22, connect("10.0.0.9:32768"), Change::Opened),
        (23, connect("10.0.0.7:54581"), Change::Opened),
        (24, connect("[::1]:65535"), Change::Opened),
        (25, accept("10.0.0.1:8080"), Change::Established),
        (26, accept("10.0.0.1:54581"), Change::Established),
    ] {
        story = story.connection(2, number, change, connection);
    }
    let trace = story
        .flow(2, 0, true, flow(80, "10.0.0.1:4000", "10.0.0.9:4433"))
        .flow(2, 1, true, flow(90, "10.0.0.1:4000", "10.0.0.9:40000"))
        .exit(2, 0)
        .finish();
    let mut names: Vec<_> = trace.spans.iter().map(|span| span.name().into_owned()).collect();
    names.sort();
    let expected = [
        "accept",
        "accept :8080",
        "connect 10.0.0.7",
        "connect 10.0.0.9",
        "connect 10.0.0.9:32767",
        "connect 10.0.0.9:443",
        "connect ::1",
        "sh",
        "udp 10.0.0.9",
        "udp 10.0.0.9:4433",
    ];
    assert_eq!(names, expected);
    assert_eq!(trace.attribute("connect 10.0.0.7", "server.port"), Some(Value::Int(54_581)));
    assert_eq!(trace.attribute("accept", "server.port"), Some(Value::Int(54_581)));
    assert_eq!(trace.attribute("udp 10.0.0.9", "network.peer.port"), Some(Value::Int(40_000)));
}

#[test]
fn the_name_of_a_unix_connect_has_no_temporary_path_and_no_abstract_name() {
    let mut story = Story::new();
    let paths =
        ["/run/a.sock", "app.sock", "@name", "/tmp/ssh-x1/agent.7", "/var/tmp/x", "/dev/shm/x", "@/tmp/dbus-x1"];
    for path in paths {
        story = story.unix_connect(2, path, None);
    }
    let trace = story.exit(2, 0).finish();
    let names: Vec<_> = trace.spans.iter().map(|span| span.name().into_owned()).collect();
    let temporary = "connect unix";
    let expected =
        ["connect /run/a.sock", "connect app.sock", temporary, temporary, temporary, temporary, temporary, "sh"];
    assert_eq!(names, expected);
    let attributes = describe(&trace.spans[2]).attributes;
    assert!(attributes.contains(&("network.peer.address".into(), Value::String(paths[2].to_owned()))));
}

#[test]
fn ends_on_loopback_match_only_in_the_same_network_namespace() {
    let end = |direction, local: &str, peer: &str, network_namespace| Connection {
        direction,
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
        network_namespace,
        ..connect("127.0.0.1:80")
    };
    for (network, count) in [(1, 2), (2, 0)] {
        let trace = Story::new()
            .connection(2, 10, Change::Established, end(Direction::Connect, "127.0.0.1:4000", "127.0.0.1:80", 1))
            .connection(2, 20, Change::Established, end(Direction::Accept, "127.0.0.1:80", "127.0.0.1:4000", network))
            .finish();
        assert_eq!(trace.spans.iter().map(|span| span.links.len()).sum::<usize>(), count);
    }
}

#[test]
fn an_accepted_connection_moves_to_the_worker_that_uses_it() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/worker")
        .connection(2, 30, Change::Established, accept("10.0.0.1:8080"))
        .connection(3, 30, Change::Owned, accept("10.0.0.1:8080"))
        .connection(3, 30, Change::Closed, accept("10.0.0.1:8080"))
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ worker exit=0\n   └─ accept :8080");
    assert_eq!(trace.describe("accept :8080").kind, Kind::Server);
    let attribute = |key| trace.attribute("accept :8080", key);
    assert_eq!(attribute("server.port"), Some(Value::Int(8080)));
    assert_eq!(attribute("client.address"), string("10.0.0.2"));
    assert_eq!(attribute("client.port"), Some(Value::Int(50000)));
    let span = trace.span("accept :8080");
    assert_eq!(trace.describe("accept :8080").events[0].at, span.start, "it starts when it is established");
}

#[test]
fn a_connection_may_close_after_the_death_of_its_owner() {
    let story = Story::new().fork(2, 3).exec(3, "/bin/curl").connection(3, 50, Change::Opened, connect("10.0.0.9:80"));
    let owner = story.identity(3);
    story
        .exit(3, 0)
        .connection_of(owner, 50, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ curl exit=0\n   └─ connect 10.0.0.9:80");
}

#[test]
fn a_connection_with_a_lost_beginning_is_repaired() {
    let trace = Story::new().connection(2, 15, Change::Closed, connect("10.0.0.9:80")).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ connect 10.0.0.9:80 repaired");
    assert_eq!(ns(trace.span("connect 10.0.0.9:80").start), 15);
}

#[test]
fn an_accepted_connection_first_reported_at_its_use_is_repaired() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/worker")
        .connection(3, 35, Change::Owned, accept("[::1]:8080"))
        .connection(3, 35, Change::Closed, accept("[::1]:8080"))
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ worker exit=0\n   └─ accept :8080 repaired");
    assert_eq!(ns(trace.span("accept :8080").start), 35, "its identity says when it was opened");
    assert!(trace.describe("accept :8080").events.is_empty());
}

#[test]
fn a_late_event_does_not_reopen_a_connection() {
    Story::new()
        .connection(2, 20, Change::Opened, connect("10.0.0.9:80"))
        .connection(2, 20, Change::Closed, connect("10.0.0.9:80"))
        .connection(2, 20, Change::Established, connect("10.0.0.9:80"))
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ connect 10.0.0.9:80");
}

#[test]
fn a_connection_with_an_unknown_owner_is_a_child_of_the_root() {
    Story::new()
        .connection(77, 20, Change::Opened, connect("10.0.0.9:80"))
        .connection(77, 20, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ connect 10.0.0.9:80 repaired");
}

#[test]
fn a_closed_socket_keeps_its_ends() {
    let forgotten = Connection { local: "0.0.0.0:0".parse().unwrap(), ..connect("10.0.0.9:80") };
    let trace = Story::new()
        .connection(2, 20, Change::Established, connect("10.0.0.9:80"))
        .connection(2, 20, Change::Closed, forgotten)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.attribute("connect 10.0.0.9:80", "network.local.port"), Some(Value::Int(40000)));
}

#[test]
fn a_socket_that_was_never_bound_has_no_local_address() {
    let unbound = Connection { local: "0.0.0.0:0".parse().unwrap(), ..connect("10.0.0.9:80") };
    let trace = Story::new().connection(2, 20, Change::Opened, unbound).exit(2, 0).finish();
    for key in ["network.local.address", "network.local.port"] {
        assert_eq!(trace.attribute("connect 10.0.0.9:80", key), None);
    }
}
