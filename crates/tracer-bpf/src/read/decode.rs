//! Decodes bytes of the ring buffer into an [`Event`]. It accepts any bytes: they are an event, a part of an event, or
//! an error.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashMap;
use tracer_model::{
    Event, ExitStatus, Identity, Ktime, Losses,
    calls::UnixConnectSpan,
    context::SpanContext,
    dns::Message,
    event::{
        Change, Connection, ConnectionId, Direction, End, Flow, FlowId, Image, Namespaces, RootFolder, Strings,
        Transport, Usage, Visibility,
    },
};
use zerocopy::FromBytes;

use crate::{
    read::{
        dns_stream::{self, Piece, Streams},
        mapping::page_size,
    },
    wire::{self, RecordKind, TextPart},
};

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the record has.
    #[error("record of {0} bytes is too short")]
    Short(usize),
    /// There is no such kind of record.
    #[error("no record is of kind {0}")]
    Kind(u32),
    /// A field has an impossible value.
    #[error("field {field} cannot be {value}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// The value that it has.
        value: u32,
    },
}

/// Turns records into events. It keeps the text of an exec until the exec record comes, and incomplete DNS messages.
#[derive(Debug)]
pub struct Decoder {
    texts: HashMap<Identity, Text>,
    streams: Streams,
    page_bytes: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        let page_bytes = page_size().map_or(4096, |size| size.get() as u64);
        Self { texts: HashMap::new(), streams: Streams::default(), page_bytes }
    }
}

/// Each processor has at most one exec whose record has not come yet. Text beyond this limit belongs to lost exec
/// records.
const TEXTS: usize = 1024;

/// The text of one exec, by part.
#[derive(Debug, Default)]
struct Text {
    time_ns: u64,
    parts: [Option<Part>; TextPart::ALL.len()],
}

/// The beginning of a part of text, up to the first chunk that is missing.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    is_broken: bool,
}

impl Decoder {
    /// Decodes one record and passes on its events. A text record has no event. A piece of DNS over TCP has an event
    /// for each message that it completes.
    ///
    /// # Errors
    ///
    /// The bytes are not a record.
    pub fn decode(&mut self, bytes: &[u8], mut handle: impl FnMut(Event)) -> Result<(), DecodeError> {
        let header: wire::RecordHeader = prefix(bytes)?.0;
        let at = Ktime(header.time_ns);
        let process = identity(header.process);
        let parent = identity(header.parent);
        handle(match RecordKind::of(header.kind).ok_or(DecodeError::Kind(header.kind))? {
            RecordKind::Fork => {
                let (fork, _): (wire::ForkRecord, _) = prefix(bytes)?;
                Event::Fork { process, parent, is_root: fork.is_root != 0 }
            }
            RecordKind::Text => return self.text(process, bytes),
            RecordKind::Exec => {
                let (exec, _): (wire::ExecRecord, _) = prefix(bytes)?;
                let text = self.texts.remove(&process).filter(|text| text.time_ns == header.time_ns);
                let (image, environment, context) = image(&exec, text.unwrap_or_default());
                Event::Exec { at, process, parent, image: Arc::new(image), environment, context }
            }
            RecordKind::Exit => {
                let (exit, _): (wire::ExitRecord, _) = prefix(bytes)?;
                self.texts.remove(&process);
                let status = match exit.is_status_withheld {
                    0 => ExitStatus::from_wait_status(exit.status),
                    _ => ExitStatus::Withheld,
                };
                let is_oom_victim = exit.is_oom_victim != 0;
                let usage = Some(Box::new(usage(&exit, self.page_bytes)));
                Event::Exit { at, process, parent, status, is_oom_victim, usage }
            }
            RecordKind::Connection => connection(&prefix(bytes)?.0)?,
            RecordKind::Dns => return self.dns(bytes, handle),
            RecordKind::Flow => flow(&prefix(bytes)?.0),
            RecordKind::FailedExec => {
                let (record, rest): (wire::FailedExecRecord, _) = prefix(bytes)?;
                let file = rest.get(..record.size as usize).ok_or(DecodeError::Short(bytes.len()))?;
                let file = String::from_utf8_lossy(file.strip_suffix(b"\0").unwrap_or(file)).into_owned();
                // No errno is larger than 4095: Linux, include/linux/err.h.
                Event::FailedExec { at, process, parent, file, error: record.error as i32 }
            }
            RecordKind::Unix => {
                let (record, rest): (wire::UnixRecord, _) = prefix(bytes)?;
                let address = rest.get(..record.size as usize).ok_or(DecodeError::Short(bytes.len()))?;
                // No errno is larger than 4095: Linux, include/linux/err.h.
                let error = Some(record.error as i32).filter(|error| *error != 0);
                Event::Call { at, process, parent, call: UnixConnectSpan { path: unix_path(address), error }.into() }
            }
        });
        Ok(())
    }

    fn text(&mut self, process: Identity, bytes: &[u8]) -> Result<(), DecodeError> {
        let (record, rest): (wire::TextRecord, _) = prefix(bytes)?;
        let size = record.size as usize;
        let chunk = rest.get(..size).ok_or(DecodeError::Short(bytes.len()))?;
        let part = TextPart::of(record.part).ok_or(DecodeError::Field { field: "part", value: record.part })?;
        if self.texts.len() >= TEXTS && !self.texts.contains_key(&process) {
            let oldest = self.texts.iter().min_by_key(|(_, text)| text.time_ns).map(|(process, _)| *process);
            oldest.and_then(|oldest| self.texts.remove(&oldest));
        }
        let text = self.texts.entry(process).or_default();
        if text.time_ns != record.header.time_ns {
            *text = Text { time_ns: record.header.time_ns, ..Text::default() };
        }
        let part = text.parts[part as usize].get_or_insert_default();
        part.is_broken |= record.fault != 0 || record.offset as usize != part.bytes.len();
        if !part.is_broken {
            part.bytes.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// Data at a name server's port is not always DNS.
    fn dns(&mut self, bytes: &[u8], mut handle: impl FnMut(Event)) -> Result<(), DecodeError> {
        let (record, rest): (wire::DnsRecord, _) = prefix(bytes)?;
        let bytes = rest.get(..record.size as usize).ok_or(DecodeError::Short(bytes.len()))?;
        let (at, asker) = (Ktime(record.header.time_ns), identity(record.header.process));
        let transport = if record.socket == 0 { Transport::Udp } else { Transport::Tcp };
        let mut tell = |message| {
            handle(Event::Dns {
                at,
                asker,
                transport,
                local: address(record.local_address, record.local_port),
                server: address(record.peer_address, record.peer_port),
                message,
            });
        };
        let is_answer = record.is_answer != 0;
        if record.socket == 0 {
            let message = Message::parse(bytes);
            if message.is_some() || is_answer {
                tell(message);
            }
        } else {
            let direction = dns_stream::Direction { socket: record.socket, local_port: record.local_port, is_answer };
            let piece = Piece { offset: record.offset, size: record.passed.into(), bytes };
            // A peer that is not a name server can send anything.
            let of_direction = |message: Message| {
                if message.answer.is_some() == is_answer {
                    tell(Some(message));
                }
            };
            self.streams.handle(direction, piece, at, of_direction);
        }
        Ok(())
    }
}

/// The number of records of this kind that were not read in time.
pub(super) fn lost_records(losses: &mut Losses, kind: RecordKind) -> &mut u64 {
    match kind {
        RecordKind::Fork => &mut losses.forks,
        RecordKind::Exec => &mut losses.execs,
        RecordKind::Text => &mut losses.texts,
        RecordKind::Exit => &mut losses.exits,
        RecordKind::Connection => &mut losses.connections,
        RecordKind::Dns => &mut losses.lookups,
        RecordKind::FailedExec => &mut losses.failed_execs,
        RecordKind::Flow => &mut losses.flows,
        RecordKind::Unix => &mut losses.unix_connects,
    }
}

/// The count of texts of this part that could not be read.
pub(super) fn unreadable(losses: &mut Losses, part: TextPart) -> &mut u64 {
    match part {
        TextPart::Arguments => &mut losses.unreadable_arguments,
        TextPart::Environment | TextPart::Context => &mut losses.unreadable_environments,
        TextPart::File | TextPart::Executable | TextPart::Directory | TextPart::Cgroup | TextPart::CgroupV1 => {
            &mut losses.unreadable_paths
        }
    }
}

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))
}

fn identity(identity: wire::Identity) -> Identity {
    Identity { tgid: identity.tgid, start: Ktime(identity.start_ns) }
}

/// The kernel counts user and system time at clock ticks, and measures their sum. This scales the two to the sum, as
/// the kernel does for getrusage(2): kernel/sched/cputime.c, cputime_adjust().
fn usage(exit: &wire::ExitRecord, page_bytes: u64) -> Usage {
    let usage = &exit.usage;
    let ticks = u128::from(usage.user_ns) + u128::from(usage.system_ns);
    let runtime = u128::from(usage.runtime_ns);
    // Without a tick, the whole time is user time.
    let system_ns = (runtime * u128::from(usage.system_ns)).checked_div(ticks).unwrap_or_default() as u64;
    Usage {
        user_ns: usage.runtime_ns.saturating_sub(system_ns),
        system_ns,
        peak_resident_bytes: usage.peak_resident_pages.saturating_mul(page_bytes),
        minor_faults: usage.minor_faults,
        major_faults: usage.major_faults,
        voluntary_switches: usage.voluntary_switches,
        involuntary_switches: usage.involuntary_switches,
        read_chars: usage.of_threads.read_chars,
        written_chars: usage.of_threads.written_chars,
        read_bytes: usage.of_threads.read_bytes,
        written_bytes: usage.of_threads.written_bytes,
        run_delay_ns: usage.of_threads.run_delay_ns,
        block_delay_ns: usage.of_threads.block_delay_ns,
        threads: exit.threads.into(),
    }
}

fn image(exec: &wire::ExecRecord, text: Text) -> (Image, Option<Strings>, Option<SpanContext>) {
    let [file, executable, directory, arguments, environment, cgroup, cgroup_v1, context] = text.parts;
    let mut file = file.map(|part| part.bytes).unwrap_or_default();
    file.pop_if(|last| *last == 0);
    let image = Image {
        file: lossy(file),
        executable: executable.and_then(path).map(lossy),
        directory: directory.and_then(path),
        visibility: match exec.visibility {
            wire::VISIBLE_ALL => Visibility::All,
            wire::VISIBLE_PUBLIC => Visibility::Public,
            _ => Visibility::Ids,
        },
        arguments: Strings { bytes: arguments.unwrap_or_default().bytes, size: exec.arguments_size },
        argument_count: exec.argument_count,
        user_id: exec.user_id,
        real_user_id: exec.real_user_id,
        // As in /proc/PID/cgroup: cgroups(7).
        cgroup: cgroup.and_then(path).map(|path| ["0::", &lossy(path)].concat().into()),
        cgroup_v1: cgroup_v1.and_then(path).map(|path| format!("{}:memory:{}", exec.hierarchy, lossy(path)).into()),
        vpid: exec.vpid,
        group_leader_pid: exec.group_leader_pid,
        session_leader_pid: exec.session_leader_pid,
        is_interactive: exec.is_interactive != 0,
        is_script: exec.is_script != 0,
        has_other_root: exec.has_other_root != 0,
        group_id: exec.group_id,
        real_group_id: exec.real_group_id,
        // Niceness is from -20 to 19: sched(7).
        nice: (exec.nice.min(39) as i32 - 20) as i8,
        namespaces: Namespaces {
            mount: exec.namespaces.mount,
            pid: exec.namespaces.pid,
            network: exec.namespaces.network,
            user: exec.namespaces.user,
        },
        root_folder: RootFolder { mount: exec.root_folder.mount, inode: exec.root_folder.inode },
        ..Image::default()
    };
    let environment = environment.map(|part| Strings { bytes: part.bytes, size: exec.environment_size });
    let context = context.map(|part| Strings { size: part.bytes.len() as u64, bytes: part.bytes });
    let context = environment.as_ref().or(context.as_ref()).and_then(SpanContext::of_environment);
    (image, environment, context)
}

/// Decodes a path. Its components come from leaf to root, each with a NUL. The root has no components. `None` if a
/// piece is missing, because the rest would be another path.
fn path(part: Part) -> Option<Vec<u8>> {
    if part.is_broken {
        return None;
    }
    let Some(components) = part.bytes.strip_suffix(b"\0") else { return Some(b"/".to_vec()) };
    let mut path = Vec::with_capacity(components.len() + 1);
    for component in components.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    Some(path)
}

/// Makes no copy of UTF-8.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn connection(record: &wire::ConnectionRecord) -> Result<Event, DecodeError> {
    let direction = match record.direction {
        wire::DIRECTION_CONNECT => Direction::Connect,
        wire::DIRECTION_ACCEPT => Direction::Accept,
        value => return Err(DecodeError::Field { field: "direction", value }),
    };
    let change = match record.event {
        wire::CONNECTION_OPENED => Change::Opened,
        wire::CONNECTION_ESTABLISHED => Change::Established,
        wire::CONNECTION_OWNED => Change::Owned,
        wire::CONNECTION_CLOSED => Change::Closed,
        value => return Err(DecodeError::Field { field: "event", value }),
    };
    let error = match i32::try_from(record.error) {
        Ok(0) => None,
        Ok(errno) => Some(errno),
        Err(_) => return Err(DecodeError::Field { field: "error", value: record.error }),
    };
    let closed_by = match record.closed_by {
        wire::CLOSED_BY_NOBODY => None,
        wire::CLOSED_BY_OWNER => Some(End::Local),
        wire::CLOSED_BY_PEER => Some(End::Remote),
        value => return Err(DecodeError::Field { field: "closed_by", value }),
    };
    let counters = &record.counters;
    Ok(Event::Connection {
        at: Ktime(record.header.time_ns),
        id: ConnectionId { socket: record.socket, opened: Ktime(record.opened_ns) },
        owner: identity(record.header.process),
        change,
        connection: Connection {
            direction,
            local: address(record.local_address, record.local_port),
            peer: address(record.peer_address, record.peer_port),
            network_namespace: record.network_namespace,
            network_inode: record.network_inode,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            packets_sent: counters.packets_sent,
            packets_received: counters.packets_received,
            retransmits: counters.retransmits,
            syn_retransmits: counters.syn_retransmits,
            round_trip_us: counters.round_trip_us,
            round_trip_variance_us: counters.variance_us,
            error,
            closed_by,
        },
    })
}

fn flow(record: &wire::FlowRecord) -> Event {
    let at = Ktime(record.header.time_ns);
    Event::Flow {
        at,
        id: FlowId { slot: record.slot, generation: record.generation },
        owner: identity(record.header.process),
        is_over: false,
        flow: Flow {
            opened: at,
            local: address(record.local_address, record.local_port),
            peer: address(record.peer_address, record.peer_port),
            network_namespace: record.network_namespace,
            datagrams_sent: 0,
            datagrams_received: 0,
            bytes_sent: 0,
            bytes_received: 0,
        },
    }
}

/// Returns a path, or `@` and an abstract name: unix(7). A name can have any bytes. If the caller has passed the whole
/// structure, the name ends in NULs.
fn unix_path(address: &[u8]) -> String {
    match address.strip_prefix(b"\0") {
        Some(name) => {
            let length = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            format!("@{}", name[..length].escape_ascii())
        }
        None => String::from_utf8_lossy(address.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned(),
    }
}

fn address(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}

#[cfg(test)]
mod tests;
