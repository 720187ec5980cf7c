//! The place to which a path leads. No link of another user changes it.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{File, Metadata, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat, readlinkat},
    libc,
    sys::{
        stat::{Mode, mkdirat},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
};

use super::actor::{Actor, MODE};

/// The place to which a path leads.
#[derive(Debug)]
pub(super) enum Place {
    /// A name in a folder. If a file has this name, it is not a symbolic link.
    Entry { folder: OwnedFd, name: OsString },
    /// An open file of a process, such as `/dev/stdout`. It is opened with `O_PATH`.
    Open(OwnedFd),
}

impl Place {
    /// Follows a path, one name after the other. Each name is opened in the folder of the step before. So no user can
    /// put a link there between the check and the step.
    pub(super) fn find(actor: Actor, path: &Path) -> io::Result<Self> {
        let step = |folder: &OwnedFd, name: &OsStr| openat(folder, name, OFlag::O_PATH | FLAGS, Mode::empty());
        let mut folder = openat(AT_FDCWD, ".", OFlag::O_PATH | FLAGS, Mode::empty())?;
        let (mut rest, mut links) = (names(path), 0);
        while let Some(name) = rest.pop_front() {
            let is_last = rest.is_empty();
            let next = match step(&folder, &name) {
                Err(Errno::ENOENT) if is_last => return Ok(Self::Entry { folder, name }),
                next => File::from(next?),
            };
            let metadata = next.metadata()?;
            if metadata.is_dir() {
                folder = next.into();
                if is_last {
                    return Err(Errno::EISDIR.into());
                }
                continue;
            }
            if !metadata.is_symlink() {
                return if is_last { Ok(Self::Entry { folder, name }) } else { Err(Errno::ENOTDIR.into()) };
            }
            if !actor.may_follow(&metadata, is_last) {
                let what = PathBuf::from(name);
                return Err(io::Error::other(match actor.user().is_root() {
                    true => {
                        format!("'{}' is a symbolic link of another user, which root does not follow", what.display())
                    }
                    false => format!("'{}' is a symbolic link of another user", what.display()),
                }));
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::ELOOP.into());
            }
            if fstatfs(&next)?.filesystem_type() == PROC_SUPER_MAGIC {
                // Only the kernel makes links in /proc. Many of them lead to an open file of a process. They have no
                // name to follow.
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let target = File::from(openat(&folder, name.as_os_str(), flags, Mode::empty())?);
                match (target.metadata()?.is_dir(), is_last) {
                    (true, false) => folder = target.into(),
                    (true, true) => return Err(Errno::EISDIR.into()),
                    (false, false) => return Err(Errno::ENOTDIR.into()),
                    (false, true) => return Ok(Self::Open(target.into())),
                }
                continue;
            }
            let mut target = names(Path::new(&readlinkat(&next, "")?));
            target.append(&mut rest);
            rest = target;
        }
        Err(Errno::EISDIR.into())
    }

    /// The metadata of the existing file, if there is one.
    pub(super) fn metadata(&self) -> io::Result<Option<Metadata>> {
        let there = match self {
            Self::Open(descriptor) => Ok(descriptor.try_clone()?),
            Self::Entry { folder, name } => openat(folder, name.as_os_str(), OFlag::O_PATH | FLAGS, Mode::empty()),
        };
        match there {
            Ok(there) => Ok(Some(File::from(there).metadata()?)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the existing file, or creates it. Returns whether it is new.
    pub(super) fn open(
        &self,
        actor: Actor,
        flags: OFlag,
        check: impl Fn(&Metadata) -> io::Result<()>,
    ) -> io::Result<(File, bool)> {
        // Another process can create or delete the file between the two calls. It does not do so for ever.
        for _ in 0..MOST_LINKS {
            match self.open_existing(flags, &check) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                result => return result.map(|file| (file, false)),
            }
            let Self::Entry { folder, name } = self else { break };
            match create_new(folder, name, flags) {
                Err(Errno::EEXIST) => {}
                result => {
                    let file = result?;
                    actor.give_away(&file);
                    return Ok((file, true));
                }
            }
        }
        Err(Errno::ENOENT.into())
    }

    /// Opens the existing file, if the check allows it.
    pub(super) fn open_existing(&self, flags: OFlag, check: impl Fn(&Metadata) -> io::Result<()>) -> io::Result<File> {
        // Check before opening too, because opening a device or a pipe can have effects.
        let there = self.metadata()?.ok_or(Errno::ENOENT)?;
        check(&there)?;
        let opened = match self {
            Self::Entry { folder, name } => openat(folder, name.as_os_str(), flags | FLAGS, Mode::empty()),
            Self::Open(descriptor) => {
                let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
                openat(AT_FDCWD, link.as_str(), flags | FLAGS.difference(OFlag::O_NOFOLLOW), Mode::empty())
            }
        };
        let file = File::from(opened.map_err(|error| match error {
            Errno::ENXIO if there.file_type().is_fifo() => {
                io::Error::other("nobody reads the pipe; start its reader first")
            }
            error => error.into(),
        })?);
        check(&file.metadata()?)?;
        // From now on, a write may wait.
        fcntl(&file, FcntlArg::F_SETFL(flags.intersection(OFlag::O_APPEND)))?;
        Ok(file)
    }
}

/// Creates a new file in a folder.
pub(super) fn create_new(folder: &OwnedFd, name: &OsStr, flags: OFlag) -> nix::Result<File> {
    let file = File::from(openat(folder, name, flags | OFlag::O_CREAT | OFlag::O_EXCL | FLAGS, MODE)?);
    // The umask may have removed permissions that the owner needs.
    let _ = file.set_permissions(Permissions::from_mode(MODE.bits()));
    Ok(file)
}

/// Makes a folder and the folders above it.
pub(super) fn make_folder(actor: Actor, path: &Path) -> io::Result<()> {
    let place = match (Place::find(actor, path), path.parent()) {
        (Err(error), _) if error.raw_os_error() == Some(libc::EISDIR) => return Ok(()), // it is there
        (Err(error), Some(parent)) if error.raw_os_error() == Some(libc::ENOENT) => {
            make_folder(actor, parent)?;
            Place::find(actor, path)?
        }
        (place, _) => place?,
    };
    match place {
        Place::Entry { folder, name } => Ok(mkdirat(folder, name.as_os_str(), Mode::S_IRWXU)?),
        Place::Open(_) => Err(Errno::ENOTDIR.into()),
    }
}

/// The flags of every open. A link that appears in the meantime is not followed. A pipe does not block. A terminal does
/// not become our terminal.
pub(super) const FLAGS: OFlag =
    OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// The number of links that the kernel follows: path_resolution(7).
pub(super) const MOST_LINKS: usize = 40;

/// The names of a path, one for each step.
fn names(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|component| *component != Component::CurDir);
    steps.map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
    };

    use nix::unistd::geteuid;

    use super::*;

    /// Finds a path in a folder with a link. Returns whether it leads into the folder `inner`, and the name there.
    fn find(link: &str, target: &str, path: &str) -> io::Result<(bool, OsString)> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("inner"))?;
        symlink(target, folder.path().join(link))?;
        let place = Place::find(Actor::Ourselves(geteuid()), &folder.path().join(path))?;
        let Place::Entry { folder: found, name } = place else { return Err(io::Error::other("not a name")) };
        let inner = fs::metadata(folder.path().join("inner"))?;
        Ok((File::from(found).metadata()?.ino() == inner.ino(), name))
    }

    #[test]
    fn links_are_followed_from_the_folder_that_they_are_in() {
        assert_eq!(find("link", "inner", "link/new").unwrap(), (true, "new".into()));
        assert_eq!(find("link", "inner/new", "link").unwrap(), (true, "new".into()));
        assert_eq!(find("inner/link", "../new", "inner/link").unwrap(), (false, "new".into()));
        assert_eq!(find("inner/link", "./../inner/new", "inner/../inner/./link").unwrap(), (true, "new".into()));
    }

    #[test]
    fn links_that_lead_in_a_circle_are_an_error() {
        assert_eq!(find("link", "link", "link").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(find("link", "link", "link/new").unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn folders_are_refused() {
        for path in ["inner", "inner/.", "inner/..", "link"] {
            assert_eq!(find("link", "inner", path).unwrap_err().raw_os_error(), Some(libc::EISDIR), "{path}");
        }
        assert_eq!(find("link", "none/new", "link").unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
