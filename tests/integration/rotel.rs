//! A real collector, [rotel](https://rotel.dev), and the spans that it prints.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running collector. It ends when it is dropped.
pub struct Rotel {
    process: Child,
    folder: TempDir,
    pub grpc: String,
    pub http: String,
}

/// A span as the collector prints it: all lines, trimmed. Their order has no meaning.
pub type Received = BTreeMap<String, Vec<String>>;

impl Rotel {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the collector with more flags.
    pub fn start_with(flags: &[&str]) -> Self {
        let agent: PathBuf = std::env::var_os("ROTEL_AGENT")
            .expect("ROTEL_AGENT names the rotel-agent binary; `cargo xtask test` installs and sets it")
            .into();
        let folder = TempDir::new().unwrap();
        let (grpc, http) = (free_port(), free_port());
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(agent)
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .arg("--pid-file")
            .arg(folder.path().join("pid"))
            .args(flags)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let rotel = Self {
            process,
            folder,
            grpc: format!("http://127.0.0.1:{grpc}"),
            http: format!("http://127.0.0.1:{http}"),
        };
        for port in [grpc, http] {
            wait_until("rotel listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        rotel
    }

    /// Waits until that many spans are printed. Returns them by span id.
    pub fn received(&self, count: usize) -> Received {
        let log = self.folder.path().join("log");
        wait_until("all spans have arrived", || {
            let text = fs::read_to_string(&log).unwrap();
            text.matches("\nSpan #").count() >= count
        });
        // The collector may still be writing the last span.
        thread::sleep(Duration::from_millis(200));
        parse(&fs::read_to_string(&log).unwrap())
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parse(log: &str) -> Received {
    let mut spans = Received::new();
    for block in log.split("\nSpan #").skip(1) {
        let block = block.split("\nResourceSpans #").next().unwrap_or_default();
        let lines: Vec<String> = block.lines().skip(1).map(|line| line.trim().to_owned()).collect();
        let id = lines.iter().find_map(|line| line.strip_prefix("ID             : ")).unwrap().to_owned();
        assert!(spans.insert(id.clone(), lines).is_none(), "span {id} was received twice");
    }
    spans
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Waits. Only a hang can reach the limit.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < limit, "this is still not true after a minute: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
