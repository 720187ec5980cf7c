//! The control group of a process. Since Linux 6.13 the kernel says its number, and its path is read once. This takes half the
//! time of reading the path of each process.

use std::io;

use hashbrown::HashMap;
use nix::errno::Errno;

use crate::{
    kernel::{self, Tid},
    procfs::Folder,
};

/// Control groups that are remembered.
const REMEMBERED: usize = 1024;

/// The control groups of version 2 that tracees were in.
#[derive(Debug, Default)]
pub(crate) struct ControlGroups {
    /// The line of each in `/proc/PID/cgroup`. A group keeps its number and its path: cgroup v2 cannot rename it.
    lines: HashMap<u64, Vec<u8>>,
    /// This kernel does not say the number.
    is_unnumbered: bool,
}

impl ControlGroups {
    /// Appends the line of the process's group of version 2, perhaps with other lines of `/proc/PID/cgroup`.
    pub(crate) fn append(&mut self, tgid: Tid, folder: &mut Folder, lines: &mut Vec<u8>) -> io::Result<()> {
        let number = self.number(tgid);
        if let Some(line) = number.and_then(|number| self.lines.get(&number)) {
            lines.extend_from_slice(line);
            return Ok(());
        }
        let start = lines.len();
        folder.append("cgroup", lines)?;
        // Another process may have moved it in the meantime.
        if let Some(number) = number.filter(|number| self.number(tgid) == Some(*number))
            && let Some(line) = line(&lines[start..])
        {
            if self.lines.len() >= REMEMBERED {
                self.lines.clear();
            }
            self.lines.insert(number, line.to_vec());
        }
        Ok(())
    }

    fn number(&mut self, tgid: Tid) -> Option<u64> {
        if self.is_unnumbered {
            return None;
        }
        match kernel::control_group(tgid) {
            Ok(number) => Some(number),
            // It was killed.
            Err(Errno::ESRCH) => None,
            Err(_) => {
                self.is_unnumbered = true;
                None
            }
        }
    }
}

/// The line of version 2 of control groups, which has number 0: cgroups(7).
fn line(file: &[u8]) -> Option<&[u8]> {
    file.split_inclusive(|byte| *byte == b'\n').find(|line| line.starts_with(b"0::"))
}

/// The path in version 2 of control groups.
pub(crate) fn path(file: &[u8]) -> Option<&[u8]> {
    line(file)?.strip_prefix(b"0::")?.strip_suffix(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_that_of_version_2() {
        assert_eq!(path(b"4:cpu:/a\n0::/b/c\n"), Some(&b"/b/c"[..]));
        assert_eq!(path(b"4:cpu:/a\n"), None);
    }

    #[test]
    fn remembered_path_is_that_of_the_file() {
        let own = std::process::id() as Tid;
        let (mut groups, mut folder) = (ControlGroups::default(), Folder::of(own));
        let file = folder.read("cgroup").unwrap();
        for round in 0..2 {
            let mut lines = b"before".to_vec();
            groups.append(own, &mut folder, &mut lines).unwrap();
            assert_eq!(path(&lines[6..]), path(&file), "round {round}");
        }
        // The second round has asked for the number only.
        let knows_numbers = kernel::control_group(own).is_ok();
        assert_eq!(groups.lines.len(), usize::from(knows_numbers && path(&file).is_some()));
    }

    #[test]
    fn without_numbers_the_file_is_read() {
        let own = std::process::id() as Tid;
        let mut groups = ControlGroups { is_unnumbered: true, ..ControlGroups::default() };
        let (mut folder, mut lines) = (Folder::of(own), Vec::new());
        groups.append(own, &mut folder, &mut lines).unwrap();
        assert_eq!(lines, folder.read("cgroup").unwrap());
        assert!(groups.lines.is_empty());
    }
}
