//! The files of users: traces that we write, read, send and delete. Command lines can contain secrets. Folders can be
//! open to all users.
//!
//! Under sudo, process-tracer does all of this as the invoker. If the kernel denies the invoker access, root does it
//! for them. Root can access every file. So root follows no symbolic link of another user: [`Place::find`]. Root also
//! reads, writes and deletes only files of the invoker: [`Actor::RootFor`].

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{File, Metadata, Permissions, TryLockError},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown},
    },
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat, readlinkat, renameat},
    libc,
    sys::{
        stat::{Mode, mkdirat},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::{Uid, UnlinkatFlags, geteuid, unlinkat},
};
use rand::{TryRng, rngs::SysRng};

use crate::child::{privileges, user::Invoker};

/// Only the owner can read and write.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Creates a file, or empties an existing one. Only the user can access it. No other run writes or sends the file while
/// it is open.
///
/// # Errors
///
/// As [`Claim::new`].
pub(crate) fn create(path: &Path) -> Result<File> {
    Claim::new(path)?.begin().with_context(|| format!("cannot write '{}'", path.display()))
}

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
    /// A pipe, a device, or a file that a process has open, such as `/dev/stdout`. The command may write it, too.
    Open,
}

impl Claim {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    ///
    /// The error of the kernel; and if the file, or a link to it, belongs to another user.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let open = |actor: Actor| {
            let place = Place::find(actor, path)?;
            let (file, is_new) = place.open(actor, OFlag::O_WRONLY, |there| actor.may_replace(there))?;
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
            let claim = Self { file, former, actor };
            if is_file && matches!(claim.former, Former::Open) {
                claim.empty()?;
            }
            Ok(claim)
        };
        Actor::act(open).with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// A handle on the file.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Empties the file, and makes it its owner's alone.
    ///
    /// # Errors
    ///
    /// The error of the kernel.
    pub(crate) fn begin(mut self) -> io::Result<File> {
        if let Former::File = self.former {
            self.empty()?;
        }
        self.former = Former::File;
        self.file.try_clone()
    }

    fn empty(&self) -> io::Result<()> {
        self.actor.restrict(&self.file);
        self.file.set_len(0)
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

/// Opens a regular file to append to it, or creates it.
///
/// # Errors
///
/// The same as [`create`]. But an existing file can belong to any user. In a container, the page of a CI job belongs to
/// a user outside.
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
    ours.perform(|| ours.make_folder(path))
}

/// The user who opens a file, and the user who owns it.
#[derive(Clone, Copy, Debug)]
enum Actor {
    /// The user of this process.
    Ourselves(Uid),
    /// The user who called sudo.
    Invoker(&'static Invoker),
    /// Root, if the kernel denies the invoker access.
    RootFor(&'static Invoker),
}

impl Actor {
    fn ours() -> Self {
        Invoker::of_root().map_or_else(|| Self::Ourselves(geteuid()), Self::Invoker)
    }

    /// Acts as the user. If the kernel denies this, acts as root.
    fn act<T: Send>(act: impl Fn(Self) -> io::Result<T> + Sync) -> io::Result<T> {
        let ours = Self::ours();
        match (ours.perform(|| act(ours)), ours) {
            (Err(error), Self::Invoker(invoker)) if error.raw_os_error() == Some(libc::EACCES) => {
                let root = Self::RootFor(invoker);
                root.perform(|| act(root))
            }
            (result, _) => result,
        }
    }

    fn perform<T: Send>(self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::Ourselves(_) => act(),
            Self::Invoker(invoker) => privileges::as_invoker(invoker, act),
            Self::RootFor(_) => privileges::as_root(act),
        }
    }

    /// Acts with the rights that remain at the end of a run. Then a thread that writes for the invoker has the
    /// invoker's groups and no capabilities.
    fn perform_as_at_the_end<T: Send>(self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::RootFor(invoker) => privileges::as_invoker(invoker, || privileges::as_root(act)),
            _ => self.perform(act),
        }
    }

    /// The user whose permissions count.
    fn user(self) -> Uid {
        match self {
            Self::Ourselves(user) => user,
            Self::Invoker(invoker) => invoker.uid,
            Self::RootFor(_) => Uid::from_raw(0),
        }
    }

    /// The user who must own the files.
    fn owner(self) -> Uid {
        match self {
            Self::RootFor(invoker) => invoker.uid,
            _ => self.user(),
        }
    }

    /// Whether to follow a symbolic link. The last link of a path decides which file is written, and every user can
    /// make a link in a shared folder. A link to a folder leads an ordinary user only to folders that this user may
    /// enter. But root may enter any folder.
    fn may_follow(self, link: &Metadata, is_last: bool) -> bool {
        let (user, owner) = (self.user(), Uid::from_raw(link.uid()));
        owner.is_root() || owner == user || !(is_last || user.is_root())
    }

    /// Whether to replace the existing file.
    fn may_replace(self, there: &Metadata) -> io::Result<()> {
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
    fn may_read(self, there: &Metadata) -> io::Result<()> {
        is_regular(there)?;
        if let Self::RootFor(_) = self { self.owns(there) } else { Ok(()) }
    }

    fn owns(self, there: &Metadata) -> io::Result<()> {
        let is_owner = Uid::from_raw(there.uid()) == self.owner();
        if is_owner { Ok(()) } else { Err(io::Error::other("the file belongs to another user")) }
    }

    /// Lets only the owner access the file. Some file systems have no modes and no owners.
    fn restrict(self, file: &File) {
        if let Self::RootFor(_) = self {
            return; // root changes only files that it has created
        }
        let _ = file.set_permissions(Permissions::from_mode(MODE.bits()));
    }

    fn make_folder(self, path: &Path) -> io::Result<()> {
        let place = match (Place::find(self, path), path.parent()) {
            (Err(error), _) if error.raw_os_error() == Some(libc::EISDIR) => return Ok(()), // it is there
            (Err(error), Some(parent)) if error.raw_os_error() == Some(libc::ENOENT) => {
                self.make_folder(parent)?;
                Place::find(self, path)?
            }
            (place, _) => place?,
        };
        match place {
            Place::Entry { folder, name } => Ok(mkdirat(folder, name.as_os_str(), Mode::S_IRWXU)?),
            Place::Open(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    /// Creates a new file.
    fn create_new(self, folder: &OwnedFd, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        let file = File::from(openat(folder, name, flags | OFlag::O_CREAT | OFlag::O_EXCL | FLAGS, MODE)?);
        // The umask may have removed permissions that the owner needs.
        let _ = file.set_permissions(Permissions::from_mode(MODE.bits()));
        Ok(file)
    }

    /// Gives a new file to its owner.
    fn give_away(self, file: &File) {
        if let Self::RootFor(Invoker { uid, gid, .. }) = self {
            let _ = fchown(file, Some(uid.as_raw()), Some(gid.as_raw()));
        }
    }
}

fn is_regular(there: &Metadata) -> io::Result<()> {
    if there.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}

/// Checks that the file has one name. A user who may read a file can give it a second name in their own folder, unless
/// `fs.protected_hardlinks` is set.
fn has_one_name(there: &Metadata) -> io::Result<()> {
    if there.nlink() <= 1 {
        Ok(())
    } else {
        Err(io::Error::other("the file has another name (hard link); delete this name"))
    }
}

/// The flags of every open. A link that appears in the meantime is not followed. A pipe does not block. A terminal does
/// not become our terminal.
const FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// The number of links that the kernel follows: path_resolution(7).
const MOST_LINKS: usize = 40;

/// The place to which a path leads.
#[derive(Debug)]
enum Place {
    /// A name in a folder. If a file has this name, it is not a symbolic link.
    Entry { folder: OwnedFd, name: OsString },
    /// An open file of a process, such as `/dev/stdout`. It is opened with `O_PATH`.
    Open(OwnedFd),
}

impl Place {
    /// Follows a path, one name after the other. Each name is opened in the folder of the step before. So no user can
    /// put a link there between the check and the step.
    fn find(actor: Actor, path: &Path) -> io::Result<Self> {
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
    fn metadata(&self) -> io::Result<Option<Metadata>> {
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
    fn open(
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
            match actor.create_new(folder, name, flags) {
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
    fn open_existing(&self, flags: OFlag, check: impl Fn(&Metadata) -> io::Result<()>) -> io::Result<File> {
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

/// The names of a path, one for each step.
fn names(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|component| *component != Component::CurDir);
    steps.map(|component| component.as_os_str().to_owned()).collect()
}

/// A file that is useful only when it is complete. Until then it has another name, and an older file of its name stays.
#[derive(Debug)]
pub(crate) enum Draft {
    Apart(Temporary),
    /// A pipe or a device.
    Direct(File),
}

impl Draft {
    /// Begins the file. Its permissions are those of [`create`].
    ///
    /// # Errors
    ///
    /// The same as [`create`]. It is also an error if the file could not get its name at the end.
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
                "'{}' is writable only with capabilities, and none are left when the file is complete; choose a folder \
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
            // In a folder with the sticky bit, only the owner of the file or of the folder renames it without capabilities.
            let metadata = File::from(folder.try_clone()?).metadata()?;
            if metadata.mode() & libc::S_ISVTX != 0 && metadata.uid() != actor.user().as_raw() {
                return Err(Errno::EPERM.into());
            }
        }
        remove_orphans(actor, &folder);
        // A run that starts at the same time may take it for an orphan before it is locked.
        for _ in 0..MOST_LINKS {
            let mut random = [0; 8];
            SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
            let temporary = OsString::from(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
            // What works now works at the end, too.
            let create = || Ok(actor.create_new(&folder, &temporary, OFlag::O_WRONLY)?);
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
    // The descriptor of the folder may serve only as a place: O_PATH.
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

/// A saved trace. It is read from its end, cut off, and finally deleted.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) file: File,
    place: Place,
    actor: Actor,
}

impl Saved {
    /// Opens it, for cutting off or only for reading.
    ///
    /// # Errors
    ///
    /// The same as [`read`]. It is also an error if a link to the file belongs to another user. If the file has a
    /// second name, it is an error too, because cutting changes the file under both names.
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

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
