//! Reads the command line and the variables. It knows the origin of each value: a flag, a variable or the default.
//!
//! This is the only place that decides what an invalid value does. An invalid flag is an error. An invalid variable prints a
//! warning and is ignored, so that a variable set for a whole CI system cannot break its jobs.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    env,
    error::Error as _,
    ffi::{OsStr, OsString},
    iter,
};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use tracer_model::expression::{CompileError, ExpressionError};

use super::{
    args::{Action, Args, PREFIX, variable_of},
    help,
    similar::no_such_variable,
    values::is_not_one_of,
};
use crate::{
    console,
    variables::{is_no_truth, is_one_of, truth},
};

/// Where the value of an option comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Variable,
    Default,
}

/// The origin of each option.
#[derive(Debug)]
pub(crate) struct Origins {
    flags: ArgMatches,
    /// The options that variables set.
    variables: BTreeSet<String>,
}

impl Origins {
    /// The origin of an option, by the name of its field in [`Args`].
    pub(crate) fn of(&self, option: &str) -> Origin {
        if is_flag(&self.flags, option) {
            Origin::Flag
        } else if self.variables.contains(option) {
            Origin::Variable
        } else {
            Origin::Default
        }
    }

    /// How the user set the option: `--user` or `PROCESS_TRACER_USER`.
    pub(crate) fn name_of(&self, option: &str) -> String {
        let flag = option.replace('_', "-");
        match self.of(option) {
            Origin::Variable => variable_of(&Arg::new("option").long(flag)).unwrap_or_default(),
            Origin::Flag | Origin::Default => format!("--{flag}"),
        }
    }
}

fn is_flag(flags: &ArgMatches, option: &str) -> bool {
    flags.value_source(option) == Some(ValueSource::CommandLine)
}

/// Reads a command line. Its first argument is the name of the program.
///
/// A variable has the effect of its flag at the beginning of the command line, unless the command line has the flag.
///
/// # Errors
///
/// A flag is invalid; or the user asks for the help or the version.
pub(crate) fn parse(arguments: &[OsString]) -> Result<(Args, Origins), clap::Error> {
    let rewritten = help::for_clap(arguments);
    let arguments = rewritten.as_deref().unwrap_or(arguments);
    let flags = Args::command().try_get_matches_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => help::command(arguments).try_get_matches_from(arguments).err().unwrap_or(error),
        ErrorKind::UnknownArgument => invalid_value(arguments).unwrap_or(error),
        _ => error,
    })?;
    let args = Args::from_arg_matches(&flags)?;
    if !matches!(args.action, None | Some(Action::Doctor | Action::Send { .. })) {
        return Ok((args, Origins { flags, variables: BTreeSet::new() }));
    }
    let (set, variables) = from_variables(&flags);
    if set.is_empty() {
        return Ok((args, Origins { flags, variables }));
    }
    let all = arguments.iter().take(1).cloned().chain(set).chain(arguments.iter().skip(1).cloned());
    let args = Args::from_arg_matches(&Args::command().try_get_matches_from(all)?)?;
    Ok((args, Origins { flags, variables }))
}

/// The first invalid value of a flag. If an unexpected argument follows, clap reports only that argument.
fn invalid_value(arguments: &[OsString]) -> Option<clap::Error> {
    let beginnings = (1..arguments.len()).map(|end| &arguments[..end]);
    let mut errors = beginnings.filter_map(|beginning| Args::command().try_get_matches_from(beginning).err());
    errors.find(|error| match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => !value.is_empty(),
        _ => false,
    })
}

/// The variables as flags, and the options that they set.
fn from_variables(flags: &ArgMatches) -> (Vec<OsString>, BTreeSet<String>) {
    let (mut set, mut options) = (Vec::new(), BTreeSet::new());
    let command = Args::command();
    warn_of_unknown(&command);
    for arg in command.get_arguments().filter(|arg| !is_flag(flags, arg.get_id().as_str())) {
        let Some(name) = variable_of(arg) else { continue };
        let Some(value) = env::var_os(&name).filter(|value| !value.is_empty()) else { continue };
        let checked = checked_flags(arg, &value);
        // The other values of a list count.
        let ignored = if checked.len() > 1 { format!("a value of {name}") } else { name };
        for flag in checked {
            let flag = match flag {
                Ok(flag) => flag,
                Err(reason) => {
                    let fallback = FALLBACKS.iter().find(|(option, ..)| arg.get_id() == option);
                    let Some((_, flag, effect)) = fallback else {
                        console::warn(format_args!("{ignored} is ignored: {reason}"));
                        continue;
                    };
                    console::warn(format_args!("{ignored} is ignored: {reason}; {effect}"));
                    (*flag).to_owned()
                }
            };
            set.push(flag.into());
            options.insert(arg.get_id().to_string());
        }
    }
    (set, options)
}

/// Prints a warning for each variable that looks like ours and does not exist.
fn warn_of_unknown(command: &Command) {
    let known: Vec<_> = command.get_arguments().filter_map(variable_of).collect();
    for name in env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with(PREFIX) && !known.contains(&name) {
            console::warn(format_args!("{name} is ignored: {}", no_such_variable(&name, known.iter().cloned())));
        }
    }
}

/// An option, and the flag that counts if the variable of the option is invalid. An invalid variable must not export more
/// than the user wanted.
const FALLBACKS: [(&str, &str, &str); 2] = [
    ("args", "--args=none", "no arguments are exported"),
    ("redact", "--redact=*", "all values with a name are masked"),
];

/// The flags that stand for a variable with this value. If one is invalid, the reason takes its place.
fn checked_flags(arg: &Arg, value: &OsStr) -> Vec<Result<String, String>> {
    let value = match value.to_str() {
        Some(value) => Cow::Borrowed(value),
        // This name has replacement characters. No user has it, so the command does not start. Otherwise it would run as
        // the wrong user.
        None if arg.get_id() == "user" => value.to_string_lossy(),
        None => return vec![Err("it is not UTF-8".to_owned())],
    };
    let checked = |flag: String| check(arg, &flag).map(|()| flag).map_err(|error| explain(&error).1);
    as_flags(arg, &value).map_or_else(|reason| vec![Err(reason)], |flags| flags.into_iter().map(checked).collect())
}

/// The flags that stand for a variable with this value.
///
/// # Errors
///
/// The option is a switch, and the value is neither true nor false.
fn as_flags(arg: &Arg, value: &str) -> Result<Vec<String>, String> {
    let name = format!("--{}", arg.get_long().unwrap_or_default());
    match arg.get_action() {
        ArgAction::SetTrue => match truth(value) {
            Some(is_on) => Ok(is_on.then_some(name).into_iter().collect()),
            None => Err(is_no_truth(value)),
        },
        ArgAction::Append => {
            // A comma is part of many expressions.
            let separators: &[char] = if arg.get_id() == "attribute" { &['\n'] } else { &[',', '\n'] };
            let values = value.split(separators).map(str::trim).filter(|value| !value.is_empty());
            // If a flag can be used without a value, its variable can be a switch.
            let is_switch = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
            let flag = |value: &str| match truth(value).filter(|_| is_switch) {
                Some(true) => Some(Ok(name.clone())),
                Some(false) => None,
                // Such a word was meant as true or false, not as a name.
                None if is_switch && is_one_of(value, &SWITCH_WORDS) => Some(Err(is_no_truth(value))),
                None => Some(Ok(format!("{name}={value}"))),
            };
            values.filter_map(flag).collect()
        }
        _ => Ok(vec![format!("{name}={value}")]),
    }
}

/// Words that people write into switches, but that are neither true nor false here.
const SWITCH_WORDS: [&str; 10] =
    ["all", "always", "disable", "disabled", "enable", "enabled", "never", "none", "null", "undefined"];

/// Checks one flag alone.
fn check(arg: &Arg, flag: &str) -> Result<(), clap::Error> {
    let command = Command::new("process-tracer").disable_help_flag(true).arg(arg.clone());
    command.try_get_matches_from(["process-tracer", flag]).map(|_| ())
}

/// The line that reports an invalid command line.
pub(crate) fn report(error: &clap::Error) -> String {
    match explain(error) {
        (Some(flag), reason) => format!("{flag}: {reason}"),
        (None, reason) => format!("{reason}; see {} --help", subcommand(error)),
    }
}

/// The place of the error in an invalid expression, as lines. Empty for every other error.
pub(crate) fn snippet(error: &clap::Error) -> String {
    let mut causes = iter::successors(error.source(), |cause| (*cause).source());
    let snippet = causes.find_map(|cause| {
        let of_attribute = cause.downcast_ref().map(CompileError::snippet);
        of_attribute.or_else(|| cause.downcast_ref().map(ExpressionError::snippet))
    });
    snippet.unwrap_or_default()
}

/// The program with the subcommand of an invalid command line.
fn subcommand(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let mut words = usage.split_whitespace().skip_while(|word| *word != "process-tracer");
    let command = Args::command();
    let is_subcommand = |word: &&str| command.get_subcommands().any(|subcommand| subcommand.get_name() == *word);
    // Some errors have no usage.
    let program = words.next().unwrap_or("process-tracer");
    words.next().filter(is_subcommand).map_or_else(|| program.to_owned(), |name| format!("{program} {name}"))
}

/// The flag with an invalid value, if there is one, and the reason.
fn explain(error: &clap::Error) -> (Option<String>, String) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(names))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        return (None, format!("{} is missing", names.join(" and ")));
    }
    // clap adds the name of the value: `--live[=<ADDR>]`, `--wait <WHAT>`. A positional argument is `[NAMES]` or `<FILE>`.
    let flag = text(ContextKind::InvalidArg).map(|arg| arg.trim_matches(['[', ']', '<', '>']));
    let flag = flag.and_then(|arg| arg.split([' ', '[', '=']).next()).map(str::to_owned);
    let value = text(ContextKind::InvalidValue).filter(|value| !value.is_empty());
    match (error.kind(), value, error.get(ContextKind::ValidValue)) {
        (ErrorKind::ValueValidation, ..) if error.source().is_some() => {
            let causes = iter::successors(error.source(), |cause| (*cause).source());
            (flag, causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
        }
        (ErrorKind::InvalidValue, Some(value), Some(ContextValue::Strings(names))) => {
            (flag, is_not_one_of(value, names))
        }
        _ => {
            let text = error.render().to_string();
            let lines = text.lines().map(str::trim);
            // clap's "tip: to pass '--foo' as a value, use '-- --foo'" is left out, because it does not help. Nobody wants
            // a command or a file with the name `--foo`.
            let is_wanted = |line: &&str| {
                line.starts_with("error: ") || line.starts_with("tip: ") && !line.starts_with("tip: to pass ")
            };
            let reasons = lines.filter(is_wanted).map(|line| line.trim_start_matches("error: ").to_owned());
            let is_unknown = error.kind() == ErrorKind::UnknownArgument;
            let owners = flag.as_deref().filter(|_| is_unknown).and_then(owners);
            (None, reasons.chain(owners).collect::<Vec<_>>().join("; "))
        }
    }
}

/// The commands that have a flag, as a sentence. `None`: no command has it.
fn owners(flag: &str) -> Option<String> {
    let command = Args::command();
    let subcommands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    let owners = iter::once(&command).chain(subcommands).filter(|command| {
        command.get_arguments().any(|arg| arg.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long)))
    });
    let names: Vec<_> = owners
        .map(|owner| match owner.get_name() {
            "process-tracer" => "process-tracer -- COMMAND".to_owned(),
            name => format!("process-tracer {name}"),
        })
        .collect();
    (!names.is_empty()).then(|| format!("{flag} is a flag of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(option: &str, value: &str) -> Vec<String> {
        let command = Args::command();
        as_flags(command.get_arguments().find(|arg| arg.get_id() == option).unwrap(), value).unwrap()
    }

    #[test]
    fn a_variable_is_read_as_flags() {
        assert_eq!(flags("wait", "tree"), ["--wait=tree"]);
        assert_eq!(flags("quiet", "1"), ["--quiet"]);
        assert!(flags("quiet", "off").is_empty());
        assert_eq!(flags("output", "otlp, a.html\nsummary,"), ["--output=otlp", "--output=a.html", "--output=summary"]);
        assert_eq!(flags("attribute", "a=[1, 2]\n\nb=2"), ["--attribute=a=[1, 2]", "--attribute=b=2"]);
        assert_eq!(flags("no_redact", "yes"), ["--no-redact"]);
        assert_eq!(flags("no_redact", "a,b"), ["--no-redact=a", "--no-redact=b"]);
        assert!(flags("no_redact", "0").is_empty());
        assert_eq!(flags("live", "1"), ["--live=1"], "a port");
    }

    #[test]
    fn an_error_names_the_commands_that_have_the_flag() {
        let error = |arguments: &[&str]| {
            let arguments: Vec<_> =
                iter::once("process-tracer").chain(arguments.iter().copied()).map(Into::into).collect();
            report(&parse(&arguments).unwrap_err())
        };
        assert_eq!(
            error(&["--threshold", "5"]),
            "unexpected argument '--threshold' found; --threshold is a flag of process-tracer diff; see process-tracer --help"
        );
        assert_eq!(
            error(&["report", "--wait", "tree", "a.jsonl"]),
            "unexpected argument '--wait' found; --wait is a flag of process-tracer -- COMMAND; see process-tracer report --help"
        );
        assert_eq!(error(&["rules", "builtin", "some"]), "NAMES: 'some' is not one of smart, plain and detailed");
    }

    #[test]
    fn a_switch_is_true_or_false() {
        let command = Args::command();
        let error = |option, value| {
            as_flags(command.get_arguments().find(|arg| arg.get_id() == option).unwrap(), value).unwrap_err()
        };
        assert_eq!(error("strict", "disabled"), "'disabled' is neither true nor false");
        assert_eq!(error("quiet", "2"), "'2' is neither true nor false");
        assert_eq!(error("no_redact", "Disabled"), "'Disabled' is neither true nor false");
        assert_eq!(error("no_redact", "license_key, none"), "'none' is neither true nor false");
        assert_eq!(flags("quiet", " TRUE "), ["--quiet"]);
    }

    #[test]
    fn the_flag_that_stands_for_each_variable_is_valid() {
        for arg in Args::command().get_arguments().filter(|arg| arg.get_long().is_some()) {
            let value = match arg.get_id().as_str() {
                "trace_id" => "0af7651916cd43dd8448eb211c80319c",
                "parent_id" => "00f067aa0ba902b7",
                "parent" => "ci",
                "attribute" => "a=1",
                "attributes_on" => "all",
                "output" => "tree",
                "peer_name" => "db=postgres",
                "endpoint" => "http://localhost",
                "protocol" => "grpc",
                "source" => "none",
                "wait" => "tree",
                "errors" => "unhandled",
                "buffer_size" => "1M",
                "args" => "program",
                "names" => "plain",
                "min_duration" => "20ms",
                "capture" => "processes,lookups",
                _ => "1",
            };
            let flags = as_flags(arg, value).unwrap();
            assert_eq!(flags.len(), 1, "{arg}");
            check(arg, &flags[0]).unwrap();
        }
    }

    #[test]
    fn the_fallbacks_are_valid() {
        let command = Args::command();
        for (option, flag, _) in FALLBACKS {
            check(command.get_arguments().find(|arg| arg.get_id() == option).unwrap(), flag).unwrap();
        }
    }

    #[test]
    fn an_invalid_flag_is_named_with_the_reason() {
        let error = |flags: &[&str]| {
            let arguments: Vec<OsString> = ["process-tracer"].iter().chain(flags).map(Into::into).collect();
            report(&parse(&arguments).unwrap_err())
        };
        assert_eq!(error(&["--wait", "forever"]), "--wait: 'forever' is not one of command and tree");
        assert_eq!(error(&["--live=x"]), "--live: 'x' is neither a port nor ADDRESS:PORT");
        let parent = error(&["-p", "12"]);
        assert!(parent.starts_with("--parent-id: '12': 2 characters, expected 16 hexadecimal digits; "), "{parent}");
        assert!(
            error(&["-t", "a"]).starts_with("--trace-id: 'a': 1 character, expected 32 "),
            "{}",
            error(&["-t", "a"])
        );
        assert_eq!(error(&["--args", "some"]), "--args: 'some' is not one of none, program and all");
        assert_eq!(error(&["diff"]), "<BEFORE>... is missing; see process-tracer diff --help");
        assert!(error(&["report", "--no-such"]).ends_with("; see process-tracer report --help"));
        assert_eq!(
            error(&["diff", "a", "b", "--threshold", "-5%"]),
            "--threshold: '-5%' is not a percentage such as 10%"
        );
        assert_eq!(error(&["--live=99999"]), "--live: '99999' is not a port: a port is at most 65535");
        assert!(error(&["--wait"]).ends_with("but none was supplied; see process-tracer --help"));
    }
}
