//! A saved trace that is sent and then deleted.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path};

use nix::{
    fcntl::OFlag,
    unistd::{Uid, UnlinkatFlags, unlinkat},
};

use super::{
    actor::{Actor, has_one_name},
    place::Place,
};

/// A saved trace. Delivery sends its last line first, cuts off each delivered line, and finally deletes the file.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) file: File,
    place: Place,
    actor: Actor,
}

impl Saved {
    /// Opens the file. With `is_writable`, delivered lines can be cut off.
    ///
    /// # Errors
    ///
    /// The same as [`super::read`]. It is also an error if a link to the file belongs to another user. With
    /// `is_writable`, a second name of the file is an error too, because cutting changes the file under both names.
    pub(crate) fn open(path: &Path, is_writable: bool) -> io::Result<Self> {
        Actor::act(|actor| {
            let place = Place::find(actor, path)?;
            let flags = if is_writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
            let file = place.open_existing(flags, |there| {
                actor.may_read(there)?;
                if is_writable { has_one_name(there) } else { Ok(()) }
            })?;
            Ok(Self { file, place, actor })
        })
    }

    /// Whether the file belongs to the user for whom we act.
    pub(crate) fn is_ours(&self) -> io::Result<bool> {
        Ok(Uid::from_raw(self.file.metadata()?.uid()) == self.actor.owner())
    }

    /// Deletes it, unless its name now belongs to another file.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub(crate) fn delete(self) -> io::Result<()> {
        self.actor.perform(|| {
            let (ours, there) = (self.file.metadata()?, self.place.metadata()?);
            match (&self.place, there) {
                (Place::Entry { folder, name }, Some(there))
                    if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) =>
                {
                    Ok(unlinkat(folder, &**name, UnlinkatFlags::NoRemoveDir)?)
                }
                _ => Err(io::Error::other("it no longer has that name")),
            }
        })
    }
}
