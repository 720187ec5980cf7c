//! Files that a trace is written to. Command lines may hold secrets, and the folder may be anybody's.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{libc, unistd::geteuid};
use tempfile::NamedTempFile;

use crate::{privileges, user::invoker};

/// The owner's alone.
const MODE: u32 = 0o600;

/// Creates a file, or empties the one that is there. It is its owner's alone, whoever has called sudo owns it,
/// and nobody else writes or sends it while it is open.
///
/// # Errors
///
/// What the kernel says; and if somebody else has put a file or a symbolic link in its place.
pub(crate) fn create(path: &Path) -> Result<File> {
    open(path).with_context(|| format!("cannot write '{}'", path.display()))
}

fn is_ours(owner: u32) -> bool {
    owner == geteuid().as_raw() || invoker().is_some_and(|(user, _)| owner == user.as_raw())
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(MODE);
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() && is_ours(metadata.uid()) => {}
        Ok(metadata) if metadata.is_symlink() => bail!("it is a symbolic link of another user"),
        // Nor is one followed that comes between.
        _ => {
            options.custom_flags(libc::O_NOFOLLOW);
        }
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(file); // a pipe, a device
    }
    if !is_ours(metadata.uid()) {
        bail!("the file belongs to another user");
    }
    // Whoever else writes or sends it would spoil what the other does. Not all file systems have locks.
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!("another run is writing it");
    }
    // One that was there before may be open to others. Some file systems have neither modes nor owners.
    let _ = restrict(&file);
    file.set_len(0)?;
    Ok(file)
}

fn restrict(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(MODE))?;
    match invoker() {
        Some((user, group)) if geteuid().is_root() => fchown(file, Some(user.as_raw()), Some(group.as_raw())),
        _ => Ok(()),
    }
}

/// A file that is worth something only when it is complete: until then it has another name, and what was there before
/// stays.
#[derive(Debug)]
pub(crate) enum Draft {
    /// It is to have this name.
    Apart(NamedTempFile, PathBuf),
    /// A pipe or a device.
    Direct(File),
}

impl Draft {
    /// Begins the file; who may see and write it is as [`create`] has it.
    ///
    /// # Errors
    ///
    /// Likewise.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Self::open(path).with_context(|| format!("cannot write '{}'", path.display()))
    }

    fn open(path: &Path) -> Result<Self> {
        let mut path = path.to_owned();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() && !is_ours(metadata.uid()) => {
                bail!("it is a symbolic link of another user");
            }
            Ok(metadata) if metadata.is_symlink() => {
                // One that leads nowhere yet is followed once.
                let next = path.parent().unwrap_or(Path::new(".")).join(fs::read_link(&path)?);
                path = fs::canonicalize(&path).unwrap_or(next);
            }
            _ => {}
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => bail!("it is a directory"),
            Ok(metadata) if !metadata.is_file() => return Ok(Self::Direct(open(&path)?)),
            Ok(metadata) if !is_ours(metadata.uid()) => bail!("the file belongs to another user"),
            _ => {}
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new().prefix(".process-tracer-").tempfile_in(folder)?;
        let _ = restrict(temporary.as_file());
        Ok(Self::Apart(temporary, path))
    }

    /// Another handle on the file, to write it by.
    pub(crate) fn writer(&self) -> io::Result<File> {
        match self {
            Self::Apart(temporary, _) => temporary.as_file().try_clone(),
            Self::Direct(file) => file.try_clone(),
        }
    }

    /// Gives it its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Direct(_) => Ok(()),
            // Whoever has called sudo may not write where root has begun the file.
            Self::Apart(temporary, path) => match temporary.persist(&path) {
                Ok(_) => Ok(()),
                Err(error) => {
                    privileges::as_ourselves(|| error.file.persist(&path).map(|_| ())).map_err(|error| error.error)
                }
            },
        }
    }
}
