//! How to reach a collector.

use std::{fmt, net::IpAddr, time::Duration};

use http::{HeaderMap, uri::Authority};
use tracer_model::redact;

/// How to reach a collector.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The protocol.
    pub protocol: Protocol,
    /// Its address.
    pub endpoint: Endpoint,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// Requests are compressed.
    pub uses_gzip: bool,
    /// The longest time for one request.
    pub timeout: Duration,
    /// PEM: trusted authorities besides the system's.
    pub certificate: Option<Vec<u8>>,
    /// PEM: our certificate chain and its key.
    pub client_identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Collector {
    /// The longest time for one request, if the user does not say. Source: the OTLP exporter specification.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// A collector without headers and certificates.
    #[must_use]
    pub fn new(protocol: Protocol, endpoint: Endpoint) -> Self {
        Self {
            protocol,
            endpoint,
            headers: HeaderMap::new(),
            uses_gzip: false,
            timeout: Self::DEFAULT_TIMEOUT,
            certificate: None,
            client_identity: None,
        }
    }

    /// The URL for a signal.
    #[must_use]
    pub fn url(&self, signal: Signal) -> Url {
        self.endpoint.url(signal, self.protocol)
    }
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// Its path below an OTLP/HTTP base URL.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
        }
    }

    /// Its gRPC method.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// A protocol of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/HTTP with protobuf.
    #[default]
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    HttpJson,
    /// OTLP/gRPC.
    Grpc,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::HttpProtobuf, Self::HttpJson, Self::Grpc];

    /// Its name in OpenTelemetry's variables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
            Self::Grpc => "grpc",
        }
    }

    /// The protocol of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// The base URL, if the user gives none. Source: the OTLP exporter specification.
    #[must_use]
    pub fn default_base(self) -> Url {
        Url(match self {
            Self::HttpProtobuf | Self::HttpJson => "http://localhost:4318".to_owned(),
            Self::Grpc => "http://localhost:4317".to_owned(),
        })
    }
}

/// The address of a collector: a base URL for all signals, and the complete URL of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
    complete: Option<(Signal, Url)>,
}

impl Endpoint {
    /// A base URL. Each signal adds its path.
    #[must_use]
    pub fn base(base: Url) -> Self {
        Self { base, complete: None }
    }

    /// The same endpoint, with a complete URL for one signal.
    #[must_use]
    pub fn with(self, signal: Signal, complete: Url) -> Self {
        Self { complete: Some((signal, complete)), ..self }
    }

    /// Whether connections to it are encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.base.is_secure() || self.complete.as_ref().is_some_and(|(_, url)| url.is_secure())
    }

    /// The URL for a signal. gRPC has no path.
    pub(crate) fn url(&self, signal: Signal, protocol: Protocol) -> Url {
        match &self.complete {
            Some((of, url)) if *of == signal => url.clone(),
            // A base URL may have the path already.
            _ if protocol != Protocol::Grpc && !self.base.0.ends_with(signal.path()) => {
                Url(format!("{}/{}", self.base.0, signal.path()))
            }
            _ => self.base.clone(),
        }
    }
}

/// An http:// or https:// URL. It can hold a password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

/// A text is no URL for a collector.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is not a URL.
    #[error("'{shown}' is not a URL")]
    Malformed {
        /// The text without its secrets.
        shown: String,
        /// The error of the parser.
        source: http::uri::InvalidUri,
    },
    /// It has another scheme.
    #[error("'{0}' is not an http:// or https:// URL")]
    Scheme(String),
    /// It has no scheme, and its host is not this machine.
    #[error("'{0}' has no scheme; write http://{0} or https://{0}")]
    NoScheme(String),
    /// It has no host.
    #[error("'{0}' names no host")]
    NoHost(String),
    /// Its port is not a port of TCP.
    #[error("the port of '{0}' is not a number from 1 to 65535")]
    Port(String),
    /// It is a base URL, and a path cannot be appended to its query or fragment.
    #[error("'{0}' has a query or a fragment; a base URL has neither")]
    Query(String),
}

impl Url {
    /// Reads a URL. Without a scheme it is an http:// URL of this machine, such as `localhost:4318`.
    ///
    /// # Errors
    ///
    /// It is malformed, is not HTTP, or has no host or no valid port.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let has_scheme = text.contains("://");
        let url = if has_scheme { text.to_owned() } else { format!("http://{text}") };
        let shown = || {
            let shown = redact::text(&url);
            shown.get(if has_scheme { 0 } else { "http://".len() }..).unwrap_or_default().to_owned()
        };
        let uri: http::Uri = url.parse().map_err(|source| UrlError::Malformed { shown: shown(), source })?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UrlError::Scheme(shown()));
        }
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err(UrlError::NoHost(shown()));
        }
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        let has_port = !authority.ends_with(host);
        if has_port && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(UrlError::Port(shown()));
        }
        if !has_scheme && !is_this_machine(host) {
            return Err(UrlError::NoScheme(shown()));
        }
        Ok(Self(url))
    }

    /// Reads a base URL, to which each signal appends its path.
    ///
    /// # Errors
    ///
    /// As for [`Url::parse`]; or it has a query or a fragment.
    pub fn parse_base(text: &str) -> Result<Self, UrlError> {
        let url = Self::parse(text)?;
        if url.0.contains(['?', '#']) {
            return Err(UrlError::Query(url.to_string()));
        }
        Ok(Self(url.0.trim_end_matches('/').to_owned()))
    }

    /// The URL with its password.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether connections to it are encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }
}

/// Whether connections to this host stay on this machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::text(&self.0))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, signal: Signal, protocol: Protocol) -> String {
        Endpoint::base(Url::parse_base(base).unwrap()).url(signal, protocol).secret().to_owned()
    }

    #[test]
    fn each_signal_adds_its_path_once() {
        use Signal::{Logs, Metrics, Traces};
        let http = |base, signal| url(base, signal, Protocol::HttpProtobuf);
        assert_eq!(http("http://localhost:4318", Traces), "http://localhost:4318/v1/traces");
        assert_eq!(http("http://localhost:4318", Metrics), "http://localhost:4318/v1/metrics");
        assert_eq!(http("https://host/otlp/", Logs), "https://host/otlp/v1/logs");
        assert_eq!(http("http://localhost:4318/v1/traces", Traces), "http://localhost:4318/v1/traces");
        assert_eq!(url("http://localhost:4317", Traces, Protocol::Grpc), "http://localhost:4317");
    }

    #[test]
    fn a_complete_url_is_for_its_signal_only() {
        let complete = Url::parse("https://traces.example/in/?tenant=a/").unwrap();
        let endpoint = Endpoint::base(Url::parse("http://localhost:4318").unwrap()).with(Signal::Traces, complete);
        let url = |signal| endpoint.url(signal, Protocol::HttpProtobuf).secret().to_owned();
        assert_eq!(url(Signal::Traces), "https://traces.example/in/?tenant=a/");
        assert_eq!(url(Signal::Metrics), "http://localhost:4318/v1/metrics");
    }

    #[test]
    fn an_invalid_url_names_the_reason() {
        let error = |text| Url::parse(text).unwrap_err().to_string();
        assert!(error("ftp://host").contains("not an http:// or https:// URL"));
        assert!(error("http://").contains("'http://'"), "{}", error("http://"));
        assert!(error("http://a b").contains("is not a URL"));
        for text in ["http://localhost:99999", "http://localhost:0/v1", "http://[::1]:70000", "http://localhost:x"] {
            assert!(error(text).contains(text), "{}", error(text));
        }
        assert!(error("http://me:7@h:65536").contains("is not a number from 1 to 65535"));
        let error = |text| Url::parse_base(text).unwrap_err().to_string();
        assert!(error("http://host/?a=1").contains("a base URL has neither"));
        assert!(error("http://host#a").contains("a base URL has neither"));
    }

    #[test]
    fn a_url_of_this_machine_needs_no_scheme() {
        let read = |text| Url::parse_base(text).map(|url| url.secret().to_owned()).map_err(|error| error.to_string());
        assert_eq!(read("localhost:4318").unwrap(), "http://localhost:4318");
        assert_eq!(read("127.0.0.1").unwrap(), "http://127.0.0.1");
        assert_eq!(read("[::1]:4318/otlp").unwrap(), "http://[::1]:4318/otlp");
        assert_eq!(
            read("collector:4318").unwrap_err(),
            "'collector:4318' has no scheme; write http://collector:4318 or https://collector:4318"
        );
        assert!(read("localhost.example:4318").is_err() && read("localhost:99999").is_err());
        assert!(!read("me:hunter2@collector:4318").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn the_password_of_a_url_is_not_shown() {
        let url = Url::parse("https://me:hunter2@host/?token=abc").unwrap();
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(shown.contains("@host") && !shown.contains("hunter2") && !shown.contains("abc"), "{shown}");
        }
        for wrong in ["ftp://me:hunter2@host", "https://me:hunter2@", "https://me:hunter2@a b"] {
            let error = Url::parse(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
