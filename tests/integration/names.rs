//! Name lookups, and the names that connections have by them.

use crate::{
    harness::trace_workload,
    trace::{KIND_CLIENT, STATUS_ERROR, Span},
};

#[test]
fn lookups_are_spans_and_connections_have_the_names_that_were_looked_up() {
    let run = trace_workload(&["names"]);
    run.trace.assert_complete();
    let told = run.told("asker").next().unwrap();
    let (asker, port) = (run.trace.process(told[1].parse().unwrap()), told[3]);
    let lookup = |name: &str| -> &Span {
        let span = run.trace.named(&format!("lookup {name}.test"));
        assert_eq!((&span.parent_id, span.kind), (&asker.span_id, KIND_CLIENT));
        assert_eq!(span.attribute("dns.question.name"), format!("{name}.test"));
        assert_eq!(span.attribute("process_tracer.dns.question.type"), "A");
        for (key, value) in [
            ("network.transport", "udp"),
            ("network.type", "ipv4"),
            ("network.peer.address", "127.0.53.77"),
            ("network.peer.port", "53"),
            ("server.address", "127.0.53.77"),
            ("network.local.address", "127.0.0.1"),
        ] {
            assert_eq!(span.attribute(key), value, "{span:#?}");
        }
        span
    };
    assert_eq!(run.trace.lookups().count(), 4);
    for name in ["first", "www"] {
        let span = lookup(name);
        assert_eq!(span.attribute("dns.answers"), "[127.0.0.1]");
        assert_eq!(span.attribute("process_tracer.dns.aliases"), "[alias.test]");
        assert_eq!((span.attribute("process_tracer.dns.response_code"), span.status), ("NOERROR", 0));
        assert!(span.end > span.start && !span.has("process_tracer.dns.attempts"));
    }
    let nowhere = lookup("nowhere");
    assert_eq!((nowhere.attribute("process_tracer.dns.response_code"), nowhere.status), ("NXDOMAIN", 0));
    let silent = lookup("silent");
    assert_eq!((silent.attribute("process_tracer.dns.attempts"), silent.attribute("error.type")), ("2", "no_answer"));
    assert!(silent.status == STATUS_ERROR && silent.end - silent.start >= 200_000_000);

    // Its own latest, and for who has not asked the latest of all.
    let name = format!("connect www.test:{port}");
    let clients: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_CLIENT).collect();
    assert_eq!(clients.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), [name.as_str(); 2]);
    for client in clients {
        assert_eq!(client.attribute("server.address"), "www.test");
        assert_eq!(client.attribute("network.peer.address"), "127.0.0.1");
    }
}
