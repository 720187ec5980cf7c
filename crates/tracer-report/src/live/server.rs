//! The server of the live page: its socket, its thread, its answers.
//!
//! A page that is opened gets the whole trace from the beginning.

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
use tokio::{sync::watch, task::JoinSet};
use tracer_model::{Resource, Span, SpanId};

use super::{
    desk::{Desk, Message, News, Watch, pulse},
    door::{Door, Lock, admit},
};
use crate::{by::By, page::page};

/// How long the end of the run waits for open pages to receive the last messages.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long the head of a request may take to arrive, and its size, bytes.
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_SIZE: usize = 32 << 10;

/// A server of the live page.
pub struct Live {
    listener: Option<TcpListener>,
    server: Option<JoinHandle<()>>,
    lock: Lock,
    desk: Arc<Desk>,
    by: Option<By>,
}

impl Live {
    /// Begins to listen. `token` is a secret that each request must show. On the page, string values of attributes are
    /// cut to `value_limit` characters. The table of costs first shows sums by the property `by`.
    ///
    /// # Errors
    ///
    /// The address is in use, or it is not an address of this machine.
    pub fn open(
        address: SocketAddr,
        token: &str,
        root: SpanId,
        resource: &Resource,
        value_limit: Option<usize>,
        by: Option<By>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let desk = Desk::new(root, resource, value_limit);
        let lock = Lock { token: token.to_owned(), address };
        Ok(Self { listener: Some(listener), server: None, lock, desk: Arc::new(desk), by })
    }

    /// The address of the page.
    pub fn url(&self) -> String {
        self.lock.url()
    }

    /// Serves the page in a new thread, which runs `begin` first.
    ///
    /// # Errors
    ///
    /// The system refuses a thread or a descriptor.
    pub fn start(&mut self, begin: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let desk = Arc::clone(&self.desk);
        let page = page(self.by.as_ref());
        let pages = Router::new().route("/", get(move || async move { Html(page) })).route("/events", get(events));
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

    /// Accepts reports of running processes.
    pub fn watch(&self) -> Watch {
        Watch::new(&self.desk)
    }

    /// Adds spans that have ended.
    pub fn add(&self, spans: &[Arc<Span>]) {
        self.desk.add(spans);
    }

    /// Ends the trace, and waits a moment until open pages have received all of it.
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

/// Answers one request on each connection. At the end it finishes the connections that have shown the token.
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
                    // An error of one connection must not affect the run.
                    let connection = connections.spawn(async { drop(connection.await) });
                    door.enter(connection);
                }
                // The connection is already closed, or no file descriptor is free now.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
    door.close();
    while connections.join_next().await.is_some() {}
}

/// Sends all messages from the beginning, and then the new ones.
async fn events(State(desk): State<Arc<Desk>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = Listener { progress: desk.subscribe(), desk, next: 0, pulses: 0, pending: vec![reset()] };
    Sse::new(stream::unfold(listener, Listener::next)).keep_alive(KeepAlive::default())
}

fn reset() -> Event {
    Event::default().event("reset").data("")
}

/// The position of one page in the messages.
struct Listener {
    desk: Arc<Desk>,
    progress: watch::Receiver<bool>,
    next: usize,
    pulses: u64,
    /// The next events to send, in reverse order.
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
                // Send one more event, then close.
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
