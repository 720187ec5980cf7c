//! A client for a collector, over OTLP/HTTP or OTLP/gRPC. One client serves all signals.
//!
//! The exporter of `opentelemetry-otlp` cannot be used here. It accepts only spans of the SDK, so it could not send a
//! file. It does not report the facts that delivery needs: rejected spans over gRPC, status codes, and the time to try
//! again.

pub(crate) mod answer;
mod proxy;
mod remedy;
mod resolve;

use std::{
    cell::Cell,
    future::ready,
    io::{self, Write},
    time::{Duration, Instant},
};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use prost::{
    Message,
    bytes::{BufMut, Bytes},
};
use reqwest::{Certificate, ClientBuilder, Identity, redirect::Policy};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig},
};
use tower::{ServiceExt, service_fn};

use self::{
    answer::{Accepted, Content, Cut, Failure, Time, innermost},
    remedy::Way,
};
use crate::{
    collector::{Collector, Endpoint, Protocol, Signal, Url},
    message::{ExportResponse, TracesData},
};

/// Our name in the log of a collector.
const USER_AGENT: &str = concat!("process-tracer/", env!("CARGO_PKG_VERSION"));

/// Why a client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot export to {endpoint}")]
pub struct OpenError {
    endpoint: Url,
    source: SetupError,
}

#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("cannot prepare the connection")]
    Runtime(#[from] io::Error),
    #[error("cannot set up HTTP")]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Grpc(#[from] tonic::transport::Error),
}

/// A client for one collector.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tracer_otlp::{Client, Collector, Endpoint, Failure, Protocol, Signal, Url};
///
/// // Nothing listens at this port.
/// let endpoint = Endpoint::base(Url::parse("http://127.0.0.1:9")?);
/// let collector = Collector { timeout: Duration::from_secs(1), ..Collector::new(Protocol::HttpProtobuf, endpoint) };
/// let client = Client::open(&collector, |warning| println!("{warning}"))?;
/// let answer = client.export(Signal::Traces, &Vec::new().into(), &|| None);
/// assert!(matches!(answer, Err(Failure::Unreachable(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    transport: Transport,
    way: Way,
    headers: HeaderMap,
    uses_gzip: bool,
    /// The longest time for one request.
    timeout: Duration,
}

#[derive(Debug)]
enum Transport {
    Http { client: reqwest::Client, endpoint: Endpoint, format: Format },
    Grpc(Service),
}

/// A collector over gRPC.
#[derive(Debug)]
struct Service {
    channel: Channel,
    url: Url,
}

/// The format of requests over HTTP.
#[derive(Clone, Copy, Debug)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }

    /// The request in this format. Only traces have JSON.
    fn body(self, protobuf: Bytes) -> Result<Bytes, Failure> {
        match self {
            Self::Protobuf => Ok(protobuf),
            Self::Json => {
                let data = TracesData::decode(protobuf).map_err(|error| Failure::Refused(error.to_string()))?;
                Ok(serde_json::to_vec(&data).map_err(|error| Failure::Refused(error.to_string()))?.into())
            }
        }
    }
}

impl Client {
    /// Prepares a client. It connects when there is something to send. Calls `warn` if a certificate is ignored.
    ///
    /// # Errors
    ///
    /// HTTP, TLS or a thread cannot be set up.
    pub fn open(collector: &Collector, mut warn: impl FnMut(String)) -> Result<Self, OpenError> {
        let mut open = || -> Result<Self, SetupError> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let entered = runtime.enter();
            let transport = match collector.protocol {
                Protocol::HttpProtobuf => http(collector, Format::Protobuf, &mut warn)?,
                Protocol::HttpJson => http(collector, Format::Json, &mut warn)?,
                Protocol::Grpc => Transport::Grpc(grpc(collector, &mut warn)?),
            };
            drop(entered);
            let Collector { headers, uses_gzip, timeout, .. } = collector.clone();
            Ok(Self { runtime, transport, way: Way::new(collector), headers, uses_gzip, timeout })
        };
        open().map_err(|source| OpenError { endpoint: collector.url(Signal::Traces), source })
    }

    /// Sends a request and waits for its answer. It asks for the `deadline` several times a second, because a deadline can be
    /// set while the request is under way.
    ///
    /// # Errors
    ///
    /// The collector did not accept the request.
    pub fn export(
        &self,
        signal: Signal,
        request: &Bytes,
        deadline: &dyn Fn() -> Option<Instant>,
    ) -> Result<Accepted, Failure> {
        let time = &Time { limit: Instant::now() + self.timeout, deadline };
        let (headers, request) = (self.headers.clone(), request.clone());
        self.runtime.block_on(async {
            match &self.transport {
                Transport::Http { client, endpoint, format } => {
                    let url = endpoint.url(signal, Protocol::HttpProtobuf);
                    let mut headers = headers;
                    headers.insert(header::CONTENT_TYPE, format.media_type());
                    post(client, &url, &self.way, headers, self.uses_gzip, format.body(request)?, time).await
                }
                Transport::Grpc(service) => {
                    call(service, &self.way, signal, headers, self.uses_gzip, request, time).await
                }
            }
        })
    }

    /// Closes the connections, and does not wait. Otherwise a resolver that hangs would delay the exit.
    pub fn close(self) {
        drop(self.transport);
        self.runtime.shutdown_background();
    }
}

fn http(collector: &Collector, format: Format, warn: &mut dyn FnMut(String)) -> Result<Transport, SetupError> {
    // There is one provider in a process. The second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = collector.certificate.as_ref().and_then(|pem| {
        let read = Certificate::from_pem_bundle(pem);
        read.inspect_err(|error| warn(format!("the CA certificate is ignored: {error}"))).ok()
    });
    let identity = collector.client_identity.as_ref().and_then(|(certificate, key)| {
        let read = Identity::from_pem(&[key.as_slice(), b"\n", certificate].concat());
        read.inspect_err(|error| warn(format!("the client certificate is ignored: {error}"))).ok()
    });
    let client = http_client(identity.clone(), |client| match &trusted {
        // Plain HTTP needs no authorities. A small container can have none.
        _ if !collector.endpoint.is_secure() => client.tls_certs_only([]),
        Some(trusted) => client.tls_certs_merge(trusted.iter().cloned()),
        None => client,
    });
    let client = match (client, trusted) {
        // The system has no authorities, but the user gave some.
        (Err(_), Some(trusted)) => http_client(identity, |client| client.tls_certs_only(trusted)),
        (client, _) => client,
    };
    Ok(Transport::Http { client: client?, endpoint: collector.endpoint.clone(), format })
}

fn http_client(
    identity: Option<Identity>,
    trust: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> reqwest::Result<reqwest::Client> {
    // After a redirect, a POST becomes a GET. Any page that answers the GET would count as delivery.
    let client = resolve::of_http(reqwest::Client::builder());
    let client = trust(client.user_agent(USER_AGENT).redirect(Policy::none()));
    match identity {
        Some(identity) => client.identity(identity),
        None => client,
    }
    .build()
}

fn grpc(collector: &Collector, warn: &mut dyn FnMut(String)) -> Result<Service, SetupError> {
    let url = collector.url(Signal::Traces);
    let mut endpoint = tonic::transport::Endpoint::from_shared(url.secret().to_owned())?.user_agent(USER_AGENT)?;
    if url.is_secure() {
        let mut tls = ClientTlsConfig::new();
        if let Some(pem) = &collector.certificate {
            tls = tls.ca_certificate(tonic::transport::Certificate::from_pem(pem));
        }
        if let Some((certificate, key)) = &collector.client_identity {
            let identity = tonic::transport::Identity::from_pem(certificate, key);
            match endpoint.clone().tls_config(ClientTlsConfig::new().identity(identity.clone())) {
                Ok(_) => tls = tls.identity(identity),
                Err(error) => warn(format!("the client certificate is ignored: {}", innermost(&error))),
            }
        }
        endpoint = match endpoint.clone().tls_config(tls.clone().with_enabled_roots()) {
            // The system has no authorities, but the user gave some.
            Err(_) if collector.certificate.is_some() => endpoint.tls_config(tls)?,
            endpoint => endpoint?,
        };
    }
    let channel = match proxy::connector(endpoint.uri()) {
        Some(connector) => endpoint.connect_with_connector_lazy(connector),
        None => endpoint.connect_with_connector_lazy(resolve::connector()),
    };
    Ok(Service { channel, url })
}

async fn post(
    client: &reqwest::Client,
    url: &Url,
    way: &Way,
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
    // hyper leaves it out if the body is empty. Some servers then answer 411.
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let answer = time.bound(client.post(url.secret()).headers(headers).body(body).send()).await;
    let answer = answer.ok_or_else(Failure::timed_out)?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Err(way.unreachable(&error, url, time).await),
    };
    if let Some(failure) = remedy::of_grpc(answer.headers()) {
        return Err(failure);
    }
    let status = answer.status();
    let accepted = answer::of_http(http::Response::from(answer), time).await;
    accepted.map_err(|failure| way.of_http(status, url.is_secure(), failure))
}

async fn call(
    service: &Service,
    way: &Way,
    signal: Signal,
    headers: HeaderMap,
    uses_gzip: bool,
    request: Bytes,
    time: &Time<'_>,
) -> Result<Accepted, Failure> {
    // tonic stops at a message that it cannot read. It does not read the status behind the message. So the answer is
    // read first.
    let is_accepted = Cell::new(false);
    let over_http = Cell::new(None);
    let exchange = service_fn(|request| async {
        let answer = time.bound(service.channel.clone().oneshot(request)).await;
        let (mut head, body) = match answer.ok_or_else(Failure::timed_out)? {
            Ok(answer) => answer.into_parts(),
            Err(error) => return Err(way.unreachable(&error, &service.url, time).await),
        };
        let mut content = Content::read(body, time).await;
        for headers in [&mut head.headers, &mut content.trailers] {
            drop_broken_details(headers);
            is_accepted.set(is_accepted.get() || headers.get("grpc-status").is_some_and(|status| status == "0"));
        }
        let has_status = [&head.headers, &content.trailers].iter().any(|headers| headers.contains_key("grpc-status"));
        if !has_status && !is_media_grpc(&head) && content.cut.is_none() {
            over_http.set(Some(way.of_http_to_grpc(head.status, answer::failure_of_page(&head, &content))));
        }
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
    match client.unary(request, PathAndQuery::from_static(signal.method()), Encoded).await {
        Ok(answer) => Ok(Accepted::new(answer.into_inner())),
        Err(status) if is_accepted.get() => Ok(Accepted::unread(status.message())),
        Err(status) => Err(match over_http.take() {
            Some(failure) => failure,
            None if status.code() == Code::Unauthenticated => answer::failure_of_grpc(&status).with(way.credentials()),
            None => answer::failure_of_grpc(&status),
        }),
    }
}

/// Sends a request that is encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportResponse;
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
    type Item = ExportResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        Self::Item::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The answer comes from a server that speaks gRPC, and is not a page.
fn is_grpc(head: &http::response::Parts) -> bool {
    head.status == StatusCode::OK && is_media_grpc(head)
}

fn is_media_grpc(head: &http::response::Parts) -> bool {
    let media = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media.is_some_and(|media| media.starts_with(b"application/grpc"))
}

/// Removes details of a status that are not base64: tonic panics at them.
fn drop_broken_details(headers: &mut HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    // Decodes them as tonic does.
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&alphabet::STANDARD, padding);
    let is_broken = |value: &HeaderValue| base64.decode(value.as_bytes()).is_err();
    if headers.get(DETAILS).is_some_and(is_broken) {
        headers.remove(DETAILS);
    }
}
