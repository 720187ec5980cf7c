//! One request to a collector, over OTLP/HTTP or OTLP/gRPC.
//!
//! Not by opentelemetry-otlp's exporter: it takes the SDK's spans alone, so that a file could not be sent, and keeps to itself
//! what delivery rests on: rejected spans over gRPC, status codes, and when to try again.

use std::{
    cell::Cell,
    future::ready,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{
    Message,
    bytes::{BufMut, Bytes},
};
use reqwest::{Certificate, ClientBuilder, Identity, redirect::Policy};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{ServiceExt, service_fn};

use super::answer::{self, Accepted, Content, Cut, Failure, Time, innermost};
use crate::{
    cli::config::{Otlp, Protocol},
    console,
};

/// Says who we are to whoever reads a collector's log.
const USER_AGENT: &str = concat!("process-tracer/", env!("CARGO_PKG_VERSION"));

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
    Grpc { channel: Channel, headers: HeaderMap, uses_gzip: bool },
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

    /// Sends a request and waits for its answer. `deadline` is checked now and then, since it may come up meanwhile.
    pub(super) fn export(&self, request: &Bytes, deadline: &dyn Fn() -> Option<Instant>) -> Result<Accepted, Failure> {
        let time = &Time { limit: Instant::now() + self.timeout, deadline };
        self.runtime.block_on(async {
            match &self.transport {
                Transport::Http { client, url, headers, uses_gzip } => {
                    post(client, url, headers.clone(), *uses_gzip, request.clone(), time).await
                }
                Transport::Grpc { channel, headers, uses_gzip } => {
                    call(channel, headers.clone(), *uses_gzip, request.clone(), time).await
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
    let channel = endpoint.connect_lazy();
    Ok(Transport::Grpc { channel, headers: otlp.headers.clone(), uses_gzip: otlp.uses_gzip })
}

async fn post(
    client: &reqwest::Client,
    url: &str,
    mut headers: HeaderMap,
    uses_gzip: bool,
    mut body: Bytes,
    time: &Time<'_>,
) -> Result<Accepted, Failure> {
    if uses_gzip {
        // Writing to memory cannot fail.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let written = encoder.write_all(&body).and_then(|()| encoder.finish());
        body = written.map_err(|error| Failure::Refused(error.to_string()))?.into();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let answer = time.bound(client.post(url).headers(headers).body(body).send()).await;
    let answer = answer.ok_or_else(Failure::timed_out)?;
    let answer = answer.map_err(|error| Failure::Unreachable(innermost(&error)))?;
    answer::of_http(http::Response::from(answer), time).await
}

async fn call(
    channel: &Channel,
    headers: HeaderMap,
    uses_gzip: bool,
    request: Bytes,
    time: &Time<'_>,
) -> Result<Accepted, Failure> {
    // tonic stops at a message that it cannot read, and does not look at the status behind it. So the answer is read first.
    let is_accepted = Cell::new(false);
    let exchange = service_fn(|request| async {
        let answer = time.bound(channel.clone().oneshot(request)).await;
        let (mut head, body) = answer.ok_or_else(Failure::timed_out)?.map_err(unreachable)?.into_parts();
        let mut content = Content::read(body, time).await;
        for headers in [&mut head.headers, &mut content.trailers] {
            drop_broken_details(headers);
            is_accepted.set(is_accepted.get() || headers.get("grpc-status").is_some_and(|status| status == "0"));
        }
        let has_status = [&head.headers, &content.trailers].iter().any(|headers| headers.contains_key("grpc-status"));
        match content.cut {
            // A server begins its message once it has accepted the call.
            Some(cut @ Cut::TooLarge) if !has_status && is_grpc(&head) => {
                is_accepted.set(true);
                Err(Failure::Refused(cut.to_string()))
            }
            Some(Cut::TimedOut) if !has_status => Err(Failure::timed_out()),
            Some(Cut::Broken(why)) if !has_status => Err(Failure::Unreachable(why)),
            _ => {
                let body = Full::<Bytes>::from(content.bytes).with_trailers(ready(Some(Ok(content.trailers))));
                Ok(http::Response::from_parts(head, body))
            }
        }
    });
    let mut client = Grpc::new(exchange).accept_compressed(CompressionEncoding::Gzip);
    if uses_gzip {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    let request = tonic::Request::from_parts(MetadataMap::from_headers(headers), tonic::Extensions::default(), request);
    match client.unary(request, PathAndQuery::from_static(EXPORT), Encoded).await {
        Ok(answer) => Ok(Accepted::new(answer.into_inner())),
        Err(status) if is_accepted.get() => Ok(Accepted::unread(status.message())),
        Err(status) => Err(answer::failure_of_grpc(&status)),
    }
}

/// The method of the collector's trace service.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends a request that is encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, request: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(request);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        Self::Item::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

fn unreachable(error: tonic::transport::Error) -> Failure {
    Failure::Unreachable(innermost(&error))
}

/// Whether a server that speaks gRPC answers, and not some page.
fn is_grpc(head: &http::response::Parts) -> bool {
    let media = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    head.status == StatusCode::OK && media.is_some_and(|media| media.starts_with(b"application/grpc"))
}

/// Removes details of a status that are not base64: tonic panics at them.
fn drop_broken_details(headers: &mut HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    // As tonic decodes them.
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&alphabet::STANDARD, padding);
    let is_broken = |value: &HeaderValue| base64.decode(value.as_bytes()).is_err();
    if headers.get(DETAILS).is_some_and(is_broken) {
        headers.remove(DETAILS);
    }
}
