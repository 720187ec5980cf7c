//! process-tracer: wraps a command and turns everything it does into an OpenTelemetry trace.
//!
//! Here is the outermost layer alone: the command line in, the exit status out.

mod args;
mod config;
mod console;
mod context;
mod drain;
mod launch;
mod outcome;
mod privileges;
mod resource;
mod run;
mod signals;
mod sinks;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

use crate::{args::Args, config::Config, outcome::EXIT_FAILURE};

fn main() -> ExitCode {
    let matches = match Args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let outcome = Args::from_arg_matches(&matches)
        .map_err(anyhow::Error::from)
        .and_then(|args| Config::resolve(args, &matches))
        .and_then(run::run);
    match outcome {
        Ok(outcome) => outcome.exit(),
        Err(error) => {
            console::say(format_args!("{error:#}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Help and version go to stdout, since they were asked for; anything else is one line on stderr.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(EXIT_FAILURE),
        };
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("error: ") || line.starts_with("tip: "));
    let message: Vec<_> = lines.map(|line| line.trim_start_matches("error: ")).collect();
    console::say(format_args!("{}; see process-tracer --help", message.join("; ")));
    ExitCode::from(EXIT_FAILURE)
}
