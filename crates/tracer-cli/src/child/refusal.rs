//! Why the command could not be executed, and the remedy.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{errno::Errno, libc};

use crate::console::quoted;

/// The reason in words. `error` is the error of exec.
pub(crate) fn reason(command: &[OsString], error: &io::Error) -> String {
    let program = command.first().map(OsString::as_os_str).unwrap_or_default();
    let is_path = program.as_bytes().contains(&b'/');
    let file = if is_path { Some(PathBuf::from(program)) } else { search(program) };
    let remedy = match file {
        Some(file) => of_file(&file, error.kind()),
        None => (error.kind() == ErrorKind::NotFound).then(|| not_in_path(command)),
    };
    remedy.unwrap_or_else(|| match error.raw_os_error() {
        // std would append the number.
        Some(errno) => Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    })
}

/// The executable file of that name in PATH.
pub(crate) fn search(program: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The builtins and keywords of sh that are no programs, and those of bash.
const BUILTINS: [(&str, &[&str]); 2] = [
    (
        "sh",
        &[
            ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "eval", "exec", "exit", "export",
            "fg", "for", "getopts", "hash", "if", "jobs", "local", "read", "readonly", "return", "set", "shift",
            "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
        ],
    ),
    (
        "bash",
        &[
            "[[",
            "builtin",
            "compgen",
            "complete",
            "declare",
            "dirs",
            "disown",
            "fc",
            "function",
            "help",
            "history",
            "let",
            "mapfile",
            "popd",
            "pushd",
            "readarray",
            "select",
            "shopt",
            "source",
            "time",
            "typeset",
        ],
    ),
];

/// The reason, if no program has this name. A shell may know the command.
fn not_in_path(command: &[OsString]) -> String {
    match in_shell(command) {
        Some(InShell { reason, shell, script }) => {
            format!("not in PATH; {reason}: process-tracer -- {shell} -c {}", quoted(&script))
        }
        None if command.first().is_none_or(|program| program.is_empty()) => {
            "the name of the program is empty".to_owned()
        }
        None => {
            "not in PATH; if it is an alias or a function, write out its text: process-tracer -- sh -c '…'".to_owned()
        }
    }
}

/// A shell runs the command.
pub(crate) struct InShell {
    /// Why it needs a shell.
    reason: String,
    pub(crate) shell: &'static str,
    pub(crate) script: String,
}

/// The command as a script, if it begins with a builtin or an assignment, or is a whole command line in one word.
pub(crate) fn in_shell(command: &[OsString]) -> Option<InShell> {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let program = words.first()?.as_ref();
    let script = || words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let is_assignment = |word: &str| assignment(word).is_some();
    if let Some((shell, _)) = BUILTINS.iter().find(|(_, builtins)| builtins.contains(&program)) {
        let reason = format!("'{program}' is a builtin of the shell");
        return Some(InShell { reason, shell, script: script() });
    }
    if is_assignment(program) {
        // A quoted assignment would be a command.
        let (variables, rest) = words.split_at(words.iter().take_while(|word| is_assignment(word)).count());
        let variables = variables.iter().filter_map(|word| assignment(word));
        let variables = variables.map(|(name, value)| match value {
            "" => format!("{name}="),
            value => format!("{name}={}", quoted(value)),
        });
        let words: Vec<_> = variables.chain(rest.iter().map(|word| quoted(word))).collect();
        return Some(InShell { reason: "a shell sets variables".to_owned(), shell: "sh", script: words.join(" ") });
    }
    let is_whole = words.len() == 1 && program.trim().contains(char::is_whitespace) && !Path::new(program).exists();
    is_whole.then(|| InShell {
        reason: "it is a whole command line".to_owned(),
        shell: "sh",
        script: program.to_owned(),
    })
}

/// The name and the value of `NAME=VALUE`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((name, value))
}

/// Why an existing file cannot be executed, for example because its interpreter does not exist.
fn of_file(file: &Path, kind: ErrorKind) -> Option<String> {
    if kind == ErrorKind::PermissionDenied
        && let Ok(metadata) = fs::metadata(file)
    {
        if metadata.is_dir() {
            return Some("it is a directory".to_owned());
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Some(format!("the file is not executable: chmod +x {}", quoted(&file.to_string_lossy())));
        }
    }
    let start = start(file)?;
    if kind == ErrorKind::NotFound && start.starts_with(b"\x7fELF") {
        let file = quoted(&file.to_string_lossy());
        return Some(format!(
            "the file exists, but the loader that it needs does not exist; to see the loader's name, run: file {file}"
        ));
    }
    let interpreter = interpreter(&start)?;
    let (exists, shown) = (interpreter.exists(), interpreter.display());
    match kind {
        ErrorKind::NotFound if exists => {
            let next = self::interpreter(&self::start(&interpreter)?).filter(|next| !next.exists())?;
            Some(format!("its interpreter '{shown}' needs the interpreter '{}', which does not exist", next.display()))
        }
        ErrorKind::NotFound if interpreter.as_os_str().as_bytes().ends_with(b"\r") => Some(format!(
            "its first line ends with CR and LF, so its interpreter is '{shown}'; remove each CR: sed -i 's/\\r$//' {}",
            quoted(&file.to_string_lossy())
        )),
        ErrorKind::NotFound => Some(format!("its interpreter '{shown}' does not exist")),
        ErrorKind::PermissionDenied if exists && is_executable(file) && !is_executable(&interpreter) => {
            Some(format!("its interpreter '{shown}' is not executable"))
        }
        _ => None,
    }
}

/// The bytes of a regular file in which the kernel looks for an interpreter: include/uapi/linux/binfmts.h.
fn start(file: &Path) -> Option<Vec<u8>> {
    const SIZE: u64 = 256;
    // A pipe would block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file).ok()?;
    let mut start = Vec::new();
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    file.take(SIZE).read_to_end(&mut start).ok().filter(|_| is_regular)?;
    Some(start)
}

/// The interpreter of a script: execve(2), "Interpreter scripts".
fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.split(|byte| b" \t\0".contains(byte)).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_first_word_of_the_first_line() {
        let of = |start: &str| interpreter(start.as_bytes()).map(|name| name.to_str().unwrap().to_owned());
        assert_eq!(of("#!/bin/sh\n/bin/no").unwrap(), "/bin/sh");
        assert_eq!(of("#! \t/usr/bin/env python3 -u\n").unwrap(), "/usr/bin/env");
        assert_eq!(of("#!/bin/sh\r\n").unwrap(), "/bin/sh\r");
        assert_eq!(of("#!/bin/sh").unwrap(), "/bin/sh");
        assert_eq!([of("#!\n/bin/sh"), of("/bin/sh"), of("")], [None, None, None]);
    }

    #[test]
    fn only_names_of_variables_make_an_assignment() {
        assert_eq!(assignment("A_1=b=c"), Some(("A_1", "b=c")));
        assert_eq!([assignment("1A=b"), assignment("=b"), assignment("a-b=c"), assignment("a")], [None; 4]);
    }
}
