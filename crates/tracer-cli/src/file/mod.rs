//! The files of users: traces that we write, read, send and delete. Command lines can contain secrets. Folders can be
//! open to all users.
//!
//! Under sudo, process-tracer does all of this as the invoker. If the kernel denies the invoker access, root does it
//! for them. Root can access every file. So root follows no symbolic link of another user: [`Place::find`]. Root also
//! reads, writes and deletes only files of the invoker: [`Actor::RootFor`].

mod actor;
mod claim;
mod draft;
mod place;
mod saved;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use self::{
    actor::{Actor, has_one_name, is_regular},
    place::Place,
};
pub(crate) use self::{claim::Claim, draft::Draft, saved::Saved};

/// Creates a file, or empties an existing one, so that only the user can access it. The target of `/dev/stdout` keeps its
/// content and its permissions, because other programs write it, too. The file is locked until it is closed, so no other
/// run writes or sends it.
///
/// # Errors
///
/// As [`Claim::new`].
pub(crate) fn create(path: &Path) -> Result<File> {
    Claim::new(path)?.begin().with_context(|| format!("cannot write '{}'", path.display()))
}

/// Opens a regular file to append to it, or creates it.
///
/// # Errors
///
/// The same as [`create`]. But an existing file can belong to any user, unless root opens it for the invoker of sudo.
/// In a container, the file for the summary of a CI job belongs to a user of the host.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    Actor::act(|actor| {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
        let (file, _) = Place::find(actor, path)?.open(actor, flags, |there| match actor {
            Actor::RootFor(_) => actor.may_replace(there),
            _ => is_regular(there).and_then(|()| has_one_name(there)),
        })?;
        Ok(file)
    })
}

/// Opens a file to read it.
///
/// # Errors
///
/// The kernel refuses it, or root would have to read another user's file for the invoker.
pub(crate) fn read(path: &Path) -> io::Result<File> {
    Actor::act(|actor| match actor {
        Actor::RootFor(_) => Place::find(actor, path)?.open_existing(OFlag::O_RDONLY, |there| actor.may_read(there)),
        _ => File::open(path),
    })
}

/// Reads a whole file.
///
/// # Errors
///
/// The same as [`read`].
pub(crate) fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    read(path)?.read_to_end(&mut contents)?;
    Ok(contents)
}

/// Makes a folder and the folders above it. Only their owner can access them. Under sudo, the invoker makes them, never
/// root.
///
/// # Errors
///
/// The kernel refuses it, or a link to the folder belongs to another user.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let ours = Actor::ours();
    ours.perform(|| place::make_folder(ours, path))
}
