//! How to reach a collector: from the flags, else from OpenTelemetry's variables.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use tracer_model::redact;

use super::{values::one_of, variables::variable};
use crate::{console, sinks::file};

/// How to reach a collector.
#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    pub(crate) protocol: Protocol,
    /// Complete: spans are sent to exactly this URL.
    pub(crate) endpoint: Url,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) uses_gzip: bool,
    /// Time limit for one request.
    pub(crate) timeout: Duration,
    /// PEM: trusted authorities besides the system's.
    pub(crate) certificate: Option<Vec<u8>>,
    /// PEM: our certificate chain and its key.
    pub(crate) client_identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Otlp {
    /// The collector, and whether the user configured an endpoint. `protocol` and `endpoint` are those of the flags.
    pub(super) fn resolve(protocol: Option<Protocol>, endpoint: Option<&Url>) -> (Self, bool) {
        let protocol = protocol.unwrap_or_else(|| {
            let read = |value: &str| one_of(value).map_err(|error| anyhow!("{error}; http/protobuf is used"));
            otel_value("PROTOCOL", read).unwrap_or_default()
        });
        let endpoint = match endpoint {
            Some(base) => Some(protocol.traces(base)),
            None => otel_endpoint(protocol),
        };
        let is_configured = endpoint.is_some();
        let otlp = Self {
            protocol,
            endpoint: endpoint.unwrap_or_else(|| Url(protocol.default_endpoint().to_owned())),
            headers: otel_value("HEADERS", headers).unwrap_or_default(),
            uses_gzip: otel_value("COMPRESSION", uses_gzip).unwrap_or_default(),
            timeout: otel_value("TIMEOUT", milliseconds).unwrap_or(DEFAULT_TIMEOUT),
            certificate: otel_value("CERTIFICATE", read_pem),
            client_identity: otel_value("CLIENT_CERTIFICATE", read_pem).zip(otel_value("CLIENT_KEY", read_pem)),
        };
        (otlp, is_configured)
    }
}

/// An http:// or https:// URL. It can hold a password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url(String);

impl Url {
    pub(crate) fn parse(value: &str) -> Result<Self> {
        let shown = || redact::text(value);
        let url: http::Uri = value.parse().with_context(|| format!("'{}' is not a URL", shown()))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            bail!("'{}' is not an http:// or https:// URL", shown());
        }
        if url.host().is_none_or(str::is_empty) {
            bail!("'{}' names no host", shown());
        }
        Ok(Self(value.trim_end_matches('/').to_owned()))
    }

    /// The URL with its password.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Whether connections to it are encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// OTLP/HTTP
    #[default]
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    /// OTLP/gRPC
    #[value(name = "grpc")]
    Grpc,
}

/// The path of traces below an OTLP/HTTP base URL.
pub(crate) const TRACES_PATH: &str = "v1/traces";

impl Protocol {
    /// The name in OpenTelemetry's variables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }

    /// Source: the OTLP exporter specification.
    fn default_endpoint(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http://localhost:4318/v1/traces",
            Self::Grpc => "http://localhost:4317",
        }
    }

    /// The URL for traces below a base URL. gRPC has no path.
    fn traces(self, base: &Url) -> Url {
        if self == Self::HttpProtobuf && !base.0.ends_with(TRACES_PATH) {
            Url(format!("{}/{TRACES_PATH}", base.0))
        } else {
            base.clone()
        }
    }
}

/// Holds a complete endpoint.
pub(crate) const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The endpoint in OpenTelemetry's variables. The variable for traces is complete, the general one is a base URL.
fn otel_endpoint(protocol: Protocol) -> Option<Url> {
    for (name, is_base) in [(TRACES_ENDPOINT, false), ("OTEL_EXPORTER_OTLP_ENDPOINT", true)] {
        let Some(mut value) = variable(name) else { continue };
        if protocol == Protocol::Grpc && !value.contains("://") {
            // With gRPC the scheme is optional. OTEL_EXPORTER_OTLP_INSECURE then chooses it.
            let is_insecure = otel_variable("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
            value = format!("{}://{value}", if is_insecure { "http" } else { "https" });
        }
        match Url::parse(&value) {
            Ok(url) => return Some(if is_base { protocol.traces(&url) } else { url }),
            Err(error) => console::warn(format_args!("{name} is ignored: {error:#}")),
        }
    }
    None
}

/// A value of `OTEL_EXPORTER_OTLP_TRACES_*`, else of `OTEL_EXPORTER_OTLP_*`. An invalid value prints a warning.
fn otel_value<T>(suffix: &str, read: impl FnOnce(&str) -> Result<T>) -> Option<T> {
    let (name, value) = otel_variable(suffix)?;
    read(&value).inspect_err(|error| console::warn(format_args!("{name} is ignored: {error:#}"))).ok()
}

fn otel_variable(suffix: &str) -> Option<(String, String)> {
    ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].into_iter().find_map(|prefix| {
        let name = format!("{prefix}{suffix}");
        Some((name.clone(), variable(&name)?))
    })
}

/// `name=value` pairs separated by commas, with percent-encoded values, as in W3C Baggage. Names are case-insensitive.
fn headers(value: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        let read = || -> Option<(HeaderName, HeaderValue)> {
            let (name, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().to_ascii_lowercase().as_bytes()).ok()?, value))
        };
        // The value can be a secret.
        let (name, value) = read().with_context(|| format!("the pair that begins with '{name}' is not NAME=VALUE"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn uses_gzip(value: &str) -> Result<bool> {
    match value {
        "gzip" => Ok(true),
        "none" => Ok(false),
        other => bail!("'{other}' is not one of gzip and none"),
    }
}

/// Source: the OTLP exporter specification.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

fn milliseconds(value: &str) -> Result<Duration> {
    Ok(Duration::from_millis(value.parse().with_context(|| format!("'{value}' is not a number of milliseconds"))?))
}

fn read_pem(path: &str) -> Result<Vec<u8>> {
    file::contents(Path::new(path)).with_context(|| format!("cannot read '{path}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(value: &str) -> String {
        Protocol::HttpProtobuf.traces(&Url::parse(value).unwrap()).secret().to_owned()
    }

    #[test]
    fn a_base_endpoint_gets_the_path_of_traces_once() {
        assert_eq!(http("http://localhost:4318"), "http://localhost:4318/v1/traces");
        assert_eq!(http("https://host/otlp/"), "https://host/otlp/v1/traces");
        assert_eq!(http("http://localhost:4318/v1/traces"), "http://localhost:4318/v1/traces");
        let grpc = Url::parse("http://localhost:4317").unwrap();
        assert_eq!(Protocol::Grpc.traces(&grpc).secret(), "http://localhost:4317");
    }

    #[test]
    fn an_invalid_endpoint_names_the_reason() {
        let error = |value| format!("{:#}", Url::parse(value).unwrap_err());
        assert!(error("localhost:4318").contains("not an http:// or https:// URL"));
        assert!(error("ftp://host").contains("not an http:// or https:// URL"));
        assert!(error("http://").contains("'http://'"), "{}", error("http://"));
        assert!(error("http://a b").contains("is not a URL"));
    }

    #[test]
    fn the_password_of_an_endpoint_is_not_shown() {
        let url = Url::parse("https://me:hunter2@host/?token=abc").unwrap();
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(shown.contains("@host") && !shown.contains("hunter2") && !shown.contains("abc"), "{shown}");
        }
        for wrong in ["ftp://me:hunter2@host", "https://me:hunter2@", "https://me:hunter2@a b"] {
            let error = format!("{:#}", Url::parse(wrong).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn headers_are_percent_decoded_and_malformed_ones_are_refused() {
        let read = headers("Authorization=Bearer%20x, a=1,a=2,").unwrap();
        assert_eq!(read["authorization"], "Bearer x");
        assert_eq!(read.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        for malformed in ["nonsense", "a b=1", "a=1%0a"] {
            assert!(headers(malformed).is_err(), "{malformed}");
        }
        assert!(!format!("{:#}", headers("key=secret%00").unwrap_err()).contains("secret"));
    }
}
