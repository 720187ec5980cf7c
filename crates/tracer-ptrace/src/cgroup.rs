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
    /// This kernel does not say the number, or the number is not enough.
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
        // The number is that of version 2. It does not say when the group of version 1 changes.
        if memory_v1(&lines[start..]).is_some() {
            self.is_unnumbered = true;
            return Ok(());
        }
        // Another process may have moved it in the meantime.
        if let Some(number) = number.filter(|number| self.number(tgid) == Some(*number))
            && let Some(line) = unified(&lines[start..])
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

/// The line of version 2 of control groups: cgroups(7).
pub(crate) fn unified(file: &[u8]) -> Option<&[u8]> {
    line(file, |number, _| number == b"0")
}

/// The line of the memory controller, if it is in a hierarchy of version 1.
pub(crate) fn memory_v1(file: &[u8]) -> Option<&[u8]> {
    line(file, |number, controllers| number != b"0" && controllers == b"memory")
}

/// The first line whose hierarchy has such a number and such controllers.
fn line(file: &[u8], is_wanted: impl Fn(&[u8], &[u8]) -> bool) -> Option<&[u8]> {
    file.split(|byte| *byte == b'\n').find(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        matches!((fields.next(), fields.next()), (Some(number), Some(controllers)) if is_wanted(number, controllers))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_line() {
        let file = b"5:memory:/a:b\n4:cpu:/a\n0::/b/c\n";
        assert_eq!((unified(file), memory_v1(file)), (Some(&b"0::/b/c"[..]), Some(&b"5:memory:/a:b"[..])));
        assert_eq!((unified(b"4:cpu:/a\n"), memory_v1(b"4:cpu:/a\n0::/b\n")), (None, None));
    }

    #[test]
    fn the_remembered_path_is_the_path_in_the_file() {
        let own = std::process::id() as Tid;
        let (mut groups, mut folder) = (ControlGroups::default(), Folder::of(own));
        let file = folder.read("cgroup").unwrap();
        for round in 0..2 {
            let mut lines = b"before".to_vec();
            groups.append(own, &mut folder, &mut lines).unwrap();
            assert_eq!(unified(&lines[6..]), unified(&file), "round {round}");
            assert_eq!(memory_v1(&lines[6..]), memory_v1(&file), "round {round}");
        }
        // The second round has asked for the number only.
        let is_numbered = kernel::control_group(own).is_ok() && memory_v1(&file).is_none();
        assert_eq!(groups.lines.len(), usize::from(is_numbered && unified(&file).is_some()));
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
