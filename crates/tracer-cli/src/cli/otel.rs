//! OpenTelemetry's variables: the table of those that concern traces, and how their values are read.
//!
//! The page about options follows from the table. Variables for metrics, for logs and for single languages concern other
//! programs. The table does not have them.

use std::{env, ffi::OsStr, sync::LazyLock};

use tracer_otlp::Counts;

use super::similar::{is_near, no_such_variable};
use crate::{
    console,
    variables::{is_no_truth, variable},
};

/// What process-tracer does with a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// process-tracer reads the variable. The text is its meaning.
    Read(&'static str),
    /// As `Read`. The same name with `_TRACES` after `_OTLP` has priority.
    ReadForTraces(&'static str),
    /// It is ignored, for this reason.
    Ignored(&'static str),
}

use Use::{Ignored, Read, ReadForTraces};

/// The variables of OpenTelemetry's specification that concern traces.
const VARIABLES: &[(&str, Use)] = &[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Read("base URL of the collector")),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Read("URL for traces, used unchanged. It has priority over the base URL")),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", ReadForTraces("`http/protobuf`, `http/json` or `grpc`")),
    ("OTEL_EXPORTER_OTLP_HEADERS", ReadForTraces("headers of each request: `name=value` pairs separated by commas")),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", ReadForTraces("time limit of each request, in milliseconds")),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", ReadForTraces("`gzip` or `none`")),
    ("OTEL_EXPORTER_OTLP_INSECURE", ReadForTraces("for a gRPC endpoint without a scheme: `true` means no TLS")),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", ReadForTraces("PEM file of authorities to trust, besides the system's")),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", ReadForTraces("PEM file of the client certificate")),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", ReadForTraces("PEM file of the key of the client certificate")),
    ("OTEL_TRACES_EXPORTER", Read("outputs: `otlp`, `console` and `none`, separated by commas")),
    ("OTEL_SDK_DISABLED", Read("`true`: nothing is sent over OTLP")),
    (
        "OTEL_TRACES_SAMPLER",
        Read(
            "`always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`. Default: \
             `parentbased_always_on`",
        ),
    ),
    ("OTEL_TRACES_SAMPLER_ARG", Read("share of the traces that `traceidratio` samples, from 0 to 1")),
    (
        "OTEL_PROPAGATORS",
        Read(
            "formats of the trace context: `tracecontext`, `baggage`, `b3`, `b3multi` and `none`, separated by commas. \
             Default: `tracecontext,baggage`",
        ),
    ),
    ("OTEL_SERVICE_NAME", Read("resource attribute `service.name`")),
    ("OTEL_RESOURCE_ATTRIBUTES", Read("resource attributes: `key=value` pairs separated by commas")),
    (VALUE_LENGTH, Read("largest number of characters of a string value. Longer values are cut")),
    (ANY_VALUE_LENGTH, Read("the same, if the variable for spans is not set")),
    (ATTRIBUTE_COUNT, Read("largest number of attributes of a span. The others are counted as dropped")),
    (ANY_ATTRIBUTE_COUNT, Read("the same for spans and events, if their own variable is not set")),
    (EVENT_COUNT, Read("largest number of events of a span")),
    (LINK_COUNT, Read("largest number of links of a span")),
    (EVENT_ATTRIBUTE_COUNT, Read("largest number of attributes of an event")),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", Read("no effect: links have no attributes")),
    ("OTEL_CONFIG_FILE", Ignored("process-tracer reads only flags and variables")),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", Ignored("process-tracer reads only flags and variables")),
    ("OTEL_LOG_LEVEL", Ignored("the flags -q and -v choose which messages are printed")),
    ("OTEL_ENTITIES", Ignored("the resource has no entities")),
    ("OTEL_BSP_SCHEDULE_DELAY", Ignored("spans are sent at least once a second")),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        Ignored(
            "OTEL_EXPORTER_OTLP_TIMEOUT limits each request, and --flush-timeout the time after the command has ended",
        ),
    ),
    ("OTEL_BSP_MAX_QUEUE_SIZE", Ignored("a queue has 256 MiB")),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Ignored("a batch has about 2 MiB")),
    ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", Ignored("process-tracer speaks only OTLP")),
    ("OTEL_EXPORTER_ZIPKIN_TIMEOUT", Ignored("process-tracer speaks only OTLP")),
    ("OTEL_EXPORTER_JAEGER_ENDPOINT", Ignored("process-tracer speaks only OTLP")),
    ("OTEL_EXPORTER_JAEGER_AGENT_HOST", Ignored("process-tracer speaks only OTLP")),
];

const VALUE_LENGTH: &str = "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT";
const ANY_VALUE_LENGTH: &str = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT";
const ATTRIBUTE_COUNT: &str = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT";
const ANY_ATTRIBUTE_COUNT: &str = "OTEL_ATTRIBUTE_COUNT_LIMIT";
const EVENT_COUNT: &str = "OTEL_SPAN_EVENT_COUNT_LIMIT";
const LINK_COUNT: &str = "OTEL_SPAN_LINK_COUNT_LIMIT";
const EVENT_ATTRIBUTE_COUNT: &str = "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT";

/// Unknown names that begin like this are probably misspelled.
const FAMILIES: [&str; 5] = ["OTEL_EXPORTER_OTLP_", "OTEL_TRACES_", "OTEL_BSP_", "OTEL_SPAN_", "OTEL_ATTRIBUTE_"];

/// A misspelled name differs from the name that was meant in at most this many characters.
const FEW_TYPOS: usize = 2;

/// Variables for other programs that begin like ours.
const FOREIGN: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_", "OTEL_EXPORTER_OTLP_LOGS_"];

/// Prints a warning for each variable that is set and has no effect.
pub(super) fn warn_of_ignored() {
    for (name, value) in env::vars_os().filter(|(_, value)| !value.is_empty()) {
        if let Some((name, reason)) = name.to_str().and_then(|name| Some((name, why_ignored(name, &value)?))) {
            console::warn(format_args!("{name} is ignored: {reason}"));
        }
    }
}

/// Why a variable has no effect. `None`: it has an effect, or it concerns other programs.
fn why_ignored(name: &str, value: &OsStr) -> Option<String> {
    let unreadable = || value.to_str().is_none().then(|| "it is not UTF-8".to_owned());
    let general = name.replacen("_OTLP_TRACES_", "_OTLP_", 1);
    for (known, what) in VARIABLES {
        match what {
            Read(_) if *known == name => return unreadable(),
            ReadForTraces(_) if *known == general => return unreadable(),
            Ignored(reason) if *known == name => return Some((*reason).to_owned()),
            _ => {}
        }
    }
    let begins_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let is_misspelled = || NAMES.iter().any(|known| is_near(name, known, FEW_TYPOS));
    let is_ours = !begins_with(&FOREIGN) && (begins_with(&FAMILIES) || is_misspelled());
    is_ours.then(|| no_such_variable(name, NAMES.iter().cloned()))
}

/// The names of the variables that process-tracer reads.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = |(name, what): &(&str, Use)| match what {
        Read(_) => vec![(*name).to_owned()],
        ReadForTraces(_) => vec![(*name).to_owned(), name.replacen("_OTLP_", "_OTLP_TRACES_", 1)],
        Ignored(_) => Vec::new(),
    };
    VARIABLES.iter().flat_map(names).collect()
});

/// Reads a boolean variable. By the specification only `true` is true, in upper or lower case.
pub(super) fn is_true(name: &str, value: &str) -> bool {
    let is = |word: &str| value.trim().eq_ignore_ascii_case(word);
    if !is("true") && !is("false") {
        console::warn(format_args!("{name} counts as false: {}", is_no_truth(value)));
    }
    is("true")
}

/// How much of a span is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The longest string value of an attribute, in characters.
    pub(crate) value_length: Option<usize>,
    pub(crate) counts: Counts,
}

/// The limits of the variables. By default there are none.
pub(super) fn limits() -> Limits {
    let of_any = number(ANY_ATTRIBUTE_COUNT);
    Limits {
        value_length: number(VALUE_LENGTH).or_else(|| number(ANY_VALUE_LENGTH)),
        counts: Counts {
            attributes: number(ATTRIBUTE_COUNT).or(of_any),
            events: number(EVENT_COUNT),
            links: number(LINK_COUNT),
            event_attributes: number(EVENT_ATTRIBUTE_COUNT).or(of_any),
        },
    }
}

/// Reads a variable that is a number. An invalid one prints a warning and is ignored.
fn number(name: &str) -> Option<usize> {
    let value = variable(name)?;
    let number = value.trim().parse().ok();
    if number.is_none() {
        console::warn(format_args!("{name} is ignored: '{value}' is not a whole number, 0 or more"));
    }
    number
}

/// The tables of variables for docs/options.md: those that process-tracer reads, and those that it ignores.
#[cfg(test)]
pub(super) fn tables() -> String {
    let mut read = "| variable | meaning |\n| --- | --- |\n".to_owned();
    let mut ignored = "| ignored variable | reason |\n| --- | --- |\n".to_owned();
    for (name, what) in VARIABLES {
        match what {
            Read(meaning) => read += &format!("| `{name}` | {meaning} |\n"),
            ReadForTraces(meaning) => {
                let for_traces = name.replacen("_OTLP_", "_OTLP_TRACES_", 1);
                read += &format!("| `{name}`, `{for_traces}` | {meaning} |\n");
            }
            Ignored(reason) => ignored += &format!("| `{name}` | {reason} |\n"),
        }
    }
    format!("{read}\n{ignored}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_variable_without_effect_is_named_with_the_reason() {
        let why_ignored = |name: &str| why_ignored(name, OsStr::new("1"));
        for name in &*NAMES {
            assert_eq!(why_ignored(name), None, "{name}");
        }
        assert_eq!(why_ignored("OTEL_BSP_SCHEDULE_DELAY").unwrap(), "spans are sent at least once a second");
        let misspelled = why_ignored("OTEL_EXPORTER_OTLP_TRACES_HEADER").unwrap();
        assert_eq!(misspelled, "there is no such variable; did you mean OTEL_EXPORTER_OTLP_TRACES_HEADERS?");
        for (misspelled, meant) in [
            ("OTEL_SERVICENAME", "OTEL_SERVICE_NAME"),
            ("OTEL_TRACE_SAMPLER", "OTEL_TRACES_SAMPLER"),
            ("OTEL_RESOURCE_ATTRIBUTE", "OTEL_RESOURCE_ATTRIBUTES"),
        ] {
            let reason = why_ignored(misspelled).unwrap();
            assert_eq!(reason, format!("there is no such variable; did you mean {meant}?"));
        }
        for foreign in [
            "OTEL_JAVAAGENT_ENABLED",
            "OTEL_INSTRUMENTATION_HTTP_ENABLED",
            "OTEL_LOGS_EXPORTER",
            "OTEL_BLRP_SCHEDULE_DELAY",
            "OTEL_METRICS_EXPORTER",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_PYTHON_LOG_LEVEL",
            "HOME",
        ] {
            assert_eq!(why_ignored(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_ignored() {
        let why_ignored = |name: &str| why_ignored(name, OsStr::from_bytes(b"\xff"));
        for name in &*NAMES {
            assert_eq!(why_ignored(name).as_deref(), Some("it is not UTF-8"), "{name}");
        }
        assert_eq!(why_ignored("HOME"), None);
    }
}
