//! Loads and attaches the programs; dropping the [`Capture`] takes them out again.

use std::{fs, io, os::unix::fs::MetadataExt};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapError, RingBuf},
    programs::{ProgramError, RawTracePoint},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{shared::SharedPage, stream::Stream, wire};

/// Each program and the tracepoint it belongs to.
const PROGRAMS: [(&str, &str); 6] = [
    ("handle_fork", "sched_process_fork"),
    ("handle_exec", "sched_process_exec"),
    ("handle_exit", "sched_process_exit"),
    ("handle_tcp_state", "inet_sock_set_state"),
    ("handle_tcp_read", "tcp_rcv_space_adjust"),
    ("handle_tcp_destroy", "tcp_destroy_sock"),
];

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
    #[error("cannot load the eBPF programs: {0}")]
    Load(#[from] aya::EbpfError),
    #[error("cannot load {program}: {source}")]
    Program { program: &'static str, source: ProgramError },
    #[error("cannot attach to the tracepoint {tracepoint}: {source}")]
    Attach { tracepoint: &'static str, source: ProgramError },
    #[error("cannot use the map {map}: {source}")]
    Map { map: &'static str, source: MapError },
    #[error("the eBPF object lacks {0}")]
    Missing(&'static str),
    #[error("cannot map the shared page: {0}")]
    SharedPage(io::Error),
    #[error("cannot read /proc/self/ns/pid: {0}")]
    PidNamespace(io::Error),
}

/// The attached programs.
#[derive(Debug)]
pub struct Capture {
    shared: SharedPage,
    namespace: u32,
    _programs: Ebpf,
}

impl Capture {
    /// Loads and attaches the programs. From here on they run, and report nothing until a launch is armed.
    ///
    /// # Errors
    ///
    /// What the kernel refused; [`crate::probe::check`] tells beforehand what can be told.
    pub fn start(options: &Options) -> Result<(Self, Stream), LoadError> {
        lift_memlock_limit();
        let namespace = fs::metadata("/proc/self/ns/pid").map_err(LoadError::PidNamespace)?.ino();
        let environment = u8::from(options.environment);
        let wakeup_bytes = u64::from(options.ring_bytes / 8);
        let mut programs = EbpfLoader::new()
            .override_global("capture_environment", &environment, true)
            .override_global("wakeup_bytes", &wakeup_bytes, true)
            .map_max_entries("records", options.ring_bytes)
            .map_max_entries("processes", options.max_processes)
            .load(wire::OBJECT)?;
        for (program, tracepoint) in PROGRAMS {
            let loaded: &mut RawTracePoint = programs
                .program_mut(program)
                .ok_or(LoadError::Missing(program))?
                .try_into()
                .map_err(|source| LoadError::Program { program, source })?;
            loaded.load().map_err(|source| LoadError::Program { program, source })?;
            loaded.attach(tracepoint).map_err(|source| LoadError::Attach { tracepoint, source })?;
        }
        // Only now: a program takes the descriptors of its maps when it is loaded.
        let records = take_map(&mut programs, "records")?;
        let ring = RingBuf::try_from(records).map_err(|source| LoadError::Map { map: "records", source })?;
        let shared = match take_map(&mut programs, "shared")? {
            Map::Array(data) => SharedPage::map(data.fd()).map_err(LoadError::SharedPage)?,
            _ => return Err(LoadError::Missing("an array named shared")),
        };
        // Inode numbers of namespaces are 32 bits wide: include/linux/ns_common.h.
        let capture = Self { shared, namespace: namespace as u32, _programs: programs };
        Ok((capture, Stream::new(ring)))
    }

    /// Makes the next fork of the calling process the root of the trace.
    pub fn arm(&self) {
        self.shared.arm(std::process::id(), self.namespace);
    }

    /// The counters of what could not be reported.
    #[must_use]
    pub fn shared(&self) -> &SharedPage {
        &self.shared
    }
}

fn take_map(programs: &mut Ebpf, map: &'static str) -> Result<Map, LoadError> {
    programs.take_map(map).ok_or(LoadError::Missing(map))
}

/// Before Linux 5.11 maps count against RLIMIT_MEMLOCK. Later kernels do not care, nor do we if it fails.
fn lift_memlock_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}
