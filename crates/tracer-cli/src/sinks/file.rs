//! Files that a trace is written to. Command lines may hold secrets, and the folder may be anybody's.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use anyhow::{Context, Result, bail};
use nix::{libc, unistd::geteuid};

use crate::user::invoker;

/// The owner's alone.
const MODE: u32 = 0o600;

/// Creates a file, or empties the one that is there. It is its owner's alone, whoever has called sudo owns it,
/// and nobody else writes or sends it while it is open.
///
/// # Errors
///
/// What the kernel says; and if somebody else has put a file or a symbolic link in its place.
pub(super) fn create(path: &Path) -> Result<File> {
    open(path).with_context(|| format!("cannot write '{}'", path.display()))
}

fn open(path: &Path) -> Result<File> {
    let invoker = invoker();
    let is_ours = |owner: u32| owner == geteuid().as_raw() || invoker.is_some_and(|(user, _)| owner == user.as_raw());
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
    // One that was there before may be open to others.
    let restrict = || -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(MODE))?;
        match invoker {
            Some((user, group)) if geteuid().is_root() => fchown(&file, Some(user.as_raw()), Some(group.as_raw())),
            _ => Ok(()),
        }
    };
    // Some file systems have neither modes nor owners.
    let _ = restrict();
    file.set_len(0)?;
    Ok(file)
}
