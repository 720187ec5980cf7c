//! Checks whether ptrace(2) is allowed here and does no harm. If not, gives the reason.

use std::{
    collections::HashSet,
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access, geteuid},
};

use crate::{launch, reexec};

/// The facts that decide whether a process may trace its children.
#[derive(Debug)]
pub struct Facts {
    /// Yama's `ptrace_scope`. `None`: this kernel has no Yama. 0 and 1 allow a process to trace its children. 2
    /// requires CAP_SYS_PTRACE. 3 forbids it.
    pub yama_scope: Option<u32>,
    /// `Seccomp` of proc_pid_status(5): 2 is a filter.
    pub seccomp: Option<u32>,
    /// The process that traces us, and its name.
    pub outer_tracer: Option<(u32, String)>,
    /// The error of the attempt to trace a child.
    pub error: Option<io::Error>,
}

impl Facts {
    /// Reads the facts, and tries to trace a child.
    #[must_use]
    pub fn gather() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse().ok())
        };
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        let tracer = number("TracerPid").filter(|pid| *pid != 0).map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (pid, name.trim().to_owned())
        });
        Self {
            yama_scope: scope.and_then(|scope| scope.trim().parse().ok()),
            seccomp: number("Seccomp"),
            outer_tracer: tracer,
            error: launch::try_to_trace().err(),
        }
    }

    /// Why a child cannot be traced, and how to change this.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let error =
            error.raw_os_error().map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).desc().to_owned());
        Some(match self {
            Self { error: Some(limit), .. } if is_limit(limit) => {
                format!("ptrace(2) cannot be tried: {error}; see 'ulimit -n' and 'ulimit -u'")
            }
            Self { outer_tracer: Some((pid, name)), .. } => {
                format!(
                    "ptrace(2) failed: {error}; process {pid} ({name}) already traces process-tracer: run process-tracer without it"
                )
            }
            Self { yama_scope: Some(scope @ 2..), .. } => format!(
                "ptrace(2) failed: {error}; Yama forbids it: set /proc/sys/kernel/yama/ptrace_scope to 1, it is {scope}"
            ),
            Self { seccomp: Some(2), .. } => format!(
                "ptrace(2) failed: {error}; a seccomp profile may forbid it: in a container, add --security-opt \
                 seccomp=unconfined or --cap-add SYS_PTRACE"
            ),
            _ => format!("ptrace(2) failed: {error}; a security module may forbid it"),
        })
    }
}

/// Whether a limit on processes, descriptors or memory caused the error.
#[must_use]
pub fn is_limit(error: &io::Error) -> bool {
    const LIMITS: [Errno; 4] = [Errno::EAGAIN, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|errno| LIMITS.contains(&Errno::from_raw(errno)))
}

/// A program that ptrace can break: it gains privileges, and an ordinary user can execute it but cannot read it. On
/// some architectures, such a program loses its privileges. On these, the folders of PATH are searched.
#[must_use]
pub fn hazard() -> Option<PathBuf> {
    if geteuid().is_root() || reexec::KEEPS_UNREADABLE {
        return None;
    }
    let mut seen = HashSet::new();
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find_map(|folder| {
        // Many systems have one folder under two names.
        let folder_facts = fs::metadata(&folder).ok()?;
        if seen.insert((folder_facts.dev(), folder_facts.ino())) { hazard_in(&folder) } else { None }
    })
}

fn hazard_in(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        // This is the entry itself, not the target of a link. A target in a folder of PATH is found in that folder. Other
        // targets do not count.
        if !entry.file_type().ok()?.is_file() {
            return None;
        }
        let facts = entry.metadata().ok()?;
        let is_privileged = facts.mode() & (libc::S_ISUID | libc::S_ISGID) != 0;
        let may = |what| access(&entry.path(), what).is_ok();
        (is_privileged && may(AccessFlags::X_OK) && !may(AccessFlags::R_OK)).then(|| entry.path())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_not_blamed_on_a_security_module() {
        for errno in [Errno::EAGAIN, Errno::EMFILE] {
            let error = Some(io::Error::from(errno));
            let facts = Facts { yama_scope: Some(1), seccomp: Some(2), outer_tracer: None, error };
            let obstacle = facts.obstacle().unwrap();
            assert!(obstacle.contains("ulimit") && !obstacle.contains("may forbid it"), "{obstacle}");
        }
    }
}
