//! The server of the page: its socket, its thread, its answers.
//!
//! Whoever opens the page gets everything from the beginning.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    middleware,
    response::{
        Html, Sse,
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
use opentelemetry::SpanId;
use opentelemetry_sdk::Resource;
use tokio::{sync::watch, task::JoinSet};
use tracer_model::Span;

use super::{
    desk::{Convert, Desk, Message, News, Watch, pulse},
    door::{Door, Lock, admit},
};
use crate::page::page;

/// How long its end may hold up ours, so that the last of it arrives.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long the head of a request may take to arrive, and its size, bytes.
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_SIZE: usize = 32 << 10;

/// A server of the page.
pub struct Live {
    listener: Option<TcpListener>,
    server: Option<JoinHandle<()>>,
    lock: Lock,
    desk: Arc<Desk>,
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
        let desk = Desk::new(SpanId::from_bytes(root), resource, convert);
        let lock = Lock { token: token.to_owned(), address };
        Ok(Self { listener: Some(listener), server: None, lock, desk: Arc::new(desk) })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.lock.url()
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
        let door = Door::new(self.lock.clone());
        let pages = pages.layer(middleware::from_fn_with_state(door.clone(), admit)).with_state(Arc::clone(&desk));
        let serve = move || {
            begin();
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let progress = desk.subscribe();
                tokio::spawn(pulse(desk));
                serve(&listener, &door, pages, progress).await;
            });
        };
        self.server = Some(thread::Builder::new().name("live".to_owned()).spawn(serve)?);
        Ok(())
    }

    /// Whether anybody looks.
    pub fn watch(&self) -> Watch {
        Watch::new(&self.desk)
    }

    /// Takes in spans that have ended.
    pub fn add(&self, spans: &[Arc<Span>]) {
        self.desk.add(spans);
    }

    /// Nothing more will come; waits for those who look to have got all of it, for a moment.
    pub fn finish(&self) {
        self.watch().show(Arc::default());
        self.desk.end();
        let started = Instant::now();
        let is_serving = || self.server.as_ref().is_some_and(|server| !server.is_finished());
        while is_serving() && started.elapsed() < FAREWELL {
            thread::sleep(Duration::from_millis(20));
        }
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
                    door.enter(connection);
                }
                // The connection is gone already, or there are no more file descriptors for now.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
    door.close();
    while connections.join_next().await.is_some() {}
}

/// All there is, from the beginning, and then what comes.
async fn events(State(desk): State<Arc<Desk>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = Listener { progress: desk.subscribe(), desk, next: 0, pulses: 0, pending: vec![reset()] };
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
            match self.desk.next(self.next, self.pulses) {
                News::Message(Message { kind, data }) => {
                    self.next += 1;
                    return Some((Ok(Event::default().event(kind).data(&*data)), self));
                }
                News::Pulse(pulses, pulse) => {
                    self.pulses = pulses;
                    if let Some((batch, trace)) = pulse {
                        self.pending.push(Event::default().event("trace").data(&*trace));
                        self.pending.push(Event::default().event("spans").data(&*batch));
                    }
                    continue;
                }
                News::None => {}
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
