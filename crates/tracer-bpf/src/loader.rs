//! Loads and attaches the programs; dropping the [`Capture`] takes them out again.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya_obj::{
    Object, ParseError,
    btf::{BtfError, BtfFeatures, BtfRelocationError},
    relocation::EbpfRelocationError,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracer_model::Losses;

use crate::{
    kernel_types::{self, TypesError},
    probe::KERNEL_TYPES,
    shared::SharedPage,
    stream::Stream,
    syscall::{self, RawTracepoint},
    wire,
};

/// Each program and the tracepoint it belongs to.
const PROGRAMS: [(&str, &CStr); 6] = [
    ("handle_fork", c"sched_process_fork"),
    ("handle_exec", c"sched_process_exec"),
    ("handle_exit", c"sched_process_exit"),
    ("handle_tcp_state", c"inet_sock_set_state"),
    ("handle_tcp_read", c"tcp_rcv_space_adjust"),
    ("handle_tcp_destroy", c"tcp_destroy_sock"),
];

/// The reader is woken when this part of the ring buffer is full.
const WAKEUP_PART: u32 = 8;

/// Room for what the verifier says of a program that it refuses.
const VERIFIER_LOG: usize = 64 * 1024;

/// What is captured, and how much room it gets.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Live processes that can be followed at once.
    pub max_processes: u32,
    /// Whether environments are read.
    pub environment: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_bytes: 16 * 1024 * 1024, max_processes: 64_000, environment: false }
    }
}

/// Why the programs are not running.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error("cannot parse the eBPF object: {0}")]
    Parse(#[from] ParseError),
    #[error("cannot read {KERNEL_TYPES}: {0}")]
    ReadTypes(io::Error),
    #[error(transparent)]
    Types(#[from] TypesError),
    #[error("cannot use the eBPF object's type information: {0}")]
    ObjectTypes(#[from] BtfError),
    #[error("cannot load the eBPF object's type information: {0}")]
    LoadTypes(io::Error),
    #[error("this kernel lacks something the eBPF programs read: {0}")]
    RelocateTypes(#[from] BtfRelocationError),
    #[error("cannot relocate the eBPF object: {0}")]
    Relocate(#[from] EbpfRelocationError),
    #[error("cannot load {program}: {source}{}", verdict(.log))]
    Program { program: &'static str, source: io::Error, log: String },
    #[error("cannot attach {program}: {source}")]
    Attach { program: &'static str, source: io::Error },
    #[error("cannot create the map {map}: {source}")]
    Map { map: String, source: MapError },
    #[error("the eBPF object lacks {0}")]
    Missing(&'static str),
    #[error("cannot map the shared page: {0}")]
    SharedPage(io::Error),
    #[error("cannot read /proc/self/ns/pid: {0}")]
    PidNamespace(io::Error),
}

/// Of the verifier's log the line before its statistics: the reason.
fn verdict(log: &str) -> String {
    let is_reason = |line: &&str| !line.starts_with("processed ") && !line.trim().is_empty();
    log.lines().rfind(is_reason).map(|line| format!("; the verifier: {}", line.trim())).unwrap_or_default()
}

/// The attached programs.
#[derive(Debug)]
pub struct Capture {
    shared: SharedPage,
    namespace: u32,
    programs: Vec<OwnedFd>,
    /// Open as long as the programs are to run.
    _attachments: Vec<OwnedFd>,
}

impl Capture {
    /// Loads and attaches the programs. From here on they run, and report nothing until a launch is armed.
    ///
    /// # Errors
    ///
    /// What the kernel refused; [`crate::probe::check`] tells beforehand what can be told.
    pub fn start(options: &Options) -> Result<(Self, Stream), LoadError> {
        let memlock = MemlockLimit::lift();
        let namespace = fs::metadata("/proc/self/ns/pid").map_err(LoadError::PidNamespace)?.ino();
        let mut object = Object::parse(wire::OBJECT)?;
        let types = load_own_types(&mut object)?;
        let vmlinux = fs::read(KERNEL_TYPES).map_err(LoadError::ReadTypes)?;
        object.relocate_btf(&kernel_types::reduced(&vmlinux, wire::KERNEL_TYPE_NAMES)?)?;
        drop(vmlinux);

        let mut maps = create_maps(&mut object, &types, options)?;
        let programs = load_programs(&object, &types)?;
        drop(memlock);
        let shared = match take_map(&mut maps, "shared")? {
            Map::Array(data) => SharedPage::map(data.fd()).map_err(LoadError::SharedPage)?,
            _ => return Err(LoadError::Missing("an array named shared")),
        };
        shared.configure(options.environment, options.ring_bytes / WAKEUP_PART);
        let ring = RingBuf::try_from(take_map(&mut maps, "records")?)
            .map_err(|source| LoadError::Map { map: "records".to_owned(), source })?;
        let attach = |(program, (name, tracepoint)): (&OwnedFd, (&'static str, &CStr))| {
            syscall::attach(program, tracepoint).map_err(|source| LoadError::Attach { program: name, source })
        };
        let attachments = programs.iter().zip(PROGRAMS).map(attach).collect::<Result<_, _>>()?;
        // Inode numbers of namespaces are 32 bits wide: include/linux/ns_common.h.
        let capture = Self { shared, namespace: namespace as u32, programs, _attachments: attachments };
        Ok((capture, Stream::new(ring)))
    }

    /// Makes the next fork of the calling process the root of the trace.
    pub fn arm(&self) {
        self.shared.arm(std::process::id(), self.namespace);
    }

    /// What could not be reported so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        // Asking takes no privilege on the kernels that have something to tell.
        let missed = self.programs.iter().filter_map(|program| syscall::missed_runs(program).ok()).sum();
        Losses { missed, ..self.shared.losses() }
    }
}

/// Loads the object's own types, reduced to what Linux 5.8 understands; later kernels understand that as well.
fn load_own_types(object: &mut Object) -> Result<OwnedFd, LoadError> {
    let (functions, global_functions, data_sections) = (true, true, true);
    let features = BtfFeatures::new(functions, global_functions, data_sections, false, false, false, false, false);
    let types = object.fixup_and_sanitize_btf(&features)?.ok_or(LoadError::Missing("type information"))?;
    syscall::load_types(&types.to_bytes()).map_err(LoadError::LoadTypes)
}

/// Creates the maps and writes their descriptors into the programs.
fn create_maps(object: &mut Object, types: &OwnedFd, options: &Options) -> Result<HashMap<String, Map>, LoadError> {
    let mut created = Vec::new();
    for (name, mut definition) in object.maps.drain() {
        match name.as_str() {
            "records" => definition.set_max_entries(options.ring_bytes),
            "processes" => definition.set_max_entries(options.max_processes),
            _ => {}
        }
        let data = MapData::create(definition.clone(), &name, Some(types.as_fd()))
            .map_err(|source| LoadError::Map { map: name.clone(), source })?;
        created.push((name, definition, data));
    }
    let functions: HashSet<_> = object.functions.keys().map(|(section, _)| *section).collect();
    let descriptors = created.iter().map(|(name, map, data)| (name.as_str(), data.fd().as_fd().as_raw_fd(), map));
    object.relocate_maps(descriptors, &functions)?;
    object.relocate_calls(&functions)?;
    created
        .into_iter()
        .map(|(name, _, data)| match Map::from_map_data(data) {
            Ok(map) => Ok((name, map)),
            Err(source) => Err(LoadError::Map { map: name, source }),
        })
        .collect()
}

/// In the order of [`PROGRAMS`].
fn load_programs(object: &Object, types: &OwnedFd) -> Result<Vec<OwnedFd>, LoadError> {
    let load = |(name, _)| {
        let program = object.programs.get(name).ok_or(LoadError::Missing(name))?;
        let function = object.functions.get(&program.function_key()).ok_or(LoadError::Missing(name))?;
        let program = RawTracepoint {
            name,
            license: &CString::from(program.license.as_c_str()),
            instructions: &function.instructions,
            functions: &function.func_info.func_info,
            types,
        };
        program.load(&mut []).map_err(|source| {
            let mut log = vec![0; VERIFIER_LOG];
            let _ = program.load(&mut log);
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
            LoadError::Program { program: name, source, log }
        })
    };
    PROGRAMS.into_iter().map(load).collect()
}

fn take_map(maps: &mut HashMap<String, Map>, map: &'static str) -> Result<Map, LoadError> {
    maps.remove(map).ok_or(LoadError::Missing(map))
}

/// Before Linux 5.11 maps count against RLIMIT_MEMLOCK, so it is lifted while they are made. It is put back then, for the
/// command inherits it. Later kernels do not care, nor do we if it fails.
struct MemlockLimit(Option<(u64, u64)>);

impl MemlockLimit {
    fn lift() -> Self {
        let former = getrlimit(Resource::RLIMIT_MEMLOCK).ok();
        if let Some((_, hard)) = former {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
        }
        Self(former)
    }
}

impl Drop for MemlockLimit {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.0 {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard);
        }
    }
}
