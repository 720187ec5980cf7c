//! The command line: every flag with its environment twin and its help, as raw text. `config` makes sense of it.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Parser, Subcommand, builder::FalseyValueParser};
use tracer_report::formats;

/// Wraps a command and turns everything it does into an OpenTelemetry trace: one span for every process, every TCP
/// connection and every UDP flow of the command and its descendants.
///
/// The command keeps its terminal, its streams and its signals; its exit status is ours. If we fail before it starts,
/// the exit status is 125; if it cannot be invoked, 126; if it is not found, 127.
#[derive(Debug, Parser)]
#[command(
    name = "process-tracer",
    version,
    override_usage = "process-tracer [OPTIONS] -- COMMAND [ARGS]...\n       process-tracer doctor [OPTIONS]\n       process-tracer send [OPTIONS] FILE...",
    disable_help_subcommand = true,
    after_help = "\
Examples:
  sudo process-tracer -- make -j8
  sudo process-tracer -o build.jsonl -- cargo build
  sudo process-tracer --endpoint http://localhost:4318 -a pod='env[\"POD_NAME\"]' -- ./ci.sh

OpenTelemetry's own variables are honoured: OTEL_EXPORTER_OTLP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
OTEL_TRACES_EXPORTER, OTEL_SDK_DISABLED; TRACEPARENT is taken in and handed on. Note that sudo resets the environment:
use sudo --preserve-env=NAME,... or the flags."
)]
pub(crate) struct Args {
    /// Trace id: 32 hexadecimal digits [default: from TRACEPARENT, else random]
    #[arg(short, long, value_name = "HEX32", env = "PROCESS_TRACER_TRACE_ID", hide_env_values = true)]
    pub(crate) trace_id: Option<String>,

    /// Span that the trace hangs under: 16 hexadecimal digits [default: from TRACEPARENT]
    #[arg(short, long, value_name = "HEX16", env = "PROCESS_TRACER_PARENT_ID", hide_env_values = true)]
    pub(crate) parent_id: Option<String>,

    /// Whose span the trace hangs under where neither flags nor TRACEPARENT name one: `ci`, the run of a CI system as
    /// OpenTelemetry's receivers for it number them
    #[arg(long, value_name = "WHOSE", env = "PROCESS_TRACER_PARENT", hide_env_values = true)]
    pub(crate) parent: Option<String>,

    /// Attribute for every process: an expr expression over `env`, `args` and `cmdline`; repeatable (in the variable: one
    /// a line)
    #[arg(short, long, value_name = "NAME=EXPR", env = "PROCESS_TRACER_ATTRIBUTE", hide_env_values = true)]
    pub(crate) attribute: Vec<String>,

    #[arg(short, long, value_name = "DEST", help = output_help(), env = "PROCESS_TRACER_OUTPUT", hide_env_values = true)]
    pub(crate) output: Vec<String>,

    /// Serve the page of the trace while the command runs, at an address that is told first; a port, or ADDRESS:PORT
    /// [default: any port of 127.0.0.1]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = "", env = "PROCESS_TRACER_LIVE", hide_env_values = true)]
    pub(crate) live: Option<String>,

    /// OTLP endpoint, such as http://localhost:4318; implies `-o otlp` [default: from OTEL_EXPORTER_OTLP_ENDPOINT, else
    /// localhost]
    #[arg(long, value_name = "URL", env = "PROCESS_TRACER_ENDPOINT", hide_env_values = true, global = true)]
    pub(crate) endpoint: Option<String>,

    /// OTLP protocol: `http/protobuf` or `grpc` [default: from OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", env = "PROCESS_TRACER_PROTOCOL", hide_env_values = true, global = true)]
    pub(crate) protocol: Option<String>,

    /// Resource attribute service.name [default: from OTEL_SERVICE_NAME, else process-tracer]
    #[arg(long, value_name = "NAME", env = "PROCESS_TRACER_SERVICE_NAME", hide_env_values = true)]
    pub(crate) service_name: Option<String>,

    /// Run the command as this user, with their groups, HOME, USER, LOGNAME and SHELL; `invoker` is whoever called sudo
    #[arg(short, long, value_name = "USER", env = "PROCESS_TRACER_USER", hide_env_values = true)]
    pub(crate) user: Option<String>,

    /// Get the privileges from sudo: for a helper that loads the eBPF programs and is gone before the command starts, which
    /// runs as you
    #[arg(long, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), env = "PROCESS_TRACER_SUDO", hide_env_values = true)]
    pub(crate) sudo: bool,

    /// What to wait for before the trace ends: `command`, or `tree`: all that it has started, in the background too
    /// [default: command]
    #[arg(long, value_name = "WHAT", env = "PROCESS_TRACER_WAIT", hide_env_values = true)]
    pub(crate) wait: Option<String>,

    /// How long the end of a run may take to deliver what is left [default: 10]
    #[arg(long, value_name = "SECONDS", env = "PROCESS_TRACER_FLUSH_TIMEOUT", hide_env_values = true)]
    pub(crate) flush_timeout: Option<String>,

    /// Folder for spans that could not be delivered, or `none` [default: $XDG_STATE_HOME/process-tracer, else
    /// ~/.local/state/process-tracer]
    #[arg(long, value_name = "DIR", env = "PROCESS_TRACER_SPOOL", hide_env_values = true)]
    pub(crate) spool: Option<String>,

    /// Size of the buffer between kernel and process-tracer: bytes, or with K, M or G; a power of two [default: 16M]
    #[arg(long, value_name = "SIZE", env = "PROCESS_TRACER_BUFFER_SIZE", hide_env_values = true)]
    pub(crate) buffer_size: Option<String>,

    /// Live processes that can be followed at once [default: 16384]
    #[arg(long, value_name = "NUMBER", env = "PROCESS_TRACER_MAX_PROCESSES", hide_env_values = true)]
    pub(crate) max_processes: Option<String>,

    /// Also record failed execs. Each system call on the machine takes about 0.15 microseconds longer
    #[arg(long, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), env = "PROCESS_TRACER_FAILED_EXECS", hide_env_values = true)]
    pub(crate) failed_execs: bool,

    /// Also record connections to unix sockets. The cost is the same, once for both
    #[arg(long, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), env = "PROCESS_TRACER_UNIX", hide_env_values = true)]
    pub(crate) unix: bool,

    /// Arguments to export: `all`, `program` (`argv[0]` alone), or `none`; expressions see the same [default: all]
    #[arg(long, value_name = "WHICH", env = "PROCESS_TRACER_ARGS", hide_env_values = true)]
    pub(crate) args: Option<String>,

    /// Also hide values with such a name, such as '*_dsn', in arguments; repeatable (in the variable: separated by commas)
    #[arg(long, value_name = "PATTERN", env = "PROCESS_TRACER_REDACT", hide_env_values = true)]
    pub(crate) redact: Vec<String>,

    /// Show values with such a name, although it looks like a secret's; repeatable. Without a pattern: export all arguments as
    /// they are, with passwords and tokens in them
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = "", env = "PROCESS_TRACER_NO_REDACT", hide_env_values = true)]
    pub(crate) no_redact: Vec<String>,

    /// Do not run the command if what it starts cannot be traced
    #[arg(long, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), env = "PROCESS_TRACER_STRICT", hide_env_values = true)]
    pub(crate) strict: bool,

    /// Say nothing but warnings and errors
    #[arg(short, long, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), env = "PROCESS_TRACER_QUIET", hide_env_values = true)]
    pub(crate) quiet: bool,

    /// Say more about the tracing itself
    #[arg(short, long, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), env = "PROCESS_TRACER_VERBOSE", hide_env_values = true)]
    pub(crate) verbose: bool,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

fn output_help() -> String {
    format!(
        "Where the trace goes: `otlp`; `summary` or `tree` on stderr at the end; or a file: {}; repeatable (in the variable: \
         separated by commas) [default: otlp if an OTLP endpoint is configured, else summary]",
        formats::files()
    )
}

/// What there is to do besides running a command.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Say what this machine allows, and what to do about what it does not; the exit status is 0 if tracing would work
    Doctor,
    /// Deliver files of OTLP/JSON lines to a collector, and delete those that it has taken
    Send {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Delete nothing
        #[arg(long)]
        keep: bool,
    },
    /// Tell a saved trace, FILE.jsonl, in other ways: those that -o names, on stdout or in files [default: summary]
    Report {
        /// The trace
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// `summary` or `tree`, on stdout, or a file by its name, as for a run; repeatable [default: summary]
        #[arg(short, long, value_name = "DEST")]
        output: Vec<String>,
        /// Which trace, if the file has several
        #[arg(short, long, value_name = "HEX32")]
        trace_id: Option<String>,
    },
    /// Say what takes longer in one saved trace than in another, by name and by place in the tree
    Diff {
        /// The trace to compare with
        #[arg(value_name = "BEFORE")]
        before: PathBuf,
        /// The trace to explain
        #[arg(value_name = "AFTER")]
        after: PathBuf,
    },
    /// Load the programs for the process at the other end of stdin: what --sudo runs
    #[command(name = crate::sources::sudo::HELPER, hide = true)]
    Helper {
        /// Bytes of the ring buffer
        ring_bytes: u32,
        /// Live processes that can be followed at once
        max_processes: u32,
        /// Whether failed execs are reported
        #[arg(action = ArgAction::Set)]
        failed_execs: bool,
        /// Whether connections to unix sockets are
        #[arg(action = ArgAction::Set)]
        unix: bool,
    },
}
