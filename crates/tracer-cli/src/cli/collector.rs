//! How to reach a collector: from the flags, else from OpenTelemetry's variables.

use std::{path::Path, time::Duration};

use anyhow::{Context, Error, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use tracer_otlp::{
    Collector, Endpoint, Protocol, Signal, Url, UrlError,
    pem::{self, PemError},
};

use super::{otel::is_true, values::is_not_one_of};
use crate::{console, file, variables::variable};

/// The collector, whether the user configured an endpoint, and a problem with the file of certificate authorities.
/// `protocol` and `endpoint` are those of the flags.
pub(super) fn resolve(
    protocol: Option<Protocol>,
    endpoint: Option<&Url>,
) -> (Collector, bool, Option<CertificateProblem>) {
    let protocol = protocol.unwrap_or_else(|| otel_value("PROTOCOL", protocol_of_variable).unwrap_or_default());
    let endpoint = endpoint.cloned().map(Endpoint::base).or_else(|| otel_endpoint(protocol));
    let is_configured = endpoint.is_some();
    let (certificate, problem) = match certificates().transpose() {
        Ok(certificate) => (certificate, None),
        Err(problem) => (None, Some(problem)),
    };
    let collector = Collector {
        protocol,
        endpoint: endpoint.unwrap_or_else(|| Endpoint::base(protocol.default_base())),
        headers: otel_value("HEADERS", headers).unwrap_or_default(),
        uses_gzip: otel_value("COMPRESSION", uses_gzip).unwrap_or_default(),
        timeout: otel_value("TIMEOUT", milliseconds).unwrap_or(Collector::DEFAULT_TIMEOUT),
        certificate,
        client_identity: client_identity(),
    };
    (collector, is_configured, problem)
}

fn protocol_of_variable(value: &str) -> Result<Protocol> {
    let names = Protocol::ALL.map(|protocol| protocol.name().to_owned());
    Protocol::from_name(value).with_context(|| format!("{}; http/protobuf is used", is_not_one_of(value, &names)))
}

/// The variable with the complete URL for traces.
pub(crate) const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The endpoint in OpenTelemetry's variables. The variable for traces is complete, the general one is a base URL.
fn otel_endpoint(protocol: Protocol) -> Option<Endpoint> {
    let read = |name, parse: fn(&str) -> Result<Url, UrlError>| {
        let value = with_scheme(variable(name)?, protocol);
        let url = parse(&value).map_err(Error::new);
        url.inspect_err(|error| console::warn(format_args!("{name} is ignored: {error:#}"))).ok()
    };
    // Over HTTP, the URL for traces is used unchanged, so it may have a query. With gRPC it is a base URL.
    let complete = read(TRACES_ENDPOINT, if protocol == Protocol::Grpc { Url::parse_base } else { Url::parse });
    // A valid URL for traces is enough. The base URL is not read, and so prints no warning.
    match complete {
        Some(url) => Some(Endpoint::base(protocol.default_base()).with(Signal::Traces, url)),
        None => read("OTEL_EXPORTER_OTLP_ENDPOINT", Url::parse_base).map(Endpoint::base),
    }
}

/// With gRPC the scheme is optional. `OTEL_EXPORTER_OTLP_INSECURE` then chooses it. The default is https, except for this
/// machine: there `Url` chooses http.
fn with_scheme(value: String, protocol: Protocol) -> String {
    if protocol != Protocol::Grpc || value.contains("://") {
        return value;
    }
    match otel_variable("INSECURE") {
        Some((name, insecure)) if is_true(&name, &insecure) => format!("http://{value}"),
        None if Url::parse(&value).is_ok() => value,
        _ => format!("https://{value}"),
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

/// The client certificate and its key. One without the other is of no use.
fn client_identity() -> Option<(Vec<u8>, Vec<u8>)> {
    let [certificate, key] = ["CLIENT_CERTIFICATE", "CLIENT_KEY"];
    for (has, lacks) in [(certificate, key), (key, certificate)] {
        if let (Some((name, _)), None) = (otel_variable(has), otel_variable(lacks)) {
            console::warn(format_args!("{name} is ignored: OTEL_EXPORTER_OTLP_{lacks} is not set"));
            return None;
        }
    }
    let read = |suffix, check: fn(&[u8]) -> Result<(), PemError>| {
        let (name, path) = otel_variable(suffix)?;
        Some(read_pem(&path, check).context(name))
    };
    let (certificate, key) = (read(certificate, pem::check_certificates)?, read(key, pem::check_key)?);
    let identity = certificate.and_then(|certificate| Ok((certificate, key?)));
    identity.inspect_err(|error| console::warn(format_args!("the client certificate is ignored: {error:#}"))).ok()
}

/// The authorities that the user gave cannot be read.
#[derive(Debug)]
pub(super) struct CertificateProblem {
    variable: String,
    reason: Error,
}

impl CertificateProblem {
    pub(super) fn ignore(&self) {
        console::warn(format_args!("{} is ignored: {:#}", self.variable, self.reason));
    }
}

impl From<CertificateProblem> for Error {
    fn from(problem: CertificateProblem) -> Self {
        problem.reason.context(problem.variable)
    }
}

fn certificates() -> Option<Result<Vec<u8>, CertificateProblem>> {
    let (variable, path) = otel_variable("CERTIFICATE")?;
    let read = read_pem(&path, pem::check_certificates);
    Some(read.map_err(|reason| CertificateProblem { variable, reason }))
}

fn read_pem(path: &str, check: fn(&[u8]) -> Result<(), PemError>) -> Result<Vec<u8>> {
    let content = file::contents(Path::new(path)).with_context(|| format!("cannot read '{path}'"))?;
    check(&content).with_context(|| format!("'{path}'"))?;
    Ok(content)
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
