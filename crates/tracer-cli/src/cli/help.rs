//! The help: one screen of the options that most users need, and all options in groups. The man page, the completions and
//! `docs/options.md` have the same definitions.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, builder::StyledStr};

use super::args::{Args, variable_of};

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
            "rules",
            "names",
            "min_duration",
            "wait",
        ],
    ),
    ("Output", &["output", "by", "live", "log", "quiet", "verbose"]),
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
const COMMON: [(&str, &str); 8] = [
    ("output", "summary, tree, otlp, FILE.jsonl, FILE.html, ..."),
    ("live", "Show the trace in a browser during the run"),
    ("endpoint", "Send the trace to this OTLP endpoint"),
    ("attribute", "Add an attribute to every process"),
    ("user", "Run the command as this user"),
    ("sudo", "Get the privileges from sudo"),
    ("quiet", "Print only warnings and errors"),
    ("help", HELP),
];

const HELP: &str = "Print help; `--help all` prints all options";

/// The subcommands on the screen, each in one line.
const SUBCOMMANDS: [(&str, &str); 5] = [
    ("doctor", "Check whether this machine can trace"),
    ("setup", "Let ordinary users trace without sudo"),
    ("report", "Convert a saved trace, FILE.jsonl, to another format"),
    ("diff", "Compare saved traces"),
    ("send", "Send saved spans to a collector"),
];

/// The help of --endpoint in the subcommands that have it.
const ENDPOINTS: [(&str, &str); 2] = [
    (
        "doctor",
        "OTLP endpoint to check, such as http://localhost:4318 [default: from OTEL_EXPORTER_OTLP_ENDPOINT, else none]",
    ),
    (
        "send",
        "OTLP endpoint, such as http://localhost:4318 [default: from OTEL_EXPORTER_OTLP_ENDPOINT, else localhost]",
    ),
];

/// The command line for readers: each option of a run names its variable.
///
/// It is not for parsing. clap would read the variables itself, and an invalid variable would be an error.
pub(crate) fn documented() -> Command {
    let command = Args::command().mut_args(|arg| {
        // The help text already names the values.
        let takes_value = arg.get_action().takes_values();
        let arg = arg.hide_possible_values(takes_value);
        match variable_of(&arg) {
            Some(variable) => {
                let heading = heading(&arg);
                arg.env(variable).hide_env_values(true).help_heading(heading)
            }
            None => arg,
        }
    });
    // The global options are about the collector.
    let global = command.get_arguments().filter(|arg| arg.is_global_set());
    let global: Vec<_> = global.map(|arg| arg.clone().global(false)).collect();
    command.mut_subcommands(|subcommand| {
        let endpoint = ENDPOINTS.iter().find(|(name, _)| subcommand.get_name() == *name);
        subcommand.args(global.iter().cloned().map(|arg| match endpoint {
            Some((_, help)) if arg.get_id() == "endpoint" => arg.help(*help),
            Some(_) => arg,
            None => arg.hide(true),
        }))
    })
}

/// The command line that prints the help for which `arguments` ask. The subcommands keep their own help.
pub(crate) fn command(arguments: &[OsString]) -> Command {
    let words = || arguments.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let asks_for_all = words().zip(words().skip(1)).any(|(word, next)| is_help(&word) && next == "all");
    let help = if asks_for_all { explained(documented()).render_long_help() } else { screen() };
    explained(documented()).override_help(format!("{}\n", help.ansi()))
}

fn is_help(word: &str) -> bool {
    ["-h", "--help", "help"].contains(&word)
}

/// Rewrites `help all` to `--help all`, and `help --help` to `help help`. clap would look for subcommands of these names.
pub(crate) fn for_clap(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let [program, help, word, ..] = arguments else { return None };
    if help != "help" {
        None
    } else if word == "all" {
        Some(vec![program.clone(), "--help".into(), word.clone()])
    } else {
        is_help(&word.to_string_lossy()).then(|| vec![program.clone(), help.clone(), help.clone()])
    }
}

/// The heading above an option.
pub(super) fn heading(arg: &Arg) -> Option<&'static str> {
    GROUPS.iter().find(|(_, options)| options.contains(&arg.get_id().as_str())).map(|(heading, _)| *heading)
}

/// The built command, with our own texts for `--help` and `help`. clap's texts would describe a short and a long help.
pub(crate) fn explained(mut command: Command) -> Command {
    fn explain(command: Command, flag: &'static str) -> Command {
        let command = command.mut_args(|arg| if arg.get_id() == "help" { arg.help(flag).long_help(flag) } else { arg });
        command.mut_subcommands(|subcommand| {
            let subcommand = explain(subcommand, "Print help");
            let is_help = subcommand.get_name() == "help";
            if is_help { subcommand.about("Print the help of a subcommand") } else { subcommand }
        })
    }
    command.build();
    explain(command, HELP).mut_subcommand("help", |help| {
        let about = "Print the help of a subcommand; `help all` prints all options";
        help.about(about).override_usage("process-tracer help [all | SUBCOMMAND]")
    })
}

/// The options that most users need.
fn screen() -> StyledStr {
    explained(documented())
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
    use std::fs;

    use expect_test::expect_file;

    use super::*;
    use crate::cli::{args::USAGE, otel};

    #[test]
    fn clap_accepts_the_documented_definitions() {
        documented().debug_assert();
    }

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

    fn row(arg: &Arg) -> String {
        let value = arg.get_value_names().and_then(<[_]>::first).filter(|_| arg.get_action().takes_values());
        let value = match value {
            Some(value) if arg.get_num_args().is_some_and(|range| range.min_values() == 0) => {
                let start = if arg.is_require_equals_set() { "[=" } else { " [" };
                format!("{start}{value}]")
            }
            Some(value) => format!(" {value}"),
            None => String::new(),
        };
        let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let variable = arg.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults = arg.get_default_values().iter().filter(|_| arg.get_action().takes_values());
        let default: String = defaults.map(|value| format!(" [default: {}]", value.display())).collect();
        format!("| {short}`--{}{value}` | {variable} | {help}{default} |\n", arg.get_long().unwrap())
    }

    /// The page with another text between these marks.
    fn between(page: &str, marks: [&str; 2], text: &str) -> String {
        let (before, rest) = page.split_once(marks[0]).unwrap();
        let (_, after) = rest.split_once(marks[1]).unwrap();
        [before, marks[0], text, marks[1], after].concat()
    }

    /// The tables of options and of OpenTelemetry's variables, between the marks of docs/options.md, and the forms of the
    /// command line above them.
    #[test]
    fn the_options_page_follows_from_the_definitions() {
        const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/options.md");
        const OPTIONS: [&str; 2] =
            ["<!-- options: generated, see CONTRIBUTING.md -->\n\n", "\n<!-- end of options -->\n"];
        const VARIABLES: [&str; 2] =
            ["<!-- variables: generated, see CONTRIBUTING.md -->\n\n", "\n<!-- end of variables -->\n"];
        let command = explained(documented());
        let flags = command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set());
        let rows: String = flags.map(row).collect();
        assert!(rows.contains("| `-t`, `--trace-id ID` | `PROCESS_TRACER_TRACE_ID` | "), "{rows}");
        let forms: Vec<_> = USAGE.lines().map(str::trim).collect();

        let page = fs::read_to_string(PATH).unwrap();
        let (start, rest) = page.split_once("```\n").unwrap();
        let (_, rest) = rest.split_once("\n```\n").unwrap();
        let table = format!("| option | variable | meaning |\n| --- | --- | --- |\n{rows}");
        let page = [start, "```\n", &forms.join("\n"), "\n```\n", rest].concat();
        let expected = between(&between(&page, OPTIONS, &table), VARIABLES, &otel::tables());
        expect_file![PATH].assert_eq(&expected);
    }
}
