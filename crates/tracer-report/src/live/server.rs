//! The page while the command runs: a server that sends it what has ended, and now and then what is running.
//!
//! Whoever opens the page gets all there is from the beginning. The address holds a random token, without which nothing is
//! shown; and requests that name another host, as those of a page that has its name resolved to us do, are refused.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::stream::{self, Stream};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use opentelemetry::{KeyValue, SpanId, Value as OtelValue};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde_json::json;
use tokio::{
    sync::watch,
    task::{self, AbortHandle, JoinSet},
};
use tracer_model::{Span, semconv};

use crate::{
    files::html::{Columns, about, about_now, page},
    row::{About, Kind, Row, Rows, SPAN_LIMIT, nanoseconds},
};

/// How often the page hears of what runs.
const PULSE: Duration = Duration::from_secs(1);

/// What has ended is kept up to this size, for whoever opens the page later.
const KEPT: usize = 256 << 20;

/// How long its end may hold up ours, so that the last of it arrives.
const FAREWELL: Duration = Duration::from_secs(1);

/// Connections that have not shown the token.
const STRANGERS: usize = 32;

/// Connections that have.
const GUESTS: usize = 32;

/// How long the head of a request may take to arrive, and its size, bytes.
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_SIZE: usize = 32 << 10;

/// The connections that are open. When there are too many, the oldest is closed: connections that nobody uses lock nobody
/// out, and each of them costs a file descriptor that the rest of process-tracer may need.
#[derive(Debug, Default)]
struct Room {
    strangers: VecDeque<AbortHandle>,
    guests: VecDeque<AbortHandle>,
}

impl Room {
    fn enter(&mut self, connection: AbortHandle) {
        seat(&mut self.strangers, connection, STRANGERS);
    }

    /// The connection has shown the token: strangers can no longer displace it.
    fn welcome(&mut self, connection: task::Id) {
        if let Some(at) = self.strangers.iter().position(|stranger| stranger.id() == connection)
            && let Some(guest) = self.strangers.remove(at)
        {
            seat(&mut self.guests, guest, GUESTS);
        }
    }
}

fn seat(seats: &mut VecDeque<AbortHandle>, connection: AbortHandle, limit: usize) {
    seats.retain(|seated| !seated.is_finished());
    if seats.len() == limit
        && let Some(oldest) = seats.pop_front()
    {
        oldest.abort();
    }
    seats.push_back(connection);
}

/// What a request has to bring along to be answered.
#[derive(Clone, Debug)]
struct Lock {
    token: String,
    address: SocketAddr,
}

/// Who decides about a request, and where its connection is known.
#[derive(Clone, Debug)]
struct Door {
    lock: Lock,
    room: Arc<Mutex<Room>>,
}

impl Door {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lock {
    /// Whether a request came by our own name: an address, which no name service can point elsewhere, or `localhost`.
    fn admits_host(&self, host: &str) -> bool {
        // Clients leave out the port that is HTTP's.
        let is_port = |port: &str| port.parse() == Ok(self.address.port());
        let (name, has_port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, is_port(port)),
            _ => (host, self.address.port() == 80),
        };
        let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_ours = |address: IpAddr| self.address.ip().is_unspecified() || address == self.address.ip();
        has_port && (name.eq_ignore_ascii_case("localhost") || address.is_some_and(is_ours))
    }
}

/// A server of the page.
pub struct Live {
    listener: Option<TcpListener>,
    server: Option<JoinHandle<()>>,
    lock: Lock,
    desk: Arc<Desk>,
}

/// Makes the SDK's span of one of ours.
pub type Convert = dyn Fn(&Span) -> SpanData + Send + Sync;

/// Where spans come in and messages go out.
struct Desk {
    state: Mutex<Told>,
    /// Changes with each message; true: there will be no more.
    progress: watch::Sender<bool>,
    /// Of running processes, as they were last heard of. Whoever shows them only swaps it, and never waits for a copy.
    running: Mutex<Arc<Vec<Span>>>,
    convert: Box<Convert>,
    root: SpanId,
    resource: Resource,
}

/// All that has been told.
struct Told {
    columns: Columns,
    rows: Rows,
    ended: HashSet<SpanId>,
    messages: Vec<Message>,
    bytes: usize,
    /// Processes and connections that have ended.
    counts: (usize, usize),
    /// What is told of running processes and of the whole, until the next time.
    pulse: Option<(Arc<str>, Arc<str>)>,
    pulses: u64,
}

#[derive(Clone, Debug)]
struct Message {
    kind: &'static str,
    data: Arc<str>,
}

impl Live {
    /// Begins to listen, with a token that nobody can guess.
    ///
    /// # Errors
    ///
    /// If the address is in use, or not ours.
    pub fn open(
        address: SocketAddr,
        token: &str,
        root: [u8; 8],
        resource: &Resource,
        convert: Box<Convert>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let told = Told {
            columns: Columns::counting_from(nanoseconds(SystemTime::now())),
            rows: Rows::with_limit(SPAN_LIMIT),
            ended: HashSet::new(),
            messages: Vec::new(),
            bytes: 0,
            counts: (0, 0),
            pulse: None,
            pulses: 0,
        };
        let desk = Desk {
            state: Mutex::new(told),
            progress: watch::Sender::new(false),
            running: Mutex::default(),
            convert,
            root: SpanId::from_bytes(root),
            resource: resource.clone(),
        };
        let lock = Lock { token: token.to_owned(), address };
        Ok(Self { listener: Some(listener), server: None, lock, desk: Arc::new(desk) })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let mut address = self.lock.address;
        if address.ip().is_unspecified() {
            // What others have to put there, they know better.
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        format!("http://{address}/?token={}", self.lock.token)
    }

    /// Serves the page in a thread of its own, which runs `begin` first.
    ///
    /// # Errors
    ///
    /// The system has no thread or no descriptor for it.
    pub fn start(&mut self, begin: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let desk = Arc::clone(&self.desk);
        let pages = Router::new().route("/", get(async || Html(page()))).route("/events", get(events));
        let door = Door { lock: self.lock.clone(), room: Arc::default() };
        let pages = pages.layer(middleware::from_fn_with_state(door.clone(), admit)).with_state(Arc::clone(&desk));
        let serve = move || {
            begin();
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let progress = desk.progress.subscribe();
                tokio::spawn(pulse(desk));
                serve(&listener, &door, pages, progress).await;
            });
        };
        self.server = Some(thread::Builder::new().name("live".to_owned()).spawn(serve)?);
        Ok(())
    }

    /// Whether anybody looks.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.desk))
    }

    /// Takes in spans that have ended.
    pub fn add(&self, spans: &[Arc<Span>]) {
        let spans: Vec<_> = spans.iter().map(|span| (self.desk.convert)(span)).collect();
        self.desk.told().add(&spans, self.desk.root);
        self.desk.tell(false);
    }

    /// Nothing more will come; waits for those who look to have got all of it, for a moment.
    pub fn finish(&self) {
        self.watch().show(Arc::default());
        self.desk.told().end(&self.desk.resource);
        self.desk.tell(true);
        let started = Instant::now();
        let is_serving = || self.server.as_ref().is_some_and(|server| !server.is_finished());
        while is_serving() && started.elapsed() < FAREWELL {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// For whoever knows what runs: takes what the page shows of it.
#[derive(Clone)]
pub struct Watch(Arc<Desk>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Nobody looks: there is nothing to be done.
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// What runs now.
    pub fn show(&self, running: Arc<Vec<Span>>) {
        // What was there is given up when nobody waits for the lock any more.
        let _former = std::mem::replace(&mut *self.0.running(), running);
    }
}

impl Desk {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Arc<Vec<Span>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody looks but the server itself, which waits for the end.
    fn is_idle(&self) -> bool {
        self.progress.receiver_count() <= 1
    }

    /// Wakes whoever waits for messages.
    fn tell(&self, is_over: bool) {
        self.progress.send_modify(|was_over| *was_over |= is_over);
    }
}

impl Told {
    fn add(&mut self, spans: &[SpanData], root: SpanId) {
        for span in spans {
            let row = self.rows.read(span);
            if self.bytes > KEPT {
                self.rows.left_out += 1;
                continue;
            }
            self.ended.insert(row.id);
            match row.kind {
                Kind::Process => self.counts.0 += 1,
                Kind::Connection => self.counts.1 += 1,
                _ => {}
            }
            self.write(span, Row { is_root: row.id == root, ..row.clone() });
            self.rows.keep(row, span);
        }
        self.flush();
    }

    fn write(&mut self, span: &SpanData, row: Row) {
        let failure = row.failure.map(|failure| self.rows.text(failure).exact());
        self.columns.add(span, &row, failure);
    }

    fn flush(&mut self) {
        if !self.columns.is_empty() {
            let batch = self.columns.take().to_string();
            self.push("spans", batch);
        }
    }

    fn push(&mut self, kind: &'static str, data: String) {
        self.bytes += data.len();
        self.messages.push(Message { kind, data: data.into() });
    }

    /// Tells of what runs. Only the newest of it counts, so it is not kept, but for its strings, which later ones refer to.
    fn pulse(&mut self, running: &[SpanData], root: SpanId, resource: &Resource) {
        // What has ended since it was seen running stays ended. When no more is kept, neither are these.
        let has_room = self.bytes <= KEPT;
        let mut alive = 0;
        for span in running {
            if !has_room || self.ended.contains(&span.span_context.span_id()) {
                continue;
            }
            let row = self.rows.read(span);
            if row.id == root && self.rows.about.trace_id.is_empty() {
                let cpus = thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64);
                self.rows.about = About { cpus, ..About::of(span) };
            }
            alive += 1;
            self.write(span, Row { is_root: row.id == root, ..row });
        }
        let mut batch = self.columns.take();
        let strings = batch["strings"].take();
        if strings.as_array().is_some_and(|strings| !strings.is_empty()) {
            let mut only = Columns::default().take();
            only["strings"] = strings;
            self.push("spans", only.to_string());
        }
        batch["strings"] = json!([]);
        let counts = (self.counts.0 + alive, self.counts.1);
        let trace = about_now(&self.rows.about, &self.columns, counts, nanoseconds(SystemTime::now()), resource);
        self.pulse = Some((batch.to_string().into(), trace.to_string().into()));
        self.pulses += 1;
    }

    fn end(&mut self, resource: &Resource) {
        self.flush();
        let trace = about(&self.rows, &self.columns, resource);
        self.pulse = None;
        self.push("trace", trace.to_string());
    }
}

/// Answers one request on each connection, until the end, and then to the end of those that have shown the token.
async fn serve(listener: &tokio::net::TcpListener, door: &Door, pages: Router, mut progress: watch::Receiver<bool>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_header_size(HEAD_SIZE).keep_alive(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = progress.wait_for(|is_over| *is_over) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let pages = TowerToHyperService::new(pages.clone());
                    let connection = http.serve_connection(TokioIo::new(stream), pages);
                    // What goes wrong with one is nothing that the command should suffer from.
                    let connection = connections.spawn(async { drop(connection.await) });
                    door.room().enter(connection);
                }
                // The connection is gone already, or there are no more file descriptors for now.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
    door.room().strangers.drain(..).for_each(|stranger| stranger.abort());
    while connections.join_next().await.is_some() {}
}

/// Tells of what runs, as long as anybody looks.
async fn pulse(desk: Arc<Desk>) {
    let has_our_pids = is_initial_pid_namespace();
    let mut clock = tokio::time::interval(PULSE);
    loop {
        clock.tick().await;
        if desk.is_idle() || *desk.progress.borrow() {
            continue;
        }
        let running = Arc::clone(&*desk.running());
        let mut running: Vec<_> = running.iter().map(|span| (desk.convert)(span)).collect();
        if has_our_pids {
            running.iter_mut().for_each(with_current_usage);
        }
        desk.told().pulse(&running, desk.root, &desk.resource);
        desk.tell(false);
    }
}

/// Lets in those who know the token, and come by our own name.
async fn admit(
    State(door): State<Door>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_ours = door.lock.admits_host(host);
    let has_token = query.iter().any(|(name, value)| name == "token" && *value == door.lock.token);
    if !is_ours || !has_token {
        return (StatusCode::FORBIDDEN, "the address that process-tracer gave has a token; this one is another\n")
            .into_response();
    }
    if let Some(connection) = task::try_id() {
        door.room().welcome(connection);
    }
    let mut response = next.run(request).await;
    for (name, value) in
        [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff")]
    {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

/// All there is, from the beginning, and then what comes.
async fn events(State(desk): State<Arc<Desk>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = Listener { progress: desk.progress.subscribe(), desk, next: 0, pulses: 0, pending: vec![reset()] };
    Sse::new(stream::unfold(listener, Listener::next)).keep_alive(KeepAlive::default())
}

fn reset() -> Event {
    Event::default().event("reset").data("")
}

/// How far one page has got.
struct Listener {
    desk: Arc<Desk>,
    progress: watch::Receiver<bool>,
    next: usize,
    pulses: u64,
    /// To be sent next, the last first.
    pending: Vec<Event>,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.pending.pop() {
                return Some((Ok(event), self));
            }
            let is_over = *self.progress.borrow_and_update();
            let (message, pulse) = {
                let told = self.desk.told();
                let message = told.messages.get(self.next).cloned();
                let is_new = message.is_none() && told.pulses > self.pulses;
                (message, is_new.then(|| (told.pulses, told.pulse.clone())))
            };
            // A pulse may refer to strings in any message before it.
            if let Some(message) = message {
                self.next += 1;
                return Some((Ok(Event::default().event(message.kind).data(&*message.data)), self));
            }
            if let Some((pulses, pulse)) = pulse {
                self.pulses = pulses;
                if let Some((batch, trace)) = pulse {
                    self.pending.push(Event::default().event("trace").data(&*trace));
                    self.pending.push(Event::default().event("spans").data(&*batch));
                }
                continue;
            }
            if is_over {
                // One more, after which it closes; then there is nobody left to wait for.
                return match self.next {
                    usize::MAX => None,
                    _ => {
                        self.next = usize::MAX;
                        Some((Ok(Event::default().event("end").data("")), self))
                    }
                };
            }
            if self.progress.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// Adds what the kernel says of a running process: proc_pid_stat(5).
fn with_current_usage(span: &mut SpanData) {
    let pid = span.attributes.iter().find_map(|attribute| match (attribute.key.as_str(), &attribute.value) {
        (semconv::PROCESS_PID, OtelValue::I64(pid)) => Some(*pid),
        _ => None,
    });
    let Some(stat) = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()) else { return };
    // Its name may hold anything; after it come fields from the third on.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    span.attributes.push(KeyValue::new(semconv::CPU_USER, field(14) as f64 / ticks));
    span.attributes.push(KeyValue::new(semconv::CPU_SYSTEM, field(15) as f64 / ticks));
    span.attributes.push(KeyValue::new(semconv::MEMORY_RESIDENT, i64::try_from(field(24)).unwrap_or_default() * page));
}

/// Whether pids are the same to us as to the programs: its inode number is the kernel's, PROC_PID_INIT_INO.
fn is_initial_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_admitted() {
        let admits = |address: &str, host: &str| {
            Lock { token: String::new(), address: address.parse().unwrap() }.admits_host(host)
        };
        for (address, host) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "LOCALHOST:8080"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("0.0.0.0:8080", "192.0.2.7:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::]:80", "[2001:db8::1]"),
        ] {
            assert!(admits(address, host), "{address} {host}");
        }
        for (address, host) in [
            ("127.0.0.1:8080", "evil.example:8080"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("127.0.0.1:8080", "127.0.0.2:8080"),
            ("0.0.0.0:8080", "evil.example:8080"),
            ("127.0.0.1:8080", ""),
        ] {
            assert!(!admits(address, host), "{address} {host}");
        }
    }
}
