//! The user that the command runs as, if that is not ours: `--user`; and what users, groups and hosts are called here.

use std::{
    collections::BTreeMap,
    env,
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt,
    sync::{Arc, OnceLock},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    libc,
    unistd::{Gid, Uid, geteuid, getgrouplist, getuid, setgid, setgroups, setuid},
};
use tracer_model::{Accounts, Hosts};

/// What stands for whoever has called sudo.
const INVOKER: &str = "invoker";

/// Who has called sudo, if anybody has.
pub(crate) fn invoker() -> Option<(Uid, Gid)> {
    let id = |name| env::var(name).ok()?.parse().ok();
    Some((Uid::from_raw(id("SUDO_UID")?), Gid::from_raw(id("SUDO_GID")?)))
}

/// Who called sudo to make us root. Files are opened in their name.
#[derive(Debug)]
pub(crate) struct Invoker {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// The supplementary groups, in ascending order. None, if the user database does not have the user.
    pub(crate) groups: Vec<Gid>,
}

impl Invoker {
    /// `None` if nobody called sudo, if root did, and if sudo made us somebody else than root.
    pub(crate) fn of_root() -> Option<&'static Self> {
        static INVOKER: OnceLock<Option<Invoker>> = OnceLock::new();
        let find = || {
            let (uid, gid) = invoker().filter(|(uid, _)| geteuid().is_root() && !uid.is_root())?;
            let groups = || {
                let name = CString::new(nix::unistd::User::from_uid(uid).ok()??.name).ok()?;
                getgrouplist(&name, gid).ok()
            };
            let mut groups = groups().unwrap_or_default();
            groups.sort_unstable_by_key(|group| group.as_raw());
            Some(Self { uid, gid, groups })
        };
        INVOKER.get_or_init(find).as_ref()
    }
}

/// The names of users and groups on this machine, of its files alone: asking further, as getpwuid(3) may, could take a while
/// and go over the network.
pub(crate) fn accounts() -> Accounts {
    // Both passwd(5) and group(5) begin with NAME:PASSWORD:ID.
    let read = |path| -> BTreeMap<u32, Arc<str>> {
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut names = BTreeMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
                // The first one counts.
                names.entry(id).or_insert_with(|| name.into());
            }
        }
        names
    };
    Accounts { users: read("/etc/passwd"), groups: read("/etc/group") }
}

/// The names of addresses on this machine, of its file alone, likewise.
pub(crate) fn hosts() -> Hosts {
    Hosts::new(String::from_utf8_lossy(&fs::read("/etc/hosts").unwrap_or_default()).into_owned())
}

/// Somebody with an entry in the user database.
#[derive(Clone, Debug)]
pub(crate) struct User {
    entry: nix::unistd::User,
    groups: Vec<Gid>,
}

impl User {
    /// Looks up a user by name or number, or the one that called sudo.
    pub(crate) fn look_up(name: &str) -> Result<Self> {
        let entry = if name == INVOKER {
            let (uid, _) = invoker().context("'invoker' is who calls sudo, but SUDO_UID and SUDO_GID are not set")?;
            nix::unistd::User::from_uid(uid)?
        } else {
            match nix::unistd::User::from_name(name)? {
                Some(entry) => Some(entry),
                None => name.parse().map_or(Ok(None), |uid| nix::unistd::User::from_uid(Uid::from_raw(uid)))?,
            }
        };
        let entry = entry.ok_or_else(|| anyhow!("there is no user '{name}'"))?;
        if !geteuid().is_root() && entry.uid != geteuid() {
            bail!("only root can run the command as '{name}'");
        }
        let groups = getgrouplist(&CString::new(entry.name.as_str())?, entry.gid)
            .with_context(|| format!("cannot look up the groups of '{name}'"))?;
        Ok(Self { entry, groups })
    }

    /// The variables that say who one is.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        let text = |path: &std::path::Path| String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
        [
            ("HOME", text(&self.entry.dir)),
            ("USER", self.entry.name.clone()),
            ("LOGNAME", self.entry.name.clone()),
            ("SHELL", text(&self.entry.shell)),
        ]
    }

    /// Becomes that user for good, in the child, right before exec. Only makes async-signal-safe system calls.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(()); // that is who we are
        }
        let is_other = self.entry.uid != getuid();
        setgroups(&self.groups)?;
        setgid(self.entry.gid)?;
        setuid(self.entry.uid)?;
        if is_other { leave_session_keyring() } else { Ok(()) }
    }
}

/// Gives the process an empty session keyring, linked to its user's keyring, as pam_keyinit(8) does for su(1). With the
/// former user's session keyring it could read the keys of that user: keyrings(7), "Possession".
fn leave_session_keyring() -> io::Result<()> {
    // include/uapi/linux/keyctl.h
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const LINK: libc::c_long = 8;
    const SESSION_KEYRING: libc::c_long = -3;
    const USER_KEYRING: libc::c_long = -4;
    let nothing: libc::c_long = 0;
    // SAFETY: a name that is NULL asks for a keyring without a name.
    if unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nothing) } < 0 {
        let error = io::Error::last_os_error();
        // A kernel without keys, or a container that forbids them. Then the command cannot read any either.
        let has_no_keys = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
        return if has_no_keys { Ok(()) } else { Err(error) };
    }
    // Without the link the command only lacks its user's keys.
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_keyctl, LINK, USER_KEYRING, SESSION_KEYRING) };
    Ok(())
}
