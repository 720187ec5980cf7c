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
        help::{documented, explained},
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
    script_of(shell, &explained(documented()))
}

fn script_of(shell: Shell, command: &Command) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut visible(command), NAME, &mut text);
    text
}

/// The subcommands that users see. clap's own `help` is in the synopsis.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set() && subcommand.get_name() != "help")
}

/// The command without hidden options and subcommands. Some shells' scripts would complete them.
fn visible(command: &Command) -> Command {
    // Each subcommand already has the global options as its own. So they are not global here. Otherwise clap would add them
    // to the subcommands that hide them.
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set()).map(|arg| arg.clone().global(false));
    let shown = Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        // The options of help and version are among the arguments already.
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(arguments)
        .subcommands(subcommands(command).map(visible));
    match command.get_version() {
        Some(version) => shown.version(version.to_owned()),
        None => shown,
    }
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
    page_of(&explained(documented()))
}

fn page_of(command: &Command) -> Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    lines("SYNOPSIS", USAGE).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    sections(command, NAME, &mut page)?;
    lines("EXAMPLES", EXAMPLES).to_writer(&mut page)?;
    Roff::new().control("SH", ["ENVIRONMENT"]).text([roman(ENVIRONMENT)]).to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A section for each subcommand, and for the subcommands below it.
fn sections(command: &Command, name: &str, page: &mut Vec<u8>) -> Result<()> {
    for subcommand in subcommands(command) {
        let name = format!("{name} {}", subcommand.get_name());
        let man = Man::new(subcommand.clone());
        let mut section = Vec::new();
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        Roff::new().control("SH", [name.as_str()]).to_writer(page)?;
        // Its parts are one level deeper.
        page.extend(String::from_utf8(section)?.replace(".SH ", ".SS ").into_bytes());
        sections(subcommand, &name, page)?;
    }
    Ok(())
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

    /// The part of the man page that describes a subcommand.
    fn section(page: &str, name: &str) -> String {
        let (_, after) = page.split_once(&format!(".SH \"process-tracer {name}\"\n")).unwrap();
        after.split("\n.SH ").next().unwrap().to_owned()
    }

    #[test]
    fn each_command_has_its_own_options_only() {
        let page = String::from_utf8(page().unwrap()).unwrap().replace("\\-", "-");
        let fish = String::from_utf8(script(Shell::Fish)).unwrap();
        for (command, has_endpoint) in
            [("doctor", true), ("send", true), ("report", false), ("diff", false), ("man", false)]
        {
            assert_eq!(section(&page, command).contains("--endpoint"), has_endpoint, "{command}: {page}");
            let condition = format!("using_subcommand {command}\" -l endpoint ");
            assert_eq!(fish.contains(&condition), has_endpoint, "{command}: {fish}");
        }
    }

    #[test]
    fn nested_commands_have_sections_and_completions() {
        let inner = Command::new("check").about("Check it").arg(clap::Arg::new("deep").long("deep"));
        let outer = Command::new("outer").subcommand_required(true).subcommand(inner);
        let command = explained(documented().subcommand(outer));
        let page = String::from_utf8(page_of(&command).unwrap()).unwrap().replace("\\-", "-");
        assert!(section(&page, "outer check").contains("--deep"), "{page}");
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script_of(*shell, &command)).unwrap();
            assert!(text.contains("deep"), "{shell}: {text}");
        }
    }
}
