//! Flags and variables → one validated configuration.
//!
//! What is wrong in a flag is an error. What is wrong in a variable is a warning, and the variable is skipped: one set for
//! a whole CI system must not break its jobs.

use std::{
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{ArgMatches, parser::ValueSource};
use http::{HeaderMap, HeaderName, HeaderValue};
use nix::unistd::geteuid;
use percent_encoding::percent_decode_str;
use tracer_bpf::{Limits, Options};
use tracer_model::{
    SpanId, TraceId,
    context::{SpanContext, TRACEPARENT},
    expression::{Attribute, Attributes},
    redact::{self, Extent, Pattern, Policy, Redactor},
};
use tracer_report::formats::{self, Format, Target, Text};

use crate::{ci, console, sinks::file, state, user::User};

use super::{args::Args, variables::variable};

/// What a run is asked to do.
#[derive(Debug)]
pub(crate) struct Config {
    /// The command and its arguments: at least one.
    pub(crate) command: Vec<OsString>,
    /// `None`: a random one.
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) attributes: Attributes,
    pub(crate) outputs: Vec<Wanted>,
    pub(crate) otlp: Otlp,
    /// `None`: by OpenTelemetry's variables.
    pub(crate) service_name: Option<String>,
    /// `None`: ours.
    pub(crate) user: Option<User>,
    pub(crate) wait: Wait,
    /// How long the end of a run may take to deliver what is left.
    pub(crate) flush_timeout: Duration,
    /// Where undelivered spans are kept; `None`: nowhere.
    pub(crate) spool: Option<PathBuf>,
    /// Bytes of the ring buffer: a power of two.
    pub(crate) ring_bytes: u32,
    /// Live processes that can be followed at once.
    pub(crate) max_processes: u32,
    pub(crate) uses_sudo: bool,
    /// Failed execs are told of.
    pub(crate) failed_execs: bool,
    /// Connections to unix sockets are told of.
    pub(crate) unix: bool,
    /// What is exported of arguments.
    pub(crate) arguments: Policy,
    pub(crate) is_strict: bool,
    pub(crate) is_quiet: bool,
    pub(crate) is_verbose: bool,
}

/// When a trace ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wait {
    /// With the command.
    #[default]
    Command,
    /// With the last of all that it has started.
    Tree,
}

/// Where a trace goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Otlp,
    /// For people, at the end.
    Text(Text),
    /// The summary, for the page of a CI job: appended to this file.
    JobSummary(PathBuf),
    JsonLines(PathBuf),
    Report(Format, PathBuf),
    /// The page while the command runs.
    Live(SocketAddr),
}

/// An output, and how much it is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) output: Output,
    /// No flag asks for it: that it cannot be opened is no reason to fail.
    pub(crate) is_optional: bool,
}

/// How to reach a collector.
#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    pub(crate) protocol: Protocol,
    /// Complete: of the very resource that spans are sent to.
    pub(crate) endpoint: Url,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) uses_gzip: bool,
    /// Longest time for one request.
    pub(crate) timeout: Duration,
    /// PEM: the authorities to trust besides the system's.
    pub(crate) certificate: Option<Vec<u8>>,
    /// PEM: our own certificate chain and its key.
    pub(crate) client_identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// An http:// or https:// URL. It may hold a password: what is shown of it does not.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url(String);

impl Url {
    /// As it is.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Whether its connections are to be encrypted.
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    #[default]
    HttpProtobuf,
    Grpc,
}

impl Config {
    /// Makes sense of the command line and the environment, warning of variables it skips.
    pub(crate) fn resolve(args: Args, matches: &ArgMatches) -> Result<Self> {
        if args.command.is_empty() {
            bail!("no command to run; usage: process-tracer [OPTIONS] -- COMMAND [ARGS]...");
        }
        let settings = Settings { matches };
        let (trace_id, parent_id) = trace_context(&settings, &args)?;
        let (outputs, otlp) = outputs(&settings, &args)?;
        let wanted = |output| Wanted { is_optional: !settings.has_flag_for(&output, &args), output };
        let outputs = outputs.into_iter().map(wanted).collect();
        let user = user(&args)?;
        let arguments = argument_policy(&settings, &args)?;
        Ok(Self {
            trace_id,
            parent_id,
            attributes: attributes(&settings, &args.attribute)?,
            outputs,
            otlp,
            service_name: args.service_name.filter(|name| !name.is_empty()),
            user,
            wait: settings.read_option("wait", args.wait.as_ref(), wait)?.unwrap_or_default(),
            flush_timeout: settings
                .read_option("flush_timeout", args.flush_timeout.as_ref(), seconds)?
                .unwrap_or(DEFAULT_FLUSH_TIMEOUT),
            spool: settings.read_option("spool", args.spool.as_ref(), spool)?.unwrap_or_else(state::folder),
            ring_bytes: settings
                .read_option("buffer_size", args.buffer_size.as_ref(), ring_bytes)?
                .unwrap_or(Options::default().ring_bytes),
            max_processes: settings
                .read_option("max_processes", args.max_processes.as_ref(), max_processes)?
                .unwrap_or(Options::default().max_processes),
            uses_sudo: args.sudo,
            failed_execs: args.failed_execs,
            unix: args.unix,
            arguments,
            is_strict: args.strict,
            is_quiet: args.quiet,
            is_verbose: args.verbose,
            command: args.command,
        })
    }
}

/// The collector that a run would send to if it sent to one, and whether it would.
pub(crate) fn collector(args: &Args, matches: &ArgMatches) -> Result<(Otlp, bool)> {
    let (outputs, otlp) = outputs(&Settings { matches }, args)?;
    let is_wanted = outputs.contains(&Output::Otlp);
    Ok((otlp, is_wanted))
}

/// Tells flags from their environment twins.
struct Settings<'a> {
    matches: &'a ArgMatches,
}

impl Settings<'_> {
    fn is_flag(&self, flag: &str) -> bool {
        self.matches.value_source(flag) == Some(ValueSource::CommandLine)
    }

    /// Whether a flag asks for that output, not just a variable.
    fn has_flag_for(&self, output: &Output, args: &Args) -> bool {
        let is_named = || args.output.iter().any(|value| self::output(value).is_ok_and(|named| named == *output));
        match output {
            Output::Live(_) => self.is_flag("live"),
            Output::Otlp if self.is_flag("endpoint") => true,
            _ => self.is_flag("output") && is_named(),
        }
    }

    fn is_from_environment(&self, flag: &str) -> bool {
        self.matches.value_source(flag) == Some(ValueSource::EnvVariable)
    }

    /// Reads one value: an error if it is a flag's, a warning and `None` if it is a variable's.
    fn read<T>(&self, flag: &str, value: &str, read: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
        let is_from_environment = self.is_from_environment(flag);
        if is_from_environment && value.is_empty() {
            return Ok(None);
        }
        let name = flag.replace('_', "-");
        match read(value) {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_from_environment => {
                console::warn(format_args!("PROCESS_TRACER_{} is ignored: {error:#}", flag.to_uppercase()));
                Ok(None)
            }
            Err(error) => Err(error.context(format!("--{name}"))),
        }
    }

    /// The same; instead of a variable that makes no sense there is something else, and the warning says so.
    fn read_or<T>(
        &self,
        flag: &str,
        value: &str,
        read: impl FnOnce(&str) -> Result<T>,
        instead: &str,
        otherwise: T,
    ) -> Result<T> {
        let read = |value: &str| {
            read(value).map_err(|error| match self.is_from_environment(flag) {
                true => anyhow!("{error}; {instead}"),
                false => error,
            })
        };
        Ok(self.read(flag, value, read)?.unwrap_or(otherwise))
    }

    fn read_option<T>(
        &self,
        flag: &str,
        value: Option<&String>,
        read: impl FnOnce(&str) -> Result<T>,
    ) -> Result<Option<T>> {
        value.map_or(Ok(None), |value| self.read(flag, value, read))
    }

    /// The values of a repeatable flag, or those that its variable holds.
    fn list(&self, flag: &str, values: &[String], separators: &[char]) -> Vec<String> {
        if !self.is_from_environment(flag) {
            return values.to_vec();
        }
        let values = values.iter().flat_map(|value| value.split(separators));
        values.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }
}

/// A trace id, for a run or of a saved trace.
pub(crate) fn trace_id(value: &str) -> Result<TraceId> {
    value.parse().with_context(|| format!("'{value}'"))
}

fn trace_context(settings: &Settings<'_>, args: &Args) -> Result<(Option<TraceId>, Option<SpanId>)> {
    let quote = |value: &str| format!("'{value}'");
    let trace_id = settings.read_option("trace_id", args.trace_id.as_ref(), trace_id)?;
    let parent_id = settings.read_option("parent_id", args.parent_id.as_ref(), |value| {
        value.parse::<SpanId>().with_context(|| quote(value))
    })?;
    let caller = variable(TRACEPARENT).and_then(|value| {
        let caller = value.parse::<SpanContext>().ok();
        if caller.is_none() {
            console::warn(format_args!("TRACEPARENT is ignored: '{value}' is not a W3C trace context"));
        }
        caller
    });
    let caller = match settings.read_option("parent", args.parent.as_ref(), parent)? {
        Some(Parent::Ci) if caller.is_none() => {
            let run = ci::run_span(variable);
            if run.is_none() {
                console::warn(
                    "--parent ci: no CI system that gives its runs a span is known by its variables; the trace has its own id",
                );
            }
            run
        }
        _ => caller,
    };
    // A span can only be the parent within its own trace.
    let caller = caller.filter(|caller| trace_id.is_none_or(|trace_id| trace_id == caller.trace_id));
    if parent_id.is_some() && trace_id.is_none() && caller.is_none() {
        if settings.is_from_environment("parent_id") {
            console::warn("PROCESS_TRACER_PARENT_ID is ignored: there is no trace id for it");
            return Ok((None, None));
        }
        bail!("--parent-id: no trace for that parent; give its --trace-id too");
    }
    Ok((trace_id.or(caller.map(|caller| caller.trace_id)), parent_id.or(caller.map(|caller| caller.span_id))))
}

/// Wrong in a variable it is an error, too: skipped, the command would run as somebody else, perhaps as root.
fn user(args: &Args) -> Result<Option<User>> {
    args.user.as_deref().filter(|name| !name.is_empty()).map(User::look_up).transpose().context("--user")
}

fn attributes(settings: &Settings<'_>, values: &[String]) -> Result<Attributes> {
    let mut attributes = Vec::new();
    for value in settings.list("attribute", values, &['\n']) {
        attributes.extend(settings.read("attribute", &value, |value| Ok(Attribute::compile(value)?))?);
    }
    Ok(attributes.into_iter().collect())
}

/// What is exported of arguments. A variable that makes no sense must not export more than it was meant to.
fn argument_policy(settings: &Settings<'_>, args: &Args) -> Result<Policy> {
    let is_unset = |value: &&String| settings.is_from_environment("args") && value.is_empty();
    let extent = match args.args.as_ref().filter(|value| !is_unset(value)) {
        Some(value) => settings.read_or("args", value, extent, "no arguments are exported", Extent::None)?,
        None => Extent::default(),
    };
    let added = patterns(settings, "redact", &args.redact)?;
    // As a variable it may be a switch: `1`, or a word for no.
    let removed = settings.list("no_redact", &args.no_redact, &[',', '\n']);
    let is_from_environment = settings.is_from_environment("no_redact");
    let is_switch = |value: &String, words: &[&str]| {
        is_from_environment && words.iter().any(|word| value.eq_ignore_ascii_case(word))
    };
    let removed: Vec<_> =
        removed.into_iter().filter(|value| !is_switch(value, &["0", "f", "false", "n", "no", "off"])).collect();
    let is_off =
        removed.iter().any(|value| value.is_empty() || is_switch(value, &["1", "t", "true", "y", "yes", "on"]));
    if is_off && settings.is_flag("redact") && settings.is_flag("no_redact") {
        bail!("--redact: --no-redact without a pattern shows everything; use one of them");
    }
    let redactor = if is_off { None } else { Some(Redactor::new(added, patterns(settings, "no_redact", &removed)?)) };
    Ok(Policy { extent, redactor })
}

fn extent(value: &str) -> Result<Extent> {
    match value {
        "none" => Ok(Extent::None),
        "program" => Ok(Extent::Program),
        "all" => Ok(Extent::All),
        other => bail!("'{other}' is not one of none, program and all"),
    }
}

fn patterns(settings: &Settings<'_>, flag: &str, values: &[String]) -> Result<Vec<Pattern>> {
    let mut patterns = Vec::new();
    for value in settings.list(flag, values, &[',', '\n']) {
        patterns.extend(settings.read(flag, &value, |value| Ok(value.parse::<Pattern>()?))?);
    }
    Ok(patterns)
}

/// The outputs that flags name for `process-tracer report`; the summary, if none.
pub(crate) fn report_outputs(flags: &[String]) -> Result<Vec<Output>> {
    let outputs: Vec<_> = flags.iter().map(|value| output(value).context("--output")).collect::<Result<_>>()?;
    Ok(if outputs.is_empty() { vec![Output::Text(Text::Summary)] } else { outputs })
}

fn outputs(settings: &Settings<'_>, args: &Args) -> Result<(Vec<Output>, Otlp)> {
    let protocol = match settings.read_option("protocol", args.protocol.as_ref(), protocol)? {
        Some(protocol) => protocol,
        None => {
            otel_value("PROTOCOL", |value| protocol(value).map_err(|error| anyhow!("{error}; http/protobuf is used")))
                .unwrap_or_default()
        }
    };
    let flag_endpoint =
        settings.read_option("endpoint", args.endpoint.as_ref(), |value| endpoint(value, protocol, true))?;
    let has_flag_endpoint = flag_endpoint.is_some();
    let otel_endpoint = if has_flag_endpoint { None } else { otel_endpoint(protocol) };
    let has_endpoint = has_flag_endpoint || otel_endpoint.is_some();

    let mut outputs = Vec::new();
    for value in settings.list("output", &args.output, &[',', '\n']) {
        if let Some(output) = settings.read("output", &value, output)?
            && !outputs.contains(&output)
        {
            outputs.push(output);
        }
    }
    if has_flag_endpoint && !outputs.is_empty() && !outputs.contains(&Output::Otlp) {
        outputs.push(Output::Otlp);
    }
    if outputs.is_empty() {
        outputs.push(default_output(has_flag_endpoint, has_endpoint));
        // A summary that was not asked for is the first thing to leave out.
        outputs.retain(|output| !(args.quiet && *output == Output::Text(Text::Summary)));
    }
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        && outputs.contains(&Output::Otlp)
    {
        console::warn("OTEL_SDK_DISABLED is true: nothing is sent over OTLP");
        outputs.retain(|output| *output != Output::Otlp);
        if outputs.is_empty() {
            outputs.push(Output::Text(Text::Summary));
        }
    }
    if let Some(address) = settings.read_option("live", args.live.as_ref(), live_address)? {
        outputs.push(Output::Live(address));
    }
    if let Some(file) = variable("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty() && !args.quiet) {
        outputs.push(Output::JobSummary(file.into()));
    }
    let otlp = Otlp {
        protocol,
        endpoint: flag_endpoint.or(otel_endpoint).unwrap_or_else(|| Url(protocol.default_endpoint().to_owned())),
        headers: otel_value("HEADERS", headers).unwrap_or_default(),
        uses_gzip: otel_value("COMPRESSION", uses_gzip).unwrap_or_default(),
        timeout: otel_value("TIMEOUT", milliseconds).unwrap_or(DEFAULT_TIMEOUT),
        certificate: otel_value("CERTIFICATE", read_pem),
        client_identity: otel_value("CLIENT_CERTIFICATE", read_pem).zip(otel_value("CLIENT_KEY", read_pem)),
    };
    Ok((outputs, otlp))
}

/// Where a trace goes that nobody has sent anywhere.
fn default_output(has_flag_endpoint: bool, has_endpoint: bool) -> Output {
    let exporter = variable("OTEL_TRACES_EXPORTER");
    match exporter.as_deref() {
        _ if has_flag_endpoint => Output::Otlp,
        Some("otlp") => Output::Otlp,
        Some("none" | "console") => Output::Text(Text::Summary),
        Some(other) => {
            console::warn(format_args!("OTEL_TRACES_EXPORTER is ignored: '{other}' is not one of otlp, console, none"));
            if has_endpoint { Output::Otlp } else { Output::Text(Text::Summary) }
        }
        None if has_endpoint => Output::Otlp,
        None => Output::Text(Text::Summary),
    }
}

/// An address to listen on; by default one that only this machine can reach, and any port.
fn live_address(value: &str) -> Result<SocketAddr> {
    match value {
        "" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        port if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().context("a port is at most 65535")?)))
        }
        address => address.parse().map_err(|_| anyhow!("'{address}' is neither a port nor ADDRESS:PORT")),
    }
}

fn output(value: &str) -> Result<Output> {
    match Target::of(value) {
        Some(Target::Otlp) => Ok(Output::Otlp),
        Some(Target::Text(text)) => Ok(Output::Text(text)),
        Some(Target::JsonLines) => Ok(Output::JsonLines(value.into())),
        Some(Target::File(format)) => Ok(Output::Report(format, value.into())),
        None => bail!("'{value}' is not one of {}", formats::names()),
    }
}

/// Who has a span for the trace to hang under.
enum Parent {
    Ci,
}

fn parent(value: &str) -> Result<Parent> {
    match value {
        "ci" => Ok(Parent::Ci),
        other => bail!("'{other}' is not ci; for a span of your own use --trace-id and --parent-id"),
    }
}

fn wait(value: &str) -> Result<Wait> {
    match value {
        "command" => Ok(Wait::Command),
        "tree" => Ok(Wait::Tree),
        other => bail!("'{other}' is not one of command and tree"),
    }
}

fn protocol(value: &str) -> Result<Protocol> {
    match value {
        value if value == Protocol::HttpProtobuf.name() => Ok(Protocol::HttpProtobuf),
        value if value == Protocol::Grpc.name() => Ok(Protocol::Grpc),
        other => bail!("'{other}' is not one of http/protobuf and grpc"),
    }
}

impl Protocol {
    /// As OpenTelemetry's variables have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }

    /// By the OTLP exporter specification.
    fn default_endpoint(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http://localhost:4318/v1/traces",
            Self::Grpc => "http://localhost:4317",
        }
    }
}

/// The path of traces below an OTLP/HTTP base URL.
pub(crate) const TRACES_PATH: &str = "v1/traces";

/// Checks an endpoint. A base URL gets the path of traces appended where the protocol has one.
fn endpoint(value: &str, protocol: Protocol, is_base: bool) -> Result<Url> {
    let shown = || redact::text(value);
    let url: http::Uri = value.parse().with_context(|| format!("'{}' is not a URL", shown()))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        bail!("'{}' is not an http:// or https:// URL", shown());
    }
    if url.host().is_none_or(str::is_empty) {
        bail!("'{}' names no host", shown());
    }
    let value = value.trim_end_matches('/');
    Ok(Url(if is_base && protocol == Protocol::HttpProtobuf && !value.ends_with(TRACES_PATH) {
        format!("{value}/{TRACES_PATH}")
    } else {
        value.to_owned()
    }))
}

/// Holds an endpoint that is complete.
pub(crate) const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The endpoint of OpenTelemetry's variables; the one for traces alone is complete, the general one a base.
fn otel_endpoint(protocol: Protocol) -> Option<Url> {
    for (name, is_base) in [(TRACES_ENDPOINT, false), ("OTEL_EXPORTER_OTLP_ENDPOINT", true)] {
        let Some(mut value) = variable(name) else { continue };
        if protocol == Protocol::Grpc && !value.contains("://") {
            // For gRPC the scheme may be left out; then OTEL_EXPORTER_OTLP_INSECURE decides.
            let is_insecure = otel_variable("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
            value = format!("{}://{value}", if is_insecure { "http" } else { "https" });
        }
        match endpoint(&value, protocol, is_base) {
            Ok(endpoint) => return Some(endpoint),
            Err(error) => console::warn(format_args!("{name} is ignored: {error:#}")),
        }
    }
    None
}

/// A value of `OTEL_EXPORTER_OTLP_TRACES_*` or else `OTEL_EXPORTER_OTLP_*`; a warning if it makes no sense.
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

/// `name=value` pairs with commas between, values percent-encoded, as in W3C Baggage; names in whatever case.
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
        // The value may be a secret.
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

const DEFAULT_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

fn seconds(value: &str) -> Result<Duration> {
    const DAY: f64 = 86_400.0;
    let seconds = value.parse().ok().filter(|seconds| (0.0..=DAY).contains(seconds)).map(Duration::from_secs_f64);
    seconds.with_context(|| format!("'{value}' is not a number of seconds, up to a day"))
}

fn spool(value: &str) -> Result<Option<PathBuf>> {
    Ok((value != "none").then(|| value.into()))
}

/// By the kernel's rules a power of two, and at least a page; it gives no more than 1 GiB to everybody.
fn ring_bytes(value: &str) -> Result<u32> {
    let (number, unit) = match value.split_at_checked(value.len().saturating_sub(1)) {
        Some((number, "K" | "k")) => (number, 1 << 10),
        Some((number, "M" | "m")) => (number, 1 << 20),
        Some((number, "G" | "g")) => (number, 1 << 30),
        _ => (value, 1),
    };
    let bytes = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    let bytes = bytes.with_context(|| format!("'{value}' is not a size such as 16M"))?;
    if !bytes.is_power_of_two() || !(64 << 10..=Limits::ROOT.ring_bytes).contains(&bytes) {
        bail!("'{value}' is not a power of two from 64K to 1G");
    }
    let limit = limits().ring_bytes;
    if bytes > limit {
        bail!("without root it can be at most {}M, not '{value}'", limit >> 20);
    }
    Ok(bytes)
}

fn max_processes(value: &str) -> Result<u32> {
    let most = Limits::ROOT.max_processes;
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    let number = number.with_context(|| format!("'{value}' is not a number from 1 to {most}"))?;
    let limit = limits().max_processes;
    if number > limit {
        bail!("without root it can be at most {limit}, not {number}");
    }
    Ok(number)
}

fn limits() -> Limits {
    if geteuid().is_root() { Limits::ROOT } else { Limits::ORDINARY }
}

/// By the OTLP exporter specification.
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

    #[test]
    fn endpoints_get_the_path_of_traces_once() {
        let http = |value| endpoint(value, Protocol::HttpProtobuf, true).unwrap().secret().to_owned();
        assert_eq!(http("http://localhost:4318"), "http://localhost:4318/v1/traces");
        assert_eq!(http("https://host/otlp/"), "https://host/otlp/v1/traces");
        assert_eq!(http("http://localhost:4318/v1/traces"), "http://localhost:4318/v1/traces");
        assert_eq!(endpoint("http://a:1/x", Protocol::HttpProtobuf, false).unwrap().secret(), "http://a:1/x");
        assert_eq!(endpoint("http://localhost:4317", Protocol::Grpc, true).unwrap().secret(), "http://localhost:4317");
    }

    #[test]
    fn endpoints_that_are_none_say_why() {
        let error = |value| format!("{:#}", endpoint(value, Protocol::HttpProtobuf, true).unwrap_err());
        assert!(error("localhost:4318").contains("not an http:// or https:// URL"));
        assert!(error("ftp://host").contains("not an http:// or https:// URL"));
        assert!(error("http://").contains("'http://'"), "{}", error("http://"));
        assert!(error("http://a b").contains("is not a URL"));
    }

    #[test]
    fn passwords_in_endpoints_are_not_shown() {
        let url = endpoint("https://me:hunter2@host/?token=abc", Protocol::Grpc, true).unwrap();
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(shown.contains("@host") && !shown.contains("hunter2") && !shown.contains("abc"), "{shown}");
        }
        for wrong in ["ftp://me:hunter2@host", "https://me:hunter2@", "https://me:hunter2@a b"] {
            let error = format!("{:#}", endpoint(wrong, Protocol::Grpc, true).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn headers_are_percent_decoded_and_what_is_none_is_refused() {
        let read = headers("Authorization=Bearer%20x, a=1,a=2,").unwrap();
        assert_eq!(read["authorization"], "Bearer x");
        assert_eq!(read.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        for malformed in ["nonsense", "a b=1", "a=1%0a"] {
            assert!(headers(malformed).is_err(), "{malformed}");
        }
        assert!(!format!("{:#}", headers("key=secret%00").unwrap_err()).contains("secret"));
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        assert_eq!(ring_bytes("65536").unwrap(), 64 << 10);
        assert_eq!(ring_bytes("64K").unwrap(), 64 << 10);
        assert_eq!(ring_bytes("16M").unwrap(), 16 << 20);
        assert_eq!(ring_bytes("1G").unwrap(), 1 << 30);
        for wrong in ["", "M", "-1", "3M", "32K", "2G", "8G", "16MB", "1e6"] {
            assert!(ring_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(max_processes("1").unwrap(), 1);
        assert!(max_processes("0").is_err() && max_processes("5000000").is_err());
        assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
        assert!(seconds("-1").is_err() && seconds("x").is_err() && seconds("1e300").is_err());
    }

    #[test]
    fn outputs_are_told_by_name_and_ending() {
        assert_eq!(output("otlp").unwrap(), Output::Otlp);
        assert_eq!(output("a/t.jsonl").unwrap(), Output::JsonLines("a/t.jsonl".into()));
        assert_eq!(output("t.html").unwrap(), Output::Report(Format::Html, "t.html".into()));
        assert_eq!(output("t.cpu.folded").unwrap(), Output::Report(Format::FoldedCpu, "t.cpu.folded".into()));
        assert!(output("t.txt").unwrap_err().to_string().contains("'t.txt' is not one of"));
    }
}
