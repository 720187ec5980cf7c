//! Reads `/proc` about a stopped tracee. Each system call here is made at each exec, so there are few.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStringExt,
};

use tracer_model::event::Namespaces;

use crate::kernel::Tid;

/// Makes the paths of one process, one after the other, in the same memory.
pub(crate) struct Folder {
    path: String,
    length: usize,
}

impl Folder {
    pub(crate) fn of(tgid: Tid) -> Self {
        let mut path = String::with_capacity(64);
        // Writing to a string does not fail.
        let _ = write!(path, "/proc/{tgid}/");
        let length = path.len();
        Self { path, length }
    }

    /// The folder of one of its threads.
    pub(crate) fn of_thread(tgid: Tid, tid: Tid) -> Self {
        let mut path = String::with_capacity(64);
        // As above.
        let _ = write!(path, "/proc/{tgid}/task/{tid}/");
        let length = path.len();
        Self { path, length }
    }

    fn join(&mut self, name: &str) -> &str {
        self.path.truncate(self.length);
        self.path.push_str(name);
        &self.path
    }

    /// The target of a link.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Vec<u8>> {
        Ok(fs::read_link(self.join(name))?.into_os_string().into_vec())
    }

    /// The content of a file.
    pub(crate) fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.join(name))?;
        let mut buffer = [0; 4096];
        let mut bytes = Vec::new();
        loop {
            let size = file.read(&mut buffer)?;
            bytes.extend_from_slice(&buffer[..size]);
            // One read returns the whole file, unless it is larger.
            if size < buffer.len() {
                return Ok(bytes);
            }
        }
    }

    /// The namespace of that kind; 0 if it is unknown.
    pub(crate) fn namespace(&mut self, name: &str) -> u32 {
        // For example `user:[4026531837]`. Reading the link is less work than stat(2) of its target.
        let number = |link: Vec<u8>| {
            let text = str::from_utf8(&link).ok()?;
            text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
        };
        self.link(name).ok().and_then(number).unwrap_or_default()
    }

    pub(crate) fn all_namespaces(&mut self) -> Namespaces {
        Namespaces {
            mount: self.namespace("ns/mnt"),
            pid: self.namespace("ns/pid"),
            network: self.namespace("ns/net"),
            user: self.namespace("ns/user"),
        }
    }
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

/// A mask of signals, in hexadecimal digits.
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
