//! A file that gets its name when it is complete.

use std::{
    ffi::OsString,
    fs::{File, Metadata},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use anyhow::{Context, Result};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    libc,
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};
use rand::{TryRng, rngs::SysRng};

use super::{
    actor::{Actor, is_regular},
    place::{FLAGS, MOST_LINKS, Place, create_new},
};

/// A file that is useful only when it is complete. Until then it has another name, and an older file of its name stays.
#[derive(Debug)]
pub(crate) enum Draft {
    Apart(Temporary),
    /// A pipe or a device.
    Direct(File),
}

impl Draft {
    /// Begins the file. Its permissions are those of [`super::create`].
    ///
    /// # Errors
    ///
    /// The same as [`super::create`]. It is also an error if the file could not get its name at the end.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let create = |actor: Actor| {
            let place = Place::find(actor, path)?;
            let there = place.metadata()?;
            there.as_ref().map_or(Ok(()), |there| actor.may_replace(there))?;
            match place {
                Place::Entry { folder, name } if there.is_none_or(|there| there.is_file()) => {
                    Temporary::create(actor, folder, name).map(Self::Apart).map_err(|error| explain(actor, path, error))
                }
                place => {
                    let file = place.open_existing(OFlag::O_WRONLY, |there| actor.may_replace(there))?;
                    Ok(Self::Direct(file))
                }
            }
        };
        Actor::act(create).with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// Another handle on the file, for writing.
    pub(crate) fn writer(&self) -> io::Result<File> {
        match self {
            Self::Apart(temporary) => temporary.file.try_clone(),
            Self::Direct(file) => file.try_clone(),
        }
    }

    /// Gives it its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Direct(_) => Ok(()),
            Self::Apart(temporary) => temporary.finish(),
        }
    }
}

/// Explains why root cannot begin a file in a folder that it can write only with capabilities.
fn explain(actor: Actor, path: &Path, error: io::Error) -> io::Error {
    match (actor, error.raw_os_error()) {
        (Actor::RootFor(_), Some(libc::EACCES | libc::EPERM)) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            io::Error::other(format!(
                "'{}' is not writable at the end of the run, because process-tracer has no capabilities then; choose a folder \
                 that you or root may write",
                folder.display()
            ))
        }
        _ => error,
    }
}

/// The file under its other name. The `tempfile` crate works with paths. A path can lead to another folder by the time
/// when the file gets its name. This type works in the folder that was found at the beginning, and as the same user.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: File,
    folder: OwnedFd,
    /// Its name until it is complete.
    temporary: OsString,
    name: OsString,
    actor: Actor,
    is_finished: bool,
}

impl Temporary {
    fn create(actor: Actor, folder: OwnedFd, name: OsString) -> io::Result<Self> {
        if let Actor::RootFor(_) = actor {
            // In a folder with the sticky bit, a user without capabilities can rename only their own files, unless they own
            // the folder.
            let metadata = File::from(folder.try_clone()?).metadata()?;
            if metadata.mode() & libc::S_ISVTX != 0 && metadata.uid() != actor.user().as_raw() {
                return Err(Errno::EPERM.into());
            }
        }
        remove_orphans(actor, &folder);
        // Another run can delete the new file as an orphan before it is locked. Then we create another one.
        for _ in 0..MOST_LINKS {
            let mut random = [0; 8];
            SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
            let temporary = OsString::from(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
            // The file is created with the rights that are left at the end. So it can also be renamed at the end.
            let create = || Ok(create_new(&folder, &temporary, OFlag::O_WRONLY)?);
            let file = actor.perform_as_at_the_end(create)?;
            actor.give_away(&file);
            // The lock shows that the file is in use. Not all file systems have locks.
            let _ = file.try_lock();
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, folder, temporary, name, actor, is_finished: false });
            }
        }
        Err(Errno::ENOENT.into())
    }

    fn finish(mut self) -> io::Result<()> {
        let rename = || Ok(renameat(&self.folder, &*self.temporary, &self.folder, &*self.name)?);
        self.actor.perform(rename)?;
        self.is_finished = true;
        Ok(())
    }
}

/// The name of a temporary file begins with this. 16 hexadecimal digits follow.
const PREFIX: &str = ".process-tracer-";

/// Deletes the temporary files of killed runs in a folder. They are not locked, unlike those of runs that still write. If
/// one cannot be deleted, it stays.
fn remove_orphans(actor: Actor, folder: &OwnedFd) {
    let is_temporary = |name: &[u8]| {
        let number = name.strip_prefix(PREFIX.as_bytes());
        number.is_some_and(|number| number.len() == 16 && number.iter().all(u8::is_ascii_hexdigit))
    };
    // The folder may be open with O_PATH, which does not allow reading it. So it is opened again.
    let Ok(mut entries) =
        Dir::openat(folder, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    else {
        return;
    };
    let names = entries.iter().filter_map(|entry| Some(entry.ok()?.file_name().to_owned()));
    for name in names.filter(|name| is_temporary(name.to_bytes())) {
        let Ok(file) = openat(folder, &*name, OFlag::O_WRONLY | FLAGS, Mode::empty()).map(File::from) else { continue };
        let is_ours = |there: &Metadata| is_regular(there).and_then(|()| actor.owns(there)).is_ok();
        if file.metadata().is_ok_and(|there| is_ours(&there)) && file.try_lock().is_ok() {
            let _ = unlinkat(folder, &*name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_finished {
            // If this fails, the file stays. It belongs to its owner.
            let _ = self.actor.perform(|| Ok(unlinkat(&self.folder, &*self.temporary, UnlinkatFlags::NoRemoveDir)?));
        }
    }
}
