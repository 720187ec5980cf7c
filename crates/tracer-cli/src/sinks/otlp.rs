//! To a collector, over OTLP/HTTP or OTLP/gRPC.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use prost::Message;
use reqwest::{Certificate, Identity};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::ClientTlsConfig;
use tracer_model::Span;

use super::{Delivery, Sink, otel::Converter};
use crate::{
    config::{Otlp, Protocol},
    console,
};

pub(crate) struct OtlpSink {
    endpoint: String,
    runtime: Runtime,
    exporter: SpanExporter,
    converter: Converter,
    problem: Option<String>,
    /// Longest time for one batch, retries included.
    timeout: Duration,
    /// A batch did not arrive although the command had ended.
    is_given_up: bool,
    heard: Arc<Mutex<Heard>>,
}

/// What the collector or the network said, as far as the exporter does not hand it on.
#[derive(Debug, Default)]
struct Heard {
    /// Why a request got no answer.
    failure: Option<String>,
    /// Spans of accepted batches that the collector rejected all the same, and what it said of them.
    rejected: u64,
    rejection: String,
}

impl OtlpSink {
    pub(crate) fn open(otlp: &Otlp, resource: &Resource) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let mut exporter = match otlp.protocol {
            Protocol::HttpProtobuf => http_exporter(otlp, &heard),
            Protocol::Grpc => grpc_exporter(otlp),
        }
        .with_context(|| format!("cannot export to {}", otlp.endpoint))?;
        drop(entered);
        exporter.set_resource(resource);
        Ok(Self {
            endpoint: otlp.endpoint.clone(),
            runtime,
            exporter,
            converter: Converter::from_environment(),
            problem: None,
            timeout: otlp.timeout,
            is_given_up: false,
            heard,
        })
    }

    /// Whether the collector takes spans: sends none.
    pub(crate) fn check(&self) -> Result<(), String> {
        let result = self.export(&[], self.timeout);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        result.map_err(|problem| heard.failure.take().unwrap_or(problem))
    }

    fn export(&self, spans: &[Arc<Span>], limit: Duration) -> Result<(), String> {
        let batch = spans.iter().map(|span| self.converter.span_data(span)).collect();
        self.runtime.block_on(async {
            match tokio::time::timeout(limit, self.exporter.export(batch)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            }
        })
    }
}

impl Sink for OtlpSink {
    fn write(&mut self, spans: Vec<Arc<Span>>, deadline: Option<Instant>) -> u64 {
        let count = spans.len() as u64;
        // Once the command has ended, a collector that is not there must not hold the exit up: one failure is enough.
        if self.is_given_up {
            return count;
        }
        let left = deadline.map_or(self.timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        let result = self.export(&spans, left.min(self.timeout));
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                let rejected = std::mem::take(&mut heard.rejected).min(count);
                if rejected > 0 {
                    self.problem.get_or_insert_with(|| format!("rejected by the collector: {}", heard.rejection));
                }
                rejected
            }
            Err(problem) => {
                self.is_given_up = deadline.is_some();
                let problem = heard.failure.take().unwrap_or(problem);
                self.problem.get_or_insert(problem);
                count
            }
        }
    }

    fn close(self: Box<Self>) -> Delivery {
        // Not awaited: a resolver thread that hangs would hold up the exit.
        self.runtime.shutdown_background();
        Delivery { destination: self.endpoint, problem: self.problem, ..Delivery::default() }
    }
}

/// HTTP as the exporter needs it, listening in on what the exporter only logs.
#[derive(Debug)]
struct Transport {
    client: reqwest::Client,
    heard: Arc<Mutex<Heard>>,
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.client.send_bytes(request).await;
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(response) => {
                heard.failure = None;
                let answer = ExportTraceServiceResponse::decode(response.body().as_ref());
                if let Some(partial) = answer.ok().and_then(|answer| answer.partial_success) {
                    heard.rejected += u64::try_from(partial.rejected_spans).unwrap_or_default();
                    heard.rejection = partial.error_message;
                }
            }
            Err(error) => heard.failure = Some(innermost(error.as_ref())),
        }
        result
    }
}

/// The cause at the bottom of an error: the outer ones say where it happened, which is known.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn http_exporter(otlp: &Otlp, heard: &Arc<Mutex<Heard>>) -> Result<SpanExporter> {
    // The provider is the process's own; a second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder();
    if let Some(pem) = &otlp.certificate {
        match Certificate::from_pem_bundle(pem) {
            Ok(certificates) => client = client.tls_certs_merge(certificates),
            Err(error) => console::warn(format_args!("the CA certificate is ignored: {error}")),
        }
    }
    if let Some((certificate, key)) = &otlp.client_identity {
        let pem = [key.as_slice(), b"\n", certificate].concat();
        match Identity::from_pem(&pem) {
            Ok(identity) => client = client.identity(identity),
            Err(error) => console::warn(format_args!("the client certificate is ignored: {error}")),
        }
    }
    let client = client.build().context("cannot set up HTTP")?;
    let client = Transport { client, heard: Arc::clone(heard) };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_endpoint(&otlp.endpoint);
    Ok(exporter.with_protocol(opentelemetry_otlp::Protocol::HttpBinary).build()?)
}

fn grpc_exporter(otlp: &Otlp) -> Result<SpanExporter> {
    let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(&otlp.endpoint);
    if otlp.endpoint.starts_with("https://") {
        let mut tls = ClientTlsConfig::new().with_enabled_roots();
        if let Some(pem) = &otlp.certificate {
            tls = tls.ca_certificate(tonic::transport::Certificate::from_pem(pem));
        }
        if let Some((certificate, key)) = &otlp.client_identity {
            tls = tls.identity(tonic::transport::Identity::from_pem(certificate, key));
        }
        exporter = exporter.with_tls_config(tls);
    }
    Ok(exporter.build()?)
}
