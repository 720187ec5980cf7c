//! The control group of a process. Since Linux 6.13, the kernel reports the number of the group. So the path of each
//! group is read only once. This takes half the time of reading the path for each process.

use std::io;

use hashbrown::HashMap;
use nix::errno::Errno;
use tracer_model::cgroup::container_id;

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
    /// The number is not used: this kernel does not report it, or the process is also in groups of version 1.
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
        // The number is that of version 2. It does not say when a group of version 1 changes.
        if lines_of_v1(&lines[start..]).next().is_some() {
            self.is_unnumbered = true;
            return Ok(());
        }
        // If the process has moved to another group in the meantime, number and path may belong to different groups.
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
    file.split(|byte| *byte == b'\n').find(|line| hierarchy(line).is_some_and(|(number, _)| number == b"0"))
}

/// The line of version 1 that names a container, or else the line of the memory controller. Some runtimes use only one
/// hierarchy, for example that of systemd.
pub(crate) fn v1(file: &[u8]) -> Option<&[u8]> {
    let names_container = |line: &&[u8]| str::from_utf8(line).is_ok_and(|line| container_id(line).is_some());
    let is_memory = |line: &&[u8]| hierarchy(line).is_some_and(|(_, controllers)| controllers == b"memory");
    let of_memory = lines_of_v1(file).find(is_memory);
    of_memory.filter(names_container).or_else(|| lines_of_v1(file).find(names_container)).or(of_memory)
}

fn lines_of_v1(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').filter(|line| hierarchy(line).is_some_and(|(number, _)| number != b"0"))
}

/// The number of a line's hierarchy, and its controllers or its name.
fn hierarchy(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_line() {
        let file = b"5:memory:/a:b\n4:cpu:/a\n0::/b/c\n";
        assert_eq!((unified(file), v1(file)), (Some(&b"0::/b/c"[..]), Some(&b"5:memory:/a:b"[..])));
        assert_eq!((unified(b"4:cpu:/a\n"), v1(b"4:cpu:/a\n0::/b\n")), (None, None));
    }

    #[test]
    fn a_container_is_found_in_any_hierarchy() {
        let [one, two] = ["1", "2"].map(|digit| digit.repeat(64));
        let line = |file: &str| v1(file.as_bytes()).map(|line| String::from_utf8(line.to_vec()).unwrap());
        let systemd = format!("1:name=systemd:/machine.slice/libpod-{one}.scope");
        assert_eq!(line(&format!("5:memory:/user.slice\n3:pids:/\n{systemd}\n0::/\n")), Some(systemd.clone()));
        assert_eq!(line(&format!("{systemd}\n0::/\n")), Some(systemd.clone()));
        let memory = format!("5:memory:/docker/{two}");
        assert_eq!(line(&format!("{systemd}\n{memory}\n0::/\n")), Some(memory));
        assert_eq!(line(&format!("5:memory:/a\n0::/docker/{one}\n")).as_deref(), Some("5:memory:/a"));
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
            assert_eq!(v1(&lines[6..]), v1(&file), "round {round}");
        }
        // The second round has asked for the number only.
        let is_numbered = kernel::control_group(own).is_ok() && lines_of_v1(&file).next().is_none();
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
