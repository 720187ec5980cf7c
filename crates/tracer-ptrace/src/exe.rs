//! The file of the program that a process runs.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::Pid;

/// `/proc/PID/exe`, read once for all questions about an exec.
#[derive(Debug)]
pub struct Exe {
    path: PathBuf,
    metadata: io::Result<Metadata>,
}

/// The identity of a file's content and attributes: device, inode, and the times of the last changes of both.
pub(crate) type Version = (u64, u64, [i64; 4]);

impl Exe {
    /// Looks at the program of a stopped process.
    #[must_use]
    pub fn of(pid: Pid) -> Self {
        let path = PathBuf::from(format!("/proc/{pid}/exe"));
        Self { metadata: path.metadata(), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error is `PermissionDenied` for another user's process, and for a process that runs an unreadable file.
    pub(crate) fn metadata(&self) -> Result<&Metadata, io::ErrorKind> {
        self.metadata.as_ref().map_err(io::Error::kind)
    }
}

pub(crate) fn version(file: &Metadata) -> Version {
    (file.dev(), file.ino(), [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
}
