//! Looks up users and groups of this machine, by name and by number.
//!
//! Usually the C library does it, as nsswitch.conf(5) says. A static binary reads /etc/passwd and /etc/group instead. There,
//! the C library would load libraries of the system, which belong to another C library.

use std::{io, path::PathBuf};

use nix::unistd::{Gid, Uid};

#[cfg(target_feature = "crt-static")]
use self::files as database;
#[cfg(not(target_feature = "crt-static"))]
use self::system as database;

/// A user of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    /// The first group.
    pub(crate) gid: Gid,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Account {
    /// # Errors
    ///
    /// The database cannot be read.
    pub(crate) fn of_name(name: &str) -> io::Result<Option<Self>> {
        database::user_of_name(name)
    }

    /// # Errors
    ///
    /// The database cannot be read.
    pub(crate) fn of_number(uid: Uid) -> io::Result<Option<Self>> {
        database::user_of_number(uid)
    }

    /// All groups of this user.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub(crate) fn groups(&self) -> io::Result<Vec<Gid>> {
        database::groups_of(&self.name, self.gid)
    }
}

/// The number of a group.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn group_of_name(name: &str) -> io::Result<Option<Gid>> {
    database::group_of_name(name)
}

/// The name of a group. A group that the database does not have is a number.
pub(crate) fn name_of_group(gid: Gid) -> String {
    database::group_of_number(gid).unwrap_or_else(|| gid.to_string())
}

/// The C library.
#[cfg(not(target_feature = "crt-static"))]
mod system {
    use std::ffi::CString;

    use nix::unistd::{Group, User, getgrouplist};

    use super::{Account, Gid, Uid, io};

    pub(super) fn user_of_name(name: &str) -> io::Result<Option<Account>> {
        Ok(User::from_name(name)?.map(account))
    }

    pub(super) fn user_of_number(uid: Uid) -> io::Result<Option<Account>> {
        Ok(User::from_uid(uid)?.map(account))
    }

    fn account(user: User) -> Account {
        Account { name: user.name, uid: user.uid, gid: user.gid, home: user.dir, shell: user.shell }
    }

    pub(super) fn groups_of(name: &str, gid: Gid) -> io::Result<Vec<Gid>> {
        Ok(getgrouplist(&CString::new(name)?, gid)?)
    }

    pub(super) fn group_of_name(name: &str) -> io::Result<Option<Gid>> {
        Ok(Group::from_name(name)?.map(|group| group.gid))
    }

    pub(super) fn group_of_number(gid: Gid) -> Option<String> {
        Some(Group::from_gid(gid).ok()??.name)
    }
}

/// The files passwd(5) and group(5).
#[cfg(any(test, target_feature = "crt-static"))]
mod files {
    use std::{fs, path::Path};

    use super::{Account, Gid, Uid, io};

    const USERS: &str = "/etc/passwd";
    const GROUPS: &str = "/etc/group";

    pub(super) fn user_of_name(name: &str) -> io::Result<Option<Account>> {
        Ok(users(&read(USERS)?).find(|user| user.name == name))
    }

    pub(super) fn user_of_number(uid: Uid) -> io::Result<Option<Account>> {
        Ok(users(&read(USERS)?).find(|user| user.uid == uid))
    }

    pub(super) fn groups_of(name: &str, gid: Gid) -> io::Result<Vec<Gid>> {
        Ok(groups_with(&read(GROUPS)?, name, gid))
    }

    pub(super) fn group_of_name(name: &str) -> io::Result<Option<Gid>> {
        Ok(groups(&read(GROUPS)?).find(|group| group.0 == name).map(|group| group.1))
    }

    pub(super) fn group_of_number(gid: Gid) -> Option<String> {
        groups(&read(GROUPS).ok()?).find(|group| group.1 == gid).map(|group| group.0.to_owned())
    }

    /// A container can have no such file.
    fn read(path: &str) -> io::Result<String> {
        match fs::read(Path::new(path)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL. Lines that are no users are skipped.
    pub(super) fn users(text: &str) -> impl Iterator<Item = Account> {
        text.lines().filter_map(|line| {
            let [name, _, uid, gid, _, home, shell] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            let (uid, gid) = (Uid::from_raw(uid.parse().ok()?), Gid::from_raw(gid.parse().ok()?));
            // passwd(5): an empty shell is /bin/sh.
            let shell = if shell.is_empty() { "/bin/sh" } else { shell };
            Some(Account { name: name.to_owned(), uid, gid, home: home.into(), shell: shell.into() })
        })
    }

    /// NAME:PASSWORD:GID:MEMBERS. Lines that are no groups are skipped.
    pub(super) fn groups(text: &str) -> impl Iterator<Item = (&str, Gid, &str)> {
        text.lines().filter_map(|line| {
            let [name, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            Some((name, Gid::from_raw(gid.parse().ok()?), members))
        })
    }

    /// The first group, and then each group that has the user as a member.
    pub(super) fn groups_with(text: &str, user: &str, first: Gid) -> Vec<Gid> {
        let has_user = |members: &str| members.split(',').any(|member| member == user);
        let others = groups(text).filter(|(_, gid, members)| *gid != first && has_user(members)).map(|(_, gid, _)| gid);
        [first].into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_have_the_users_and_groups_of_the_c_library() {
        for name in ["root", "nobody", "daemon", "no-such-user"] {
            assert_eq!(files::user_of_name(name).unwrap(), Account::of_name(name).unwrap(), "{name}");
        }
        let root = files::user_of_number(Uid::from_raw(0)).unwrap().unwrap();
        assert_eq!(Account::of_number(root.uid).unwrap().unwrap(), root);
        assert_eq!(files::groups_of("root", root.gid).unwrap(), root.groups().unwrap());
        let tty = files::group_of_name("tty").unwrap().unwrap();
        assert_eq!(group_of_name("tty").unwrap(), Some(tty));
        assert_eq!((files::group_of_number(tty).unwrap(), name_of_group(tty)), ("tty".to_owned(), "tty".to_owned()));
        assert_eq!(name_of_group(Gid::from_raw(4_000_000)), "4000000");
    }

    #[test]
    fn malformed_lines_of_the_files_are_skipped() {
        let users: Vec<_> =
            files::users("+::::::\n# a:b\nann:x:7:8:Ann:/home/ann:\nbob:x:z:8:Bob:/:/bin/sh\n").collect();
        assert_eq!(users.len(), 1);
        assert_eq!((users[0].name.as_str(), users[0].shell.to_str()), ("ann", Some("/bin/sh")));
        let groups = "wheel:x:10:ann,bob\nannex:x:11:anna\n\nbroken:x\nown:x:8:ann\ntracers:x:12:bob,ann\n";
        let gids =
            |user| files::groups_with(groups, user, Gid::from_raw(8)).into_iter().map(Gid::as_raw).collect::<Vec<_>>();
        assert_eq!((gids("ann"), gids("nobody")), (vec![8, 10, 12], vec![8]));
    }
}
