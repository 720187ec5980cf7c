//! Recognises programs that need ptrace(2) themselves, so that the tracer leaves them and their descendants.
//!
//! A process has at most one tracer. Under our tracer, gdb cannot attach to its own child. LeakSanitizer ends its
//! program with an error. The dynamic symbols show such a program: it imports `ptrace`, or it has LeakSanitizer's
//! symbols. The tracer loop asks at every PTRACE_EVENT_EXEC stop. Nothing here calls ptrace(2).

use std::{
    ffi::OsStr,
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
};

use hashbrown::HashMap;
use object::{
    Endianness,
    elf::{DT_NEEDED, FileHeader32, FileHeader64, SHN_UNDEF, SHT_DYNSYM, STB_WEAK},
    read::{
        ReadCache, ReadRef,
        elf::{Dyn as _, FileHeader, SectionHeader as _, Sym as _},
    },
};

use crate::exe::{Exe, Version, version};

/// The reason why the tracer leaves a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It traces other processes. Its arguments may name some: see [`numbers`].
    Ptrace,
    /// At its end, it searches for memory leaks with ptrace(2) on its own threads.
    LeakSanitizer,
}

/// Programs that use ptrace(2) but do not import it. A library imports it, or the program is linked statically.
const BY_NAME: [&str; 7] = ["dlv", "gdbserver", "lldb", "lldb-server", "py-spy", "rr", "rust-lldb"];

/// Programs that import `ptrace` for a rare use. sudo needs it for the option `intercept` only.
const USUALLY_WITHOUT: [&str; 1] = ["sudo"];

/// perf imports `ptrace`, but only `perf trace` counts as a tracer.
const PERF: &str = "perf";

/// Libraries with LeakSanitizer in them, of GCC and of Clang.
const LIBRARIES: [&str; 4] = ["libasan.", "liblsan.", "libclang_rt.asan", "libclang_rt.lsan"];

/// The result of reading the file of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Facts {
    Nothing,
    Always(Need),
    /// The arguments decide.
    Perf,
}

/// Looks at programs for one tracer. It reads each file once.
#[derive(Debug, Default)]
pub struct Aside {
    files: HashMap<Version, Facts>,
}

/// The variables that [`Aside::at_exec`] reads.
pub const VARIABLES: [&str; 3] = [LD_PRELOAD, ASAN_OPTIONS, LSAN_OPTIONS];

const LD_PRELOAD: &str = "LD_PRELOAD";
const ASAN_OPTIONS: &str = "ASAN_OPTIONS";
const LSAN_OPTIONS: &str = "LSAN_OPTIONS";

impl Aside {
    /// Checks a process at its PTRACE_EVENT_EXEC stop. `arguments` and `environment` are those of `/proc/PID`. The
    /// environment can be reduced to [`VARIABLES`].
    ///
    /// Returns `None` if the program does not need ptrace(2), or if the kernel does not let us read it.
    pub fn at_exec(&mut self, exe: &Exe, arguments: &[u8], environment: &[u8]) -> Option<Need> {
        let need = match self.file(exe.path(), exe.metadata().ok()?) {
            Facts::Always(need) => Some(need),
            Facts::Perf => is_perf_trace(arguments).then_some(Need::Ptrace),
            Facts::Nothing => self.preloaded(environment),
        };
        need.filter(|need| *need != Need::LeakSanitizer || looks_for_leaks(environment))
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) -> Facts {
        let read = || Facts::read(path).unwrap_or(Facts::Nothing);
        *self.files.entry(version(metadata)).or_insert_with(read)
    }

    /// Looks at the libraries that LD_PRELOAD names.
    fn preloaded(&mut self, environment: &[u8]) -> Option<Need> {
        let list = variable(environment, LD_PRELOAD)?;
        list.split(|byte| matches!(byte, b' ' | b':')).filter(|name| !name.is_empty()).find_map(|name| {
            if has_leak_sanitizer(name) {
                return Some(Need::LeakSanitizer);
            }
            // A name without a slash is not a path: the loader searches its own folders. The check above recognises such
            // names.
            let path = Path::new(OsStr::from_bytes(name));
            if !path.is_absolute() {
                return None;
            }
            match self.file(path, &path.metadata().ok()?) {
                Facts::Always(need) => Some(need),
                Facts::Nothing | Facts::Perf => None,
            }
        })
    }
}

/// The numbers in the arguments of a program: the processes that it may want to trace.
///
/// A debugger names its target in many forms: `-p 7`, `-p7`, `--pid=7`, `attach 7`, `-ex 'attach 7'`. So every number counts.
pub fn numbers(arguments: &[u8]) -> impl Iterator<Item = i32> {
    arguments
        .split(|byte| !byte.is_ascii_digit())
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .filter(|number| *number > 0)
}

fn is_perf_trace(arguments: &[u8]) -> bool {
    arguments.split(|byte| *byte == 0).skip(1).find(|argument| !argument.starts_with(b"-")) == Some(b"trace")
}

/// With the option `detect_leaks=0`, the sanitizers do not look for leaks.
fn looks_for_leaks(environment: &[u8]) -> bool {
    ![ASAN_OPTIONS, LSAN_OPTIONS].iter().filter_map(|name| variable(environment, name)).any(|options| {
        let mut options = options.split(|byte| matches!(byte, b':' | b',' | b' ' | b'\t' | b'\n' | b'\r'));
        options.any(|option| matches!(option, b"detect_leaks=0" | b"detect_leaks=false" | b"detect_leaks=no"))
    })
}

fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn has_leak_sanitizer(library: &[u8]) -> bool {
    let name = library.rsplit(|byte| *byte == b'/').next().unwrap_or(library);
    LIBRARIES.iter().any(|known| name.starts_with(known.as_bytes()))
}

impl Facts {
    fn read(path: &Path) -> io::Result<Self> {
        // A name in LD_PRELOAD can be any file, even a pipe.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(Self::Nothing);
        }
        let target = std::fs::read_link(path).unwrap_or_else(|_| path.to_owned());
        let name = target.file_name().and_then(OsStr::to_str).unwrap_or_default();
        Ok(match name {
            PERF => Self::Perf,
            name if USUALLY_WITHOUT.contains(&name) => Self::Nothing,
            name if BY_NAME.contains(&name) => Self::Always(Need::Ptrace),
            _ => need_of_file(file).map_or(Self::Nothing, Self::Always),
        })
    }
}

fn need_of_file(file: File) -> Option<Need> {
    let data = ReadCache::new(file);
    need_of_elf::<FileHeader64<Endianness>, _>(&data).or_else(|| need_of_elf::<FileHeader32<Endianness>, _>(&data))
}

/// Reads the section headers, the dynamic section, the dynamic symbols and their names.
fn need_of_elf<'data, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Option<Need> {
    // Chromium has about 100 KiB of dynamic symbols. A file with more than this limit is not a program that we search
    // for.
    const LONGEST: u64 = 16 << 20;
    let header = Elf::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let bytes = |index| {
        let section = sections.section(index).ok()?;
        if section.sh_size(endian).into() > LONGEST { None } else { section.data(endian, data).ok() }
    };
    if let Ok(Some((entries, names))) = sections.dynamic(endian, data) {
        let names = bytes(names)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
            let offset = usize::try_from(entry.val(endian)).ok()?;
            if has_leak_sanitizer(name_at(names, offset)) {
                return Some(Need::LeakSanitizer);
            }
        }
    }
    let (_, symbols) = sections.enumerate().find(|(_, section)| section.sh_type(endian) == SHT_DYNSYM)?;
    if symbols.sh_size(endian).into() > LONGEST {
        return None;
    }
    let names = bytes(symbols.link(endian))?;
    let mut need = None;
    for symbol in symbols.data_as_array::<Elf::Sym, _>(endian, data).ok()? {
        let is_undefined = symbol.st_shndx(endian) == SHN_UNDEF;
        let is_weak = symbol.st_bind() == STB_WEAK;
        match name_at(names, symbol.st_name(endian) as usize) {
            b"ptrace" if is_undefined => need = Some(Need::Ptrace),
            // With a weak reference, the program also works without the function. An example is a program that marks a
            // leak as known.
            b"__asan_init" | b"__lsan_init" | b"__lsan_do_leak_check" if !(is_undefined && is_weak) => {
                return Some(Need::LeakSanitizer);
            }
            // Only LeakSanitizer calls this function. So a program that defines it counts, too.
            b"__lsan_is_turned_off" => return Some(Need::LeakSanitizer),
            _ => {}
        }
    }
    need
}

fn name_at(names: &[u8], offset: usize) -> &[u8] {
    let name = names.get(offset..).unwrap_or_default();
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_in_the_arguments_counts() {
        let all = |arguments: &str| numbers(arguments.as_bytes()).collect::<Vec<_>>();
        assert_eq!(all("gdb\0-p\x0041\0"), [41]);
        assert_eq!(all("py-spy\0dump\0--pid=12\0"), [12]);
        assert_eq!(all("strace\0-p7,8\0-p9\0"), [7, 8, 9]);
        assert_eq!(all("gdb\0-ex\0attach 41\0-ex\0gcore core.41\0"), [41, 41]);
        assert_eq!(all("gdb\0prog\0"), Vec::<i32>::new());
        assert_eq!(all("0\0-0\x0099999999999999999999\0"), Vec::<i32>::new());
    }

    #[test]
    fn only_perf_trace_is_a_tracer() {
        assert!(is_perf_trace(b"perf\0trace\0true\0"));
        assert!(is_perf_trace(b"perf\0--no-pager\0trace\0"));
        assert!(!is_perf_trace(b"perf\0record\0trace\0"));
        assert!(!is_perf_trace(b"trace\0"));
    }

    #[test]
    fn disabled_leak_detection_is_recognised() {
        assert!(looks_for_leaks(b"PATH=/bin\0"));
        assert!(looks_for_leaks(b"ASAN_OPTIONS=detect_leaks=1\0"));
        assert!(looks_for_leaks(b"XASAN_OPTIONS=detect_leaks=0\0"));
        assert!(!looks_for_leaks(b"A=b\0ASAN_OPTIONS=halt_on_error=1:detect_leaks=0\0"));
        assert!(!looks_for_leaks(b"LSAN_OPTIONS=detect_leaks=false\0"));
    }

    #[test]
    fn sanitizer_libraries_are_known_by_their_names() {
        for library in ["libasan.so.8", "/usr/lib/liblsan.so.0", "libclang_rt.asan-x86_64.so"] {
            assert!(has_leak_sanitizer(library.as_bytes()), "{library}");
        }
        for library in ["libtsan.so.2", "/opt/libasan.d/libc.so.6", "libubsan.so.1", ""] {
            assert!(!has_leak_sanitizer(library.as_bytes()), "{library}");
        }
    }

    #[test]
    fn damaged_files_do_not_need_ptrace() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for length in [0, 3, 64, 4096, whole.len() / 2] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &whole[..length]).unwrap();
            assert_eq!(Facts::read(file.path()).unwrap(), Facts::Nothing, "{length} bytes");
        }
    }
}
