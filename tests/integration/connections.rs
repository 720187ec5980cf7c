//! TCP connections and their owners.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    process::Stdio,
};

use tempfile::TempDir;

use crate::{
    harness::{Run, process_tracer, python, trace_with, trace_workload},
    trace::{KIND_CLIENT, KIND_SERVER, STATUS_ERROR, Span, Trace, end_in_name, port_in_name},
};

/// Returns the connect span and the accept span of a conversation between two processes of the tree. Checks the facts that
/// hold for all conversations.
fn conversation(run: &Run) -> (&Span, &Span) {
    run.trace.assert_complete();
    assert_eq!(run.trace.connections().count(), 2, "{:#?}", run.trace.connections().collect::<Vec<_>>());
    let client = run.trace.connections().find(|span| span.kind == KIND_CLIENT).unwrap();
    let server = run.trace.connections().find(|span| span.kind == KIND_SERVER).unwrap();
    let told = run.told("connect").next().unwrap();
    let (port, local_port) = (told[2], told[4]);
    assert_eq!(server.name, format!("accept {}", port_in_name(port)).trim_end());
    for (span, peer_port, own_port) in [(client, port, local_port), (server, local_port, port)] {
        assert_eq!(span.attribute("network.transport"), "tcp");
        assert_eq!(span.attribute("network.peer.port"), peer_port);
        assert_eq!(span.attribute("network.local.port"), own_port);
        assert_eq!(span.attribute("server.port"), port);
        assert_eq!(span.status, 0);
        assert_eq!(span.events.len(), 1);
        assert_eq!(span.events[0].name, "established");
        assert!((span.start..=span.end).contains(&span.events[0].at));
    }
    for (span, who) in [(client, "client"), (server, "server")] {
        let words = run.told(who).next().unwrap();
        let owner = run.trace.process(words[1].parse().unwrap());
        assert_eq!(span.parent_id, owner.span_id, "{who} owns its end");
        for key in ["process.pid", "process.executable.name"] {
            assert_eq!(span.attribute(key), owner.attribute(key));
        }
        assert_eq!(span.attribute("process_tracer.tcp.bytes_sent"), words[3]);
        assert_eq!(span.attribute("process_tracer.tcp.bytes_received"), words[5]);
    }
    assert_eq!(client.links, [(server.trace_id.clone(), server.span_id.clone())]);
    assert_eq!(server.links, [(client.trace_id.clone(), client.span_id.clone())]);
    (client, server)
}

#[test]
fn a_listener_for_ipv6_only_does_not_own_ipv4_connections_of_others() {
    // Another, untraced process listens on the same port over IPv4.
    let other = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let script = "\
import socket, sys
own = socket.socket(socket.AF_INET6)
own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
own.bind(('::', int(sys.argv[1])))
own.listen()
print('listening', flush=True)
sys.stdin.read()
socket.create_connection(('::1', int(sys.argv[1]))).close()
own.accept()[0].close()
";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.args(["-q", "-o"]).arg(&file).args(["--", python(), "-IS", "-c", script, &port.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    drop((other.accept().unwrap(), client));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let trace = Trace::read(&file);
    trace.assert_complete();
    let accepted: Vec<_> = trace.connections().filter(|span| span.kind == KIND_SERVER).collect();
    assert_eq!(accepted.len(), 1, "{accepted:#?}");
    assert_eq!(accepted[0].attribute("network.type"), "ipv6");
}

#[test]
fn client_and_server_each_have_a_span() {
    let run = trace_workload(&["talk", "127.0.0.1", "parent"]);
    let (client, server) = conversation(&run);
    assert_eq!(client.name, format!("connect {}", end_in_name("127.0.0.1", client.attribute("server.port"))));
    assert_eq!(client.attribute("network.type"), "ipv4");
    assert_eq!(server.attribute("client.address"), "127.0.0.1");
    let seconds = |key: &str| client.attribute(key).parse::<f64>().unwrap();
    let established = (client.events[0].at - client.start) as f64 / 1e9;
    assert!((seconds("process_tracer.tcp.connect_time") - established).abs() < 1e-6 && established > 0.0);
    assert!(
        seconds("process_tracer.tcp.round_trip_time") > 0.0
            && client.has("process_tracer.tcp.round_trip_time_variance")
    );
    assert!(!server.has("process_tracer.tcp.connect_time"));
    for span in [client, server] {
        assert_has_packets(span);
        assert!(!span.has("process_tracer.namespace.network"), "{span:#?}");
    }
}

#[test]
fn a_half_closed_connection_lasts_until_its_owner_closes_it() {
    let run = trace_workload(&["talk", "127.0.0.1", "parent"]);
    let (client, server) = conversation(&run);
    assert_eq!(client.attribute("process_tracer.tcp.closed_by"), "local");
    assert_eq!(server.attribute("process_tracer.tcp.closed_by"), "remote");
    // The client shuts down its half at once, and closes 50 ms after the server.
    assert!(client.end >= server.end + 40_000_000, "{client:#?} {server:#?}");
}

#[test]
fn an_accepted_connection_belongs_to_the_worker_that_accepts() {
    conversation(&trace_workload(&["talk", "127.0.0.1", "worker"]));
}

#[test]
fn an_accepted_connection_belongs_to_the_worker_that_reads_and_writes() {
    conversation(&trace_workload(&["talk", "127.0.0.1", "handover"]));
}

#[test]
fn ipv6_connections_are_marked_as_ipv6() {
    let run = trace_workload(&["talk", "::1", "parent"]);
    let (client, _) = conversation(&run);
    assert_eq!(client.name, format!("connect {}", end_in_name("[::1]", client.attribute("server.port"))));
    assert_eq!(client.attribute("network.type"), "ipv6");
    assert_eq!(client.attribute("server.address"), "::1");
}

#[test]
fn a_v4_mapped_address_is_ipv4() {
    let run = trace_workload(&["talk", "::ffff:127.0.0.1", "parent"]);
    let (client, server) = conversation(&run);
    assert_eq!(client.attribute("network.peer.address"), "127.0.0.1");
    assert_eq!(client.attribute("network.type"), "ipv4");
    assert_eq!(server.attribute("network.peer.address"), "127.0.0.1");
}

#[test]
fn a_refused_connection_is_an_error() {
    let run = trace_workload(&["connect-refused"]);
    run.trace.assert_complete();
    let port = run.told("connect").next().unwrap()[2].trim_end_matches(':').to_owned();
    assert_eq!(run.trace.connections().count(), 1);
    let refused = run.trace.named(&format!("connect {}", end_in_name("127.0.0.1", &port)));
    assert_eq!(refused.status, STATUS_ERROR);
    assert_eq!(refused.attribute("error.type"), "connection_refused");
    assert!(refused.events.is_empty());
    assert_eq!(refused.parent_id, run.trace.root().span_id);
}

#[test]
fn a_reset_is_an_error_of_the_side_that_received_it() {
    let run = trace_workload(&["resets", "20"]);
    run.trace.assert_complete();
    let clients: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_CLIENT).collect();
    let servers: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_SERVER).collect();
    assert_eq!((clients.len(), servers.len()), (20, 20));
    for client in clients {
        assert_eq!((client.status, client.attribute("error.type")), (STATUS_ERROR, "connection_reset"));
    }
    for server in servers {
        assert_eq!(server.status, 0);
        assert_eq!(server.parent_id, run.trace.root().span_id);
    }
}

/// Traces a Python script with `port` as its argument.
fn trace_python(script: &str, port: u16) -> Run {
    crate::harness::trace_python(&[], script, &[&port.to_string()])
}

#[test]
fn an_outside_listener_on_the_same_port_is_a_different_listener() {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        thread,
    };
    // The command listens on 127.0.0.1, the test on 127.0.0.2. When the command listens, it connects to the test. Then
    // the test connects to itself, closes its sockets, and lets the command continue.
    let foreign = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = foreign.local_addr().unwrap().port();
    let outside = thread::spawn(move || {
        let (mut command, _) = foreign.accept().unwrap();
        let own = TcpStream::connect(("127.0.0.2", port)).unwrap();
        drop((foreign.accept().unwrap(), own, foreign));
        drop(command.read(&mut [0]));
    });
    let script = "\
import socket, sys
port = int(sys.argv[1])
listener = socket.create_server(('127.0.0.1', port))
outside = socket.create_connection(('127.0.0.2', port))
outside.shutdown(socket.SHUT_WR)
outside.recv(1)
client = socket.create_connection(('127.0.0.1', port))
server, _ = listener.accept()
server.send(b'hello')
client.recv(5)
";
    let run = trace_python(script, port);
    outside.join().unwrap();
    run.trace.assert_complete();
    let accepted: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_SERVER).collect();
    assert_eq!(accepted.len(), 1, "{accepted:#?}");
    assert_eq!(accepted[0].attribute("server.address"), "127.0.0.1");
    assert_eq!(run.trace.connections().filter(|span| span.kind == KIND_CLIENT).count(), 2);
}

#[test]
fn a_connection_that_was_never_accepted_has_sent_nothing() {
    let script = "\
import select, socket
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
select.select([listener], [], [])
listener.close()
";
    let run = trace_python(script, 0);
    run.trace.assert_complete();
    let accepted = run.trace.connections().find(|span| span.kind == KIND_SERVER).unwrap();
    assert_eq!(accepted.attribute("process_tracer.tcp.bytes_sent"), "0");
}

#[test]
fn a_connection_ends_when_its_owner_disconnects_it() {
    // connect() to AF_UNSPEC ends a connection. The socket can then connect again.
    let script = "\
import ctypes, socket, sys, time
listener = socket.create_server(('127.0.0.1', 0))
client = socket.socket()
for again in range(2):
    client.connect(listener.getsockname())
    assert ctypes.CDLL(None).connect(client.fileno(), ctypes.create_string_buffer(16), 16) == 0
    time.sleep(0.05)
";
    let run = trace_python(script, 0);
    run.trace.assert_complete();
    let clients: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_CLIENT).collect();
    assert_eq!(clients.len(), 2);
    assert!(clients.iter().all(|span| !span.attributes.contains_key("process_tracer.unfinished")), "{clients:#?}");
}

#[test]
fn a_worker_that_only_writes_and_exits_owns_its_connection() {
    let script = "\
import os, socket
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
wait, alone = os.pipe()
worker = os.fork()
if worker == 0:
    client.close()
    os.close(alone)
    os.read(wait, 1)
    server.send(b'greeting')
    os._exit(0)
print('worker', worker)
server.close()
os.close(alone)
assert client.recv(100) == b'greeting'
os.waitpid(worker, 0)
";
    let run = trace_python(script, 0);
    run.trace.assert_complete();
    let worker = run.trace.process(run.told("worker").next().unwrap()[1].parse().unwrap());
    let accepted = run.trace.connections().find(|span| span.kind == KIND_SERVER).unwrap();
    assert_eq!(accepted.parent_id, worker.span_id);
    assert_eq!(accepted.attribute("process_tracer.tcp.bytes_sent"), "8");
}

#[test]
fn a_fast_open_that_never_sent_a_syn_has_no_bytes() {
    let script = "
import fcntl, socket, struct
TCP_FASTOPEN_CONNECT = 30
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), SIOCSIFFLAGS, struct.pack('16sh14x', b'lo', IFF_UP))
open('/proc/sys/net/ipv4/tcp_fastopen', 'w').write('7')
def client():
    it = socket.socket()
    it.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    it.connect(('127.0.0.1', 1))
    return it
client().close()
written = client()
try: written.send(b'x' * 10)
except ConnectionRefusedError: pass
";
    let run = trace_with(&[], &["unshare", "-n", python(), "-IS", "-c", script]);
    run.trace.assert_complete();
    let mut connections: Vec<_> = run.trace.connections().collect();
    connections.sort_by_key(|span| span.start);
    let sent: Vec<_> = connections.iter().map(|span| span.attribute("process_tracer.tcp.bytes_sent")).collect();
    assert_eq!(sent.len(), 2, "{connections:#?}");
    assert_eq!(sent[0], "0");
    assert!(["0", "10"].contains(&sent[1]), "{sent:?}");
    let namespace = run.trace.root().attribute("process_tracer.namespace.network");
    for span in connections {
        assert_eq!(span.attribute("process_tracer.namespace.network"), namespace);
    }
}

/// Checks the numbers of segments of a short conversation on a network without losses. A slow machine acknowledges more often.
fn assert_has_packets(span: &Span) {
    for key in ["packets_sent", "packets_received"] {
        let packets: u64 = span.attribute(&format!("process_tracer.tcp.{key}")).parse().unwrap();
        assert!((2..100).contains(&packets), "{span:#?}");
    }
    assert_eq!(span.attribute("process_tracer.tcp.syn_retransmits"), "0");
}

#[test]
fn both_ends_of_mptcp_have_their_bytes() {
    let script = "
import os, socket, time
MPTCP = 262
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
listener.bind(('127.0.0.1', 0))
listener.listen()
if os.fork() == 0:
    it, _ = listener.accept()
    assert len(it.recv(100, socket.MSG_WAITALL)) == 100
    it.sendall(b'x' * 300)
    while it.recv(100): pass
    it.close()
    os._exit(0)
it = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
it.connect(listener.getsockname())
it.sendall(b'x' * 100)
assert len(it.recv(300, socket.MSG_WAITALL)) == 300
it.close()
os.wait()
time.sleep(0.5)
";
    let run = trace_with(&[], &[python(), "-IS", "-c", script]);
    run.trace.assert_complete();
    for (kind, sent, received) in [(KIND_CLIENT, "100", "300"), (KIND_SERVER, "300", "100")] {
        let ends: Vec<_> = run.trace.connections().filter(|span| span.kind == kind).collect();
        assert_eq!(ends.len(), 1, "{ends:#?}");
        assert_eq!(ends[0].attribute("process_tracer.tcp.bytes_sent"), sent, "{ends:#?}");
        assert_eq!(ends[0].attribute("process_tracer.tcp.bytes_received"), received, "{ends:#?}");
        assert_ne!(ends[0].attribute("process_tracer.tcp.round_trip_time"), "", "{ends:#?}");
    }
}

#[test]
fn an_accepted_mptcp_connection_belongs_to_the_worker() {
    // The listener is MPTCP in all rounds. If the worker only reads, process-tracer learns at the close that the worker
    // owns the connection.
    for (client, replies) in [(262, true), (262, false), (0, true)] {
        let script = format!(
            "
import os, socket
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener.bind(('127.0.0.1', 0))
listener.listen()
if os.fork() == 0:
    print('worker', os.getpid(), flush=True)
    it, _ = listener.accept()
    assert len(it.recv(100, socket.MSG_WAITALL)) == 100
    if {replies}: it.sendall(b'x' * 300)
    while it.recv(100): pass
    os._exit(0)
it = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {client})
it.connect(listener.getsockname())
it.sendall(b'x' * 100)
if {replies}: assert len(it.recv(300, socket.MSG_WAITALL)) == 300
it.close()
os.wait()
",
            replies = if replies { "True" } else { "False" },
        );
        let run = crate::harness::trace_python(&[], &script, &[]);
        run.trace.assert_complete();
        let worker = run.told("worker").next().unwrap()[1].to_owned();
        let accepted: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_SERVER).collect();
        assert_eq!(accepted.len(), 1, "{accepted:#?}");
        assert_eq!(accepted[0].attribute("process.pid"), worker, "client {client}, replies {replies}");
        assert_eq!(accepted[0].parent_id, run.trace.process(worker.parse().unwrap()).span_id);
    }
}

#[test]
fn a_syn_that_is_sent_again_counts_only_as_a_retransmitted_syn() {
    // The queue of the listener is full. So the kernel drops the SYN, and sends it again after a second.
    let script = "\
import socket
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(0)
first = socket.create_connection(listener.getsockname())
second = socket.socket()
second.settimeout(2)
try:
    second.connect(listener.getsockname())
    raise SystemExit('connected')
except TimeoutError:
    second.close()
";
    let run = trace_python(script, 0);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let clients: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_CLIENT).collect();
    let retransmits = |span: &Span| {
        ["syn_retransmits", "retransmits"].map(|key| span.attribute(&format!("process_tracer.tcp.{key}")).to_owned())
    };
    let unanswered = clients.iter().find(|span| span.events.is_empty()).unwrap();
    let [syns, others] = retransmits(unanswered);
    assert!(syns != "0" && others == "0", "{unanswered:#?}");
    let established = clients.iter().find(|span| !span.events.is_empty()).unwrap();
    assert_eq!(retransmits(established), ["0", "0"]);
}

/// The conversation of two processes over TCP, a datagram and a lookup over UDP.
const EVERYTHING: &str = "\
import os, socket
def datagram(port, payload):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(payload, ('127.0.0.2', port))
listener = socket.create_server(('127.0.0.1', 0))
if os.fork() == 0:
    socket.create_connection(listener.getsockname()).close()
    datagram(5555, b'x')
    datagram(53, b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\5asked\\4test\\0\\0\\1\\0\\1')
    os._exit(0)
os.wait()
listener.accept()[0].close()
";

#[test]
fn only_the_kinds_that_the_user_lists_are_captured() {
    for (list, counts, unobserved, last) in [
        ("processes,connections,flows,lookups", [2, 2, 1, 1], None, "complete\n"),
        ("processes", [2, 0, 0, 0], Some("[connections, flows, lookups]"), "complete, connections not observed\n"),
        ("processes,connections", [2, 2, 0, 0], Some("[flows, lookups]"), "complete, flows and lookups not observed\n"),
        (
            "processes,flows",
            [2, 0, 1, 0],
            Some("[connections, lookups]"),
            "complete, connections and lookups not observed\n",
        ),
        (
            "lookups,processes",
            [2, 0, 0, 1],
            Some("[connections, flows]"),
            "complete, connections and flows not observed\n",
        ),
        ("connections,flows,lookups", [1, 2, 1, 1], Some("[processes]"), "complete, processes not observed\n"),
    ] {
        let run = crate::harness::trace_python(&["--capture", list], EVERYTHING, &[]);
        assert_eq!(run.code(), Some(0), "{}", run.stderr);
        run.trace.assert_complete();
        let trace = &run.trace;
        let told =
            [trace.processes().count(), trace.connections().count(), trace.flows().count(), trace.lookups().count()];
        assert_eq!(told, counts, "{list}");
        let kinds = trace.root().attributes.get("process_tracer.unobserved.kinds").map(String::as_str);
        assert_eq!(kinds, unobserved, "{list}");
        assert!(run.stderr.ends_with(last), "{list}: {}", run.stderr);
        for kind in ["connections", "flows", "lookups"] {
            let is_counted = trace.root().has(&format!("process_tracer.{kind}"));
            assert_eq!(is_counted, list.contains(kind), "{list}: {kind}");
        }
        // The owner is named, also if it has no span.
        let client = trace.connections().find(|span| span.kind == KIND_CLIENT);
        assert!(client.is_none_or(|client| client.attribute("process.pid") != trace.root().attribute("process.pid")));
    }
}

#[test]
fn the_other_sources_name_the_kinds_that_the_user_left_out() {
    for source in ["ptrace", "none"] {
        let run = crate::harness::trace_python(&["--source", source, "--capture", "flows"], EVERYTHING, &[]);
        let root = run.trace.root();
        assert_eq!(run.trace.processes().count(), 1, "{source}");
        let kinds = root.attribute("process_tracer.unobserved.kinds");
        for kind in ["processes", "connections", "flows", "lookups"] {
            assert_eq!(kinds.matches(kind).count(), 1, "{source}: {kinds}");
        }
    }
}
