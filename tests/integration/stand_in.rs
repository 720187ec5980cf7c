//! A stand-in for a collector, and runs that send to it. The test chooses what the collector does.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::ResourceSpans};
use prost::Message;
use tempfile::TempDir;

use crate::{harness::process_tracer, trace::Trace};

pub type Ids = BTreeSet<String>;

/// Writes an answer.
type Writes = dyn FnOnce(&mut dyn Write) -> io::Result<()>;

/// The action of a collector at a request.
pub enum Action {
    Accept,
    /// Status line, more headers with their line ends, body.
    Answer(&'static str, &'static str, Vec<u8>),
    Hang,
    /// Closes the connection in the middle of the answer.
    Cut,
    /// Writes the answer itself, then closes the connection.
    Write(Box<Writes>),
}

/// A collector over HTTP whose behaviour the test chooses.
pub struct Collector {
    pub address: String,
    pub taken: Arc<Mutex<Ids>>,
    /// Spans in all requests. A span that was sent twice counts twice.
    asked: Arc<AtomicUsize>,
    /// From the last request.
    pub path: Arc<Mutex<String>>,
    ends: Arc<AtomicBool>,
}

impl Collector {
    /// `action` receives the number of the request, counted from 0, and the number of spans in it.
    pub fn start(action: impl Fn(usize, usize) -> Action + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", action)
    }

    pub fn start_at(address: &str, action: impl Fn(usize, usize) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (taken, ends) = (Arc::new(Mutex::new(Ids::new())), Arc::new(AtomicBool::new(false)));
        let (path, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let counted = {
            let asked = Arc::clone(&asked);
            move |number, spans| {
                asked.fetch_add(spans, Ordering::Relaxed);
                action(number, spans)
            }
        };
        let shared = Arc::new((Mutex::new(0), counted));
        thread::spawn({
            let (taken, path, ends) = (Arc::clone(&taken), Arc::clone(&path), Arc::clone(&ends));
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let (taken, path, shared) = (Arc::clone(&taken), Arc::clone(&path), Arc::clone(&shared));
                    thread::spawn(move || serve(&stream.unwrap(), &taken, &path, &shared.0, &shared.1));
                }
            }
        });
        Self { address, taken, asked, path, ends }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn taken(&self) -> Ids {
        self.taken.lock().unwrap().clone()
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(
    stream: &TcpStream,
    taken: &Mutex<Ids>,
    path: &Mutex<String>,
    requests: &Mutex<usize>,
    action: &impl Fn(usize, usize) -> Action,
) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).is_ok_and(|size| size > 2) {
            if let Some(rest) = line.strip_prefix("POST ") {
                *path.lock().unwrap() = rest.split(' ').next().unwrap().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return; // the client has closed the connection
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let ids = ids(&request.resource_spans);
        let number = {
            let mut requests = requests.lock().unwrap();
            *requests += 1;
            *requests - 1
        };
        let mut answer = |status: &str, headers: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
            writer.write_all(&[head.as_bytes(), body].concat()).is_ok()
        };
        let goes_on = match action(number, ids.len()) {
            Action::Accept => {
                taken.lock().unwrap().extend(ids);
                answer("200 OK", "", &[])
            }
            Action::Answer(status, headers, body) => answer(status, headers, &body),
            Action::Hang => {
                thread::sleep(Duration::from_secs(60));
                false
            }
            Action::Cut => {
                let _ = writer.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nhalf");
                false
            }
            Action::Write(write) => {
                // The client may have closed the connection.
                let _ = write(&mut writer);
                false
            }
        };
        if !goes_on {
            return;
        }
    }
}

pub fn ids(spans: &[ResourceSpans]) -> Ids {
    let scopes = spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    spans.map(|span| span.span_id.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}

/// The result of a run against a collector.
pub struct Delivery {
    folder: TempDir,
    pub stderr: String,
    pub elapsed: Duration,
    /// All spans, from the copy in a file.
    pub all: Ids,
}

impl Delivery {
    /// Traces a script, which ends with status 3, to an endpoint.
    pub fn run(endpoint: &str, flags: &[&str], script: &str) -> Self {
        Self::run_by(process_tracer(), endpoint, flags, script)
    }

    /// Does the same with a prepared process-tracer, for example with more variables.
    pub fn run_by(mut command: Command, endpoint: &str, flags: &[&str], script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let copy = folder.path().join("copy.jsonl");
        command
            .args(["--endpoint", endpoint, "-o", "otlp", "-o"])
            .arg(&copy)
            .arg("--spool")
            .arg(folder.path().join("spool"));
        command.args(flags).args(["--", "sh", "-c", &format!("{script}; exit 3")]);
        let started = Instant::now();
        let output = command.output().unwrap();
        let elapsed = started.elapsed();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        let trace = Trace::read(&copy);
        trace.assert_complete();
        let all = trace.spans.iter().map(|span| span.span_id.clone()).collect();
        Self { folder, stderr, elapsed, all }
    }

    /// The file of kept spans, if there is one.
    pub fn kept_in(&self) -> Option<PathBuf> {
        let mut files = fs::read_dir(self.folder.path().join("spool")).ok()?.map(|entry| entry.unwrap().path());
        let file = files.next();
        assert!(files.next().is_none());
        file
    }

    pub fn kept(&self) -> Ids {
        let spans = self.kept_in().map(|file| Trace::read(&file).spans).unwrap_or_default();
        spans.into_iter().map(|span| span.span_id).collect()
    }

    pub fn assert_delivered(&self, taken: &Ids) {
        assert_eq!((taken, self.kept_in()), (&self.all, None), "{}", self.stderr);
        assert!(self.stderr.trim_end().ends_with("complete"), "{}", self.stderr);
    }

    /// Checks that each span exists exactly once. The printed command names the file of the kept spans, and `send` delivers
    /// this file.
    pub fn assert_kept(&self, taken: &Ids, reason: &str) {
        let kept = self.kept();
        assert!(!kept.is_empty() && kept.is_disjoint(taken), "{}", self.stderr);
        assert_eq!(kept.union(taken).cloned().collect::<Ids>(), self.all, "{}", self.stderr);
        assert!(self.stderr.contains(reason) && self.stderr.contains("complete once delivered"), "{}", self.stderr);
        let file = self.kept_in().unwrap();
        let hint = self
            .stderr
            .lines()
            .find(|line| line.contains("kept; to deliver: ") && line.contains("/process-tracer send --endpoint "))
            .unwrap();
        assert!(hint.ends_with(file.to_str().unwrap()), "{hint}");
        let collector = Collector::start(|_, _| Action::Accept);
        let (code, stderr) = send(&file, &collector.endpoint());
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!((collector.taken(), file.exists()), (kept, false));
    }
}

/// Checks that a run has ended early. A run that waits would take at least ten minutes. The limit is far below that, and
/// far above the time of a run on a slow machine.
#[track_caller]
pub fn assert_ended_early(elapsed: Duration) {
    assert!(elapsed < Duration::from_secs(120), "{elapsed:?}");
}

pub fn send(file: &Path, endpoint: &str) -> (Option<i32>, String) {
    let output = process_tracer().args(["send", "--endpoint", endpoint]).arg(file).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// More than a second, so that spans are also sent while the command runs.
pub const LONG: &str = "for i in 1 2 3 4 5 6 7 8; do /bin/true; sleep 0.4; done";
pub const SHORT: &str = "/bin/true; /bin/true";
