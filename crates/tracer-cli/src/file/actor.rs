//! The user who opens a file, and what this user may do with it.

use std::{
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown},
};

use nix::{
    libc,
    sys::stat::Mode,
    unistd::{Uid, geteuid},
};

use crate::child::{privileges, user::Invoker};

/// Only the owner can read and write.
pub(super) const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The user who opens a file, and the user who owns it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Actor {
    /// The user of this process.
    Ourselves(Uid),
    /// The user who called sudo.
    Invoker(&'static Invoker),
    /// Root, if the kernel denies the invoker access.
    RootFor(&'static Invoker),
}

impl Actor {
    pub(super) fn ours() -> Self {
        Invoker::of_root().map_or_else(|| Self::Ourselves(geteuid()), Self::Invoker)
    }

    /// Acts as the user. If the kernel denies this, acts as root.
    pub(super) fn act<T: Send>(act: impl Fn(Self) -> io::Result<T> + Sync) -> io::Result<T> {
        let ours = Self::ours();
        match (ours.perform(|| act(ours)), ours) {
            (Err(error), Self::Invoker(invoker)) if error.raw_os_error() == Some(libc::EACCES) => {
                let root = Self::RootFor(invoker);
                root.perform(|| act(root))
            }
            (result, _) => result,
        }
    }

    pub(super) fn perform<T: Send>(self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::Ourselves(_) => act(),
            Self::Invoker(invoker) => privileges::as_invoker(invoker, act),
            Self::RootFor(_) => privileges::as_root(act),
        }
    }

    /// Acts with the rights that remain at the end of a run. Then a thread that writes for the invoker has the
    /// invoker's groups and no capabilities.
    pub(super) fn perform_as_at_the_end<T: Send>(self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::RootFor(invoker) => privileges::as_invoker(invoker, || privileges::as_root(act)),
            _ => self.perform(act),
        }
    }

    /// The user whose permissions count.
    pub(super) fn user(self) -> Uid {
        match self {
            Self::Ourselves(user) => user,
            Self::Invoker(invoker) => invoker.uid,
            Self::RootFor(_) => Uid::from_raw(0),
        }
    }

    /// The user who must own the files.
    pub(super) fn owner(self) -> Uid {
        match self {
            Self::RootFor(invoker) => invoker.uid,
            _ => self.user(),
        }
    }

    /// Whether to follow a symbolic link. The last link of a path decides which file is written, and every user can
    /// make a link in a shared folder. A link to a folder leads an ordinary user only to folders that this user may
    /// enter. But root may enter any folder.
    pub(super) fn may_follow(self, link: &Metadata, is_last: bool) -> bool {
        let (user, owner) = (self.user(), Uid::from_raw(link.uid()));
        owner.is_root() || owner == user || !(is_last || user.is_root())
    }

    /// Whether to replace the existing file.
    pub(super) fn may_replace(self, there: &Metadata) -> io::Result<()> {
        let (kind, owner) = (there.file_type(), Uid::from_raw(there.uid()));
        if kind.is_file() {
            has_one_name(there)?;
        } else if let Self::RootFor(_) = self {
            is_regular(there)?;
        } else if kind.is_dir() {
            return Err(io::Error::other("it is a directory"));
        } else if kind.is_socket() {
            return Err(io::Error::other("it is a socket"));
        } else if kind.is_fifo() && owner.is_root() {
            return Ok(());
        } else if !kind.is_fifo() {
            return Ok(()); // a device: only root makes devices, and the kernel checks who may write it
        }
        self.owns(there)
    }

    /// Whether to read the existing file. For a user, the kernel decides this. But it lets root read every file.
    pub(super) fn may_read(self, there: &Metadata) -> io::Result<()> {
        is_regular(there)?;
        if let Self::RootFor(_) = self { self.owns(there) } else { Ok(()) }
    }

    pub(super) fn owns(self, there: &Metadata) -> io::Result<()> {
        let is_owner = Uid::from_raw(there.uid()) == self.owner();
        if is_owner { Ok(()) } else { Err(io::Error::other("the file belongs to another user")) }
    }

    /// Lets only the owner access the file. Some file systems have no modes and no owners.
    pub(super) fn restrict(self, file: &File) {
        if let Self::RootFor(_) = self {
            return; // root changes only files that it has created
        }
        let _ = file.set_permissions(Permissions::from_mode(MODE.bits()));
    }

    /// Gives a new file to its owner.
    pub(super) fn give_away(self, file: &File) {
        if let Self::RootFor(Invoker { uid, gid, .. }) = self {
            let _ = fchown(file, Some(uid.as_raw()), Some(gid.as_raw()));
        }
    }
}

pub(super) fn is_regular(there: &Metadata) -> io::Result<()> {
    if there.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}

/// Checks that the file has one name. A user who may read a file can give it a second name in their own folder, unless
/// `fs.protected_hardlinks` is set.
pub(super) fn has_one_name(there: &Metadata) -> io::Result<()> {
    if there.nlink() <= 1 {
        Ok(())
    } else {
        Err(io::Error::other("the file has another name (hard link); delete this name"))
    }
}
