//! A file that is claimed before it is written: no other run writes or sends it.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::OFlag,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{actor::Actor, place::Place};

/// A file that is open and locked, but not yet overwritten. If it is dropped before [`Claim::begin`], the file is as it was
/// before.
#[derive(Debug)]
pub(crate) struct Claim {
    file: File,
    former: Former,
    actor: Actor,
}

/// What was in the place of a claimed file.
#[derive(Debug)]
enum Former {
    Nothing(Place),
    File,
    /// A pipe, a device, or a file that a process has open, such as `/dev/stdout`. The command may write it, too, and the
    /// shell may have opened it to append. So it is never emptied, and everything goes to its end.
    Open,
}

impl Claim {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    ///
    /// The kernel refuses it, the file or a link to it belongs to another user, or another run is writing the file.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let open = |actor: Actor| {
            let place = Place::find(actor, path)?;
            let flags = match place {
                Place::Entry { .. } => OFlag::O_WRONLY,
                Place::Open(_) => OFlag::O_WRONLY | OFlag::O_APPEND,
            };
            let (file, is_new) = place.open(actor, flags, |there| actor.may_replace(there))?;
            let is_file = file.metadata()?.is_file();
            // Two writers would spoil each other's lines. Not all file systems have locks.
            if is_file && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                return Err(io::Error::other("another run is writing it"));
            }
            let former = match place {
                Place::Entry { .. } if is_new => Former::Nothing(place),
                Place::Entry { .. } if is_file => Former::File,
                _ => Former::Open,
            };
            Ok(Self { file, former, actor })
        };
        Actor::act(open).with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// A handle on the file.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether other programs may write it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.former, Former::Open)
    }

    /// Empties the file, and lets only its owner access it. A shared one stays as it is.
    ///
    /// # Errors
    ///
    /// The error of the kernel.
    pub(crate) fn begin(mut self) -> io::Result<File> {
        if let Former::File = self.former {
            self.actor.restrict(&self.file);
            self.file.set_len(0)?;
        }
        self.former = Former::File;
        self.file.try_clone()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Former::Nothing(Place::Entry { folder, name }) = &self.former {
            // If this fails, an empty file is left behind.
            let _ = self.actor.perform(|| Ok(unlinkat(folder, &**name, UnlinkatFlags::NoRemoveDir)?));
        }
    }
}
