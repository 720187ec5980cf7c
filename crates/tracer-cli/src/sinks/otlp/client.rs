//! One request to a collector, over OTLP/HTTP or OTLP/gRPC, and what its answer means.
//!
//! Not by opentelemetry-otlp's exporter: it takes the SDK's spans alone, so that a file could not be sent, and keeps to itself
//! what delivery rests on: rejected spans over gRPC, status codes, and when to try again.

use std::{
    error::Error,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_client::TraceServiceClient,
};
use prost::Message;
use reqwest::{Certificate, ClientBuilder, Identity, redirect::Policy};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Code, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    config::{Otlp, Protocol},
    console,
};

/// Says who we are to whoever reads a collector's log.
const USER_AGENT: &str = concat!("process-tracer/", env!("CARGO_PKG_VERSION"));

/// How often a request under way looks whether its time is over.
const GLANCE: Duration = Duration::from_millis(100);

/// A way to a collector.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    transport: Transport,
    /// Longest time for one request.
    timeout: Duration,
}

#[derive(Debug)]
enum Transport {
    Http { client: reqwest::Client, url: String, headers: HeaderMap, uses_gzip: bool },
    Grpc { client: TraceServiceClient<Channel>, headers: HeaderMap },
}

/// What a collector has taken in but not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) spans: u64,
    pub(super) reason: String,
}

/// Why a request has not been taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// There is no collector, or no way to it.
    #[error("{0}")]
    Unreachable(String),
    /// It wants to be asked again, perhaps not before that time.
    #[error("{reason}")]
    Busy { reason: String, after: Option<Duration> },
    /// There is too much in it.
    #[error("{0}")]
    TooLarge(String),
    /// It would refuse it again.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Prepares a client. Connects when there is something to send.
    pub(super) fn open(otlp: &Otlp) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let transport = match otlp.protocol {
            Protocol::HttpProtobuf => http(otlp),
            Protocol::Grpc => grpc(otlp),
        }
        .with_context(|| format!("cannot export to {}", otlp.endpoint))?;
        drop(entered);
        Ok(Self { runtime, transport, timeout: otlp.timeout })
    }

    /// Sends a request and waits for its answer. `deadline` is looked at now and then, since it may come up meanwhile.
    pub(super) fn export(
        &self,
        request: &ExportTraceServiceRequest,
        deadline: impl Fn() -> Option<Instant>,
    ) -> Result<Rejected, Failure> {
        let limit = Instant::now() + self.timeout;
        self.runtime.block_on(async {
            let mut answer = Box::pin(async {
                match &self.transport {
                    Transport::Http { client, url, headers, uses_gzip } => {
                        post(client, url, headers.clone(), *uses_gzip, request).await
                    }
                    Transport::Grpc { client, headers } => call(client.clone(), headers.clone(), request.clone()).await,
                }
            });
            loop {
                if let Ok(answer) = tokio::time::timeout(GLANCE, &mut answer).await {
                    return answer;
                }
                let limit = deadline().map_or(limit, |deadline| deadline.min(limit));
                if Instant::now() >= limit {
                    return Err(Failure::Unreachable("no answer in time".to_owned()));
                }
            }
        })
    }

    /// Not waited for: a resolver's thread that hangs would hold up the exit.
    pub(super) fn close(self) {
        drop(self.transport);
        self.runtime.shutdown_background();
    }
}

fn http(otlp: &Otlp) -> Result<Transport> {
    // The provider is the process's own; a second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = otlp.certificate.as_ref().and_then(|pem| {
        let read = Certificate::from_pem_bundle(pem);
        read.inspect_err(|error| console::warn(format_args!("the CA certificate is ignored: {error}"))).ok()
    });
    let client = http_client(otlp, |client| match &trusted {
        // Without TLS none is needed, and a slim container has none.
        _ if !otlp.endpoint.is_secure() => client.tls_certs_only([]),
        Some(trusted) => client.tls_certs_merge(trusted.iter().cloned()),
        None => client,
    });
    let client = match (client, trusted) {
        // Without the system's authorities there are still those.
        (Err(_), Some(trusted)) => http_client(otlp, |client| client.tls_certs_only(trusted)),
        (client, _) => client,
    };
    let client = client.context("cannot set up HTTP")?;
    let (url, headers) = (otlp.endpoint.secret().to_owned(), otlp.headers.clone());
    Ok(Transport::Http { client, url, headers, uses_gzip: otlp.uses_gzip })
}

fn http_client(otlp: &Otlp, trust: impl FnOnce(ClientBuilder) -> ClientBuilder) -> reqwest::Result<reqwest::Client> {
    // A redirected POST becomes a GET, and whatever page answers that would count as delivery.
    let mut client = trust(reqwest::Client::builder().user_agent(USER_AGENT).redirect(Policy::none()));
    if let Some((certificate, key)) = &otlp.client_identity {
        let pem = [key.as_slice(), b"\n", certificate].concat();
        match Identity::from_pem(&pem) {
            Ok(identity) => client = client.identity(identity),
            Err(error) => console::warn(format_args!("the client certificate is ignored: {error}")),
        }
    }
    client.build()
}

fn grpc(otlp: &Otlp) -> Result<Transport> {
    let mut endpoint = Endpoint::from_shared(otlp.endpoint.secret().to_owned())?.user_agent(USER_AGENT)?;
    if otlp.endpoint.is_secure() {
        let mut tls = ClientTlsConfig::new();
        if let Some(pem) = &otlp.certificate {
            tls = tls.ca_certificate(tonic::transport::Certificate::from_pem(pem));
        }
        if let Some((certificate, key)) = &otlp.client_identity {
            let identity = tonic::transport::Identity::from_pem(certificate, key);
            match endpoint.clone().tls_config(ClientTlsConfig::new().identity(identity.clone())) {
                Ok(_) => tls = tls.identity(identity),
                Err(error) => console::warn(format_args!("the client certificate is ignored: {}", innermost(&error))),
            }
        }
        endpoint = match endpoint.clone().tls_config(tls.clone().with_enabled_roots()) {
            // Without the system's authorities there are still those that we were given.
            Err(_) if otlp.certificate.is_some() => endpoint.tls_config(tls)?,
            endpoint => endpoint?,
        };
    }
    let mut client = TraceServiceClient::new(endpoint.connect_lazy());
    if otlp.uses_gzip {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    Ok(Transport::Grpc { client, headers: otlp.headers.clone() })
}

async fn post(
    client: &reqwest::Client,
    url: &str,
    mut headers: HeaderMap,
    uses_gzip: bool,
    request: &ExportTraceServiceRequest,
) -> Result<Rejected, Failure> {
    let mut body = request.encode_to_vec();
    if uses_gzip {
        // Writing to memory cannot fail.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let written = encoder.write_all(&body).and_then(|()| encoder.finish());
        body = written.map_err(|error| Failure::Refused(error.to_string()))?;
        headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
    let answer = client.post(url).headers(headers).body(body).send().await;
    let answer = answer.map_err(|error| Failure::Unreachable(innermost(&error)))?;
    let (status, after) = (answer.status(), retry_after(answer.headers()));
    let body = answer.bytes().await.map_err(|error| Failure::Unreachable(innermost(&error)))?;
    if status.is_success() {
        // What is not understood is taken for consent: the status says so.
        let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
        return Ok(rejected(answer.partial_success));
    }
    Err(failure_of_http(status, after))
}

/// By the OTLP specification, "OTLP/HTTP Response".
fn failure_of_http(status: StatusCode, after: Option<Duration>) -> Failure {
    let reason = format!("the collector answers {status}");
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge(reason),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Busy { reason, after },
        _ => Failure::Refused(reason),
    }
}

/// In seconds. The other form, a date, is left to our own patience.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    // Further than that no time can be reckoned with, nor does anybody wait.
    Some(Duration::from_secs(seconds.min(24 * 60 * 60)))
}

async fn call(
    mut client: TraceServiceClient<Channel>,
    headers: HeaderMap,
    request: ExportTraceServiceRequest,
) -> Result<Rejected, Failure> {
    let request = tonic::Request::from_parts(MetadataMap::from_headers(headers), tonic::Extensions::default(), request);
    match client.export(request).await {
        Ok(answer) => Ok(rejected(answer.into_inner().partial_success)),
        Err(status) => Err(failure_of_grpc(&status)),
    }
}

/// By the OTLP specification, "OTLP/gRPC Response".
fn failure_of_grpc(status: &Status) -> Failure {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let reason = match status.source() {
        // It has not got as far as a collector.
        Some(source) => return Failure::Unreachable(innermost(source)),
        None => format!("the collector answers {}: {}", status.code(), status.message()),
    };
    match status.code() {
        Code::ResourceExhausted if after.is_none() => Failure::TooLarge(reason),
        Code::ResourceExhausted
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Failure::Busy { reason, after },
        _ => Failure::Refused(reason),
    }
}

fn rejected(partial: Option<ExportTracePartialSuccess>) -> Rejected {
    let partial = partial.unwrap_or_default();
    Rejected { spans: partial.rejected_spans.try_into().unwrap_or_default(), reason: partial.error_message }
}

/// The cause at the bottom of an error: the outer ones say where it happened, which is known.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_by_what_there_is_to_do() {
        let http = |status| failure_of_http(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(3)));
        assert!(matches!(http(413), Failure::TooLarge(_)));
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(http(status), Failure::Busy { after: Some(after), .. } if after.as_secs() == 3),
                "{status}"
            );
        }
        for status in [400, 401, 404, 500] {
            assert!(matches!(http(status), Failure::Refused(_)), "{status}");
        }
        let grpc = |code| failure_of_grpc(&Status::new(code, "why"));
        assert!(matches!(grpc(Code::ResourceExhausted), Failure::TooLarge(_)));
        assert!(matches!(grpc(Code::Unavailable), Failure::Busy { after: None, .. }));
        assert!(matches!(grpc(Code::InvalidArgument), Failure::Refused(reason) if reason.ends_with("why")));
        let details = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let busy = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert!(matches!(failure_of_grpc(&busy), Failure::Busy { after: Some(after), .. } if after.as_secs() == 2));
    }
}
