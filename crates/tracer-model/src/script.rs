//! Scripts that an interpreter runs only after another exec.
//!
//! The kernel executes `/usr/bin/env` for a script that begins with `#!/usr/bin/env node`. Then env executes node. A
//! `configure` script executes another shell, which runs the same script. People look for the name of the script, so the process keeps it.

use crate::event::{Image, base_name};

/// Interpreters that a script can execute to run the same script again. Versions are left out: `python3.11` is `python`.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "python", "pypy", "perl", "ruby", "node", "nodejs",
    "bun", "deno", "php", "lua", "luajit", "tclsh", "wish", "guile", "Rscript", "gawk", "awk", "make", "groovy",
    "scala", "julia",
];

/// The most scripts of one process. A launcher of an interpreter, such as that of pyenv, is a script too.
const SCRIPTS: usize = 8;

/// The names of scripts under which a process was called, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripts(Vec<Script>);

#[derive(Clone, Debug)]
struct Script {
    path: String,
    /// The words that `env` gets before the path: options, and the name of the interpreter. Empty without `env`.
    of_env: Vec<String>,
}

impl Scripts {
    /// Takes the next image of the process. Returns the script that this image runs, if its own file is not that script.
    pub(crate) fn follow(&mut self, image: &Image) -> Option<&str> {
        if image.is_script {
            if self.0.len() < SCRIPTS && !image.file.is_empty() {
                self.0.push(Script::of(image));
            }
            return None;
        }
        self.0.iter().find(|script| script.is_run_by(image)).map(|script| script.path.as_str())
    }
}

impl Script {
    fn of(image: &Image) -> Self {
        let mut arguments = image.arguments.iter();
        let is_env = arguments.next().is_some_and(|interpreter| base_name(&interpreter) == "env");
        let words = arguments.take_while(|argument| *argument != image.file);
        let words = words.flat_map(|word| word.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        Self { path: image.file.clone(), of_env: if is_env { words.collect() } else { Vec::new() } }
    }

    fn is_run_by(&self, image: &Image) -> bool {
        let arguments: Vec<_> = image.arguments.iter().take(SEARCHED).collect();
        // The options of an interpreter come before its script. The script's own arguments come after it.
        let place = arguments.iter().position(|argument| *argument == self.path).filter(|place| *place > 0);
        let Some(options) = place.and_then(|place| arguments.get(1..place)) else { return false };
        let program = image.name();
        let is_named = self.of_env.iter().any(|word| base_name(word) == program);
        let is_interpreter = INTERPRETERS.contains(&without_version(program));
        is_named || is_interpreter && options.iter().all(|option| option.starts_with('-') && *option != "-c")
    }
}

/// The path of a script is searched for in this many arguments.
const SEARCHED: usize = 32;

fn without_version(program: &str) -> &str {
    program.trim_end_matches(|character: char| character.is_ascii_digit() || ".-".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(file: &str, is_script: bool, arguments: &[&str]) -> Image {
        Image { file: file.to_owned(), is_script, arguments: arguments.iter().collect(), ..Image::default() }
    }

    fn script(file: &str, arguments: &[&str]) -> Image {
        image(file, true, arguments)
    }

    fn program(file: &str, arguments: &[&str]) -> Image {
        image(file, false, arguments)
    }

    /// The script that the last of these images runs.
    fn run_by(images: &[Image]) -> Option<String> {
        let mut scripts = Scripts::default();
        images.iter().map(|image| scripts.follow(image).map(str::to_owned)).last().flatten()
    }

    #[test]
    fn an_interpreter_runs_the_script_that_env_was_called_for() {
        let tsc = || script("/x/tsc", &["/usr/bin/env", "node", "/x/tsc", "-p", "."]);
        let node = program("/usr/bin/node", &["node", "/x/tsc", "-p", "."]);
        assert_eq!(run_by(&[tsc(), node]).unwrap(), "/x/tsc");
        let tool = || script("/x/run", &["/usr/bin/env", "-S tool --flag", "/x/run"]);
        assert_eq!(run_by(&[tool(), program("/opt/tool", &["tool", "--flag", "/x/run"])]).unwrap(), "/x/run");
        assert_eq!(run_by(&[tool(), program("/usr/bin/sudo", &["sudo", "/x/run"])]), None);
        assert_eq!(run_by(&[tool(), program("/opt/tool", &["tool", "--flag", "/x/other"])]), None);
        assert_eq!(run_by(&[program("/opt/tool", &["tool", "/x/run"])]), None);
    }

    #[test]
    fn a_launcher_that_is_a_script_too_does_not_hide_the_script() {
        let images = [
            script("/bin/lint", &["/usr/bin/env", "python3", "/bin/lint"]),
            script("/shims/python3", &["/usr/bin/env", "bash", "/shims/python3", "/bin/lint"]),
            program("/bin/bash", &["bash", "/shims/python3", "/bin/lint"]),
            script("/bin/pyenv", &["/usr/bin/env", "bash", "/bin/pyenv", "exec", "python3", "/bin/lint"]),
            program("/bin/bash", &["bash", "/bin/pyenv", "exec", "python3", "/bin/lint"]),
            program("/versions/python3.11", &["python3", "/bin/lint"]),
        ];
        assert_eq!(run_by(&images).unwrap(), "/bin/lint");
        assert_eq!(run_by(&images[..3]).unwrap(), "/shims/python3");
    }

    #[test]
    fn another_shell_runs_a_script() {
        let configure = || script("./configure", &["/bin/bash", "./configure", "--prefix=/"]);
        let run = |file, arguments: &[&str]| run_by(&[configure(), program(file, arguments)]);
        assert_eq!(run("/bin/bash", &["/bin/bash", "./configure", "--prefix=/"]).unwrap(), "./configure");
        assert_eq!(run("/usr/bin/python3.11", &["python3.11", "-I", "./configure"]).unwrap(), "./configure");
        assert_eq!(run("/bin/cat", &["cat", "./configure"]), None);
        assert_eq!(run("/bin/bash", &["bash", "-c", "./configure"]), None);
        assert_eq!(run("/bin/bash", &["bash", "other.sh", "./configure"]), None);
        // It was called as `bash ./configure`.
        let shell = program("/bin/bash", &["bash", "./configure"]);
        assert_eq!(run_by(&[shell, program("/bin/dash", &["dash", "./configure"])]), None);
    }
}
