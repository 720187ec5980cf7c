//! `process-tracer setup`: gives the installed program its file capabilities, for all users or for one group, and takes them
//! back. The doctor shows them.
//!
//! It changes the file that this process runs: /proc/self/exe is this file, even if its path now names another one.

use std::{
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::PathBuf,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::unistd::{Gid, geteuid};
use rustix::{
    fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr},
    io::Errno,
};
use tracer_bpf::probe::{CAP_BPF, CAP_PERFMON, is_nosuid};

use crate::{accounts, console};

/// The attribute of a file with its capabilities: capabilities(7).
const ATTRIBUTE: &str = "security.capability";
/// `struct vfs_cap_data` of linux/capability.h: the revision, with the bit for the effective set, then the permitted and the
/// inheritable set. Each set has a low and a high half.
const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;
const NEEDED: u64 = 1 << CAP_BPF | 1 << CAP_PERFMON;

/// For root and one group.
const FOR_GROUP: u32 = 0o750;
/// For all users.
const FOR_ALL: u32 = 0o755;
const BY_OTHERS: u32 = 0o001;

const ROOT: Gid = Gid::from_raw(0);

/// Gives the capabilities. With a group, only root and its members can run the program then. Without one, all users can.
///
/// # Errors
///
/// The caller is not root, there is no such group, or the capabilities would have no effect.
pub(crate) fn give(group: Option<&str>) -> Result<()> {
    let program = Program::running()?;
    let path = program.path.display();
    program.require_root("setup")?;
    if is_nosuid(&program.path) {
        bail!("capabilities would have no effect on {path}, because its file system is mounted nosuid");
    }
    if let Some(name) = group {
        let gid = accounts::group_of_name(name)?
            .with_context(|| format!("there is no group '{name}'; add it with: sudo groupadd {name}"))?;
        if program.metadata.uid() != 0 {
            bail!(
                "{path} does not belong to root, so its owner could let other users run it; install it as root first"
            );
        }
        program.test()?;
        program.change(gid, FOR_GROUP)?;
    } else if program.is_for_group() {
        program.test()?;
        program.change(ROOT, FOR_ALL)?;
    }
    program.set(&encoded(NEEDED))?;
    let program = Program::running()?;
    console::print(format!("{path}: {}\n", program.state()))
}

/// Removes the capabilities, and lets all users run the program.
///
/// # Errors
///
/// The caller is not root, or the file cannot be changed.
pub(crate) fn undo() -> Result<()> {
    let program = Program::running()?;
    program.require_root("setup --undo")?;
    match fremovexattr(&program.file, ATTRIBUTE) {
        // There are none, or the file system keeps none.
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
        Err(error) => {
            let context = format!("cannot remove the capabilities of {}", program.path.display());
            return Err(Error::new(error).context(context));
        }
    }
    if program.is_for_group() {
        program.change(ROOT, FOR_ALL)?;
    }
    console::print(format!("{}: {}\n", program.path.display(), Program::running()?.state()))
}

/// Who can trace with the file of this process.
pub(crate) fn state() -> String {
    Program::running().map_or_else(|error| format!("{error:#}"), |program| program.state())
}

/// The file of this process.
struct Program {
    file: File,
    path: PathBuf,
    metadata: Metadata,
}

impl Program {
    fn running() -> Result<Self> {
        let path = std::env::current_exe().context("cannot find the file of process-tracer")?;
        let open = || -> io::Result<_> {
            let file = File::open("/proc/self/exe")?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        };
        let (file, metadata) = open().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { file, path, metadata })
    }

    fn require_root(&self, command: &str) -> Result<()> {
        if !geteuid().is_root() {
            bail!("only root can change capabilities; use: sudo {} {command}", self.path.display());
        }
        Ok(())
    }

    fn change(&self, group: Gid, mode: u32) -> Result<()> {
        fchown(&self.file, Some(0), Some(group.as_raw()))
            .and_then(|()| self.file.set_permissions(Permissions::from_mode(mode)))
            .with_context(|| format!("cannot change the owner and the mode of {}", self.path.display()))
    }

    /// As `setup --group` leaves it.
    fn is_for_group(&self) -> bool {
        self.metadata.uid() == 0 && self.metadata.mode() & 0o777 == FOR_GROUP
    }

    fn attribute(&self) -> Option<Vec<u8>> {
        let mut data = [0; 24];
        let length = fgetxattr(&self.file, ATTRIBUTE, &mut data[..]).ok()?;
        Some(data[..length].to_vec())
    }

    fn capabilities(&self) -> Option<u64> {
        decoded(&self.attribute()?)
    }

    /// Tests whether capabilities can be given, before a change of the owner removes them. It leaves the file as it is, or
    /// gives it an empty set.
    fn test(&self) -> Result<()> {
        self.set(&self.attribute().unwrap_or_else(|| encoded(0)))
    }

    fn set(&self, attribute: &[u8]) -> Result<()> {
        let path = self.path.display();
        fsetxattr(&self.file, ATTRIBUTE, attribute, XattrFlags::empty()).map_err(|error| match error {
            Errno::PERM => anyhow!("cannot give capabilities to {path}: CAP_SETFCAP is missing here"),
            Errno::OPNOTSUPP => anyhow!("cannot give capabilities to {path}: its file system keeps none"),
            error => Error::new(error).context(format!("cannot give capabilities to {path}")),
        })
    }

    fn state(&self) -> String {
        let path = self.path.display();
        let has = self.capabilities().is_some_and(|capabilities| capabilities & NEEDED == NEEDED);
        match has {
            false => format!("none. To let ordinary users trace: sudo {path} setup"),
            true if is_nosuid(&self.path) => "without effect: the file system is mounted nosuid".to_owned(),
            true if self.metadata.mode() & BY_OTHERS == 0 => {
                let group = accounts::name_of_group(Gid::from_raw(self.metadata.gid()));
                format!("cap_bpf,cap_perfmon: the group '{group}' can trace")
            }
            true => "cap_bpf,cap_perfmon: every user can trace".to_owned(),
        }
    }
}

fn encoded(permitted: u64) -> Vec<u8> {
    let (low, high) = (permitted as u32, (permitted >> 32) as u32);
    [REVISION_2 | EFFECTIVE, low, 0, high, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The permitted set of revision 2 or 3, if it is also effective. Revision 3 only adds a user id.
fn decoded(data: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let is_effective = word(0)? & EFFECTIVE != 0;
    Some(u64::from(word(4)?) | u64::from(word(12)?) << 32).filter(|_| is_effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As setcap writes `cap_bpf,cap_perfmon=ep`, shown by `getfattr -n security.capability -e hex`.
    const WRITTEN_BY_SETCAP: [u8; 20] = [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn the_capabilities_of_a_file_are_those_that_setcap_writes() {
        assert_eq!(encoded(NEEDED), WRITTEN_BY_SETCAP);
        assert_eq!(decoded(&WRITTEN_BY_SETCAP), Some(NEEDED));
        let mut only_permitted = WRITTEN_BY_SETCAP;
        only_permitted[0] = 0;
        assert_eq!((decoded(&only_permitted), decoded(&WRITTEN_BY_SETCAP[..11]), decoded(&[])), (None, None, None));
    }
}
