//! Mistakes in the way to a collector: a wrong port, protocol or certificate. Each has a sentence with its remedy.
//!
//! The error of a library only describes its own view, for example "frame with invalid size". So we ask the port once what it
//! speaks. Its first bytes show it.

use std::{
    cell::RefCell,
    error::Error,
    io::ErrorKind,
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, InvalidMessage, RootCertStore, SignatureScheme,
    client::ResolvesClientCert, crypto::ring, pki_types::ServerName, sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    answer::{Failure, Time, innermost},
    resolve,
};
use crate::collector::{Collector, Protocol, Url};

const GRPC_PORT: &str = "the collector speaks gRPC at this port, and not HTTP; set the protocol to grpc, or use its port for \
                         HTTP, usually 4318";
const HTTP_PORT: &str = "the collector speaks HTTP at this port, and not gRPC; set the protocol to http/protobuf, or use its \
                         port for gRPC, usually 4317";
const HTTP_ANSWER: &str = "this answer is HTTP, and not gRPC; set the protocol to http/protobuf, or use the port for gRPC, \
                           usually 4317";
const PLAIN_PORT: &str = "the collector does not use TLS at this port; begin the endpoint with http://";
const TLS_PORT: &str = "the collector uses TLS at this port; begin the endpoint with https://";
const BEGIN_WITH_HTTPS: &str = "begin the endpoint with https://";
const NO_CERTIFICATE: &str = "the collector asks for a client certificate; set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
                              OTEL_EXPORTER_OTLP_CLIENT_KEY";
const SET_CERTIFICATE: &str = "set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY";
const UNKNOWN_AUTHORITY: &str = "the authority of the collector's certificate is not trusted; set \
                                 OTEL_EXPORTER_OTLP_CERTIFICATE to the PEM file of the authority";
const AUTHORITY_AS_SERVER: &str = "the collector's own certificate is one of an authority (CA:TRUE); give the collector a \
                                   certificate with CA:FALSE";
const SET_CREDENTIALS: &str =
    "put the credentials into OTEL_EXPORTER_OTLP_HEADERS, such as authorization=Bearer%20TOKEN";
const CHECK_CREDENTIALS: &str = "check the credentials in OTEL_EXPORTER_OTLP_HEADERS";

/// How long the port may take to answer the beginning of a conversation.
const PATIENCE: Duration = Duration::from_millis(300);

/// The way to the collector, as the user has configured it.
#[derive(Debug)]
pub(super) struct Way {
    protocol: Protocol,
    has_identity: bool,
    has_credentials: bool,
    /// What the last URL speaks, once it is known.
    spoken: RefCell<Option<(Url, Option<Spoken>)>>,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    Tls { asks_for_certificate: bool },
}

impl Way {
    pub(super) fn new(collector: &Collector) -> Self {
        Self {
            protocol: collector.protocol,
            has_identity: collector.client_identity.is_some(),
            has_credentials: !collector.headers.is_empty(),
            spoken: RefCell::default(),
        }
    }

    /// The failure of a request without an answer.
    pub(super) async fn unreachable(&self, error: &(dyn Error + 'static), url: &Url, time: &Time<'_>) -> Failure {
        let causes = causes(error);
        let known = causes.iter().find_map(|cause| self.known(*cause));
        let remedy = match known {
            Some(remedy) => Some(remedy.to_owned()),
            None if is_connected(&causes) => self.found(&causes, url, time).await.map(str::to_owned),
            None => None,
        };
        Failure::Unreachable(remedy.unwrap_or_else(|| innermost(error)))
    }

    /// The remedy for an error that leaves no doubt.
    fn known(&self, cause: &(dyn Error + 'static)) -> Option<&'static str> {
        let of_other_protocol = match self.protocol {
            Protocol::HttpProtobuf | Protocol::HttpJson => GRPC_PORT,
            Protocol::Grpc => HTTP_PORT,
        };
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            )) => Some(PLAIN_PORT),
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Some(UNKNOWN_AUTHORITY),
            // rustls has no name for this error of webpki.
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(error)))
                if error.to_string().contains("CaUsedAsEndEntity") =>
            {
                Some(AUTHORITY_AS_SERVER)
            }
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) if !self.has_identity => {
                Some(NO_CERTIFICATE)
            }
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => Some(of_other_protocol),
            Some(_) => None,
            // The type of this error is private in tonic.
            None if cause.to_string() == "HTTP/2 was not negotiated." => Some(of_other_protocol),
            None => None,
        }
    }

    /// The remedy that follows from what the port speaks.
    async fn found(&self, causes: &[&(dyn Error + 'static)], url: &Url, time: &Time<'_>) -> Option<&'static str> {
        let known = self.spoken.borrow().as_ref().filter(|(of, _)| of == url).map(|(_, spoken)| *spoken);
        let spoken = match known {
            Some(spoken) => spoken,
            None => {
                let spoken = time.bound(self.ask(url)).await.flatten();
                self.spoken.replace(Some((url.clone(), spoken)));
                spoken
            }
        }?;
        match (url.is_secure(), self.protocol, spoken) {
            (true, _, Spoken::Tls { asks_for_certificate: true }) if !self.has_identity => Some(NO_CERTIFICATE),
            (true, _, Spoken::Http1 | Spoken::Http2) => Some(PLAIN_PORT),
            (false, _, Spoken::Tls { .. }) => Some(TLS_PORT),
            (false, Protocol::Grpc, Spoken::Http1) => Some(HTTP_PORT),
            // Some servers speak both protocols. If such a server ends the connection, the protocol is not the reason.
            (false, Protocol::HttpProtobuf | Protocol::HttpJson, Spoken::Http2) if is_not_http1(causes) => {
                Some(GRPC_PORT)
            }
            _ => None,
        }
    }

    /// Asks the port what it speaks.
    async fn ask(&self, url: &Url) -> Option<Spoken> {
        let uri: Uri = url.secret().parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if url.is_secure() { 443 } else { 80 });
        // The protocol of the export comes first. There is one exception: if the export uses HTTP without TLS, we do not ask
        // in HTTP/1, because the collector would count that as a request.
        let beginnings: &[Beginning] = match (url.is_secure(), self.protocol) {
            (true, _) => &[Beginning::Tls, Beginning::Plain(HTTP2), Beginning::Plain(HTTP1)],
            (false, Protocol::Grpc) => &[Beginning::Plain(HTTP2), Beginning::Tls, Beginning::Plain(HTTP1)],
            (false, Protocol::HttpProtobuf | Protocol::HttpJson) => &[Beginning::Tls, Beginning::Plain(HTTP2)],
        };
        for beginning in beginnings {
            let talk = async {
                let stream = resolve::connect(host, port).await.ok()?;
                match beginning {
                    Beginning::Plain(bytes) => opening(stream, bytes).await,
                    Beginning::Tls => handshake(stream, host).await,
                }
            };
            if let Ok(Some(spoken)) = tokio::time::timeout(PATIENCE, talk).await {
                return Some(spoken);
            }
        }
        None
    }

    /// Adds the remedy to the failure of a gRPC call whose answer is HTTP.
    pub(super) fn of_http_to_grpc(&self, status: StatusCode, failure: Failure) -> Failure {
        // A proxy in front of a collector may answer with other statuses.
        let is_of_server = [200, 400, 404, 405, 415, 501].contains(&status.as_u16());
        if is_of_server { failure.with(HTTP_ANSWER) } else { self.of_http(status, true, failure) }
    }

    /// Adds the remedy to the failure that an answer over HTTP means.
    pub(super) fn of_http(&self, status: StatusCode, is_secure: bool, failure: Failure) -> Failure {
        let words = failure.to_string();
        let says = |text: &str| status == StatusCode::BAD_REQUEST && words.contains(text);
        // At a TLS port, Go, nginx and Apache answer a plain request in plain HTTP.
        if !is_secure && (says("HTTPS server") || says("to HTTPS port") || says("SSL-enabled server port")) {
            return failure.with(BEGIN_WITH_HTTPS);
        }
        if is_secure && !self.has_identity && says("No required SSL certificate was sent") {
            return failure.with(SET_CERTIFICATE);
        }
        if status == StatusCode::UNAUTHORIZED { failure.with(self.credentials()) } else { failure }
    }

    /// What to do if the collector does not know who we are.
    pub(super) fn credentials(&self) -> &'static str {
        if self.has_credentials { CHECK_CREDENTIALS } else { SET_CREDENTIALS }
    }
}

/// The failure if a gRPC server has answered a request over HTTP.
pub(super) fn of_grpc(headers: &HeaderMap) -> Option<Failure> {
    let media = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = media.is_some_and(|media| media.starts_with(b"application/grpc"));
    is_grpc.then(|| Failure::Refused(GRPC_PORT.to_owned()))
}

/// The error and its causes. `io::Error` hides the error that it holds.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let held = |error: &'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
        Some(inner)
    };
    iter::successors(Some(error), |error| held(*error).or_else(|| (*error).source())).collect()
}

/// Whether there was a connection. Without one, the port cannot be asked.
fn is_connected(causes: &[&(dyn Error + 'static)]) -> bool {
    let mut errors = causes.iter().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    errors.all(|error| {
        matches!(
            error.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::Other
        )
    })
}

/// The peer has sent bytes, and they are not HTTP/1.
fn is_not_http1(causes: &[&(dyn Error + 'static)]) -> bool {
    let of_hyper = causes.iter().rev().find_map(|cause| cause.downcast_ref::<hyper::Error>());
    of_hyper.is_some_and(|error| error.source().is_none() && !error.is_incomplete_message() && !error.is_canceled())
}

/// The beginning of an HTTP/2 connection, with empty settings: RFC 9113, section 3.4.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HTTP1: &[u8] = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// How we begin a conversation.
enum Beginning {
    Plain(&'static [u8]),
    Tls,
}

/// Sends the beginning of a conversation, and recognises the answer.
async fn opening(mut stream: TcpStream, bytes: &[u8]) -> Option<Spoken> {
    stream.write_all(bytes).await.ok()?;
    let mut answer = [0; 64];
    let size = stream.read(&mut answer).await.ok()?;
    recognise(&answer[..size])
}

/// Begins a TLS handshake. It ends when we would have to trust the certificate. By then, the server has asked for ours.
async fn handshake(mut stream: TcpStream, host: &str) -> Option<Spoken> {
    let asked = Arc::new(Asked::default());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_client_cert_resolver(Arc::<Asked>::clone(&asked));
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut spoken = None;
    let mut buffer = [0; 4096];
    loop {
        let mut hello = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut hello).ok()?;
        }
        let sent = stream.write_all(&hello).await;
        let Ok(size @ 1..) = stream.read(&mut buffer).await else { break };
        spoken = spoken.or_else(|| recognise(&buffer[..size]));
        let mut received = &buffer[..size];
        let mut is_read = matches!(spoken, Some(Spoken::Tls { .. })) && sent.is_ok();
        while is_read && !received.is_empty() {
            is_read = connection.read_tls(&mut received).is_ok() && connection.process_new_packets().is_ok();
        }
        if !is_read || !connection.is_handshaking() {
            break;
        }
    }
    Some(match spoken? {
        Spoken::Tls { .. } => Spoken::Tls { asks_for_certificate: asked.0.load(Ordering::Relaxed) },
        plain => plain,
    })
}

/// Recognises the first bytes of an answer.
fn recognise(bytes: &[u8]) -> Option<Spoken> {
    match bytes {
        // A handshake or an alert: RFC 8446, section 5.1.
        [0x15 | 0x16, 3, ..] => Some(Spoken::Tls { asks_for_certificate: false }),
        // A frame SETTINGS of the whole connection: RFC 9113, section 6.5.
        [_, _, _, 4, _, 0, 0, 0, 0, ..] => Some(Spoken::Http2),
        _ if bytes.starts_with(b"HTTP/1.") => Some(Spoken::Http1),
        _ => None,
    }
}

/// The server has asked for a client certificate.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_shows_in_its_first_bytes() {
        assert_eq!(recognise(b"HTTP/1.1 400 Bad Request\r\n"), Some(Spoken::Http1));
        assert_eq!(recognise(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0"), Some(Spoken::Http2));
        assert_eq!(recognise(b"\x15\x03\x01\0\x02\x02\x46"), Some(Spoken::Tls { asks_for_certificate: false }));
        for other in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15", b"<html>"] {
            assert_eq!(recognise(other), None);
        }
    }

    #[test]
    fn an_error_within_an_error_of_io_is_found() {
        let inner = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = std::io::Error::other(std::io::Error::new(ErrorKind::InvalidData, inner));
        assert!(causes(&error).iter().any(|cause| cause.is::<rustls::Error>()));
        assert!(is_connected(&causes(&error)));
        assert!(!is_connected(&[&std::io::Error::from(ErrorKind::ConnectionRefused)]));
    }
}
