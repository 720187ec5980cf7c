//! The help: one screen of the options that most users need, and all options in groups.

use std::ffi::OsString;

use clap::{Arg, Command, builder::StyledStr};

use super::args::documented;

/// The group of each option that is about runs.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Trace",
        &[
            "trace_id",
            "parent_id",
            "parent",
            "root_name",
            "service_name",
            "peer_name",
            "attribute",
            "attributes_on",
            "skip_empty_values",
            "errors",
            "wait",
        ],
    ),
    ("Output", &["output", "live", "log", "quiet", "verbose"]),
    ("Export", &["endpoint", "protocol", "flush_timeout", "spool"]),
    (
        "Capture",
        &[
            "source",
            "capture",
            "failed_execs",
            "unix",
            "args",
            "redact",
            "no_redact",
            "buffer_size",
            "max_processes",
            "strict",
        ],
    ),
    ("Privileges", &["user", "sudo"]),
];

/// The options on the screen, each in one line.
const COMMON: [(&str, &str); 9] = [
    ("output", "summary, tree, otlp, FILE.jsonl, FILE.html, ..."),
    ("live", "Show the trace in a browser during the run"),
    ("endpoint", "Send the trace to this OTLP endpoint"),
    ("attribute", "Add an attribute to every process"),
    ("wait", "End with the `command`, or with its `tree`"),
    ("user", "Run the command as this user"),
    ("sudo", "Get the privileges from sudo"),
    ("quiet", "Print only warnings and errors"),
    ("help", HELP),
];

const HELP: &str = "Print the common options; `all` prints all";

/// The subcommands on the screen, each in one line.
const SUBCOMMANDS: [(&str, &str); 4] = [
    ("doctor", "Check whether this machine can trace"),
    ("report", "Convert a saved trace, FILE.jsonl, to another format"),
    ("diff", "Compare two saved traces"),
    ("send", "Send saved traces to a collector"),
];

/// The command line that prints the help for which `arguments` ask. The subcommands keep their own help.
pub(crate) fn command(arguments: &[OsString]) -> Command {
    let words = || arguments.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let asks_for_all = words().zip(words().skip(1)).any(|(word, next)| is_help(&word) && next == "all");
    let help = if asks_for_all { with_help_explained(documented()).render_long_help() } else { screen() };
    documented().override_help(format!("{}\n", help.ansi()))
}

fn is_help(word: &str) -> bool {
    ["-h", "--help", "help"].contains(&word)
}

/// `process-tracer help all` as `process-tracer --help all`. clap would look for a subcommand `all`.
pub(crate) fn without_subcommand(arguments: &[OsString]) -> Option<Vec<OsString>> {
    match arguments {
        [program, help, all, ..] if help == "help" && all == "all" => {
            Some(vec![program.clone(), "--help".into(), all.clone()])
        }
        _ => None,
    }
}

/// The heading above an option.
pub(super) fn heading(arg: &Arg) -> Option<&'static str> {
    GROUPS.iter().find(|(_, options)| options.contains(&arg.get_id().as_str())).map(|(heading, _)| *heading)
}

/// The help flag of clap describes a short and a long help. The result is for rendering: `mut_arg` breaks a parser.
pub(super) fn with_help_explained(mut command: Command) -> Command {
    command.build();
    command.mut_arg("help", |arg| arg.help(HELP).long_help(HELP))
}

/// The options that most users need.
fn screen() -> StyledStr {
    with_help_explained(documented())
        .term_width(80)
        .mut_args(|arg| match COMMON.iter().position(|(option, _)| arg.get_id() == option) {
            Some(place) => {
                let (_, help) = COMMON[place];
                arg.help(help).help_heading("Options").display_order(place).hide_env(true).hide_default_value(true)
            }
            None => arg.hide(true),
        })
        .mut_subcommands(|subcommand| match SUBCOMMANDS.iter().find(|(name, _)| subcommand.get_name() == *name) {
            Some((_, about)) => subcommand.about(*about),
            None => subcommand.hide(true),
        })
        .override_usage("process-tracer [OPTIONS] -- COMMAND [ARGS]...")
        .after_help(AFTER)
        .render_help()
}

const AFTER: &str = "\
Example: sudo process-tracer -o build.html -- make -j8
All options and variables: process-tracer --help all";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_a_group() {
        for arg in documented().get_arguments().filter(|arg| arg.get_long().is_some()) {
            assert!(heading(arg).is_some(), "add --{} to GROUPS", arg.get_long().unwrap());
        }
    }

    #[test]
    fn no_option_is_in_two_groups() {
        let mut all: Vec<_> = GROUPS.iter().flat_map(|(_, options)| *options).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
