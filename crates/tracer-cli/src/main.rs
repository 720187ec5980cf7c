//! process-tracer: wraps a command and turns everything it does into an OpenTelemetry trace.
//!
//! This is the outermost layer: it takes the command line and returns the exit status.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod child;
mod ci;
mod cli;
mod clock;
mod commands;
mod console;
mod drain;
mod inheritance;
mod launch;
mod outcome;
mod privileges;
mod resource;
mod run;
mod send;
mod signals;
mod sinks;
mod sources;
mod state;
mod user;

use std::{
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
    panic, thread,
};

use clap::error::ErrorKind;
use tracer_bpf::Options;

use crate::{
    cli::{
        args::{Action, Args},
        config::{self, Config},
        origin::{self, Origins},
        variables,
    },
    inheritance::Inheritance,
    outcome::{EXIT_FAILURE, Outcome},
};

/// Instead of Rust's own start, which would ignore SIGPIPE and open closed standard descriptors before we could take note
/// of how we found them.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(argc: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
    let argument = |index| {
        // SAFETY: the C runtime passes argc pointers.
        let argument = unsafe { *argv.wrapping_offset(index) };
        // SAFETY: each of them to a string that lives as long as the process.
        let argument: &'static CStr = unsafe { CStr::from_ptr(argument) };
        argument
    };
    let arguments: Vec<_> = (0..argc as isize).map(argument).collect();
    std::ffi::c_int::from(panic::catch_unwind(|| main_with(&arguments)).unwrap_or(EXIT_FAILURE))
}

/// The exit status of a command line.
fn main_with(arguments: &[&'static CStr]) -> u8 {
    let inheritance = Inheritance::take(arguments.last().copied());
    panic::set_hook(Box::new(|panic| {
        // While the command runs nothing of ours is to be seen. Whoever waits for a thread says what became of it, and the
        // panics of expressions are told as their failures.
        let is_expression = panic.location().is_some_and(|location| location.file().contains("expr-lang"));
        if !is_expression && !matches!(thread::current().name(), Some("drain" | "sink")) {
            console::say(format_args!("this is a bug, please report it: {panic}"));
        }
    }));
    let arguments = arguments.iter().map(|argument| OsStr::from_bytes(argument.to_bytes()));
    let arguments: Vec<_> = arguments.map(OsStr::to_owned).collect();
    let (args, origins) = match origin::parse(&arguments) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    match act(args, &origins, inheritance) {
        Ok(status) => status,
        Err(error) => {
            console::say(format_args!("{error:#}"));
            EXIT_FAILURE
        }
    }
}

fn act(args: Args, origins: &Origins, inheritance: Inheritance) -> anyhow::Result<u8> {
    match args.action {
        Some(Action::Doctor) => {
            let (otlp, is_wanted) = config::collector(&args);
            return commands::doctor::examine(is_wanted.then_some(&otlp));
        }
        Some(Action::Send { ref files, keep }) => return send::send(files, keep, &config::collector(&args).0),
        Some(Action::Report { file, output, trace_id }) => {
            return commands::report::report(&file, trace_id, &config::report_outputs(output)).map(|()| 0);
        }
        Some(Action::Diff { before, after }) => return commands::diff::diff(&before, &after).map(|()| 0),
        Some(Action::Completions { shell }) => return commands::packaging::completions(shell).map(|()| 0),
        Some(Action::Man) => return commands::packaging::man().map(|()| 0),
        Some(Action::Helper { ring_bytes, max_processes, failed_execs, unix }) => {
            let options = Options { ring_bytes, max_processes, failed_execs, unix, ..Options::default() };
            return sources::sudo::help(options).map(|()| 0);
        }
        None => {}
    }
    let outcome = run::run(Config::resolve(args, origins)?, inheritance)?;
    if let Outcome::Killed { signal } = outcome {
        signals::die_by(signal);
    }
    Ok(outcome.status())
}

/// The help and the version go to stdout. An invalid command line prints one line on stderr.
fn usage(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Ok(()) => 0,
            Err(_) => EXIT_FAILURE,
        };
    }
    console::say(origin::report(error));
    EXIT_FAILURE
}
