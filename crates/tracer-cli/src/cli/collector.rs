//! How to reach a collector: from the flags, else from OpenTelemetry's variables.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use tracer_otlp::{Collector, Endpoint, Protocol, Signal, Url};

use super::{otel::is_true, values::is_not_one_of, variables::variable};
use crate::{console, sinks::file};

/// The collector, and whether the user configured an endpoint. `protocol` and `endpoint` are those of the flags.
pub(super) fn resolve(protocol: Option<Protocol>, endpoint: Option<&Url>) -> (Collector, bool) {
    let protocol = protocol.unwrap_or_else(|| otel_value("PROTOCOL", protocol_of_variable).unwrap_or_default());
    let endpoint = endpoint.cloned().map(Endpoint::base).or_else(|| otel_endpoint(protocol));
    let is_configured = endpoint.is_some();
    let collector = Collector {
        protocol,
        endpoint: endpoint.unwrap_or_else(|| Endpoint::base(protocol.default_base())),
        headers: otel_value("HEADERS", headers).unwrap_or_default(),
        uses_gzip: otel_value("COMPRESSION", uses_gzip).unwrap_or_default(),
        timeout: otel_value("TIMEOUT", milliseconds).unwrap_or(Collector::DEFAULT_TIMEOUT),
        certificate: otel_value("CERTIFICATE", read_pem),
        client_identity: otel_value("CLIENT_CERTIFICATE", read_pem).zip(otel_value("CLIENT_KEY", read_pem)),
    };
    (collector, is_configured)
}

fn protocol_of_variable(value: &str) -> Result<Protocol> {
    let names = Protocol::ALL.map(|protocol| protocol.name().to_owned());
    Protocol::from_name(value).with_context(|| format!("{}; http/protobuf is used", is_not_one_of(value, &names)))
}

/// Holds a complete endpoint.
pub(crate) const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The endpoint in OpenTelemetry's variables. The variable for traces is complete, the general one is a base URL.
fn otel_endpoint(protocol: Protocol) -> Option<Endpoint> {
    let read = |name| {
        let mut value = variable(name)?;
        if protocol == Protocol::Grpc && !value.contains("://") {
            // With gRPC the scheme is optional. OTEL_EXPORTER_OTLP_INSECURE then chooses it.
            let is_insecure = otel_variable("INSECURE").is_some_and(|(name, value)| is_true(&name, &value));
            value = format!("{}://{value}", if is_insecure { "http" } else { "https" });
        }
        let url = Url::parse(&value).map_err(anyhow::Error::new);
        url.inspect_err(|error| console::warn(format_args!("{name} is ignored: {error:#}"))).ok()
    };
    let complete = read(TRACES_ENDPOINT);
    // A valid URL for traces is enough. The base URL is not read, and so prints no warning.
    match complete {
        Some(url) => Some(Endpoint::base(protocol.default_base()).with(Signal::Traces, url)),
        None => read("OTEL_EXPORTER_OTLP_ENDPOINT").map(Endpoint::base),
    }
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

fn milliseconds(value: &str) -> Result<Duration> {
    Ok(Duration::from_millis(value.parse().with_context(|| format!("'{value}' is not a number of milliseconds"))?))
}

fn read_pem(path: &str) -> Result<Vec<u8>> {
    file::contents(Path::new(path)).with_context(|| format!("cannot read '{path}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
