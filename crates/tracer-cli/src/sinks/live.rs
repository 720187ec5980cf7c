//! The sink of the live page.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use opentelemetry_sdk::Resource;
use tracer_model::{Span, SpanId};

use super::{Closing, Sink, Undelivered, otel::Converter, queue::Queue};
use crate::{
    console,
    report::{Live, Watch},
};

pub(super) struct LiveSink {
    live: Live,
    converter: Converter,
}

impl LiveSink {
    /// Begins to listen, and says where.
    pub(super) fn open(address: SocketAddr, token: &str, root: SpanId, resource: &Resource) -> Result<Self> {
        let live = Live::open(address, token, root.0, resource)?;
        console::say(format_args!("the trace so far is at {}", live.url()));
        Ok(Self { live, converter: Converter::from_environment() })
    }
}

impl Sink for LiveSink {
    fn destination(&self) -> String {
        String::new()
    }

    fn start(&mut self) -> Result<Option<Watch>> {
        self.live.start()?;
        Ok(Some(self.live.watch()))
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        let spans: Vec<_> = spans.iter().map(|span| self.converter.span_data(span)).collect();
        self.live.add(&spans);
        Undelivered::default()
    }

    fn close(self: Box<Self>) -> Closing {
        self.live.finish();
        Closing::default()
    }
}
