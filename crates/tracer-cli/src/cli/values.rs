//! The values of options, and how each is read from text. A parser does not know where the text comes from: `origin` does.

use std::{
    env,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    str::FromStr,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use tracer_bpf::Limits;
use tracer_model::{
    Captured, Errors, ParseIdError, PeerName, SpanId, TraceId,
    event::Strings,
    expression::{self, Attribute, CompileError},
    redact::Pattern,
};
use tracer_report::formats::{self, Format, Target, Text};
use tracer_rules::Names;

/// When a trace ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// With the command
    #[default]
    Command,
    /// With the last process of the tree
    Tree,
}

/// The source that observes the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceChoice {
    /// eBPF if possible, else ptrace if possible, else none
    #[default]
    Auto,
    /// eBPF programs
    Ebpf,
    /// ptrace
    Ptrace,
    /// Only the command itself is observed
    None,
}

/// Which failed spans have the status ERROR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorsChoice {
    /// All of them
    #[default]
    All,
    /// Those that can be the reason why the process above failed
    Unhandled,
}

impl From<ErrorsChoice> for Errors {
    fn from(choice: ErrorsChoice) -> Self {
        match choice {
            ErrorsChoice::All => Self::All,
            ErrorsChoice::Unhandled => Self::Unhandled,
        }
    }
}

/// How process-tracer names the processes that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum NamesChoice {
    /// Interpreters also have the name of the script
    #[default]
    Smart,
    /// The program alone
    Plain,
    /// Compilers also have the name of the source
    Detailed,
}

impl From<NamesChoice> for Names {
    fn from(choice: NamesChoice) -> Self {
        match choice {
            NamesChoice::Smart => Self::Smart,
            NamesChoice::Plain => Self::Plain,
            NamesChoice::Detailed => Self::Detailed,
        }
    }
}

/// Which spans have the user's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttributesOn {
    /// Processes
    #[default]
    Process,
    /// Processes, and their connections, flows and lookups
    All,
}

/// The format of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffOutput {
    /// For a terminal
    #[default]
    Text,
    /// For the page of a CI job
    Markdown,
    /// For scripts
    Json,
}

/// The owner of a span that can be the parent of the root span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Parent {
    /// The run of the CI system
    Ci,
}

/// A destination of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Otlp,
    /// A text for people, at the end.
    Text(Text),
    /// The summary for the page of a CI job. It is appended to this file.
    JobSummary(PathBuf),
    JsonLines(PathBuf),
    Report(Format, PathBuf),
    /// The compilation database.
    CompileCommands(PathBuf),
    /// A report for scripts, on stdout.
    Stdout(Format),
    /// The page while the command runs.
    Live(SocketAddr),
}

/// The place for spans that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spool {
    Nowhere,
    Folder(PathBuf),
}

/// The values that `--no-redact` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All values.
    All,
    /// The values with such a name.
    Named(Pattern),
}

/// An id from the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    pub(crate) id: T,
    /// The expression that makes the id, for a message. `None` if the user gave the id itself.
    pub(crate) derivation: Option<String>,
}

pub(super) fn trace_id(value: &str) -> Result<Given<TraceId>> {
    given(value, "-t", TraceId)
}

pub(super) fn span_id(value: &str) -> Result<Given<SpanId>> {
    given(value, "-p", SpanId)
}

/// Reads an id in hexadecimal, or `expr:` and an expression over our own environment and arguments. If the value of the
/// expression is not an id, the first bytes of its SHA-256 are the id. So each job of a pipeline gets the same id.
fn given<T, const N: usize>(value: &str, flag: &str, of_bytes: fn([u8; N]) -> T) -> Result<Given<T>>
where
    T: FromStr<Err = ParseIdError>,
{
    let Some(source) = value.strip_prefix(expression::PREFIX) else {
        let id = value.parse().map_err(|error| match error {
            ParseIdError::Zero => anyhow!("'{value}': {error}"),
            _ => anyhow!("'{value}': {error}; to make an id from any text: {flag} 'expr:\"{}\"'", escaped(value)),
        })?;
        return Ok(Given { id, derivation: None });
    };
    let text = evaluate(source, &env::args_os().map(OsStringExt::into_vec).collect())?;
    match text.parse() {
        Ok(id) => Ok(Given { id, derivation: Some(source.trim().to_owned()) }),
        Err(error @ ParseIdError::Zero) => bail!("'{value}': {error}"),
        Err(_) => {
            let hash: [u8; 32] = Sha256::digest(&text).into();
            let bytes = hash.first_chunk().copied().with_context(|| format!("{N} bytes of SHA-256"))?;
            Ok(Given { id: of_bytes(bytes), derivation: Some(format!("SHA-256 of {}", source.trim())) })
        }
    }
}

/// The value of an expression over our own environment and these arguments.
fn evaluate(source: &str, arguments: &Strings) -> Result<String> {
    let variable = |(name, value): (OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
    let environment = env::vars_os().map(variable).collect();
    let text = expression::text(source, arguments, &environment, SystemTime::now());
    let text = text.with_context(|| format!("'{}{source}'", expression::PREFIX))?;
    if text.is_empty() {
        bail!("the value of '{}{source}' is empty", expression::PREFIX);
    }
    Ok(text)
}

/// A name for the root.
#[derive(Clone, Debug)]
pub(crate) enum RootName {
    Fixed(String),
    /// The name is the value of an expression over the arguments of the command.
    Expression(String),
}

impl RootName {
    /// The name, if these are the exported arguments of the command.
    ///
    /// # Errors
    ///
    /// The expression fails, or its value is blank.
    pub(super) fn evaluate(&self, arguments: &Strings) -> Result<String> {
        match self {
            Self::Fixed(name) => Ok(name.clone()),
            Self::Expression(source) => not_blank(evaluate(source, arguments)?),
        }
    }
}

/// A name, or `expr:` and an expression whose value is the name.
pub(super) fn root_name(value: &str) -> Result<RootName> {
    match value.strip_prefix(expression::PREFIX) {
        Some(source) => {
            expression::check(source).with_context(|| format!("'{value}'"))?;
            Ok(RootName::Expression(source.to_owned()))
        }
        None => not_blank(value.to_owned()).map(RootName::Fixed),
    }
}

fn not_blank(name: String) -> Result<String> {
    if name.trim().is_empty() {
        bail!("the name is empty");
    }
    Ok(name)
}

/// A text for a string literal of the expression language.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#)
}

/// Checks the expression. Returns its text, because clap clones values, and a compiled expression cannot be cloned.
pub(super) fn attribute(value: &str) -> Result<String, CompileError> {
    Attribute::compile(value)?;
    Ok(value.to_owned())
}

/// The same as [`attribute`], for a saved trace.
pub(super) fn attribute_of_saved(value: &str) -> Result<String> {
    let attribute = Attribute::compile(value)?;
    if attribute.needs_environment() {
        bail!(
            "attribute '{}': a saved trace has no environment, so 'env' is not known; use args and cmdline",
            attribute.name()
        );
    }
    Ok(value.to_owned())
}

pub(super) fn duration(value: &str) -> Result<Duration> {
    tracer_rules::schema::duration(value).map_err(|reason| anyhow!(reason))
}

pub(super) fn peer_name(value: &str) -> Result<PeerName> {
    value.parse().map_err(|error| anyhow!("'{value}' is {error}"))
}

pub(super) fn output(value: &str) -> Result<Output> {
    match Target::of(value) {
        Some(Target::Otlp) => Ok(Output::Otlp),
        Some(Target::Text(text)) => Ok(Output::Text(text)),
        Some(Target::JsonLines) => Ok(Output::JsonLines(value.into())),
        Some(Target::File(format)) => Ok(Output::Report(format, value.into())),
        Some(Target::CompileCommands) => Ok(Output::CompileCommands(value.into())),
        Some(Target::Stdout(format)) => Ok(Output::Stdout(format)),
        None => bail!("'{value}' is not one of {}", formats::names()),
    }
}

/// An address to listen on. By default only this machine can reach it, and the kernel chooses the port.
pub(super) fn live_address(value: &str) -> Result<SocketAddr> {
    match value {
        "" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        port if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            let number = port.parse().map_err(|_| anyhow!("'{port}' is not a port: a port is at most 65535"))?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, number)))
        }
        address => {
            let port = address.strip_prefix("localhost:");
            let number = port.map_or_else(|| address.to_owned(), |port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
            number.parse().map_err(|_| anyhow!("'{address}' is neither a port nor ADDRESS:PORT"))
        }
    }
}

pub(super) fn seconds(value: &str) -> Result<Duration> {
    const DAY: f64 = 86_400.0;
    let seconds = value.parse().ok().filter(|seconds| (0.0..=DAY).contains(seconds)).map(Duration::from_secs_f64);
    seconds.with_context(|| format!("'{value}' is not a number of seconds, up to a day"))
}

/// Reads `10%` or `10` as 0.1.
pub(super) fn percent(value: &str) -> Result<f64> {
    let number = value.strip_suffix('%').unwrap_or(value).trim_end();
    let percent = number.parse().ok().filter(|percent: &f64| percent.is_finite() && *percent >= 0.0);
    percent.map(|percent| percent / 100.0).with_context(|| format!("'{value}' is not a percentage such as 10%"))
}

pub(super) fn spool(value: &str) -> Result<Spool> {
    Ok(if value == "none" { Spool::Nowhere } else { Spool::Folder(value.into()) })
}

/// The kernel requires a power of two of at least a page. process-tracer allows at most 1 GiB.
pub(super) fn ring_bytes(value: &str) -> Result<u32> {
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

pub(super) fn max_processes(value: &str) -> Result<u32> {
    let most = Limits::ROOT.max_processes;
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    let number = number.with_context(|| format!("'{value}' is not a number from 1 to {most}"))?;
    let limit = limits().max_processes;
    if number > limit {
        bail!("without root it can be at most {limit}, not {number}");
    }
    Ok(number)
}

pub(super) fn captured(value: &str) -> Result<Captured> {
    Ok(value.parse()?)
}

fn limits() -> Limits {
    if geteuid().is_root() { Limits::ROOT } else { Limits::ORDINARY }
}

pub(super) fn pattern(value: &str) -> Result<Pattern> {
    Ok(value.parse()?)
}

pub(super) fn shown(value: &str) -> Result<Shown> {
    Ok(if value.is_empty() { Shown::All } else { Shown::Named(pattern(value)?) })
}

/// The reason to refuse a value that is not in `names`. `origin` reports an invalid flag in the same words.
pub(super) fn is_not_one_of(value: &str, names: &[String]) -> String {
    match names {
        [name] => format!("'{value}' is not {name}"),
        [names @ .., last] => format!("'{value}' is not one of {} and {last}", names.join(", ")),
        [] => format!("'{value}' is not allowed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(["10%", "2.5 %", "0"].map(|value| percent(value).unwrap()), [0.1, 0.025, 0.0]);
        assert!(["", "%", "-1%", "x", "inf", "10%%"].iter().all(|value| percent(value).is_err()));
        assert!(seconds("-1").is_err() && seconds("x").is_err() && seconds("1e300").is_err());
    }

    #[test]
    fn an_expression_gives_an_id() {
        let trace = |value| trace_id(value).unwrap();
        // From `printf build-42 | sha256sum`.
        let hashed = trace("expr:\"build-\" + string(42)");
        assert_eq!(hashed.id.to_string(), HASH);
        assert_eq!(hashed.derivation.unwrap(), "SHA-256 of \"build-\" + string(42)");
        assert_eq!(span_id("expr:\"build-42\"").unwrap().id.to_string(), HASH[..16]);
        let hexadecimal = trace("expr:\"0af7651916cd43dd8448eb211c80319c\"");
        assert_eq!(hexadecimal.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hexadecimal.derivation.unwrap(), "\"0af7651916cd43dd8448eb211c80319c\"");
        assert_eq!(trace("0af7651916cd43dd8448eb211c80319c").derivation, None);
        let error = |value| format!("{:#}", trace_id(value).unwrap_err());
        assert!(error("expr:env.NO_SUCH_VARIABLE").contains("the value of 'expr:env.NO_SUCH_VARIABLE' is empty"));
        assert!(error("expr:nonsense").starts_with("'expr:nonsense': "), "{}", error("expr:nonsense"));
        assert!(error("expr:\"00000000000000000000000000000000\"").contains("all zeros"));
        assert!(error("build \"42\"").contains(r#"-t 'expr:"build \"42\""'"#), "{}", error("build \"42\""));
    }

    #[test]
    fn a_root_name_is_not_blank_and_can_use_the_arguments_of_the_command() {
        let name = |value| root_name(value).and_then(|name| name.evaluate(&["make", "all"].into_iter().collect()));
        assert_eq!(name("build all").unwrap(), "build all");
        assert_eq!(name("expr:\"a\" + args[1]").unwrap(), "aall");
        assert!(["", "  ", "expr:\" \"", "expr:\"\"", "expr:args[2]"].iter().all(|value| name(value).is_err()));
        // An invalid expression is an error before the command is known.
        assert!(root_name("expr:nonsense").is_err());
    }

    const HASH: &str = "9bf1b5433aade46f7da23e241669eca2";

    #[test]
    fn the_name_of_an_output_decides_its_format() {
        assert_eq!(output("otlp").unwrap(), Output::Otlp);
        assert_eq!(output("a/t.jsonl").unwrap(), Output::JsonLines("a/t.jsonl".into()));
        assert_eq!(output("t.html").unwrap(), Output::Report(Format::Html, "t.html".into()));
        assert_eq!(output("t.cpu.folded").unwrap(), Output::Report(Format::FoldedCpu, "t.cpu.folded".into()));
        assert!(output("t.txt").unwrap_err().to_string().contains("'t.txt' is not one of"));
    }
}
