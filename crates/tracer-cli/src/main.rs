//! process-tracer runs a command and makes an OpenTelemetry trace of everything it does.
//!
//! This is the outermost layer: it takes the command line and returns the exit status.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod accounts;
mod child;
mod ci;
mod cli;
mod commands;
mod console;
mod drain;
mod file;
mod limits;
mod machine;
mod nesting;
mod pod;
mod resource;
mod rules;
mod run;
mod shortage;
mod sinks;
mod sources;
mod state;
mod tags;
mod threads;
mod variables;

use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt,
    panic,
};

use anyhow::Context;
use clap::error::ErrorKind;
use tracer_bpf::{Asked, Options};
use tracer_report::Filter;

use crate::{
    child::{
        inheritance::Inheritance,
        outcome::{EXIT_FAILURE, Outcome},
        signals,
    },
    cli::{
        args::{Action, Args, RulesAction},
        config::{self, Config},
        dashes,
        origin::{self, Origin, Origins},
    },
    commands::report::Request,
    threads::SingleThread,
};

/// It replaces Rust's own start. That start ignores SIGPIPE and opens closed standard descriptors. We must record their
/// state before.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(argc: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
    let argument = |index| {
        // SAFETY: the C runtime passes argc pointers.
        let argument = unsafe { *argv.wrapping_offset(index) };
        // SAFETY: each of them points to a string that lives as long as the process.
        let argument: &'static CStr = unsafe { CStr::from_ptr(argument) };
        argument
    };
    let arguments: Vec<_> = (0..argc as isize).map(argument).collect();
    // SAFETY: the process has just begun, so this is its only thread. No other code calls this.
    let run = || main_with(&arguments, unsafe { SingleThread::assume() });
    let run = || panic::catch_unwind(run).unwrap_or(EXIT_FAILURE);
    std::ffi::c_int::from(if limits::is_stack_small() { stacker::grow(limits::STACK, run) } else { run() })
}

/// Returns the exit status of a command line.
fn main_with(arguments: &[&'static CStr], single: SingleThread) -> u8 {
    let inheritance = Inheritance::take(arguments.last().copied(), &single);
    panic::set_hook(Box::new(|panic| {
        // While the command runs, a thread does not print its own panic. The thread that joins it reports the panic.
        if !threads::is_quiet() {
            console::begin(None);
            console::say(format_args!("this is a bug, please report it: {panic}"));
        }
    }));
    let arguments = arguments.iter().map(|argument| OsStr::from_bytes(argument.to_bytes()));
    let arguments: Vec<_> = arguments.map(OsStr::to_owned).collect();
    let (args, origins) = match origin::parse(&arguments) {
        Ok(options) => options,
        Err(error) => {
            console::begin(None);
            return usage(&error, &arguments);
        }
    };
    let result = match open_log(&args, &origins) {
        Ok(log) => {
            console::begin(log);
            act(args, &origins, inheritance, single)
        }
        Err(error) => Err(error),
    };
    console::begin(None);
    match result {
        Ok(status) => status,
        Err(error) => {
            console::say(format_args!("{error:#}"));
            EXIT_FAILURE
        }
    }
}

/// The file for the messages of a run. If only a variable names it and it cannot be written, they go to stderr.
fn open_log(args: &Args, origins: &Origins) -> anyhow::Result<Option<File>> {
    let Some(path) = args.log.as_ref().filter(|_| args.action.is_none()) else { return Ok(None) };
    match file::append(path).with_context(|| format!("cannot write '{}'", path.display())) {
        Ok(file) => Ok(Some(file)),
        Err(error) if origins.of("log") == Origin::Variable => {
            console::warn(format_args!("{} is ignored: {error:#}", origins.name_of("log")));
            Ok(None)
        }
        Err(error) => Err(error.context("--log")),
    }
}

fn act(args: Args, origins: &Origins, inheritance: Inheritance, single: SingleThread) -> anyhow::Result<u8> {
    match args.action {
        Some(Action::Doctor) => {
            let (collector, is_wanted) = config::collector(&args);
            return commands::doctor::examine(is_wanted.then_some(&collector));
        }
        Some(Action::Send { ref files, keep }) => {
            return commands::send::send(files, keep, &config::collector(&args).0);
        }
        Some(Action::Report { files, output, trace_id, attribute, min_duration, only_failed, depth, by }) => {
            let filter = Filter { min_duration, only_failed, depth };
            let request = Request {
                outputs: config::report_outputs(output, &filter),
                trace: trace_id.map(|given| given.id),
                attributes: attribute,
                filter,
                by,
            };
            return commands::report::report(&files, &request).map(|()| 0);
        }
        Some(Action::Diff(diff)) => return commands::diff::diff(diff),
        Some(Action::Setup { undo: true, .. }) => return commands::setup::undo().map(|()| 0),
        Some(Action::Setup { group, .. }) => return commands::setup::give(group.as_deref()).map(|()| 0),
        Some(Action::Rules { action: RulesAction::Builtin { names } }) => {
            return commands::rules::builtin(names.into()).map(|()| 0);
        }
        Some(Action::Rules { action: RulesAction::Convert { ref file } }) => return commands::convert::convert(file),
        Some(Action::Rules { action: RulesAction::Check { ref file, ref trace, ref command } }) => {
            let file = match commands::rules::RulesFile::read(file) {
                Ok(file) => file,
                Err(error) => {
                    console::say(format_args!("{error:#}"));
                    return Ok(1);
                }
            };
            return match (trace, command.as_slice()) {
                (Some(trace), _) => file.check_trace(trace),
                (None, []) => file.say_size(),
                (None, command) => {
                    let command = command.to_vec();
                    let args = Args { action: None, command, ..args };
                    file.check_run(Config::resolve(args, origins)?, inheritance, single)
                }
            }
            .map(|()| 0);
        }
        Some(Action::Completions { shell }) => return commands::packaging::completions(shell).map(|()| 0),
        Some(Action::Man) => return commands::packaging::man().map(|()| 0),
        Some(Action::Helper { ring_bytes, max_processes, asked }) => {
            let options = Options { ring_bytes, max_processes, asked: Asked::from_bits(asked), ..Options::default() };
            return sources::sudo::help(options).map(|()| 0);
        }
        None => {}
    }
    let outcome = run::run(Config::resolve(args, origins)?, inheritance, single)?;
    if let Outcome::Killed { signal } = outcome {
        signals::die_by(signal);
    }
    Ok(outcome.status())
}

/// The help and the version go to stdout. An invalid command line prints one line on stderr, and below it the place of an
/// invalid expression.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // clap would ignore `TERM=dumb` in a CI job.
        let text = error.render();
        let mut stdout = io::stdout();
        let printed = match console::is_coloured(&stdout) {
            true => write!(stdout, "{}", text.ansi()),
            false => write!(stdout, "{text}"),
        };
        return match printed.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => EXIT_FAILURE,
            _ => 0,
        };
    }
    console::say(dashes::missing(error, arguments).unwrap_or_else(|| origin::report(error)));
    console::lines(&origin::snippet(error));
    EXIT_FAILURE
}
