//! To a collector, over OTLP/HTTP or OTLP/gRPC.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use reqwest::{Certificate, Identity};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::ClientTlsConfig;
use tracer_model::Span;

use super::{Delivery, Sink, otel::Converter};
use crate::config::{Otlp, Protocol};

pub(crate) struct OtlpSink {
    endpoint: String,
    runtime: Runtime,
    exporter: SpanExporter,
    converter: Converter,
    delivered: u64,
    lost: u64,
    problem: Option<String>,
    /// The last batch did not arrive.
    is_down: bool,
}

impl OtlpSink {
    pub(crate) fn open(otlp: &Otlp, resource: &Resource) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let mut exporter = match otlp.protocol {
            Protocol::HttpProtobuf => http_exporter(otlp),
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
            delivered: 0,
            lost: 0,
            problem: None,
            is_down: false,
        })
    }

    fn export(&self, spans: &[Arc<Span>], limit: Option<Duration>) -> Result<(), String> {
        let batch = spans.iter().map(|span| self.converter.span_data(span)).collect();
        self.runtime.block_on(async {
            let export = self.exporter.export(batch);
            match limit {
                None => export.await.map_err(|error| error.to_string()),
                Some(limit) => match tokio::time::timeout(limit, export).await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err("no answer in time".to_owned()),
                },
            }
        })
    }
}

impl Sink for OtlpSink {
    fn write(&mut self, spans: Vec<Arc<Span>>, deadline: Option<Instant>) {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Once the command has ended, a collector that is down must not hold the exit up: one failure is enough.
        let is_hopeless = deadline.is_some() && self.is_down;
        let result = if is_hopeless { Err(String::new()) } else { self.export(&spans, left) };
        match result {
            Ok(()) => {
                self.is_down = false;
                self.delivered += spans.len() as u64;
            }
            Err(problem) => {
                self.is_down = true;
                self.lost += spans.len() as u64;
                self.problem.get_or_insert(problem);
            }
        }
    }

    fn close(self: Box<Self>) -> Delivery {
        // Not awaited: a resolver thread that hangs would hold up the exit.
        self.runtime.shutdown_background();
        Delivery {
            destination: self.endpoint,
            delivered: self.delivered,
            lost: self.lost,
            problem: self.problem,
            text: None,
        }
    }
}

fn http_exporter(otlp: &Otlp) -> Result<SpanExporter> {
    // The provider is the process's own; a second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder();
    if let Some(pem) = &otlp.certificate {
        client = client.tls_certs_merge(Certificate::from_pem_bundle(pem).context("the CA certificate is not usable")?);
    }
    if let Some((certificate, key)) = &otlp.client_identity {
        let pem = [key.as_slice(), b"\n", certificate].concat();
        client = client.identity(Identity::from_pem(&pem).context("the client certificate is not usable")?);
    }
    let client = client.build().context("cannot set up HTTP")?;
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
