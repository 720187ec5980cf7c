//! The resource of a trace: service, host and operating system, by the semantic conventions.

use std::{borrow::Cow, fs};

use nix::sys::utsname::uname;
use percent_encoding::percent_decode_str;
use tracer_model::{
    Resource, Value,
    expression::{RESERVED, is_reserved},
    semconv::KeyValues,
};

use crate::{ci, console, pod, variables::variable};

/// Our name as a producer of telemetry. It is also the name of the service if there is no better one.
const PRODUCER: &str = "process-tracer";

/// Describes this machine and service. `--service-name` wins, then `OTEL_SERVICE_NAME`, then `OTEL_RESOURCE_ATTRIBUTES`, then
/// the detected attributes: in CI the service is the repository.
pub(crate) fn resource(service_name: Option<&str>) -> Resource {
    let of_job = ci::attributes(variable);
    let mut attributes = vec![text("service.name", ci::service_name(&of_job).unwrap_or_else(|| PRODUCER.to_owned()))];
    attributes.extend(producer());
    attributes.extend(host_and_os());
    attributes.extend(of_job.into_iter().map(|(key, value)| text(key, value)));
    attributes.extend(pod::attributes(variable).into_iter().map(|(key, value)| text(key, value)));
    attributes.extend(attributes_from_environment());
    attributes.extend(
        service_name
            .map(str::to_owned)
            .or_else(|| variable("OTEL_SERVICE_NAME"))
            .map(|name| text("service.name", name)),
    );
    // If a key has several values, the last counts.
    attributes.into_iter().collect()
}

/// The producer of the telemetry. `opentelemetry` as `telemetry.sdk.name` is reserved for OpenTelemetry's own SDKs.
fn producer() -> KeyValues {
    let version = env!("CARGO_PKG_VERSION");
    vec![
        text("telemetry.sdk.name", PRODUCER),
        text("telemetry.sdk.language", "rust"),
        text("telemetry.sdk.version", version),
        text("telemetry.distro.name", PRODUCER),
        text("telemetry.distro.version", version),
    ]
}

/// An attribute that is a text.
fn text(key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> (Cow<'static, str>, Value) {
    (key.into(), Value::String(value.into()))
}

fn host_and_os() -> KeyValues {
    let mut attributes = vec![text("os.type", "linux"), text("host.arch", architecture())];
    if let Ok(system) = uname() {
        attributes.push(text("host.name", system.nodename().to_string_lossy().into_owned()));
        attributes.push(text("os.build_id", system.release().to_string_lossy().into_owned()));
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    for (field, key) in [("NAME", "os.name"), ("VERSION_ID", "os.version"), ("PRETTY_NAME", "os.description")] {
        if let Some(value) = os_release_field(&release, field) {
            attributes.push(text(key, value));
        }
    }
    attributes
}

/// The architecture, as the semantic conventions name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A field of os-release(5), unquoted.
fn os_release_field(release: &str, field: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// `OTEL_RESOURCE_ATTRIBUTES`: `key=value` pairs separated by commas, with percent-encoded values. By the
/// specification, one malformed pair makes the whole variable invalid.
fn attributes_from_environment() -> KeyValues {
    let Some(pairs) = variable("OTEL_RESOURCE_ATTRIBUTES") else { return Vec::new() };
    let mut attributes = parse_attributes(&pairs).unwrap_or_else(|pair| {
        console::warn(format_args!("OTEL_RESOURCE_ATTRIBUTES is ignored: '{pair}' is not KEY=VALUE"));
        Vec::new()
    });
    attributes.retain(|(key, _)| {
        let is_reserved = is_reserved(key);
        if is_reserved {
            console::warn(format_args!(
                "'{key}' of OTEL_RESOURCE_ATTRIBUTES is ignored: names that begin with '{RESERVED}' are process-tracer's own",
            ));
        }
        !is_reserved
    });
    attributes
}

fn parse_attributes(pairs: &str) -> Result<KeyValues, &str> {
    pairs
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or(pair)?;
            let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| pair)?;
            Ok(text(key.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_attributes_are_percent_decoded() {
        assert_eq!(parse_attributes("a=1, b=x%2Cy%20z,").unwrap(), [text("a", "1"), text("b", "x,y z")]);
        assert_eq!(parse_attributes("a=1,nonsense"), Err("nonsense"));
    }

    #[test]
    fn os_release_values_lose_their_quotes() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=Debian\nVERSION_ID='12'\n";
        assert_eq!(os_release_field(release, "NAME").unwrap(), "Debian");
        assert_eq!(os_release_field(release, "VERSION_ID").unwrap(), "12");
        assert_eq!(os_release_field(release, "VERSION"), None);
    }
}
