//! Every flag and every subcommand, each defined once: name, value, default, help.
//!
//! The variable of a flag follows from its name. The help, the man page, the completions and the table in `docs/options.md`
//! follow from [`super::help::documented`]. `origin` reads a command line with these definitions, and `config`
//! resolves the result.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{
    Arg, ArgAction, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use tracer_bpf::RecordKind;
use tracer_model::{
    Captured, PeerName, SpanId, TraceId,
    redact::{Extent, Pattern},
};
use tracer_otlp::{Protocol, Url};
use tracer_report::{By, formats};

pub(crate) use super::values::DiffOutput;
use super::values::{
    self, AttributesOn, ErrorsChoice, Given, NamesChoice, Output, Parent, RootName, Shown, SourceChoice, Spool, Wait,
};

/// The forms of the command line, one per line.
pub(crate) const USAGE: &str = "\
process-tracer [OPTIONS] -- COMMAND [ARGS]...
       process-tracer doctor [OPTIONS]
       process-tracer send [--keep] [OPTIONS] FILE...
       process-tracer report [OPTIONS] FILE...
       process-tracer diff [OPTIONS] BEFORE AFTER
       process-tracer diff [OPTIONS] BEFORE... --to AFTER...
       process-tracer rules check FILE [--trace FILE.jsonl | -- COMMAND [ARGS]...]
       process-tracer rules builtin [NAMES]
       process-tracer rules convert FILE
       process-tracer setup [--group GROUP | --undo]
       process-tracer completions SHELL
       process-tracer man
       process-tracer help [all | SUBCOMMAND]";

/// For the end of the help.
pub(crate) const EXAMPLES: &str = "  sudo process-tracer -u invoker -- make -j8
  sudo process-tracer -u invoker -o build.jsonl -- cargo build
  sudo process-tracer -u invoker --endpoint http://localhost:4318 -a team='\"ci\"' -- ./ci.sh";

/// The facts about variables that the help of each option does not have.
pub(crate) const ENVIRONMENT: &str = "\
A flag has priority over its variable. process-tracer also reads OpenTelemetry's variables, for example \
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER. It continues the trace of \
TRACEPARENT, and it sets TRACEPARENT for the command. sudo resets the environment: use sudo \
--preserve-env=NAME,... or the flags.";

/// Trace a command with all its descendants, and write an OpenTelemetry trace.
///
/// The trace has one span for each process, TCP connection, UDP flow and name lookup. The command keeps its terminal,
/// its streams and its signals.
///
/// The exit status is the command's own. It is 125 if process-tracer fails before the command starts, 126 if the
/// command cannot be executed, and 127 if it is not found.
#[derive(Debug, Parser)]
#[command(
    name = "process-tracer",
    version,
    override_usage = USAGE,
    after_help = format!("Examples:\n{EXAMPLES}\n\n{ENVIRONMENT}")
)]
pub(crate) struct Args {
    /// Trace id: 32 hexadecimal digits, or `expr:` and an expression in the expr language, for example
    /// expr:env.CI_PIPELINE_ID. The value of an expression is hashed if it is not an id [default: from TRACEPARENT,
    /// else from --parent, else random]
    #[arg(short, long, value_name = "ID", value_parser = values::trace_id)]
    pub(crate) trace_id: Option<Given<TraceId>>,

    /// Parent of the root span: 16 hexadecimal digits, or `expr:` and an expression [default: from TRACEPARENT, else
    /// from --parent]
    #[arg(short, long, value_name = "ID", value_parser = values::span_id)]
    pub(crate) parent_id: Option<Given<SpanId>>,

    /// Parent of the root span, if neither --parent-id nor TRACEPARENT names one. `ci` is the run of GitHub Actions, with
    /// the ids that the OpenTelemetry Collector's GitHub receiver uses
    #[arg(long, value_name = "WHICH", value_enum)]
    pub(crate) parent: Option<Parent>,

    /// Name of the root span, or `expr:` and an expression over the arguments of COMMAND [default: the program; in CI
    /// the name of the job and the program]
    #[arg(long, value_name = "NAME", value_parser = values::root_name)]
    pub(crate) root_name: Option<RootName>,

    /// Add an attribute to every process. EXPR is an expression in the expr language. It can use `env`, `args` and
    /// `cmdline`. You can repeat the flag. In the variable, write one attribute per line
    #[arg(short, long, value_name = "NAME=EXPR", value_parser = values::attribute)]
    pub(crate) attribute: Vec<String>,

    /// Spans that get the attributes of --attribute: `process` spans, or `all` spans, also connections, flows and
    /// lookups
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub(crate) attributes_on: AttributesOn,

    /// Leave out an attribute of --attribute if its value is empty
    #[arg(long)]
    pub(crate) skip_empty_values: bool,

    #[arg(short, long, value_name = "DEST", help = output_help(), value_parser = values::output)]
    pub(crate) output: Vec<Output>,

    /// Add totals of the processes to the summary, the tree and the page: by `group`, `user`, `container` or any attribute
    #[arg(long, value_name = "KEY")]
    pub(crate) by: Option<By>,

    /// Show the trace in a browser while the command runs. process-tracer prints the address of the page on stderr
    /// before the command starts. ADDR is a port or ADDRESS:PORT [default: any port of 127.0.0.1]
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = "",
        value_parser = values::live_address
    )]
    pub(crate) live: Option<std::net::SocketAddr>,

    /// OTLP endpoint, such as http://localhost:4318. Implies `-o otlp` [default: from OTEL_EXPORTER_OTLP_ENDPOINT, else
    /// localhost]
    #[arg(long, value_name = "URL", global = true, value_parser = Url::parse_base)]
    pub(crate) endpoint: Option<Url>,

    /// OTLP protocol: `http/protobuf`, `http/json` or `grpc` [default: from OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", global = true, value_parser = protocol())]
    pub(crate) protocol: Option<Protocol>,

    /// Resource attribute service.name [default: from OTEL_SERVICE_NAME, else from
    /// OTEL_RESOURCE_ATTRIBUTES, else the repository in CI, else process-tracer]
    #[arg(long, value_name = "NAME")]
    pub(crate) service_name: Option<String>,

    /// Name of the service at a host. Connections to HOST have NAME as service.peer.name. HOST is a name or an address,
    /// with or without :PORT, or the path of a unix socket. You can repeat the flag. In the variable, separate the
    /// values by commas
    #[arg(long, value_name = "HOST=NAME", value_parser = values::peer_name)]
    pub(crate) peer_name: Vec<PeerName>,

    /// How to observe processes: `ebpf`, `ptrace`, or `none` for the command alone. `auto` uses eBPF if possible,
    /// else ptrace if possible, else none
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t)]
    pub(crate) source: SourceChoice,

    /// When the trace ends: with the `command`, or with the whole process `tree`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub(crate) wait: Wait,

    /// Which failed spans have the status ERROR: `all`, or only `unhandled` failures. Unhandled failures can be the
    /// reason why the process above failed
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub(crate) errors: ErrorsChoice,

    /// YAML file with rules. They set names, groups and attributes, and leave processes out. See docs/rules.md
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,

    /// Names of processes that the rules do not name: `plain` is the program alone. `smart` adds the script to the name
    /// of an interpreter. `detailed` also adds the source to the name of a compiler
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub(crate) names: NamesChoice,

    /// Leave out successful processes that lived shorter than this, for example 20ms. The process above counts them.
    /// Processes with exported spans below them stay
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) min_duration: Option<Duration>,

    /// Time limit for delivery after the command has ended
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = values::seconds)]
    pub(crate) flush_timeout: Duration,

    /// Folder for spans that could not be delivered, or `none` [default: $XDG_STATE_HOME/process-tracer, else
    /// ~/.local/state/process-tracer]
    #[arg(long, value_name = "DIR", value_parser = values::spool)]
    pub(crate) spool: Option<Spool>,

    /// Size of the buffer between the kernel and process-tracer, in bytes, or with K, M or G. It must be a power of
    /// two. Without root it is at most 64M
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = values::ring_bytes)]
    pub(crate) buffer_size: u32,

    /// Number of live processes that can be followed at once. Without root at most 65536
    #[arg(long, value_name = "NUMBER", default_value = "16384", value_parser = values::max_processes)]
    pub(crate) max_processes: u32,

    /// What to record: a list of `processes`, `connections`, `flows` and `lookups`. Other kinds are not observed.
    /// Without `processes`, only the command has a process span
    #[arg(long, value_name = "LIST", default_value_t, value_parser = values::captured)]
    pub(crate) capture: Captured,

    /// Also record failed execs. A search through PATH counts as one. Each system call on the machine takes about 0.15
    /// microseconds longer
    #[arg(long)]
    pub(crate) failed_execs: bool,

    /// Also record connections to unix sockets. Each system call on the machine takes about 0.15 microseconds longer. If
    /// --failed-execs is also given, the cost stays the same
    #[arg(long)]
    pub(crate) unix: bool,

    /// Arguments to export: `all`, `program` (only `argv[0]`) or `none`. Expressions see the same arguments
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = extent())]
    pub(crate) args: Extent,

    /// Also mask values in arguments if their names match, for example '*_dsn'. You can repeat the flag. In the
    /// variable, separate the values by commas
    #[arg(long, value_name = "PATTERN", value_parser = values::pattern)]
    pub(crate) redact: Vec<Pattern>,

    /// Do not mask values if their names match. Without a pattern (in the variable: `1`), mask nothing: passwords and
    /// tokens are exported. You can repeat the flag. In the variable, separate the values by commas
    #[arg(
        long,
        value_name = "PATTERN",
        action = ArgAction::Append,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = values::shown
    )]
    pub(crate) no_redact: Vec<Shown>,

    /// Do not run the command if its processes cannot be traced, or if --failed-execs or --unix has no effect
    #[arg(long)]
    pub(crate) strict: bool,

    /// Append all messages, the summary and the tree to this file, instead of printing them on stderr
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// Run the command as this user, with the user's groups, HOME, USER, LOGNAME and SHELL. `invoker` is the user who
    /// called sudo
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Get the privileges from sudo. A helper loads the eBPF programs and exits before the command starts. The command runs
    /// as you
    #[arg(long)]
    pub(crate) sudo: bool,

    /// Print only warnings, errors, the address of --live, and texts that -o asks for
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print more about process-tracer itself, such as the time of each step
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

fn output_help() -> String {
    format!(
        "Output. `otlp` sends the trace to the OTLP endpoint. `summary` and `tree` print a text on stderr after the command \
         has ended. Anything else is a file. {}. If .gz or .zst follows the name, the file is compressed. HTML, Parquet and \
         compile_commands.json cannot be compressed. You can repeat the flag. In the variable, separate the values by commas \
         [default: otlp with --endpoint, else from OTEL_TRACES_EXPORTER, else otlp if an OTLP endpoint is configured, else \
         summary]",
        formats::files()
    )
}

fn protocol() -> impl TypedValueParser<Value = Protocol> {
    let names = Protocol::ALL.map(|protocol| {
        PossibleValue::new(protocol.name()).help(match protocol {
            Protocol::HttpProtobuf => "OTLP/HTTP",
            Protocol::HttpJson => "OTLP/HTTP with JSON",
            Protocol::Grpc => "OTLP/gRPC",
        })
    });
    PossibleValuesParser::new(names).map(|name| Protocol::from_name(&name).unwrap_or_default())
}

fn extent() -> impl TypedValueParser<Value = Extent> {
    PossibleValuesParser::new(["none", "program", "all"]).map(|name| match name.as_str() {
        "none" => Extent::None,
        "program" => Extent::Program,
        _ => Extent::All,
    })
}

/// The commands besides a run.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Check whether this machine can trace, and print how to fix what is missing
    ///
    /// The exit status is 0 if eBPF or ptrace works and a configured collector answers, otherwise 1.
    Doctor,
    /// Send saved spans, FILE.jsonl, to a collector, and delete each delivered file
    ///
    /// If a file cannot be delivered, the exit status is 1. This file and the files after it are kept.
    Send {
        /// Files of OTLP/JSON lines
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Do not delete delivered files
        #[arg(long)]
        keep: bool,
    },
    /// Convert a saved trace, FILE.jsonl, to another format
    Report {
        /// The saved trace, or several runs of one trace. `-` is stdin. Files can be compressed with gzip or zstd
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Output: `summary`, `tree`, `json` or `csv`, on stdout; or a file, as for a run. You can repeat the flag
        /// [default: summary, or tree with --min-duration, --only-failed or --depth]
        #[arg(short, long, value_name = "DEST", value_parser = values::output)]
        output: Vec<Output>,
        /// Trace to convert, if the files have several traces
        #[arg(short, long, value_name = "ID", value_parser = values::trace_id)]
        trace_id: Option<Given<TraceId>>,
        /// Add an attribute to every process. EXPR is an expression in the expr language. It can use `args` and
        /// `cmdline`. You can repeat the flag
        #[arg(short, long, value_name = "NAME=EXPR", value_parser = values::attribute_of_saved)]
        attribute: Vec<String>,
        /// Add totals of the processes to the summary, the tree and the page: by `group`, `user`, `container` or any
        /// attribute
        #[arg(long, value_name = "KEY")]
        by: Option<By>,
        /// In the tree and the page, hide spans that did not fail and took less than this, for example 100ms or 2s. A
        /// span counts the hidden processes below it
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        min_duration: Option<Duration>,
        /// In the tree and the page, show only spans that failed, and the spans above them
        #[arg(long)]
        only_failed: bool,
        /// In the tree and the page, show only this number of levels below the command
        #[arg(long, value_name = "NUMBER")]
        depth: Option<u32>,
    },
    /// Compare saved traces, and print what became slower and what became faster
    ///
    /// `diff BEFORE AFTER` compares two traces. `diff BEFORE... --to AFTER...` compares several runs of each side. It shows the
    /// medians, and the noise: how much the runs of each side differ, added up for both sides.
    ///
    /// With --threshold, the exit status is 1 if the whole run or a step became slower by more than the threshold,
    /// and also by more than the noise.
    #[command(override_usage = "process-tracer diff [OPTIONS] BEFORE AFTER
       process-tracer diff [OPTIONS] BEFORE... --to AFTER...")]
    Diff(Diff),
    /// Check a rules file, convert one from another tool, or print the built-in rules
    Rules {
        #[command(subcommand)]
        action: RulesAction,
    },
    /// Let ordinary users trace without sudo: set the file capabilities of this program
    ///
    /// Run it as root, once after each installation. A traced command gets no capabilities. `doctor` shows who can
    /// trace.
    ///
    /// Example: sudo process-tracer setup --group tracers
    Setup {
        /// Let only root and the members of this group run this program
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Remove the capabilities, and let every user run this program again
        #[arg(long, conflicts_with = "group")]
        undo: bool,
    },
    /// Print the completions for a shell
    ///
    /// Example: process-tracer completions bash > /usr/share/bash-completion/completions/process-tracer
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page
    ///
    /// Example: process-tracer man > /usr/share/man/man1/process-tracer.1
    Man,
    /// Load the eBPF programs for the process at the other end of stdin. --sudo runs this command
    #[command(name = HELPER, hide = true)]
    Helper {
        /// Bytes of the ring buffer
        ring_bytes: u32,
        /// How many live processes can be followed at once
        max_processes: u32,
        /// The records besides those of processes, as a set of bits
        asked: u32,
    },
}

/// The subcommand that is the helper of `--sudo`.
pub(crate) const HELPER: &str = "attach-for-sudo";

/// The commands about rules.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RulesAction {
    /// Check a rules file, and print which rules match each process of a trace
    ///
    /// The processes come from a saved trace, or from a command that `rules check` runs. If the file has a mistake, the
    /// exit status is 1.
    Check {
        /// The rules file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A saved trace. It has no environments, so the selector `env` matches no process
        #[arg(long, value_name = "FILE.jsonl", conflicts_with = "run")]
        trace: Option<PathBuf>,
        /// The command and its arguments
        #[arg(last = true, value_name = "COMMAND", id = "run")]
        command: Vec<OsString>,
    },
    /// Translate a configuration of process-exporter, DeepFlow or DataKit into a rules file
    ///
    /// The rules file goes to stdout. Each part that cannot be translated prints a line on stderr. The exit status is
    /// then 1.
    Convert {
        /// The configuration
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the built-in rules for a value of --names
    Builtin {
        /// The value of --names
        #[arg(value_enum, default_value_t)]
        names: NamesChoice,
    },
}

/// The options of `diff`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Diff {
    /// The traces before the change. Without --to, the second file is the trace after the change
    #[arg(required = true, value_name = "BEFORE")]
    pub(crate) files: Vec<PathBuf>,
    /// The traces after the change
    #[arg(long, value_name = "AFTER", num_args = 1..)]
    pub(crate) to: Vec<PathBuf>,
    /// Id of the trace to read from a file with several traces. You can repeat the flag. From each file, `diff` reads the
    /// first of these traces that the file has. If you name a file again, `diff` reads the next one
    #[arg(short, long, value_name = "ID", value_parser = values::trace_id)]
    pub(crate) trace_id: Vec<Given<TraceId>>,
    /// Exit with 1 if the whole run or a step became slower by more than this, for example 10%. A growth must also be
    /// more than the noise, and at least 10 ms. For a step, it must also be at least 1% of the whole time
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, allow_hyphen_values = true)]
    pub(crate) threshold: Option<f64>,
    /// Format of the comparison on stdout: `text`, `markdown` or `json`
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: DiffOutput,
    /// Also print totals of the processes by `group`, `user`, `container` or any attribute. This needs one trace on
    /// each side
    #[arg(long, value_name = "KEY")]
    pub(crate) by: Option<By>,
}

impl Args {
    /// The given flags that ask for records of system calls, each with its records.
    pub(crate) fn system_calls(&self) -> Vec<(&'static str, RecordKind)> {
        let flags =
            [(self.failed_execs, "--failed-execs", RecordKind::FailedExec), (self.unix, "--unix", RecordKind::Unix)];
        flags.into_iter().filter(|(is_given, ..)| *is_given).map(|(_, flag, records)| (flag, records)).collect()
    }
}

/// The names of our variables begin with it.
pub(super) const PREFIX: &str = "PROCESS_TRACER_";

/// The variable that sets an option of a run. Positional arguments have none.
pub(crate) fn variable_of(arg: &Arg) -> Option<String> {
    Some(format!("{PREFIX}{}", arg.get_long()?.to_uppercase().replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use tracer_bpf::Options;

    use super::*;

    #[test]
    fn clap_accepts_the_definitions() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_the_same_as_on_the_kernel_side() {
        let args = Args::try_parse_from(["process-tracer"]).unwrap();
        let options = Options::default();
        assert_eq!((args.buffer_size, args.max_processes), (options.ring_bytes, options.max_processes));
    }
}
