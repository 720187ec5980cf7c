//! Scripts that an interpreter runs only after another exec.
//!
//! The kernel executes `/usr/bin/env` for a script that begins with `#!/usr/bin/env node`. Then env executes node. A
//! `configure` script executes another shell for itself. People look for the name of the script, so the process keeps it.

use crate::event::{Image, base_name};

/// Interpreters that run a script for itself again. Versions are left out: `python3.11` is `python`.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "python", "pypy", "perl", "ruby", "node", "nodejs",
    "bun", "deno", "php", "lua", "luajit", "tclsh", "wish", "guile", "Rscript", "gawk", "awk", "make", "groovy",
    "scala", "julia",
];

/// Whether the program `next` runs the script that `previous` is, in the same process.
pub(crate) fn is_continued(previous: &Image, next: &Image) -> bool {
    if !previous.is_script || next.is_script {
        return false;
    }
    let script = previous.file.as_str();
    let arguments: Vec<_> = next.arguments.iter().collect();
    // The options of an interpreter come before its script. The script's own arguments come after it.
    let Some(place) = arguments.iter().position(|argument| argument == script).filter(|place| *place > 0) else {
        return false;
    };
    let program = next.name();
    // `env` gets the name of the interpreter before the path of the script, perhaps in one word with options.
    let is_named = || {
        let words = previous.arguments.iter().take_while(|argument| argument != script).collect::<Vec<_>>();
        words.iter().flat_map(|word| word.split_whitespace()).any(|word| base_name(word) == program)
    };
    let are_options = || arguments[1..place].iter().all(|argument| argument.starts_with('-'));
    is_named() || are_options() && INTERPRETERS.contains(&without_version(program))
}

fn without_version(program: &str) -> &str {
    program.trim_end_matches(|character: char| character.is_ascii_digit() || ".-".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(file: &str, is_script: bool, arguments: &[&str]) -> Image {
        Image { file: file.to_owned(), is_script, arguments: arguments.iter().collect(), ..Image::default() }
    }

    #[test]
    fn an_interpreter_continues_the_script_that_env_was_called_for() {
        let script = image("/x/tsc", true, &["/usr/bin/env", "node", "/x/tsc", "-p", "."]);
        assert!(is_continued(&script, &image("/usr/bin/node", false, &["node", "/x/tsc", "-p", "."])));
        let script = image("/x/run", true, &["/usr/bin/env", "-S tool --flag", "/x/run"]);
        assert!(is_continued(&script, &image("/opt/tool", false, &["tool", "--flag", "/x/run"])));
        // The interpreter's own children and other programs are not the script.
        assert!(!is_continued(&script, &image("/usr/bin/sudo", false, &["sudo", "/x/run"])));
        assert!(!is_continued(&script, &image("/opt/tool", false, &["tool", "--flag", "/x/other"])));
    }

    #[test]
    fn another_shell_continues_a_script() {
        let script = image("./configure", true, &["/bin/sh", "./configure", "--prefix=/"]);
        assert!(is_continued(&script, &image("/bin/bash", false, &["/bin/bash", "./configure", "--prefix=/"])));
        assert!(is_continued(&script, &image("/usr/bin/python3.11", false, &["python3.11", "-I", "./configure"])));
        assert!(!is_continued(&script, &image("/bin/cat", false, &["cat", "./configure"])));
        assert!(!is_continued(&script, &image("/bin/bash", false, &["bash", "-c", "x", "y", "./configure"])));
        // It was invoked as `bash ./configure`.
        let shell = image("/bin/bash", false, &["bash", "./configure"]);
        assert!(!is_continued(&shell, &image("/bin/dash", false, &["dash", "./configure"])));
    }
}
