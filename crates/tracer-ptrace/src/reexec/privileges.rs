//! Decides whether an exec would give privileges that the kernel withholds because a tracer follows the program.
//!
//! The kernel's rules are in `bprm_fill_uid` (fs/exec.c) and `cap_bprm_creds_from_file` (security/commoncap.c).
//! This module only compares the file with the process after the exec.

use std::{
    ffi::CStr,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use nix::{
    errno::Errno,
    sys::statvfs::{FsFlags, statvfs},
};

/// The number of CAP_SYS_PTRACE, from linux/capability.h.
const CAP_SYS_PTRACE: u32 = 19;

/// A privilege that an exec gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The file's owner becomes the effective user.
    Setuid,
    /// The file's group becomes the effective group.
    Setgid,
    /// The file's capabilities become the process's.
    Capabilities,
    /// Unknown: the tracer can read neither the file's metadata nor the process's memory.
    Unreadable,
}

/// The facts of a program file that decide what its exec gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFile {
    /// The mode, as stat(2) gives it.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The file's capabilities, if it has any.
    pub capabilities: Option<FileCapabilities>,
    /// The file's mount ignores all of these.
    pub nosuid: bool,
}

/// The sets of the extended attribute `security.capability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCapabilities {
    /// The process gets these capabilities, within its bounding set.
    pub permitted: u64,
    /// The process gets these capabilities if they are in its own inheritable set.
    pub inheritable: u64,
}

/// The credentials of a process after its exec, from `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user.
    pub euid: u32,
    /// The effective group.
    pub egid: u32,
    /// The inheritable capabilities.
    pub inheritable: u64,
    /// The permitted capabilities.
    pub permitted: u64,
    /// The effective capabilities.
    pub effective: u64,
    /// The bounding set.
    pub bounding: u64,
    /// No exec gives privileges to this process.
    pub no_new_privileges: bool,
}

/// Returns the privilege that a second exec of `file`, without a tracer, would add to `after`.
#[must_use]
pub fn gain(file: &ProgramFile, after: &Credentials) -> Option<Gain> {
    if file.nosuid || after.no_new_privileges {
        return None;
    }
    if file.is_setuid() && after.euid != file.uid {
        return Some(Gain::Setuid);
    }
    if file.is_setgid() && after.egid != file.gid {
        return Some(Gain::Setgid);
    }
    let given = file
        .capabilities
        .map_or(0, |of_file| (of_file.permitted & after.bounding) | (of_file.inheritable & after.inheritable));
    (given & !after.permitted != 0).then_some(Gain::Capabilities)
}

impl ProgramFile {
    /// Reads the facts of the file at `path`. It follows symbolic links.
    ///
    /// # Errors
    ///
    /// stat(2) fails, for example with `PermissionDenied`.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::with_metadata(path, &path.metadata()?)?.on_mount(path)
    }

    /// Does the same as [`Self::read`], with the metadata that the caller already has. It does not check the mount.
    pub(super) fn with_metadata(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let capabilities = FileCapabilities::read(path)?;
        Ok(Self { mode: metadata.mode(), uid: metadata.uid(), gid: metadata.gid(), capabilities, nosuid: false })
    }

    /// Also checks the mount of `path`. A file can be on several mounts.
    pub(super) fn on_mount(self, path: &Path) -> io::Result<Self> {
        Ok(Self { nosuid: statvfs(path)?.flags().contains(FsFlags::ST_NOSUID), ..self })
    }

    /// The file gives no privilege, in any process and on any mount.
    pub(super) fn is_plain(&self) -> bool {
        !(self.is_setuid() || self.is_setgid() || self.capabilities.is_some())
    }

    fn is_setuid(&self) -> bool {
        self.mode & libc::S_ISUID != 0
    }

    /// Without the group's execute bit, S_ISGID means mandatory locking.
    fn is_setgid(&self) -> bool {
        let both = libc::S_ISGID | libc::S_IXGRP;
        self.mode & both == both
    }
}

impl FileCapabilities {
    fn read(path: &Path) -> io::Result<Option<Self>> {
        const NAME: &CStr = c"security.capability";
        // The longest form, version 3, has 24 bytes.
        let mut value = [0u8; 24];
        let path = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))?;
        // SAFETY: both names end with NUL, and the length is the buffer's.
        let length = unsafe { libc::getxattr(path.as_ptr(), NAME.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        match Errno::result(length) {
            Ok(length) => Ok(Self::parse(value.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default())),
            Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads `struct vfs_ns_cap_data` of linux/capability.h.
    ///
    /// The kernel gives the capabilities of our own user namespace as version 2. Version 3 belongs to another
    /// namespace, so these capabilities do not count.
    fn parse(value: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = value.get(index * 4..index * 4 + 4)?;
            Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
        };
        match word(0)? >> 24 {
            1 => Some(Self { permitted: word(1)?, inheritable: word(2)? }),
            2 => Some(Self { permitted: word(1)? | word(3)? << 32, inheritable: word(2)? | word(4)? << 32 }),
            _ => None,
        }
    }
}

impl Credentials {
    /// Reads the credentials of `pid` from `/proc/PID/status`. Every process may read this file.
    ///
    /// # Errors
    ///
    /// The process is gone, or `/proc` is not there.
    pub fn read(pid: i32) -> io::Result<Self> {
        Self::from_status_file(&format!("/proc/{pid}/status"))
    }

    /// Reads the credentials of the calling thread.
    ///
    /// # Errors
    ///
    /// `/proc` is not there.
    pub fn own() -> io::Result<Self> {
        Self::from_status_file("/proc/thread-self/status")
    }

    /// Whether programs keep their privileges under a tracer with these credentials. The kernel requires CAP_SYS_PTRACE in the
    /// user namespace of the process. That namespace is our own or one below it. A capability also counts in all namespaces
    /// below.
    #[must_use]
    pub fn may_trace_privileged(&self) -> bool {
        self.effective & 1 << CAP_SYS_PTRACE != 0
    }

    fn from_status_file(path: &str) -> io::Result<Self> {
        let mut text = String::with_capacity(2048);
        File::open(path)?.read_to_string(&mut text)?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} lacks a field")))
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::split_ascii_whitespace)
        };
        let effective_id = |name| field(name)?.nth(1)?.parse().ok();
        let set = |name| u64::from_str_radix(field(name)?.next()?, 16).ok();
        Some(Self {
            euid: effective_id("Uid")?,
            egid: effective_id("Gid")?,
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            no_new_privileges: field("NoNewPrivs").and_then(|mut value| value.next()) == Some("1"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: ProgramFile = ProgramFile { mode: 0o100755, uid: 0, gid: 0, capabilities: None, nosuid: false };
    const NOBODY: Credentials = Credentials {
        euid: 65534,
        egid: 65534,
        inheritable: 0,
        permitted: 0,
        effective: 0,
        bounding: !0,
        no_new_privileges: false,
    };
    const NET_RAW: u64 = 1 << 13;

    fn with_capability() -> ProgramFile {
        ProgramFile { capabilities: Some(FileCapabilities { permitted: NET_RAW, inheritable: 0 }), ..PLAIN }
    }

    #[test]
    fn an_exec_that_gives_a_privilege_is_recognised() {
        let setuid = ProgramFile { mode: 0o104755, ..PLAIN };
        let setgid = ProgramFile { mode: 0o102755, gid: 42, ..PLAIN };
        let inheritable =
            ProgramFile { capabilities: Some(FileCapabilities { permitted: 0, inheritable: NET_RAW }), ..PLAIN };
        let table = [
            ("plain file", PLAIN, NOBODY, None),
            ("setuid", setuid, NOBODY, Some(Gain::Setuid)),
            ("setuid, unreadable", ProgramFile { mode: 0o104111, ..PLAIN }, NOBODY, Some(Gain::Setuid)),
            ("setuid, already the owner", setuid, Credentials { euid: 0, ..NOBODY }, None),
            ("setuid of the user itself", ProgramFile { uid: 65534, ..setuid }, NOBODY, None),
            ("setuid with no_new_privs", setuid, Credentials { no_new_privileges: true, ..NOBODY }, None),
            ("setuid on a nosuid mount", ProgramFile { nosuid: true, ..setuid }, NOBODY, None),
            ("setgid", setgid, NOBODY, Some(Gain::Setgid)),
            ("setgid, already the group", setgid, Credentials { egid: 42, ..NOBODY }, None),
            ("mandatory locking", ProgramFile { mode: 0o102745, gid: 42, ..PLAIN }, NOBODY, None),
            (
                "setuid as the owner, and setgid",
                ProgramFile { mode: 0o106755, uid: 65534, ..PLAIN },
                NOBODY,
                Some(Gain::Setgid),
            ),
            ("capability", with_capability(), NOBODY, Some(Gain::Capabilities)),
            ("capability already held", with_capability(), Credentials { permitted: NET_RAW, ..NOBODY }, None),
            ("capability out of bounds", with_capability(), Credentials { bounding: !NET_RAW, ..NOBODY }, None),
            (
                "capability with no_new_privs",
                with_capability(),
                Credentials { no_new_privileges: true, ..NOBODY },
                None,
            ),
            ("capability not inherited", inheritable, NOBODY, None),
            (
                "capability inherited",
                inheritable,
                Credentials { inheritable: NET_RAW, ..NOBODY },
                Some(Gain::Capabilities),
            ),
        ];
        for (name, file, after, expected) in table {
            assert_eq!(gain(&file, &after), expected, "{name}");
        }
    }

    #[test]
    fn capabilities_of_versions_1_and_2_are_read() {
        let value = |magic: u32, words: &[u32]| -> Vec<u8> {
            std::iter::once(&magic).chain(words).flat_map(|word| word.to_le_bytes()).collect()
        };
        let parsed = |permitted, inheritable| Some(FileCapabilities { permitted, inheritable });
        assert_eq!(FileCapabilities::parse(&value(0x0100_0001, &[1 << 13, 2])), parsed(1 << 13, 2));
        assert_eq!(
            FileCapabilities::parse(&value(0x0200_0001, &[1 << 13, 0, 1 << 6, 3])),
            parsed(1 << 13 | 1 << 38, 3 << 32)
        );
        assert_eq!(FileCapabilities::parse(&value(0x0300_0001, &[1 << 13, 0, 0, 0, 1000])), None);
        assert_eq!(FileCapabilities::parse(&value(0x0200_0001, &[1])), None);
        assert_eq!(FileCapabilities::parse(&[]), None);
    }

    #[test]
    fn credentials_are_read_from_a_status_file() {
        let status = "Name:\tsh\nUid:\t1000\t0\t0\t0\nGid:\t1000\t42\t42\t42\nNoNewPrivs:\t1\n\
            CapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t0000000000080000\nCapBnd:\t00000000000000ff\n";
        let expected = Credentials {
            euid: 0,
            egid: 42,
            inheritable: 1,
            permitted: 2,
            effective: 1 << 19,
            bounding: 0xff,
            no_new_privileges: true,
        };
        assert_eq!(Credentials::parse(status), Some(expected));
        assert!(expected.may_trace_privileged());
        assert_eq!(Credentials::parse("Name:\tsh\n"), None);
    }

    #[test]
    fn credentials_of_this_thread_are_its_own() {
        let own = Credentials::own().unwrap();
        assert_eq!((own.euid, own.egid), (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
    }
}
