//! The user of the command, with `--user`, and the invoker of sudo.

use std::{
    env, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};
use nix::{
    libc,
    unistd::{Gid, Uid, geteuid, getuid, setgid, setgroups, setuid},
};

use crate::accounts::Account;

/// The name that means the invoker of sudo.
pub(crate) const INVOKER: &str = "invoker";

/// The ids of the user who called sudo, if sudo was called.
pub(crate) fn invoker() -> Option<(Uid, Gid)> {
    let id = |name| env::var(name).ok()?.parse().ok();
    Some((Uid::from_raw(id("SUDO_UID")?), Gid::from_raw(id("SUDO_GID")?)))
}

/// The user who has called sudo to make us root. process-tracer opens files as this user.
#[derive(Debug)]
pub(crate) struct Invoker {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// The supplementary groups, in ascending order. Empty if the user database does not have the user.
    pub(crate) groups: Vec<Gid>,
}

impl Invoker {
    /// `None` if sudo was not called, if root called it, or if sudo made us another user than root.
    pub(crate) fn of_root() -> Option<&'static Self> {
        static INVOKER: OnceLock<Option<Invoker>> = OnceLock::new();
        let find = || {
            let (uid, gid) = invoker().filter(|(uid, _)| geteuid().is_root() && !uid.is_root())?;
            let groups = || Account { gid, ..Account::of_number(uid).ok()?? }.groups().ok();
            let mut groups = groups().unwrap_or_default();
            groups.sort_unstable_by_key(|group| group.as_raw());
            Some(Self { uid, gid, groups })
        };
        INVOKER.get_or_init(find).as_ref()
    }
}

/// A user of this machine, or a number.
#[derive(Clone, Debug)]
pub(crate) struct User {
    name: String,
    uid: Uid,
    gid: Gid,
    /// The supplementary groups.
    groups: Vec<Gid>,
    home: PathBuf,
    shell: PathBuf,
}

/// The group of a user who has none: the kernel's group for unmapped ids (include/linux/highuid.h). Root's group, or the
/// group with the number of the user, could give access to files.
const NO_GROUP: Gid = Gid::from_raw(65534);

impl User {
    /// Looks up a user by name or number, or the invoker of sudo.
    pub(crate) fn look_up(name: &str) -> Result<Self> {
        let user = if name == INVOKER {
            let (uid, gid) =
                invoker().context("'invoker' is the user who called sudo, but SUDO_UID and SUDO_GID are not set")?;
            Self::of_number(uid, gid)?
        } else if let Some(account) = Account::of_name(name)? {
            Self::of_account(account)?
        } else {
            // The kernel uses the largest number for "no user".
            let number = name.parse().ok().filter(|number| *number != u32::MAX);
            let number = number.with_context(|| format!("there is no user '{name}'"))?;
            Self::of_number(Uid::from_raw(number), NO_GROUP)?
        };
        if !geteuid().is_root() && user.uid != geteuid() {
            bail!("only root can run the command as '{name}'");
        }
        Ok(user)
    }

    fn of_account(account: Account) -> Result<Self> {
        let groups = account.groups().with_context(|| format!("cannot look up the groups of '{}'", account.name))?;
        let Account { name, uid, gid, home, shell } = account;
        Ok(Self { name, uid, gid, groups, home, shell })
    }

    /// `gid` counts if the user database does not have the user. A container often runs with such a user.
    fn of_number(uid: Uid, gid: Gid) -> Result<Self> {
        match Account::of_number(uid)? {
            Some(account) => Self::of_account(account),
            None => {
                let (home, shell) = ("/".into(), "/bin/sh".into());
                Ok(Self { name: uid.to_string(), uid, gid, groups: vec![gid], home, shell })
            }
        }
    }

    /// The variables that name the user.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        let text = |path: &Path| String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
        [
            ("HOME", text(&self.home)),
            ("USER", self.name.clone()),
            ("LOGNAME", self.name.clone()),
            ("SHELL", text(&self.shell)),
        ]
    }

    /// Whether it is another user than the user of process-tracer.
    pub(crate) fn is_other(&self) -> bool {
        self.uid != getuid()
    }

    /// Becomes this user permanently, in the child before exec. It only makes async-signal-safe system calls.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(()); // we are this user already
        }
        let is_other = self.is_other();
        setgroups(&self.groups)?;
        setgid(self.gid)?;
        setuid(self.uid)?;
        if is_other { leave_session_keyring() } else { Ok(()) }
    }
}

/// Gives the process an empty session keyring, linked to its user's keyring, as pam_keyinit(8) does for su(1). With the
/// session keyring of the former user, the process could read that user's keys: keyrings(7), "Possession".
fn leave_session_keyring() -> io::Result<()> {
    // include/uapi/linux/keyctl.h
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const LINK: libc::c_long = 8;
    const SESSION_KEYRING: libc::c_long = -3;
    const USER_KEYRING: libc::c_long = -4;
    let nothing: libc::c_long = 0;
    // SAFETY: with NULL as its name, the keyring has no name.
    if unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nothing) } < 0 {
        let error = io::Error::last_os_error();
        // The kernel has no keys, or the container forbids them. Then the command cannot read keys.
        let has_no_keys = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
        return if has_no_keys { Ok(()) } else { Err(error) };
    }
    // It is no error if this fails: the command then does not see the keys of its user. SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_keyctl, LINK, USER_KEYRING, SESSION_KEYRING) };
    Ok(())
}
