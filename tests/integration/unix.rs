//! Connections to unix sockets, with `--unix`.

use tempfile::TempDir;

use crate::{
    harness::{Run, trace_python, trace_with, workload},
    trace::{KIND_CLIENT, STATUS_ERROR},
};

/// Connects to existing and absent sockets, by path and by abstract name, and fails to run a program.
const SCRIPT: &str = "\
import errno, os, socket, sys
os.chdir(sys.argv[1])
def attempt(kind, address, expected=0):
    assert socket.socket(socket.AF_UNIX, kind).connect_ex(address) == expected, (address, expected)
listeners = []
for kind, address in [(socket.SOCK_STREAM, 'stream'), (socket.SOCK_SEQPACKET, '\\0' + sys.argv[1] + '\\t1'), (socket.SOCK_DGRAM, 'datagrams')]:
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(address)
    if kind != socket.SOCK_DGRAM:
        listener.listen()
    listeners.append(listener)
attempt(socket.SOCK_STREAM, sys.argv[1] + '/stream')
attempt(socket.SOCK_SEQPACKET, '\\0' + sys.argv[1] + '\\t1')
attempt(socket.SOCK_DGRAM, 'datagrams')
attempt(socket.SOCK_STREAM, 'nowhere', errno.ENOENT)
attempt(socket.SOCK_STREAM, '\\0nobody', errno.ECONNREFUSED)
attempt(socket.SOCK_DGRAM, 'stream', errno.EPROTOTYPE)
server = socket.create_server(('127.0.0.1', 0))
socket.create_connection(server.getsockname())
os.fork() == 0 and os._exit(0)
try:
    os.execv('/no-such', ['x'])
except FileNotFoundError:
    pass
";

fn trace(flags: &[&str], folder: &str) -> Run {
    let run = trace_python(flags, SCRIPT, &[folder]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    run
}

fn failed_execs(run: &Run) -> usize {
    run.trace.spans.iter().flat_map(|span| &span.events).filter(|event| event.name == "exec_failed").count()
}

#[test]
fn connections_to_unix_sockets_are_recorded_when_requested() {
    let folder = TempDir::new().unwrap();
    let run = trace(&["--unix"], folder.path().to_str().unwrap());
    let told: Vec<_> = run
        .trace
        .unix_connects()
        .map(|span| {
            assert_eq!((span.kind, &span.parent_id), (KIND_CLIENT, &run.trace.root().span_id));
            assert_eq!(span.end, span.start + 1);
            let path = span.attribute("network.peer.address");
            let can_differ = path.starts_with('@') || path.starts_with("/tmp/");
            assert_eq!(span.name, format!("connect {}", if can_differ { "unix" } else { path }));
            assert_eq!(span.attribute("server.address"), path);
            assert_eq!((span.status == STATUS_ERROR, span.status_message.as_str()), (span.has("error.type"), ""));
            (path, span.attributes.get("error.type").map(String::as_str))
        })
        .collect();
    let stream = format!("{}/stream", folder.path().display());
    let packets = format!("@{}\\t1", folder.path().display());
    let expected = [
        (stream.as_str(), None),
        (packets.as_str(), None),
        ("datagrams", None),
        ("nowhere", Some("not_found")),
        ("@nobody", Some("connection_refused")),
        ("stream", Some("wrong_type")),
    ];
    assert_eq!(told, expected);
    assert_eq!((run.trace.connections().count(), failed_execs(&run)), (2, 0));
}

#[test]
fn each_option_records_only_its_own_events() {
    for (flags, connects, execs) in
        [(&[][..], 0, false), (&["--failed-execs"], 0, true), (&["--failed-execs", "--unix"], 6, true)]
    {
        let folder = TempDir::new().unwrap();
        let run = trace(flags, folder.path().to_str().unwrap());
        assert_eq!((run.trace.unix_connects().count(), failed_execs(&run) > 0), (connects, execs), "{flags:?}");
    }
}

/// Traces a scenario of the workload with all options that observe system calls.
fn trace_scenario(scenario: &str) -> Run {
    let run = trace_with(&["--failed-execs", "--unix"], &[workload().to_str().unwrap(), scenario]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run
}

/// The system calls for connect and exec have other numbers in 32-bit programs than in 64-bit programs.
#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_of_32_bit_programs_are_recorded() {
    let run = trace_scenario("calls32");
    run.trace.assert_complete();
    let connects: Vec<_> = run.trace.unix_connects().map(|span| span.attribute("network.peer.address")).collect();
    assert_eq!(connects, ["/no-such/connect", "/no-such/socketcall"]);
    let root = run.trace.root();
    let failed = root.events.iter().filter(|event| event.name == "exec_failed");
    let files: Vec<_> = failed.map(|event| event.attributes["process_tracer.exec.file"].as_str()).collect();
    assert_eq!(files, ["/no-such/execve", "/no-such/execveat"]);
}

#[test]
fn a_trace_of_unix_sockets_is_incomplete_if_a_process_uses_io_uring() {
    let run = trace_scenario("ring-connect");
    run.trace.assert_sound();
    let root = run.trace.root();
    assert_eq!(root.attribute("process_tracer.complete"), "false");
    assert_eq!(root.attribute("process_tracer.lost.io_uring_queues"), "1");
    assert!(run.stderr.contains("incomplete: 1 io_uring queue not observed"), "{}", run.stderr);
    // Without --unix, no event is missing.
    trace_with(&["--failed-execs"], &[workload().to_str().unwrap(), "ring-connect"]).trace.assert_complete();
}
