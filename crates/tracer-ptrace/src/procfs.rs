//! What `/proc` says about a stopped tracee. This code runs at each exec, and at each exit of a process with children. So it
//! makes few system calls.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read},
};

use nix::errno::Errno;
use tracer_model::event::Namespaces;

use crate::kernel::Tid;

/// Makes the paths of one process, one after the other, in the same memory.
#[derive(Default)]
pub(crate) struct Folder {
    path: String,
    length: usize,
}

/// The longest target of a link in `/proc`: the kernel writes it into one page.
const LINK_BYTES: usize = 4096;

impl Folder {
    pub(crate) fn of(tgid: Tid) -> Self {
        let mut folder = Self::default();
        folder.enter(tgid);
        folder
    }

    /// The folder of one of its threads.
    pub(crate) fn of_thread(tgid: Tid, tid: Tid) -> Self {
        let mut folder = Self::of(tgid);
        // Writing to a string does not fail.
        let _ = write!(folder.path, "task/{tid}/");
        folder.length = folder.path.len();
        folder
    }

    /// Goes on with another process.
    pub(crate) fn enter(&mut self, tgid: Tid) {
        self.path.clear();
        // As above.
        let _ = write!(self.path, "/proc/{tgid}/");
        self.length = self.path.len();
    }

    fn join(&mut self, name: &str) -> &str {
        self.path.truncate(self.length);
        self.path.push_str(name);
        &self.path
    }

    /// Appends the target of a link.
    pub(crate) fn link(&mut self, name: &str, target: &mut Vec<u8>) -> io::Result<()> {
        self.join(name);
        self.path.push('\0');
        target.reserve(LINK_BYTES);
        let room = target.spare_capacity_mut();
        // SAFETY: the path ends with a NUL byte, and the kernel writes into the room only.
        let size = unsafe { libc::readlink(self.path.as_ptr().cast(), room.as_mut_ptr().cast(), room.len()) };
        let size = Errno::result(size)? as usize;
        // SAFETY: the kernel has written that many bytes.
        unsafe { target.set_len(target.len() + size) };
        Ok(())
    }

    /// The content of a file.
    pub(crate) fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.append(name, &mut bytes)?;
        Ok(bytes)
    }

    /// Appends the content of a file.
    pub(crate) fn append(&mut self, name: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut file = File::open(self.join(name))?;
        let mut buffer = [0; 4096];
        loop {
            let size = file.read(&mut buffer)?;
            bytes.extend_from_slice(&buffer[..size]);
            // One read returns the whole file, unless it is larger.
            if size < buffer.len() {
                return Ok(());
            }
        }
    }

    /// The namespace of that kind; 0 if it is unknown. `memory` is left as it was.
    pub(crate) fn namespace(&mut self, name: &str, memory: &mut Vec<u8>) -> u32 {
        let before = memory.len();
        // The target itself is not looked at: that is less work.
        let namespace = self.link(name, memory).ok().and_then(|()| namespace_number(&memory[before..]));
        memory.truncate(before);
        namespace.unwrap_or_default()
    }

    /// The namespaces of all kinds, as [`Self::namespace`] returns them.
    pub(crate) fn all_namespaces(&mut self, memory: &mut Vec<u8>) -> Namespaces {
        Namespaces {
            mount: self.namespace("ns/mnt", memory),
            pid: self.namespace("ns/pid", memory),
            network: self.namespace("ns/net", memory),
            user: self.namespace("ns/user", memory),
        }
    }
}

/// The inode number of a namespace, from a link such as `user:[4026531837]`.
pub(crate) fn namespace_number(link: &[u8]) -> Option<u32> {
    str::from_utf8(link).ok()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

/// The fields of `/proc/PID/stat` from the third on. The second field is a name that can contain spaces and
/// parentheses.
pub(crate) fn stat_fields(stat: &[u8]) -> impl Iterator<Item = i64> {
    let rest = stat.iter().rposition(|byte| *byte == b')').map_or(&[][..], |end| &stat[end + 1..]);
    let fields = rest.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    // The state is a letter.
    fields.map(|field| str::from_utf8(field).ok().and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// The numbers behind `name:` in a file with such lines.
pub(crate) fn numbers<'a>(file: &'a [u8], name: &str) -> impl Iterator<Item = u64> + use<'a> {
    let name = name.as_bytes();
    let line = file
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))
        .unwrap_or_default();
    line.split(|byte| byte.is_ascii_whitespace()).filter_map(|word| str::from_utf8(word).ok()?.parse().ok())
}

/// A mask of signals or capabilities, in hexadecimal digits.
pub(crate) fn mask(file: &[u8], name: &str) -> u64 {
    let line =
        file.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"));
    line.and_then(|digits| u64::from_str_radix(str::from_utf8(digits).ok()?.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_parentheses_does_not_move_the_fields() {
        let stat = b"12 (a) b (c) S 1 12 7 34816 -1";
        assert_eq!(stat_fields(stat).collect::<Vec<_>>(), [0, 1, 12, 7, 34816, -1]);
        assert_eq!(stat_fields(b"").count(), 0);
    }

    #[test]
    fn line_is_found_by_its_whole_name() {
        let status = b"NSpid:\t7\t1\nVmHWM:\t  12 kB\nSigIgn:\t0000000000010000\n";
        assert_eq!(numbers(status, "NSpid").collect::<Vec<_>>(), [7, 1]);
        assert_eq!(numbers(status, "VmHWM").next(), Some(12));
        assert_eq!(numbers(status, "Vm").next(), None);
        assert_eq!(mask(status, "SigIgn"), 1 << 16);
    }
}
