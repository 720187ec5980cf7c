//! The sink of the live page.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use tracer_model::Span;
use tracer_report::live::Live;

use super::{
    RunFacts,
    queue::{Queue, Undelivered},
    sink::{Closing, Extras, Sink},
};
use crate::{child::privileges, console, threads::Threads};

pub(super) struct LiveSink {
    live: Live,
}

impl LiveSink {
    /// Begins to listen, and says where.
    pub(super) fn open(address: SocketAddr, run: &RunFacts<'_>) -> Result<Self> {
        let live = Live::open(address, run.token, run.root, run.resource, run.value_limit, run.by.cloned())
            .with_context(|| format!("cannot serve the live page at {address}"))?;
        console::say(format_args!("the trace so far is at {}", live.url()));
        Ok(Self { live })
    }
}

impl Sink for LiveSink {
    fn destination(&self) -> String {
        String::new()
    }

    fn start(&mut self, _: Threads) -> Result<Extras> {
        self.live.start(privileges::drop_in_thread).context("cannot start the live page")?;
        Ok(Extras { watch: Some(self.live.watch()), ..Extras::default() })
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        self.live.add(&spans);
        Undelivered::default()
    }

    fn close(self: Box<Self>, _: &Queue) -> Closing {
        self.live.finish();
        Closing::default()
    }
}
