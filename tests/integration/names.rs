//! Name lookups, and the names that they give to connections.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::{
    harness::{PROCESS_TRACER, trace_python, trace_workload},
    trace::{KIND_CLIENT, STATUS_ERROR, Span, Trace, end_in_name},
};

#[test]
fn lookups_are_spans_and_name_the_connections() {
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

    // A connection has the latest name that its process looked up for the address. If its process looked up no name, it
    // has the latest name that any process looked up.
    let name = format!("connect {}", end_in_name("www.test", port));
    let clients: Vec<_> = run.trace.connections().filter(|span| span.kind == KIND_CLIENT).collect();
    assert_eq!(clients.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), [name.as_str(); 2]);
    for client in clients {
        assert_eq!(client.attribute("server.address"), "www.test");
        assert_eq!(client.attribute("network.peer.address"), "127.0.0.1");
    }
}

#[test]
fn names_from_the_hosts_file_are_those_that_the_process_read() {
    let folder = TempDir::new().unwrap();
    let (hosts, file) = (folder.path().join("hosts"), folder.path().join("t.jsonl"));
    fs::write(&hosts, "127.7.7.7 db.test other.test\n").unwrap();
    let connect = "\
import socket, sys
socket.socket().connect_ex(('127.7.7.7', int(sys.argv[1])))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.7.7.7', int(sys.argv[1])))
";
    let traced =
        "python3 -c \"$0\" 1 http://db.test/; python3 -c \"$0\" 2; unshare --mount python3 -c \"$0\" 3 db.test";
    let setup = ": >> /etc/hosts; mount --bind \"$1\" /etc/hosts; exec \"$2\" -o \"$3\" -- sh -c \"$4\" \"$5\"";
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-e", "-c", setup, "sh"])
        .args([hosts.as_os_str(), PROCESS_TRACER.as_ref(), file.as_os_str()])
        .args([traced, connect])
        .status()
        .unwrap();
    assert!(status.success());
    let trace = Trace::read(&file);
    trace.assert_complete();
    let mut names: Vec<_> = trace.connections().chain(trace.flows()).map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "connect 127.7.7.7:2",
        "connect 127.7.7.7:3",
        "connect db.test:1",
        "udp 127.7.7.7:2",
        "udp 127.7.7.7:3",
        "udp db.test:1",
    ];
    assert_eq!(names, expected);
    assert_eq!(trace.named("udp db.test:1").attribute("server.address"), "db.test");
}

#[test]
fn an_answer_counts_only_while_its_asker_lives() {
    // A process asks and exits. A forged answer with 127.7.7.7 then goes to the next owner of its port. The packet `incoming`
    // looks like a query. It is no lookup, because the process receives it and does not send it.
    let script = "\
import os, socket, sys
def message(name, flags, answers):
    record = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\7\\7\\7' * answers
    return b'\\0\\7' + bytes([flags, 0, 0, 1, 0, answers, 0, 0, 0, 0, len(name)]) + name + b'\\4test\\0\\0\\1\\0\\1' + record
def bound(address):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind(address)
    return own
server = bound(('127.0.53.78', 53))
reader, writer = os.pipe()
if os.fork() == 0:
    own = bound(('127.0.0.1', 0))
    own.sendto(message(b'asked', 1, 0), server.getsockname())
    server.sendto(message(b'incoming', 1, 0), own.getsockname())
    server.sendto(message(b'asked', 0x81, 0), own.getsockname())
    for again in range(2):
        own.recv(100)
    os.write(writer, str(own.getsockname()[1]).encode())
    os._exit(0)
os.wait()
after = bound(('127.0.0.1', int(os.read(reader, 10))))
server.sendto(message(b'forged', 0x81, 1), after.getsockname())
after.recv(100)
socket.socket().connect_ex(('127.7.7.7', 1))
";
    let run = trace_python(&[], script, &[]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let names: Vec<_> = run.trace.lookups().chain(run.trace.connections()).map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["lookup asked.test", "connect 127.7.7.7:1"]);
}

#[test]
fn an_answer_to_another_socket_on_the_same_port_is_not_reported() {
    // The process that asked still lives. But another process takes its port and gets an answer with the same id and
    // name.
    let script = "\
import os, socket
def message(flags, answers):
    record = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\7\\7\\7' * answers
    return b'\\0\\7' + bytes([flags, 0, 0, 1, 0, answers, 0, 0, 0, 0, 5]) + b'asked\\4test\\0\\0\\1\\0\\1' + record
def bound(address):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(address)
    return own
server = bound(('127.0.53.81', 53))
own = bound(('127.0.0.1', 0))
address = own.getsockname()
own.sendto(message(1, 0), server.getsockname())
own.close()
if os.fork() == 0:
    other = bound(address)
    server.sendto(message(0x81, 1), address)
    other.recv(100)
    os._exit(0)
os.wait()
socket.socket().connect_ex(('127.7.7.7', 1))
";
    let run = trace_python(&[], script, &[]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let lookup = run.trace.named("lookup asked.test");
    assert_eq!(lookup.attribute("error.type"), "no_answer", "{lookup:#?}");
    assert!(!lookup.has("dns.answers"), "{lookup:#?}");
    run.trace.named("connect 127.7.7.7:1");
}

#[test]
fn the_readable_part_of_a_long_answer_is_recorded() {
    // The answers have 300 and 3,000 addresses. The first answer exceeds the captured length. The second one is split into
    // several pieces.
    let script = "\
import os, socket, struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.53.80', 53))
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name, count in (b'long', 300), (b'longer', 3000):
    query = b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + bytes([len(name)]) + name + b'\\4test\\0\\0\\1\\0\\1'
    own.sendto(query, server.getsockname())
    told = query[:2] + b'\\x81\\x80\\0\\1' + struct.pack('!H', count) + query[8:]
    for number in range(count):
        told += b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\x09' + struct.pack('!H', number)
    server.sendto(told, own.getsockname())
    own.recv(65536)
";
    let run = trace_python(&[], script, &[]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let long = run.trace.named("lookup long.test");
    assert_eq!(long.attribute("process_tracer.dns.response_code"), "NOERROR");
    assert!(long.attribute("dns.answers").starts_with("[127.9.0.0, 127.9.0.1, "), "{long:#?}");
    let longer = run.trace.named("lookup longer.test");
    assert!(longer.status == 0 && !longer.has("error.type"), "{longer:#?}");
}

/// A name server over TCP, and clients that ask it in different ways. It answers with 127.9.0.0 and the next addresses. An
/// answer of 300 addresses comes in two parts with a pause between them.
const OVER_TCP: &str = "\
import os, socket, struct, threading, time
listener = socket.create_server(('127.0.53.79', 53))
def exactly(connection, size):
    data = b''
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data
def answer(query, numbers):
    text = query[:2] + b'\\x81\\x80\\0\\1' + struct.pack('!H', len(numbers)) + query[8:]
    for number in numbers:
        text += b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\x09' + struct.pack('!H', number)
    return struct.pack('!H', len(text)) + text
def serve(connection):
    while True:
        query = exactly(connection, struct.unpack('!H', exactly(connection, 2))[0])
        long = query[13:14] == b'l'
        records = 300 if long else 1
        told = answer(query, range(records))
        connection.sendall(told[:2500])
        long and time.sleep(0.1)
        connection.sendall(told[2500:])
def query(name):
    message = b'\\0' + name[:1] + b'\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + bytes([len(name)]) + name + b'\\4test\\0\\0\\1\\0\\1'
    return struct.pack('!H', len(message)) + message
def connected():
    own = socket.create_connection(('127.0.53.79', 53))
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
    return own
def asked(connection):
    return exactly(connection, struct.unpack('!H', exactly(connection, 2))[0])
one = connected()
for name in [b'first', b'second']:
    one.sendall(query(name))
    asked(one)
apart = connected()
apart.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
apart.sendmsg([query(b'vector')[:2], query(b'vector')[2:]])
length, buffer = bytearray(2), bytearray(4096)
apart.recvmsg_into([length, buffer])
os.writev(apart.fileno(), [query(b'words')])
os.readv(apart.fileno(), [length, buffer])
os.write(apart.fileno(), query(b'apart')[:2])
os.write(apart.fileno(), query(b'apart')[2:])
time.sleep(0.1)
os.read(apart.fileno(), 4096)
apart.send(query(b'long'))
size, whole = 2 + 27 + 300 * 16, bytearray(8192)
assert apart.recv_into(whole, size, socket.MSG_WAITALL) == size
many = connected()
many.send(query(b'many') + query(b'other'))
assert len(many.recv(91, socket.MSG_PEEK | socket.MSG_WAITALL)) == 91
assert many.recv_into(whole, 10, socket.MSG_PEEK) == 10
assert many.recv_into(whole) == 91
many.send(query(b'never'))
own = connected()
for name in [b'again', b'twice']:
    own.send(query(name))
    time.sleep(0.1)
    own.recv_into(whole)
    # Bytes behind an answer are not an answer. Discarded bytes are not an answer either.
    whole[45:90] = answer(query(b'x' + name)[2:], [99])
own.send(query(b'gone'))
time.sleep(0.1)
whole[:44] = answer(query(b'gone')[2:], [99])
own.recv_into(whole, 4096, socket.MSG_TRUNC)
own.send(query(b'held')[:2], socket.MSG_MORE)
own.send(query(b'held')[2:])
asked(own)
os.writev(own.fileno(), [part for name in [b'one', b'two', b'three'] for part in (query(name)[:2], query(name)[2:])])
for name in range(3):
    asked(own)
own.send(query(b'behind'))
asked(own)
if os.fork() == 0:
    own.send(query(b'child'))
    asked(own)
    os._exit(0)
os.wait()
own.send(query(b'zombie'))
asked(own)
socket.socket().connect_ex(('127.9.0.0', 1))
";

#[test]
fn lookups_over_tcp_are_recorded_like_others() {
    let run = trace_python(&[], OVER_TCP, &[]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let root = run.trace.root();
    // One write has six pieces, and only four are read. So its third question is missing.
    let names = [
        "first", "second", "vector", "words", "apart", "long", "many", "other", "never", "again", "twice", "gone",
        "held", "one", "two", "behind", "child", "zombie",
    ];
    let told: Vec<_> = run.trace.lookups().map(|span| span.name.as_str()).collect();
    assert_eq!(told.len(), names.len(), "{told:?}");
    for name in names {
        let span = run.trace.named(&format!("lookup {name}.test"));
        assert_eq!(span.kind, KIND_CLIENT);
        assert_eq!(span.parent_id == root.span_id, name != "child");
        for (key, value) in
            [("network.transport", "tcp"), ("network.peer.address", "127.0.53.79"), ("network.peer.port", "53")]
        {
            assert_eq!(span.attribute(key), value, "{span:#?}");
        }
        if ["never", "gone"].contains(&name) {
            assert_eq!((span.attribute("error.type"), span.status), ("no_answer", STATUS_ERROR));
            continue;
        }
        let addresses: Vec<_> = (0..if name == "long" { 300 } else { 1 })
            .map(|number| format!("127.9.{}.{}", number / 256, number % 256))
            .collect();
        assert_eq!(span.attribute("dns.answers"), format!("[{}]", addresses.join(", ")), "{span:#?}");
        assert!(span.end > span.start && !span.has("process_tracer.dns.attempts"), "{span:#?}");
    }
    let long = run.trace.named("lookup long.test");
    assert!(long.end - long.start >= 100_000_000);
    assert_eq!(run.trace.named("connect zombie.test:1").attribute("server.address"), "zombie.test");
}
