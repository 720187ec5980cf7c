//! Names of users and groups in the root folders of other processes, such as those of containers. Every source uses this.
//!
//! The files there belong to the command. Reading them can take any time, for example if a process of the command
//! implements the file system (FUSE). So a separate thread reads them. Callers wait for it only for a short time.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use hashbrown::HashMap;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, readlinkat, statx,
};
use tracer_model::{
    Accounts,
    event::{Names, Namespaces, RootFolder},
};

use crate::{
    kernel::Tid,
    procfs::{Folder, namespace_number},
};

/// A caller waits this long for the names. Usually it takes much less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

/// Root folders that are remembered.
const REMEMBERED: usize = 16;

/// The largest file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// A process in another root folder or mount namespace, as it was at its exec.
#[derive(Clone, Debug)]
pub struct Resident {
    /// Processes that can have the same root folder. The first of them that has it is used.
    pub pids: Vec<u32>,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its root folder. If it is unknown, the process must be stopped.
    pub root_folder: RootFolder,
    /// Its user, real user, group and real group, as in our user namespace.
    pub ids: [u32; 4],
}

/// Finds the names of users and groups in other root folders. It starts its thread when it is first used.
#[derive(Debug, Default)]
pub struct Registry {
    questions: Option<SyncSender<Question>>,
}

#[derive(Debug)]
struct Question {
    resident: Resident,
    answer: SyncSender<Names>,
}

impl Registry {
    /// The names of a process. There are none if the kernel does not let us look into the root folder, if no process has it
    /// any more, or if it takes long.
    pub fn names(&mut self, resident: Resident) -> Names {
        let questions = self.questions.get_or_insert_with(start);
        let (answer, answers) = sync_channel(1);
        // If there is no thread, or if it still waits for another file, this fails.
        match questions.try_send(Question { resident, answer }) {
            Ok(()) => answers.recv_timeout(PATIENCE).unwrap_or_default(),
            Err(_) => Names::default(),
        }
    }
}

/// The namespaces of process-tracer. Unknown ones are 0.
#[must_use]
pub fn own_namespaces() -> Namespaces {
    // Linux's pids have 22 bits at most.
    Folder::of(std::process::id() as Tid).all_namespaces(&mut Vec::new())
}

fn start() -> SyncSender<Question> {
    let (questions, asked) = sync_channel(1);
    // Without the thread there are no names.
    let _ = thread::Builder::new().name("names".to_owned()).spawn(move || answer(&asked));
    questions
}

fn answer(asked: &Receiver<Question>) {
    let mut roots = Roots::new();
    for Question { resident, answer } in asked {
        // If the caller does not wait any more, it does not need the answer.
        let _ = answer.send(roots.names(&resident));
    }
}

/// The root folders that were read.
struct Roots {
    own_user_namespace: u32,
    known: HashMap<(u32, RootFolder), Known>,
}

/// The files of a root folder, and their content.
struct Known {
    versions: [Option<Version>; 2],
    accounts: Arc<Accounts>,
}

impl Roots {
    fn new() -> Self {
        Self { own_user_namespace: own_namespaces().user, known: HashMap::new() }
    }

    fn names(&mut self, resident: &Resident) -> Names {
        resident.pids.iter().find_map(|pid| self.names_from(*pid, resident).ok()?).unwrap_or_default()
    }

    /// `None` if that process is not in the same place as the resident.
    fn names_from(&mut self, pid: u32, resident: &Resident) -> io::Result<Option<Names>> {
        // These descriptors always mean the same process and the same folder, even if the pid is used again.
        let process = open(CWD, &format!("/proc/{pid}"), OFlags::PATH | OFlags::DIRECTORY)?;
        let root = open(&process, "root", OFlags::PATH | OFlags::DIRECTORY)?;
        let Namespaces { mount, user, .. } = resident.namespaces;
        let [users, groups] = match user == self.own_user_namespace {
            true => [None, None],
            false => [Some(read(&process, "uid_map")?), Some(read(&process, "gid_map")?)],
        };
        // The process may have moved to another place since its exec. So the places are compared. A process does not
        // move back.
        let status =
            statx(&root, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO | StatxFlags::MNT_ID)?;
        let folder = RootFolder { mount: status.stx_mnt_id, inode: status.stx_ino };
        let is_there = namespace(&process, "ns/mnt")? == mount
            && namespace(&process, "ns/user")? == user
            && [0, folder.inode].contains(&resident.root_folder.inode)
            && [0, folder.mount].contains(&resident.root_folder.mount);
        if !is_there {
            return Ok(None);
        }
        let [user, real_user, group, real_group] = resident.ids;
        let ids = [(user, &users), (real_user, &users), (group, &groups), (real_group, &groups)];
        let ids = ids.map(|(id, map)| map.as_ref().map_or(Some(id), |map| inside(map, id)));
        Ok(Some(self.accounts((mount, folder), &root).names(ids)))
    }

    /// The accounts of a root folder. The files are read again if they have changed.
    fn accounts(&mut self, key: (u32, RootFolder), root: &OwnedFd) -> Arc<Accounts> {
        let files = ["etc/passwd", "etc/group"].map(|path| find(root, path));
        let versions = files.each_ref().map(|file| file.as_ref().map(|file| file.1));
        if let Some(known) = self.known.get(&key)
            && known.versions == versions
        {
            return Arc::clone(&known.accounts);
        }
        let [users, groups] = files.map(|file| file.and_then(|file| content(&file.0).ok()).unwrap_or_default());
        let accounts = Arc::new(Accounts::new(&users, &groups));
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, Known { versions, accounts: Arc::clone(&accounts) });
        accounts
    }
}

/// The identity and the state of a file. Equal versions have the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: (u32, u32),
    inode: u64,
    size: u64,
    changed: (i64, u32),
}

/// Finds a regular file that everybody may read. It does not open the file, because opening a pipe could wait, and opening a
/// device could change something. Links cannot lead out of the root folder.
fn find(root: &OwnedFd, path: &str) -> Option<(OwnedFd, Version)> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    let Statx { stx_mode, stx_dev_major, stx_dev_minor, stx_ino, stx_size, stx_ctime, .. } =
        statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
    let mode = stx_mode.into();
    let is_public = FileType::from_raw_mode(mode).is_file() && Mode::from_raw_mode(mode).contains(Mode::ROTH);
    let version = Version {
        device: (stx_dev_major, stx_dev_minor),
        inode: stx_ino,
        size: stx_size,
        changed: (stx_ctime.tv_sec, stx_ctime.tv_nsec),
    };
    (is_public && stx_size <= LARGEST).then_some((file, version))
}

/// Reads a file that was found.
fn content(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A lease of another process could make this wait: F_SETLEASE in fcntl(2).
    let file = open(CWD, &own_path(file), OFlags::RDONLY | OFlags::NONBLOCK)?;
    File::from(file).take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn own_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn open(folder: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(folder, path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

fn read(process: &OwnedFd, name: &str) -> io::Result<String> {
    let mut text = String::new();
    File::from(open(process, name, OFlags::RDONLY)?).read_to_string(&mut text)?;
    Ok(text)
}

fn namespace(process: &OwnedFd, name: &str) -> io::Result<u32> {
    let link = readlinkat(process, name, Vec::new())?;
    namespace_number(link.as_bytes()).ok_or(io::ErrorKind::InvalidData.into())
}

/// An id as a process in another user namespace sees it. Each line of its map has the first id inside, the first id outside,
/// and their number: user_namespaces(7).
fn inside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        let (first, outside, count): (u32, u32, u32) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let index = id.checked_sub(outside).filter(|index| *index < count)?;
        first.checked_add(index)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// This process, as if it had another root folder.
    fn resident() -> Resident {
        Resident {
            pids: vec![std::process::id()],
            namespaces: own_namespaces(),
            root_folder: RootFolder::default(),
            ids: [0; 4],
        }
    }

    #[test]
    fn names_come_from_the_first_process_that_is_in_the_same_place() {
        let mut roots = Roots::new();
        let names = roots.names(&resident());
        assert_eq!(names.user.as_deref(), Some("root"));
        let dead = 0;
        assert_eq!(roots.names(&Resident { pids: vec![dead, std::process::id()], ..resident() }), names);
        assert_eq!(roots.names(&Resident { pids: vec![dead], ..resident() }), Names::default());
        let (_, folder) = *roots.known.keys().next().unwrap();
        assert_eq!(roots.names(&Resident { root_folder: folder, ..resident() }), names);
        let elsewhere = [
            Resident { root_folder: RootFolder { inode: folder.inode + 1, ..folder }, ..resident() },
            Resident { root_folder: RootFolder { mount: folder.mount + 1, ..folder }, ..resident() },
            Resident { namespaces: Namespaces { mount: 1, ..resident().namespaces }, ..resident() },
            Resident { namespaces: Namespaces { user: 1, ..resident().namespaces }, ..resident() },
        ];
        for elsewhere in elsewhere {
            assert_eq!(roots.names(&elsewhere), Names::default(), "{elsewhere:?}");
        }
    }

    #[test]
    fn changed_files_are_read_again_and_few_folders_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let passwd = folder.path().join("etc/passwd");
        let root = open(CWD, folder.path().to_str().unwrap(), OFlags::PATH).unwrap();
        let mut roots = Roots::new();
        let mut user = |mount| {
            let accounts = roots.accounts((1, RootFolder { mount, inode: 2 }), &root);
            (accounts.names([Some(7); 4]).user.as_deref().map(str::to_owned), roots.known.len())
        };
        assert_eq!(user(0), (None, 1));
        std::fs::write(&passwd, "ann:x:7:7\n").unwrap();
        assert_eq!(user(0).0.as_deref(), Some("ann"));
        // A new file, as useradd(8) makes it.
        std::fs::write(folder.path().join("etc/new"), "bob:x:7:7\n").unwrap();
        std::fs::rename(folder.path().join("etc/new"), &passwd).unwrap();
        assert_eq!(user(0).0.as_deref(), Some("bob"));
        let most = (0..100).map(|mount| user(mount).1).max();
        assert_eq!(most, Some(REMEMBERED));
        std::fs::remove_file(&passwd).unwrap();
        symlink("/etc/../../none", &passwd).unwrap();
        assert_eq!(user(0).0, None);
    }

    #[test]
    fn a_caller_does_not_wait_for_a_thread_that_is_stuck() {
        let (questions, asked) = sync_channel(1);
        let mut registry = Registry { questions: Some(questions) };
        for _ in 0..3 {
            assert_eq!(registry.names(resident()), Names::default());
        }
        // It has waited for the first answer, and has not asked again.
        assert_eq!(asked.try_iter().count(), 1);
        assert!(Registry::default().names(resident()).user.is_some());
    }

    #[test]
    fn ids_are_those_inside_the_user_namespace() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!([1000, 100_000, 100_998].map(|id| inside(map, id)), [Some(0), Some(1), Some(999)]);
        assert_eq!([0, 999, 1001, 165_536].map(|id| inside(map, id)), [None; 4]);
        assert_eq!(inside("         0          0 4294967295\n", 7), Some(7));
        assert_eq!(inside("", 0), None);
    }
}
