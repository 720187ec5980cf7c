//! Loads and attaches the programs.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io, iter, mem,
    num::NonZero,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread::{self, Scope, ScopedJoinHandle},
    time::Instant,
};

use aya::{
    maps::{Array, Map, MapData, MapError},
    util::nr_cpus,
};
use aya_obj::{
    self as obj, Object, ParseError,
    btf::{Btf, BtfError, BtfFeatures, BtfRelocationError},
    generated::BPF_F_MMAPABLE,
    relocation::EbpfRelocationError,
};
use memmap2::MmapOptions;
use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};

use crate::{
    load::{
        kernel_types::{self, TypesError},
        options::{Limits, Options},
        probe::{KERNEL_TYPES, Obstacle, has_filter},
    },
    programs::{Attached, Attachment, OPTIONAL, PROGRAMS, Programs, Timing},
    syscall::{self, RawTracepoint},
    wire,
};

/// These maps have one value each: the variables of the programs. The name of each map is the name of its section.
const SHARED: &str = ".bss.shared";
const UNSHARED: &str = ".bss.unshared";

/// Room in bytes for the log of the verifier, if it refuses a program. The reason comes last, so the whole log must fit.
const VERIFIER_LOG: usize = (16 << 20) - 1;

/// Why the programs could not be attached.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error("an ordinary user may have at most {} MiB of buffer and {} processes", Limits::ORDINARY.ring_bytes >> 20, Limits::ORDINARY.max_processes)]
    TooMuch,
    #[error("cannot parse the eBPF object: {0}")]
    Parse(#[from] ParseError),
    #[error("cannot read {KERNEL_TYPES}")]
    ReadTypes(#[source] io::Error),
    #[error(transparent)]
    Types(#[from] TypesError),
    #[error("cannot use the eBPF object's type information: {0}")]
    ObjectTypes(#[from] BtfError),
    #[error("cannot load the eBPF object's type information")]
    LoadTypes(#[source] io::Error),
    #[error("this kernel lacks something the eBPF programs read: {0}")]
    RelocateTypes(#[from] BtfRelocationError),
    #[error("cannot relocate the eBPF object: {0}")]
    Relocate(#[from] EbpfRelocationError),
    #[error("cannot load {program}{}", verdict(.log))]
    Program { program: &'static str, source: io::Error, log: String },
    #[error("cannot attach {program}")]
    Attach { program: &'static str, source: io::Error },
    #[error("cannot create the map {map}")]
    Map { map: String, source: io::Error },
    #[error("the eBPF object lacks {0}")]
    Missing(&'static str),
    #[error("cannot find out the number of possible processors")]
    Processors(#[source] io::Error),
    #[error("cannot duplicate a descriptor")]
    Descriptor(#[source] io::Error),
}

impl LoadError {
    fn of_map(map: String, error: MapError) -> Self {
        let source = match error {
            MapError::CreateError { io_error, .. } => io_error,
            MapError::SyscallError(error) => error.io_error,
            other => io::Error::other(other),
        };
        Self::Map { map, source }
    }

    /// Whether the kernel may accept a smaller map.
    #[must_use]
    pub fn is_about_size(&self) -> bool {
        let is_about_descriptors = |error: &io::Error| {
            matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
        };
        matches!(self, Self::Map { source, .. } if !is_about_descriptors(source))
    }

    /// The obstacle behind it, if the kernel's answer shows one.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self {
            // This is the first call of bpf(2). A filter refuses all of them.
            Self::LoadTypes(error) if error.raw_os_error() == Some(Errno::EPERM as i32) && has_filter() => {
                Some(Obstacle::Seccomp)
            }
            _ => None,
        }
    }
}

/// Returns the reason in the verifier's log: the line before its statistics.
fn verdict(log: &str) -> String {
    let is_reason = |line: &&str| !line.starts_with("processed ") && !line.trim().is_empty();
    log.lines().rfind(is_reason).map(|line| format!("; the verifier: {}", line.trim())).unwrap_or_default()
}

impl Attached {
    /// Loads and attaches the programs. They run from then on. They report events only after a launch is armed.
    ///
    /// # Errors
    ///
    /// The kernel refused a step. [`crate::probe::check`] finds the usual obstacles before.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let begun = Instant::now();
        if !options.are_allowed() {
            return Err(LoadError::TooMuch);
        }
        let memlock = MemlockLimit::lift();
        let mut object = Object::parse(wire::OBJECT)?;
        let types = load_own_types(&mut object)?;
        let object_there = Instant::now();
        // The kernel clears the memory of each new map, which takes time. So a second thread already creates maps while
        // this thread relocates the programs.
        let definitions = definitions(mem::take(&mut object.maps), options)?;
        let create = |definition| create(definition, &types);
        let created = thread::scope(|scope| -> Result<_, LoadError> {
            let creation = spawn_worker(scope, || definitions.work_off(create));
            object.relocate_btf(&kernel_types()?)?;
            let mut created = definitions.work_off(create)?;
            if let Some(creation) = creation {
                created.extend(joined(creation)?);
            }
            Ok(created)
        })?;
        let mut maps = link(&mut object, created)?;
        let mut unshared = Map::Array(take_map(&mut maps, UNSHARED)?);
        set_unshared(&mut unshared, options).map_err(|error| LoadError::of_map(UNSHARED.to_owned(), error))?;
        let maps_there = Instant::now();
        let (programs, links) = run_programs(&object, &types, options)?;
        let timing =
            Timing { object: object_there - begun, maps: maps_there - object_there, programs: maps_there.elapsed() };
        drop(memlock);
        let mut descriptor = |map| {
            let data: MapData = take_map(&mut maps, map)?;
            data.fd().as_fd().try_clone_to_owned().map_err(LoadError::Descriptor)
        };
        Ok(Self {
            records: descriptor("records")?,
            shared: descriptor(SHARED)?,
            flow_slots: descriptor("flow_slots")?,
            programs,
            links,
            timing: Some(timing),
        })
    }
}

// SAFETY: a struct of plain numbers without padding, as its derives prove.
unsafe impl aya::Pod for wire::Unshared {}

fn set_unshared(map: &mut Map, options: &Options) -> Result<(), MapError> {
    let viewer = options.viewer;
    let values = wire::Unshared {
        is_restricted: viewer.is_some().into(),
        user_id: viewer.map_or(0, |viewer| viewer.user_id),
        group_id: viewer.map_or(0, |viewer| viewer.group_id),
        launcher_tgid: 0,
        root_tgid: 0,
        has_sent: 0,
        asked_records: options.asked.bits(),
        has_dns_streams: 0,
        hides_processes: viewer.is_some_and(|viewer| viewer.hides_processes).into(),
        // This process is in the network namespace of the viewer, even if sudo runs it as a helper. Inode numbers of namespaces
        // have 32 bits.
        network_namespace: fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino() as u32),
        root_cgroup: 0,
        root_cgroup_v1: 0,
        root_folder: 0,
        socket_key: RandomState::new().hash_one(()),
    };
    Array::try_from(map)?.set(0, values, 0)
}

/// The kernel's types that the programs need. Since Linux 6.16, the file can be mapped. Reading it needs a call for
/// each page.
fn kernel_types() -> Result<Btf, LoadError> {
    let file = File::open(KERNEL_TYPES).map_err(LoadError::ReadTypes)?;
    // SAFETY: the kernel does not change this file.
    if let Ok(vmlinux) = unsafe { MmapOptions::new().map_copy_read_only(&file) } {
        return Ok(kernel_types::reduced(&vmlinux, wire::KERNEL_TYPE_NAMES)?);
    }
    let vmlinux = fs::read(KERNEL_TYPES).map_err(LoadError::ReadTypes)?;
    Ok(kernel_types::reduced(&vmlinux, wire::KERNEL_TYPE_NAMES)?)
}

/// Loads the object's own types, reduced to the kinds that Linux 5.8 knows.
fn load_own_types(object: &mut Object) -> Result<OwnedFd, LoadError> {
    let (functions, global_functions, data_sections) = (true, true, true);
    let features = BtfFeatures::new(functions, global_functions, data_sections, false, false, false, false, false);
    let types = object.fixup_and_sanitize_btf(&features)?.ok_or(LoadError::Missing("type information"))?;
    syscall::load_types(&types.to_bytes()).map_err(LoadError::LoadTypes)
}

/// Tasks for several threads.
struct Queue<T>(Mutex<Vec<T>>);

impl<T> Queue<T> {
    /// The most expensive task comes first, so that no thread has to wait for it at the end.
    fn new(mut items: Vec<T>, cost: impl Fn(&T) -> u64) -> Self {
        items.sort_by_key(cost);
        Self(Mutex::new(items))
    }

    /// Does one task after the other. Other threads may do the same. After an error no thread begins another task.
    fn work_off<R>(&self, mut work: impl FnMut(T) -> Result<R, LoadError>) -> Result<Vec<R>, LoadError> {
        let items = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done: Result<Vec<R>, LoadError> = iter::from_fn(|| items().pop()).map(&mut work).collect();
        if done.is_err() {
            items().clear();
        }
        done
    }
}

/// A map of the object, by name.
type Definition = (String, obj::Map);

/// The maps of the object, with their sizes.
fn definitions(maps: HashMap<String, obj::Map>, options: &Options) -> Result<Queue<Definition>, LoadError> {
    let processors = nr_cpus().map_err(|(_, error)| LoadError::Processors(error))? as u32;
    let mut maps: Vec<_> = maps.into_iter().collect();
    for (name, map) in &mut maps {
        match (name.as_str(), map) {
            ("records", map) => map.set_max_entries(options.ring_bytes),
            ("processes", map) => map.set_max_entries(options.max_processes),
            ("flow_slots", map) => map.set_max_entries(wire::FLOW_SLOTS.saturating_mul(processors)),
            ("flows", map) => map.set_max_entries(map.max_entries().max(flow_entries(processors))),
            (SHARED, obj::Map::Legacy(map)) => map.def.map_flags |= BPF_F_MMAPABLE,
            _ => {}
        }
    }
    let size = |map: &obj::Map| u64::from(map.max_entries()) * u64::from(map.key_size() + map.value_size()).max(1);
    Ok(Queue::new(maps, |(_, map)| size(map)))
}

/// The largest size of the map of flows, in entries. This size takes about 10 MiB. A virtual machine can have far more
/// possible processors than it uses, so the number of processors alone would cost too much memory.
const MAX_FLOW_ENTRIES: u32 = 65_536;

/// Entries of the map of flows, at most [`MAX_FLOW_ENTRIES`]. A flow with a slot takes two. The kernel forgets old entries
/// before the map is full, because each processor keeps some free ones for itself. So the map has 50% more room.
fn flow_entries(processors: u32) -> u32 {
    processors.saturating_mul(3 * wire::FLOW_SLOTS).min(MAX_FLOW_ENTRIES)
}

fn create((name, map): Definition, types: &OwnedFd) -> Result<(Definition, MapData), LoadError> {
    match MapData::create(map.clone(), &name, Some(types.as_fd())) {
        Ok(data) => Ok(((name, map), data)),
        Err(error) => Err(LoadError::of_map(name, error)),
    }
}

/// Writes the descriptors of the maps and the called functions into the programs.
fn link(object: &mut Object, created: Vec<(Definition, MapData)>) -> Result<HashMap<String, MapData>, LoadError> {
    let functions: HashSet<_> = object.functions.keys().map(|(section, _)| *section).collect();
    let descriptors = created.iter().map(|((name, map), data)| (name.as_str(), data.fd().as_fd().as_raw_fd(), map));
    object.relocate_maps(descriptors, &functions)?;
    object.relocate_calls(&functions)?;
    Ok(created.into_iter().map(|((name, _), data)| (name, data)).collect())
}

/// Starts a thread that does tasks. `None` if the kernel cannot start another thread.
fn spawn_worker<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().spawn_scoped(scope, work).ok()
}

/// Returns the result of a thread, or passes on its panic.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Loads and attaches the programs. Returns them and their links.
fn run_programs(object: &Object, types: &OwnedFd, options: &Options) -> Result<(Programs, Vec<OwnedFd>), LoadError> {
    let function = |name: &str| object.functions.get(&object.programs.get(name)?.function_key());
    let size = |(name, _): &Attachment| function(name).map_or(0, |function| function.instructions.len() as u64);
    let queue = Queue::new(options.programs().collect(), |programs| programs.iter().map(size).sum());
    // One task attaches all programs of a tracepoint, because the kernel calls them in the order of their attachment.
    let run = |attachments: &'static [Attachment]| {
        let loaded = attachments.iter().map(|&(name, _)| load(object, name, types)).collect::<Result<Vec<_>, _>>()?;
        let attach = |(&(name, tracepoint), program): (&'static Attachment, OwnedFd)| match syscall::attach(
            &program, tracepoint,
        ) {
            Ok(link) => Some(Ok((name, program, link))),
            Err(error) if OPTIONAL.contains(&name) && error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => Some(Err(LoadError::Attach { program: name, source })),
        };
        attachments.iter().zip(loaded).filter_map(attach).collect::<Result<Vec<_>, _>>()
    };
    // The verifier takes most of the time. It can verify several programs at once.
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let running = thread::scope(|scope| {
        let others: Vec<_> =
            (1..processors.min(PROGRAMS)).map_while(|_| spawn_worker(scope, || queue.work_off(run))).collect();
        let mut running = queue.work_off(run)?;
        for other in others {
            running.extend(joined(other)?);
        }
        Ok::<_, LoadError>(running)
    })?;
    let (mut programs, mut links) = (Programs::default(), Vec::new());
    // The links are closed in the order of this list. The list is in reverse order. So a program is detached while an
    // earlier one of the same tracepoint is still attached, and the kernel does this without a wait.
    for (name, program, link) in running.into_iter().flatten().rev() {
        programs.add(name, program);
        links.push(link);
    }
    Ok((programs, links))
}

fn load(object: &Object, name: &'static str, types: &OwnedFd) -> Result<OwnedFd, LoadError> {
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
}

fn take_map(maps: &mut HashMap<String, MapData>, map: &'static str) -> Result<MapData, LoadError> {
    maps.remove(map).ok_or(LoadError::Missing(map))
}

/// Lifts RLIMIT_MEMLOCK while the maps are made, because maps count against it before Linux 5.11. Then it restores the
/// limit, because the command inherits it. A failure is ignored, because later kernels do not count maps against
/// the limit.
struct MemlockLimit(Option<(u64, u64)>);

impl MemlockLimit {
    fn lift() -> Self {
        let former = getrlimit(Resource::RLIMIT_MEMLOCK).ok();
        if let Some((_, hard)) = former {
            // A value above the hard limit needs CAP_SYS_RESOURCE.
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
                .or_else(|_| setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard));
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

#[cfg(test)]
mod tests {
    use aya_obj::generated::bpf_map_type;

    use super::*;

    /// In Linux 5.8 the last helper is bpf_csum_level, and the last map type is the ring buffer:
    /// include/uapi/linux/bpf.h.
    const LAST_HELPER: i32 = 135;
    /// bpf_get_current_task_btf and bpf_task_pt_regs. DNS over TCP uses them if the kernel has them. Otherwise the
    /// verifier does not reach these calls.
    const NEWER_HELPERS: [i32; 2] = [158, 175];
    const LAST_MAP_TYPE: u32 = bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;

    /// include/uapi/linux/bpf.h: a call of a helper, and STX | ATOMIC in 32 and 64 bits. A call of our own function has
    /// a source register.
    const CALL: u8 = 0x85;
    const ATOMIC: [u8; 2] = [0xc3, 0xdb];

    #[test]
    fn the_map_of_flows_has_room_for_all_slots_of_21_processors_and_has_a_limit() {
        assert_eq!(flow_entries(21), 64_512);
        assert_eq!(flow_entries(22), MAX_FLOW_ENTRIES);
        assert_eq!(flow_entries(8192), MAX_FLOW_ENTRIES);
    }

    #[test]
    fn the_object_needs_nothing_newer_than_the_oldest_supported_kernel() {
        let object = Object::parse(wire::OBJECT).unwrap();
        let mut helpers = HashSet::new();
        for function in object.functions.values() {
            for instruction in &function.instructions {
                if instruction.code == CALL && instruction.src_reg() == 0 {
                    helpers.insert(instruction.imm);
                }
                // Before Linux 5.12 there is only the addition without a result.
                assert!(!ATOMIC.contains(&instruction.code) || instruction.imm == 0, "{instruction:?}");
            }
        }
        assert!(helpers.contains(&130), "no bpf_ringbuf_output in {helpers:?}");
        // Before Linux 5.11 the verifier does not recognise a reserved record whose address was saved on
        // the stack.
        assert!(!helpers.contains(&131), "bpf_ringbuf_reserve");
        assert!(
            helpers.iter().all(|helper| (1..=LAST_HELPER).contains(helper) || NEWER_HELPERS.contains(helper)),
            "{helpers:?}"
        );
        assert!(object.maps.values().all(|map| map.map_type() <= LAST_MAP_TYPE));
        assert_eq!(object.programs.len(), PROGRAMS);
    }
}
