//! UDP flows and their datagrams.

use std::net::UdpSocket;

use crate::{
    harness::{self, PROCESS_TRACER, Run, python, trace_with},
    trace::{KIND_CLIENT, Span, Trace, end_in_name},
};

/// Traces a Python script.
fn trace_python(script: &str, arguments: &[&str]) -> Run {
    let run = harness::trace_python(&[], script, arguments);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run
}

/// Sent and received datagrams and bytes.
fn counts(span: &Span) -> [&str; 4] {
    ["datagrams_sent", "bytes_sent", "datagrams_received", "bytes_received"]
        .map(|count| span.attribute(&format!("process_tracer.udp.{count}")))
}

/// A connected client and an unconnected server, each in its own process. They print what they have sent and received.
const ECHO: &str = "\
import os, socket, sys
host = sys.argv[1]
family = socket.AF_INET6 if ':' in host else socket.AF_INET
server = socket.socket(family, socket.SOCK_DGRAM)
server.bind((host, 0))
count = int(sys.argv[2])
ready, client_of = os.pipe()
worker = os.fork()
client = socket.socket(family, socket.SOCK_DGRAM)
if worker == 0:
    server.close()
    client.connect((host, int(os.read(ready, 100))))
    received = 0
    for number in range(count):
        client.send(b'x' * (number % 900))
        received += len(client.recv(2000))
    print('client', os.getpid(), count, count * (count - 1) // 2 if count <= 900 else sum(n % 900 for n in range(count)),
          count, received, client.getsockname()[1], flush=True)
    os._exit(0)
client.close()
os.write(client_of, str(server.getsockname()[1]).encode())
received = 0
for number in range(count):
    data, peer = server.recvfrom(2000)
    received += len(data)
    server.sendto(b'y' * 500, peer)
os.waitpid(worker, 0)
print('server', os.getpid(), count, count * 500, count, received, server.getsockname()[1])
";

/// Returns the spans of the client and the server of [`ECHO`]. Checks the facts that hold for each run of it.
fn echo<'a>(run: &'a Run, host: &str) -> (&'a Span, &'a Span) {
    run.trace.assert_complete();
    assert_eq!(run.trace.flows().count(), 2, "{:#?}", run.trace.flows().collect::<Vec<_>>());
    let [client, server] = ["client", "server"].map(|who| {
        let told = run.told(who).next().unwrap();
        let owner = run.trace.process(told[1].parse().unwrap());
        let span = run.trace.flows().find(|span| span.parent_id == owner.span_id).unwrap();
        assert_eq!(counts(span), told[2..6], "{who}");
        assert_eq!((span.kind, span.status, span.attribute("network.transport")), (KIND_CLIENT, 0, "udp"));
        assert_eq!((span.attribute("network.local.port"), span.attribute("network.local.address")), (told[6], host));
        assert!(span.start >= owner.start && span.end > span.start && !span.has("process_tracer.unfinished"));
        span
    });
    for (one, other) in [(client, server), (server, client)] {
        assert_eq!(one.attribute("network.peer.port"), other.attribute("network.local.port"));
        assert_eq!((one.attribute("network.peer.address"), one.attribute("server.address")), (host, host));
        assert_eq!(one.attribute("server.port"), one.attribute("network.peer.port"));
        assert_eq!(one.links, [(other.trace_id.clone(), other.span_id.clone())]);
    }
    (client, server)
}

#[test]
fn a_flow_counts_what_both_ends_report() {
    let run = trace_python(ECHO, &["127.0.0.1", "1000"]);
    let (client, _) = echo(&run, "127.0.0.1");
    assert_eq!(client.name, format!("udp {}", end_in_name("127.0.0.1", client.attribute("server.port"))));
    assert_eq!(client.attribute("network.type"), "ipv4");
    assert!(!client.has("network.protocol.name"));
}

#[test]
fn ipv6_flows_are_marked_as_ipv6() {
    let run = trace_python(ECHO, &["::1", "10"]);
    let (client, _) = echo(&run, "::1");
    assert_eq!(client.name, format!("udp {}", end_in_name("[::1]", client.attribute("server.port"))));
    assert_eq!(client.attribute("network.type"), "ipv6");
}

#[test]
fn a_v4_mapped_peer_is_ipv4() {
    let script = "\
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(('::', 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto(b'question', ('127.0.0.1', server.getsockname()[1]))
data, peer = server.recvfrom(100)
server.sendto(b'answer', peer)
client.recv(100)
";
    let run = trace_python(script, &[]);
    run.trace.assert_complete();
    let flows: Vec<_> = run.trace.flows().collect();
    assert_eq!(flows.len(), 2);
    for flow in &flows {
        assert_eq!((flow.attribute("network.type"), flow.attribute("network.peer.address")), ("ipv4", "127.0.0.1"));
        assert_eq!((flow.links.len(), &flow.parent_id), (1, &run.trace.root().span_id));
    }
    let mut told: Vec<_> = flows.iter().map(|flow| counts(flow)).collect();
    told.sort_unstable();
    assert_eq!(told, [["1", "6", "1", "8"], ["1", "8", "1", "6"]]);
}

#[test]
fn each_peer_that_was_sent_to_has_a_flow_and_port_443_is_quic() {
    // No process listens. A peer that only sends has no flow.
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    let script = "\
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(('127.0.0.1', 0))
for host, port in [('127.0.0.2', 443), ('127.0.0.3', 4433), ('127.0.0.2', 443)]:
    try:
        own.sendto(b'hello', (host, port))
    except ConnectionRefusedError:
        own.sendto(b'hello', (host, port))
print('port', own.getsockname()[1], flush=True)
tell = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
tell.send(str(own.getsockname()[1]).encode())
tell.recv(1)
assert own.recv(100) == b'from outside'
";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let teller = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 10];
        let length = stream.read(&mut buffer).unwrap();
        let port: u16 = std::str::from_utf8(&buffer[..length]).unwrap().parse().unwrap();
        outside.send_to(b"from outside", ("127.0.0.1", port)).unwrap();
        stream.write_all(b"x").unwrap();
    });
    let run = trace_python(script, &[&port]);
    teller.join().unwrap();
    run.trace.assert_complete();
    assert_eq!(run.trace.flows().count(), 2, "{:#?}", run.trace.flows().collect::<Vec<_>>());
    let quic = run.trace.named("udp 127.0.0.2:443");
    assert_eq!((counts(quic), quic.attribute("network.protocol.name")), (["2", "10", "0", "0"], "quic"));
    assert_eq!(quic.attribute("network.transport"), "quic");
    let other = run.trace.named("udp 127.0.0.3:4433");
    assert!(counts(other) == ["1", "5", "0", "0"] && !other.has("network.protocol.name"));
}

#[test]
fn fragmented_and_batched_datagrams_are_counted_as_datagrams() {
    // 9,000 bytes do not fit into one packet of the device. UDP_SEGMENT (103) splits a buffer into several datagrams.
    let script = "\
import ctypes, fcntl, os, socket, struct
assert ctypes.CDLL(None).unshare(0x40000000) == 0
control = socket.socket()
fcntl.ioctl(control, 0x8922, struct.pack('16si12x', b'lo', 1500))
fcntl.ioctl(control, 0x8914, struct.pack('16sh14x', b'lo', 1 | 64))
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
server.bind(('127.0.0.1', 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(server.getsockname())
for _ in range(3):
    client.send(b'x' * 9000)
    assert len(server.recv(10000)) == 9000
client.setsockopt(17, 103, 1000)
client.send(b'x' * 4500)
assert [len(server.recv(10000)) for _ in range(5)] == [1000] * 4 + [500]
server.sendto(b'y', client.getsockname())
client.recv(10)
";
    let run = trace_python(script, &[]);
    run.trace.assert_complete();
    let mut told: Vec<_> = run.trace.flows().map(counts).collect();
    told.sort_unstable();
    assert_eq!(told, [["1", "1", "8", "31500"], ["8", "31500", "1", "1"]]);
}

#[test]
fn a_socket_that_outlives_its_first_owner_has_a_flow_of_the_next_owner() {
    let script = "\
import os, socket, time
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(('127.0.0.1', 0))
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.connect(sink.getsockname())
wait, alone = os.pipe()
first = os.fork()
if first == 0:
    own.send(b'first')
    sent, told = os.pipe()
    second = os.fork()
    if second == 0:
        own.send(b'shared')
        os.write(told, b'x')
        os.close(alone)
        os.read(wait, 1)
        own.send(b'second')
        os._exit(0)
    os.read(sent, 1)
    print('processes', os.getpid(), second, flush=True)
    os._exit(0)
os.waitpid(first, 0)
os.close(alone)
for expected in [b'first', b'shared', b'second']:
    assert sink.recv(10) == expected
";
    let run = harness::trace_python(&["--wait", "tree"], script, &[]);
    run.trace.assert_complete();
    let processes = run.told("processes").next().unwrap();
    for (owner, expected) in [(processes[1], ["2", "11", "0", "0"]), (processes[2], ["1", "6", "0", "0"])] {
        let owner = run.trace.process(owner.parse().unwrap());
        let flows: Vec<_> = run.trace.flows().filter(|span| span.parent_id == owner.span_id).map(counts).collect();
        assert_eq!(flows, [expected]);
    }
}

#[test]
fn a_datagram_through_stacked_devices_counts_once() {
    let script = "\
import socket, sys, time
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.settimeout(20)
for number in range(20):
    own.sendto(b'x' * 10, ('10.77.0.2', 7777))
    if number == 0:
        time.sleep(0.2)
    assert len(own.recv(100)) == 10
";
    let server = "\
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(('10.77.0.2', 7777))
open(sys.argv[1] + '/bound', 'w')
for number in range(20):
    data, peer = own.recvfrom(100)
    own.sendto(data, peer)
";
    // A bridge with one port: a pair of devices that leads into another network namespace.
    let network = "\
set -e
ip link set lo up
ip link add br0 type bridge && ip addr add 10.77.0.1/24 dev br0
ip link add va type veth peer name vb
ip link set va master br0 && ip link set va up && ip link set br0 up
mkfifo \"$1/go\"
unshare -n sh -c 'echo $$ > \"$1/pid\"; read go < \"$1/go\"; ip addr add 10.77.0.2/24 dev vb; ip link set vb up; exec python3 -c \"$2\" \"$1\"' sh \"$1\" \"$2\" &
until [ -s \"$1/pid\" ]; do sleep 0.01; done
ip link set vb netns $(cat \"$1/pid\")
echo go > \"$1/go\"
until [ -e \"$1/bound\" ] || ! kill -0 $!; do sleep 0.01; done
python3 -c \"$3\"
wait
";
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let run = trace_with(&[], &["unshare", "-n", "sh", "-c", network, "sh", path, server, script]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let flows: Vec<_> = run.trace.flows().collect();
    assert_eq!(flows.len(), 2, "{flows:#?}");
    for flow in flows {
        assert_eq!(counts(flow), ["20", "200", "20", "200"]);
        assert_eq!(flow.links.len(), 1);
    }
}

#[test]
fn flows_beyond_the_limit_are_counted() {
    // One processor has 1,024 slots. It gets back the slots of dead owners.
    let script = "\
import os, socket, sys, time
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def send(peers):
    for peer in range(peers):
        for again in range(2):
            try:
                own.sendto(b'x', ('127.1.%d.%d' % (peer // 250, peer % 250 + 1), 9999))
            except ConnectionRefusedError:
                pass
if os.fork() == 0:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    send(1000)
    os._exit(0)
os.wait()
time.sleep(3)
send(1500)
";
    let python = ["taskset", "-c", "0", python(), "-c", script];
    let run = trace_with(&[], &python);
    run.trace.assert_sound();
    assert_eq!(run.trace.flows().count(), 1000 + 1024);
    let root = run.trace.root();
    assert_eq!(root.attribute("process_tracer.lost.untracked_connections"), (1500 - 1024).to_string());
    assert_eq!(root.attribute("process_tracer.complete"), "false");
    assert!(
        run.stderr.contains("incomplete: 476 connections or flows not followed: too many at once"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_queued_datagram_belongs_to_its_sender_and_not_to_the_running_process() {
    // An untraced process sends datagrams and queries that wait while traced processes run.
    let script = "\
import os, socket, sys, time
if sys.argv[1] == 'send':
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    query = b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7foreign\\4test\\0\\0\\1\\0\\1'
    while os.getppid() != 1:
        for port in [53, 4444]:
            try:
                own.sendto(query, ('127.0.0.1', port))
            except OSError:
                pass
        time.sleep(0.001)
else:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.sendto(b'own', ('127.0.0.1', 5555))
    end = time.monotonic() + 2
    for processor in os.sched_getaffinity(0):
        if os.fork() == 0:
            os.sched_setaffinity(0, [processor])
            while time.monotonic() < end:
                pass
            os._exit(0)
";
    let network = "\
set -e
ip link set lo up
tc qdisc add dev lo root tbf rate 200kbit burst 1600 latency 400ms
python3 -c \"$3\" send &
\"$1\" -o \"$2\" -- python3 -c \"$3\" spin
kill $!
";
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = std::process::Command::new("unshare");
    command.args(["-n", "sh", "-c", network, "sh", PROCESS_TRACER]).arg(&file).arg(script);
    assert!(command.status().unwrap().success());
    let trace = Trace::read(&file);
    trace.assert_complete();
    let names: Vec<_> = trace.flows().chain(trace.lookups()).map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["udp 127.0.0.1:5555"]);
}

#[test]
fn datagrams_for_a_later_socket_on_the_same_port_are_not_counted() {
    let script = "\
import os, socket
def bound(address):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(address)
    return own
peer, own = bound(('127.0.0.1', 0)), bound(('127.0.0.1', 0))
address = own.getsockname()
own.sendto(b'question', peer.getsockname())
peer.sendto(b'answer', address)
own.recv(100)
own.close()
if os.fork() == 0:
    other = bound(address)
    for again in range(3):
        peer.sendto(b'for somebody else', address)
        other.recv(100)
    os._exit(0)
os.wait()
print('peer', peer.getsockname()[1])
";
    let run = trace_python(script, &[]);
    let peer = run.told("peer").next().unwrap()[1];
    let flow = run.trace.flows().find(|flow| flow.attribute("network.peer.port") == peer).unwrap();
    assert_eq!(counts(flow), ["1", "8", "1", "6"], "{flow:#?}");
}

#[test]
fn a_socket_at_the_address_of_a_closed_socket_has_its_own_flow() {
    let script = "\
import os, socket, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(('127.0.0.1', 0))
first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
first.bind(('127.0.0.1', 0))
port = first.getsockname()[1]
def send(own, times):
    for again in range(times):
        own.sendto(b'x', sink.getsockname())
    own.close()
    # The kernel frees the memory in this time, so that the next socket can get it.
    time.sleep(0.1)
send(first, 3)
for child in range(8):
    if os.fork() == 0:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.bind(('127.0.0.1', port))
        send(own, 5)
        os._exit(0)
    os.wait()
";
    let run = trace_python(script, &[]);
    run.trace.assert_complete();
    let mut told: Vec<_> = run.trace.flows().map(|span| (counts(span)[0], span.parent_id.as_str())).collect();
    told.sort_unstable();
    let root = run.trace.root().span_id.as_str();
    assert_eq!((told.len(), told[0]), (9, ("3", root)));
    assert!(told[1..].iter().all(|(sent, owner)| *sent == "5" && *owner != root), "{told:?}");
    told.dedup_by_key(|(_, owner)| *owner);
    assert_eq!(told.len(), 9);
}

#[test]
fn a_datagram_that_waits_for_address_resolution_belongs_to_its_sender() {
    let wait = "\
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.sendto(b'x', ('10.78.0.2', 4444))
own.sendto(b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7foreign\\4test\\0\\0\\1\\0\\1', ('10.78.0.2', 53))
print('sent', flush=True)
sys.stdin.read()
";
    let send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'own', ('127.0.0.1', 5555))";
    let network = "\
set -e
ip link set lo up
ip link add va type veth peer name vb && ip addr add 10.78.0.1/24 dev va && ip link set va up && ip link set vb up
mkfifo \"$3/sent\" \"$3/stay\"
python3 -c \"$4\" < \"$3/stay\" > \"$3/sent\" &
exec 3> \"$3/stay\"
read sent < \"$3/sent\"
\"$1\" -o \"$2\" -- sh -c 'python3 -c \"$0\"; ip neigh replace 10.78.0.2 lladdr 02:00:00:00:00:01 dev va' \"$5\"
";
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = std::process::Command::new("unshare");
    command.args(["-n", "sh", "-c", network, "sh", PROCESS_TRACER]).arg(&file).arg(folder.path()).args([wait, send]);
    assert!(command.status().unwrap().success());
    let trace = Trace::read(&file);
    trace.assert_complete();
    let names: Vec<_> = trace.flows().chain(trace.lookups()).map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["udp 127.0.0.1:5555"]);
}
