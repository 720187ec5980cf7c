//! Finds the program file that an exec finally runs, through the interpreters of scripts.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::unistd::Pid;

/// A program file, found from the path of an exec.
pub(super) struct Program {
    /// The path under which the tracer finds the file.
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    /// The number of arguments that the kernel put before the path of the script. 0: the path is the program itself.
    pub(super) inserted: usize,
}

impl Program {
    /// Finds the program of an exec of `name` by `pid`.
    ///
    /// # Errors
    ///
    /// There is no such file, or the kernel does not let us use the working directory of the process.
    pub(super) fn find(pid: Pid, name: &[u8]) -> io::Result<Self> {
        // The kernel follows five interpreters (`exec_binprm` in fs/exec.c).
        const DEEPEST: usize = 5;
        // A path in /dev/fd means a descriptor of the process that opens the path. So we would open a descriptor of our
        // own. The exec may also have closed the descriptor.
        if name.starts_with(b"/dev/fd/") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut name = name.to_vec();
        let mut inserted = 0;
        for _ in 0..=DEEPEST {
            let (path, metadata) = look_up(pid, &name)?;
            let Some(interpreter) = Interpreter::of(&path) else {
                return Ok(Self { path, metadata, inserted });
            };
            inserted += if interpreter.has_argument { 2 } else { 1 };
            name = interpreter.path;
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The path of a process's file `name` for us, and its metadata.
fn look_up(pid: Pid, name: &[u8]) -> io::Result<(PathBuf, Metadata)> {
    let name = Path::new(OsStr::from_bytes(name));
    let base = if name.is_absolute() { "root" } else { "cwd" };
    let path = Path::new("/proc").join(pid.to_string()).join(base).join(name.strip_prefix("/").unwrap_or(name));
    match path.metadata() {
        Ok(metadata) => Ok((path, metadata)),
        // This is another user's process. Its root is probably ours.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && name.is_absolute() => {
            Ok((name.to_owned(), name.metadata()?))
        }
        Err(error) => Err(error),
    }
}

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    path: Vec<u8>,
    has_argument: bool,
}

impl Interpreter {
    /// `None`: the file is not a script. A file that we may not read is not a script, because its interpreter could not
    /// read it.
    fn of(path: &Path) -> Option<Self> {
        // BINPRM_BUF_SIZE of linux/binfmts.h.
        let mut head = Vec::with_capacity(256);
        File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
        Self::parse(&head)
    }

    /// Does the same as `load_script` in the kernel's fs/binfmt_script.c.
    fn parse(head: &[u8]) -> Option<Self> {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let line = head.strip_prefix(b"#!")?.split(|byte| matches!(byte, b'\n' | 0)).next()?.trim_ascii();
        let path = line.split(|byte| is_blank(byte)).next()?;
        if path.is_empty() {
            return None;
        }
        Some(Self { path: path.to_vec(), has_argument: line.len() > path.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        let script = |path: &str, has_argument| Some(Interpreter { path: path.into(), has_argument });
        let table = [
            ("#!/bin/sh\necho", script("/bin/sh", false)),
            ("#! \t/bin/sh \t\n", script("/bin/sh", false)),
            ("#!/usr/bin/sudo sh -e\n", script("/usr/bin/sudo", true)),
            ("#!/bin/sh", script("/bin/sh", false)),
            ("#!\n", None),
            ("#", None),
            ("\u{7f}ELF", None),
        ];
        for (head, expected) in table {
            assert_eq!(Interpreter::parse(head.as_bytes()), expected, "{head:?}");
        }
    }
}
