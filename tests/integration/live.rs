//! The page while the command runs.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::{harness::process_tracer, rotel::Rotel, trace::Trace};

/// A run with a live page.
struct Served {
    run: Child,
    stderr: BufReader<ChildStderr>,
    address: String,
    /// The query of its address, with the token.
    query: String,
}

impl Served {
    /// Starts a run, and waits until it prints the address.
    fn start(command: &mut Command) -> Self {
        let mut run = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(run.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("process-tracer: the trace so far is at http://").expect(&line);
        let (address, query) = url.split_once("/?").unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{url}");
        Self { run, stderr, address: address.to_owned(), query: query.to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        // Only a hang can take this time.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request. Returns the status and a reader for the rest. The stream of events ends with the run.
    fn ask(&self, path: &str, host: &str) -> (String, BufReader<TcpStream>) {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let (mut reader, mut status) = (BufReader::new(stream), String::new());
        reader.read_line(&mut status).unwrap();
        (status.split(' ').nth(1).unwrap_or_default().to_owned(), reader)
    }

    fn status(&self, path: &str, host: &str) -> String {
        self.ask(path, host).0
    }

    /// Opens the stream of events, and reads the first one.
    fn events(&self) -> BufReader<TcpStream> {
        let (status, mut events) = self.ask(&format!("/events?{}", self.query), &self.address);
        assert_eq!(status, "200");
        let mut line = String::new();
        while line != "event: reset\n" {
            line.clear();
            assert!(events.read_line(&mut line).unwrap() > 0);
        }
        events
    }

    /// Ends the command, which reads a line of its standard input. Returns its exit status and the last messages.
    fn end(mut self) -> (Option<i32>, String) {
        // The command may have ended already.
        let _ = self.run.stdin.take().unwrap().write_all(b"go\n");
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.run.wait().unwrap().code(), said)
    }
}

/// Reads until the other end closes.
fn read_to_end(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("still open: {error}"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

#[test]
fn the_live_page_shows_running_processes_and_then_the_whole_trace() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.args(["--live", "-o"]).arg(&file).args(["--", "sh", "-c", "true; sh -c 'sleep 5; true'; exit 6"]);
    let served = Served::start(&mut command);
    let (address, query) = (&served.address, &served.query);

    assert_eq!(served.status(&format!("/?{query}"), address), "200");
    assert_eq!(served.status("/", address), "403", "no token");
    assert_eq!(served.status("/events?token=00", address), "403", "another token");
    assert_eq!(served.status(&format!("/events?{query}"), "evil.example"), "403", "another host");
    assert_eq!(served.status(&format!("/x?{query}"), address), "404");

    let events = format!("event: reset\n{}", read_to_end(served.events()));
    let mut kinds = events.lines().filter_map(|line| line.strip_prefix("event: "));
    assert!(kinds.next() == Some("reset") && kinds.next_back() == Some("end"), "{events}");
    assert!(events.contains("process_tracer.memory.resident"), "running processes have their memory: {events}");
    let (code, said) = served.end();
    assert_eq!(code, Some(6), "{said}");
    // At the end, the page has all spans of the trace.
    let told: BTreeSet<String> = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .flat_map(|data| data["id"].as_array().cloned().unwrap_or_default())
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, Trace::read(&file).spans.into_iter().map(|span| span.span_id).collect());
}

/// The limit of file descriptors of process-tracer in the next test, and the connections that the test opens.
const DESCRIPTORS: u64 = 256;
const CONNECTIONS: usize = 1024;

#[test]
fn idle_connections_do_not_block_other_clients() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = CONNECTIONS as u64 + 256;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard.max(needed)).unwrap();
    let rotel = Rotel::start();
    let mut command = process_tracer();
    command.args(["--live", "--endpoint", &rotel.http, "--", "sh", "-c", "read line; /bin/true; exit 6"]);
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)?)) };
    let served = Served::start(&mut command);
    let events = served.events();
    // Some are silent, some begin a request, some send a request without the token.
    let beginnings = ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"];
    let idle: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let mut stream = served.connect();
            // The connection may be closed by now.
            let _ = stream.write_all(beginnings[number % 3].as_bytes());
            stream
        })
        .collect();
    assert_eq!(served.status(&format!("/?{}", served.query), &served.address), "200");
    let open = fs::read_dir(format!("/proc/{}/fd", served.run.id())).unwrap().count();
    assert!(open < 128, "{open} descriptors are open");
    // The server closes all of them while the command runs: the first ones to make room, the others after an answer or a
    // timeout.
    for stream in idle {
        read_to_end(stream);
    }
    let (code, said) = served.end();
    assert!(code == Some(6) && said.contains("complete") && !said.contains("did not reach"), "{code:?} {said}");
    assert!(said.contains("2 spans to "), "{said}");
    assert_eq!(rotel.received(2).len(), 2);
    assert!(read_to_end(events).contains("event: end"), "the open page stays connected");
}

#[test]
fn the_oldest_of_too_many_pages_are_closed() {
    let mut command = process_tracer();
    command.args(["--live", "--", "sh", "-c", "read line; exit 6"]);
    let served = Served::start(&mut command);
    let mut pages: Vec<_> = (0..40).map(|_| served.events()).collect();
    let newest = pages.split_off(8);
    for oldest in pages {
        assert!(!read_to_end(oldest).contains("event: end"));
    }
    assert_eq!(served.end().0, Some(6));
    for page in newest {
        assert!(read_to_end(page).contains("event: end"));
    }
}

#[test]
fn requests_are_limited_in_time_and_size() {
    let mut command = process_tracer();
    command.args(["--live", "--", "sh", "-c", "read line; exit 6"]);
    let served = Served::start(&mut command);
    // The server closes a connection whose request head comes byte by byte and takes too long.
    let mut slow = served.connect();
    slow.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let head = format!("GET /?{} HTTP/1.1\r\nHost: {}\r\nX: ", served.query, served.address);
    slow.write_all(head.as_bytes()).unwrap();
    let is_open = |read: std::io::Result<usize>| {
        read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    };
    let drips = (0..1200).take_while(|_| slow.write_all(b"x").is_ok() && is_open(slow.read(&mut [0]))).count();
    assert!(drips < 1200, "it is still open");
    // A head of a megabyte is refused. A head of the size that browsers send is accepted.
    for (size, expected) in [(1 << 20, "431"), (8 << 10, "200")] {
        let mut stream = served.connect();
        // The server may close the connection before it has read the whole head.
        let _ = stream.write_all(format!("{head}{}\r\n\r\n", "x".repeat(size)).as_bytes());
        let answer = read_to_end(stream);
        let is_refused = answer.is_empty() && expected == "431";
        assert!(is_refused || answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{size}: {answer:.100}");
    }
    // The server reads no body, and answers one request on a connection.
    let mut stream = served.connect();
    let body = "Content-Length: 1000000000000\r\n\r\nbody";
    write!(stream, "GET /?{} HTTP/1.1\r\nHost: {}\r\n{body}", served.query, served.address).unwrap();
    let answer = read_to_end(stream);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("</script>\n"), "{answer:.100}");
    assert_eq!(served.end().0, Some(6));
}

#[test]
fn a_page_that_never_reads_does_not_delay_the_end() {
    let mut command = process_tracer();
    // The events need more space than the buffers of the sockets have.
    let script = "word=$(head -c 60000 /dev/zero | tr '\\0' x); read line; \
        i=0; while [ $i -lt 400 ]; do /bin/true $i$word $i-$word; i=$((i + 1)); done; exit 6";
    let served = Served::start(command.args(["--live", "--", "sh", "-c", script]));
    let events: Vec<_> = (0..3).map(|_| served.events()).collect();
    assert_eq!(served.end().0, Some(6));
    drop(events);
}
