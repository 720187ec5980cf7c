//! The sink of the live page.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use tracer_model::{Resource, Span, SpanId};
use tracer_report::live::{Live, Watch};

use super::{
    encoder,
    queue::{Queue, Undelivered},
    sink::{Closing, Sink},
};
use crate::{child::privileges, console};

pub(super) struct LiveSink {
    live: Live,
}

impl LiveSink {
    /// Begins to listen, and prints the address.
    pub(super) fn open(address: SocketAddr, token: &str, root: SpanId, resource: &Resource) -> Result<Self> {
        let live = Live::open(address, token, root, resource, encoder::value_limit())
            .with_context(|| format!("cannot serve the live page at {address}"))?;
        console::say(format_args!("the trace so far is at {}", live.url()));
        Ok(Self { live })
    }
}

impl Sink for LiveSink {
    fn destination(&self) -> String {
        String::new()
    }

    fn start(&mut self) -> Result<Option<Watch>> {
        self.live.start(privileges::drop_in_thread).context("cannot start the live page")?;
        Ok(Some(self.live.watch()))
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        self.live.add(&spans);
        Undelivered::default()
    }

    fn close(self: Box<Self>) -> Closing {
        self.live.finish();
        Closing::default()
    }
}
