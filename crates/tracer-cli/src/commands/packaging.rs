//! `process-tracer man` and `process-tracer completions`: the files that a package installs beside the binary.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use crate::{
    cli::{
        args::{ENVIRONMENT, EXAMPLES, USAGE},
        help::documented,
    },
    console,
};

const NAME: &str = "process-tracer";

/// Prints the completions for a shell on stdout.
///
/// # Errors
///
/// stdout cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    console::print(script(shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut visible(&documented()), NAME, &mut text);
    text
}

/// The command without hidden options and subcommands. Some shells' scripts would complete them.
fn visible(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
    let subcommands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).map(visible);
    Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .disable_help_subcommand(true)
        .args(arguments)
        .subcommands(subcommands)
}

/// Prints the man page on stdout.
///
/// # Errors
///
/// stdout cannot be written.
pub(crate) fn man() -> Result<()> {
    console::print(page()?)
}

/// One page for all commands, so that a user finds all of them with `man process-tracer`.
fn page() -> Result<Vec<u8>> {
    let command = documented();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    lines("SYNOPSIS", USAGE).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = Man::new(subcommand.clone());
        let mut section = Vec::new();
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        Roff::new().control("SH", [format!("{NAME} {}", subcommand.get_name()).as_str()]).to_writer(&mut page)?;
        // Its parts are one level deeper.
        page.extend(String::from_utf8(section)?.replace(".SH ", ".SS ").into_bytes());
    }
    lines("EXAMPLES", EXAMPLES).to_writer(&mut page)?;
    Roff::new().control("SH", ["ENVIRONMENT"]).text([roman(ENVIRONMENT)]).to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A section that keeps its line breaks.
fn lines(heading: &str, text: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [heading]);
    for line in text.lines() {
        section.text([roman(line.trim())]).control("br", []);
    }
    section
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// The long names of all options, with those of the subcommands.
    fn flags() -> Vec<String> {
        let command = documented();
        let commands = [&command].into_iter().chain(command.get_subcommands());
        let args = commands.flat_map(Command::get_arguments).filter(|arg| !arg.is_hide_set());
        args.filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
    }

    #[test]
    fn the_man_page_has_each_option_and_each_command() {
        // roff escapes hyphens.
        let page = String::from_utf8(page().unwrap()).unwrap().replace("\\-", "-");
        for flag in flags() {
            assert!(page.contains(&format!("--{flag}")), "{flag}: {page}");
        }
        for arg in documented().get_arguments().filter(|arg| arg.is_hide_set()) {
            assert!(!page.contains(&format!("--{}", arg.get_long().unwrap())), "{arg}: {page}");
        }
        for command in documented().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(page.contains(&format!(".SH \"process-tracer {}\"", command.get_name())), "{command}: {page}");
        }
        assert!(page.contains("PROCESS_TRACER_TRACE_ID"), "{page}");
    }

    #[test]
    fn the_completions_have_each_option_and_each_command() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script(*shell)).unwrap();
            for flag in flags() {
                assert!(text.contains(&flag), "{shell}: {flag}");
            }
            for command in documented().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(text.contains(command.get_name()), "{shell}: {command}");
            }
            let command = documented();
            for arg in command.get_arguments().filter(|arg| arg.is_hide_set()) {
                let long = arg.get_long().unwrap();
                assert!(
                    !text.contains(&format!("--{long}")) && !text.contains(&format!("-l {long}")),
                    "{shell}: {long}"
                );
            }
            for command in command.get_subcommands().filter(|command| command.is_hide_set()) {
                assert!(!text.contains(command.get_name()), "{shell}: {command}");
            }
        }
    }
}
