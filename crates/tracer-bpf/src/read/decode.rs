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
        Change, Connection, ConnectionId, Direction, End, Flow, FlowId, Image, Namespaces, Strings, Transport, Usage,
        Visibility,
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
        /// Which.
        field: &'static str,
        /// What it was.
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
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Decodes a record with at most one event.
    fn decode(decoder: &mut Decoder, record: &[u8]) -> Result<Option<Event>, DecodeError> {
        let mut told = None;
        decoder.decode(record, |event| assert!(told.replace(event).is_none())).map(|()| told)
    }

    const CHILD: Identity = Identity { tgid: 42, start: Ktime(1000) };
    const PARENT: Identity = Identity { tgid: 7, start: Ktime(500) };

    /// A record that is built field by field, so that a change of the layout shows here.
    #[derive(Clone)]
    struct Bytes(Vec<u8>);

    impl Bytes {
        fn record(kind: u32) -> Self {
            Self(Vec::new()).u64(2000).u64(1000).u32(42).u32(0).u64(500).u32(7).u32(0).u32(kind).u32(0)
        }

        fn u16(mut self, value: u16) -> Self {
            self.0.extend(value.to_ne_bytes());
            self
        }

        fn u32(mut self, value: u32) -> Self {
            self.0.extend(value.to_ne_bytes());
            self
        }

        fn u64(mut self, value: u64) -> Self {
            self.0.extend(value.to_ne_bytes());
            self
        }

        fn raw(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }

        fn at(mut self, time_ns: u64) -> Self {
            self.0[..8].copy_from_slice(&time_ns.to_ne_bytes());
            self
        }

        fn of(mut self, tgid: u32) -> Self {
            self.0[16..20].copy_from_slice(&tgid.to_ne_bytes());
            self
        }
    }

    fn fork(is_root: u32) -> Bytes {
        Bytes::record(0).u32(is_root).u32(0)
    }

    fn exec(arguments_size: u64) -> Bytes {
        Bytes::record(1)
            .u64(arguments_size)
            .u64(33)
            .u32(3)
            .u32(1000)
            .u32(1001)
            .u32(7)
            .u32(40)
            .u32(41)
            .u32(1)
            .u32(1)
            .u32(50)
            .u32(51)
            .u32(25)
            .u32(61)
            .u32(62)
            .u32(63)
            .u32(64)
            .u32(0)
            .u32(4)
            .u32(1)
    }

    fn text(part: u32, offset: u32, text: &[u8], fault: u32) -> Bytes {
        Bytes::record(2).u32(part).u32(offset).u32(text.len() as u32).u32(fault).raw(text)
    }

    fn exit(status: u32) -> Bytes {
        let counters = (1..=14).fold(Bytes::record(3), |bytes, counter| bytes.u64(counter * 1000));
        counters.u32(status).u32(7).u32(1).u32(0)
    }

    fn connection(event: u32, direction: u32, error: u32) -> Bytes {
        let record = Bytes::record(4).u64(0xffff_8880).u64(1500).u64(10).u64(20).u32(6).u32(5).u32(2).u32(1).u32(250);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
        let v6 = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let record = record.u32(50).u32(event).u32(direction).u32(error).u32(2).u32(99).u32(98).u32(0);
        record.u16(40000).u16(443).raw(&mapped).raw(&v6)
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Sent,
        Lost,
        Faulty,
    }

    fn decode_one(bytes: &Bytes) -> Event {
        decode(&mut Decoder::default(), &bytes.0).unwrap().unwrap()
    }

    fn decode_image(records: &[Bytes]) -> (Image, Option<Strings>) {
        let mut decoder = Decoder::default();
        let mut image = None;
        for record in records {
            if let Some(Event::Exec { image: decoded, environment, .. }) = decode(&mut decoder, &record.0).unwrap() {
                image = Some((Arc::unwrap_or_clone(decoded), environment));
            }
        }
        assert!(decoder.texts.is_empty());
        image.unwrap()
    }

    #[test]
    fn a_fork_names_child_and_parent() {
        for is_root in [0, 1] {
            let Event::Fork { process, parent, is_root: decoded } = decode_one(&fork(is_root)) else { panic!() };
            assert_eq!((process, parent, decoded), (CHILD, PARENT, is_root == 1));
        }
    }

    #[test]
    fn an_exit_carries_the_wait_status() {
        let Event::Exit { at, process, parent, status, is_oom_victim, usage } = decode_one(&exit(3 << 8)) else {
            panic!()
        };
        assert_eq!((at, process, parent, status), (Ktime(2000), CHILD, PARENT, ExitStatus::Code(3)));
        assert!(is_oom_victim);
        let expected = Usage {
            user_ns: 400,
            system_ns: 600,
            peak_resident_bytes: 4000 * 4096,
            minor_faults: 5000,
            major_faults: 6000,
            voluntary_switches: 7000,
            involuntary_switches: 8000,
            read_chars: 9000,
            written_chars: 10_000,
            read_bytes: 11_000,
            written_bytes: 12_000,
            run_delay_ns: 13_000,
            block_delay_ns: 14_000,
            threads: 7,
        };
        assert_eq!(usage.unwrap().as_ref(), &expected);
    }

    #[test]
    fn an_exec_has_its_text() {
        let (image, environment) = decode_image(&[
            text(0, 0, b"./configure\0", 0),
            text(1, 0, b"dash\0bin\0usr\0", 0),
            text(2, 0, b"src\0", 0),
            text(5, 0, b"a.scope\0system.slice\0", 0),
            text(6, 0, b"0123\0docker\0", 0),
            text(3, 0, b"sh\0./conf", 0),
            text(3, 9, b"igure\0-x\0", 0),
            text(4, 0, b"A=1\0B=2\0", 0),
            exec(18),
        ]);
        assert_eq!(image.file, "./configure");
        assert_eq!(image.executable.as_deref(), Some("/usr/bin/dash"));
        assert_eq!(image.directory.as_deref(), Some(&b"/src"[..]));
        assert_eq!(image.arguments.iter().collect::<Vec<_>>(), ["sh", "./configure", "-x"]);
        assert!(!image.arguments.is_truncated());
        assert_eq!((image.argument_count, image.user_id, image.real_user_id), (3, 1000, 1001));
        assert_eq!(image.cgroup.as_deref(), Some("0::/system.slice/a.scope"));
        assert_eq!(image.cgroup_v1.as_deref(), Some("4:memory:/docker/0123"));
        assert!(image.has_other_root);
        assert_eq!(
            (image.vpid, image.group_leader_pid, image.session_leader_pid, image.is_interactive),
            (7, 40, 41, true)
        );
        assert_eq!((image.is_script, image.group_id, image.real_group_id, image.nice), (true, 50, 51, 5));
        assert_eq!(image.namespaces, Namespaces { mount: 61, pid: 62, network: 63, user: 64 });
        let environment = environment.unwrap();
        assert_eq!(environment.iter().collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(environment.size, 33);
    }

    #[test]
    fn the_context_is_read_with_or_without_the_rest_of_the_environment() {
        let context = "00-11111111111111111111111111111111-2222222222222222-01";
        let variable = format!("TRACEPARENT={context}\0");
        for (part, bytes) in [(TextPart::Context as u32, variable.clone()), (4, format!("A=1\0{variable}B=2\0"))] {
            let mut decoder = Decoder::default();
            assert!(decode(&mut decoder, &text(part, 0, bytes.as_bytes(), 0).0).unwrap().is_none());
            let Some(Event::Exec { context: decoded, environment, .. }) = decode(&mut decoder, &exec(0).0).unwrap()
            else {
                panic!()
            };
            assert_eq!((decoded, environment.is_some()), (context.parse().ok(), part == 4));
        }
        let Event::Exec { context, .. } = decode_one(&exec(0)) else { panic!() };
        assert_eq!(context, None);
    }

    #[test]
    fn an_exec_without_its_text_is_truncated() {
        let (image, environment) = decode_image(&[exec(18)]);
        assert_eq!((image.file.as_str(), image.executable, image.directory), ("", None, None));
        assert!(image.arguments.is_truncated() && environment.is_none());
    }

    #[test]
    fn the_root_directory_has_no_components() {
        let (image, _) = decode_image(&[text(2, 0, b"", 0), exec(0)]);
        assert_eq!(image.directory.as_deref(), Some(&b"/"[..]));
    }

    #[test]
    fn a_path_with_a_missing_piece_is_not_reported() {
        let (image, _) = decode_image(&[text(1, 0, b"\0\0\0\0", 1), text(2, 4, b"usr\0", 0), exec(0)]);
        assert_eq!((image.executable, image.directory), (None, None));
    }

    #[test]
    fn text_ends_where_a_piece_is_missing() {
        let faulty = [text(3, 0, b"a\0b\0", 0), text(3, 4, b"\0\0\0\0", 1), text(3, 8, b"c\0", 0), exec(10)];
        let lost = [text(3, 0, b"a\0b\0", 0), text(3, 8, b"c\0", 0), exec(10)];
        let repeated = [text(3, 0, b"a\0b\0", 0), text(3, 0, b"a\0b\0", 0), exec(10)];
        for records in [&faulty[..], &lost, &repeated] {
            let (image, _) = decode_image(records);
            assert_eq!(image.arguments.bytes, b"a\0b\0");
            assert_eq!(image.arguments.size, 10);
            assert!(image.arguments.is_truncated());
        }
    }

    #[test]
    fn text_of_a_lost_exec_does_not_go_to_the_next_exec() {
        let (image, _) = decode_image(&[text(0, 0, b"old\0", 0), text(3, 0, b"new\0", 0).at(3000), exec(4).at(3000)]);
        assert_eq!((image.file.as_str(), image.arguments.bytes.as_slice()), ("", &b"new\0"[..]));
        let (image, _) = decode_image(&[text(0, 0, b"old\0", 0), exec(4).at(3000)]);
        assert_eq!(image.file, "");
    }

    #[test]
    fn a_dead_process_leaves_no_text() {
        let mut decoder = Decoder::default();
        assert!(decode(&mut decoder, &text(0, 0, b"x\0", 0).0).unwrap().is_none());
        assert!(decode(&mut decoder, &exit(0).0).unwrap().is_some());
        assert!(decoder.texts.is_empty());
    }

    #[test]
    fn a_connection_has_all_its_fields() {
        let record = connection;
        let Event::Connection { at, id, owner, change, connection } = decode_one(&connection(3, 1, 104)) else {
            panic!()
        };
        assert_eq!((at, owner, change), (Ktime(2000), CHILD, Change::Closed));
        assert_eq!(id, ConnectionId { socket: 0xffff_8880, opened: Ktime(1500) });
        assert_eq!(
            connection,
            Connection {
                direction: Direction::Accept,
                local: "127.0.0.1:40000".parse().unwrap(),
                peer: "[fe80::1]:443".parse().unwrap(),
                network_namespace: 99,
                network_inode: 98,
                bytes_sent: 10,
                bytes_received: 20,
                packets_sent: 6,
                packets_received: 5,
                retransmits: 1,
                syn_retransmits: 2,
                round_trip_us: 250,
                round_trip_variance_us: 50,
                error: Some(104),
                closed_by: Some(End::Remote),
            }
        );
        for (event, change) in
            [Change::Opened, Change::Established, Change::Owned, Change::Closed].into_iter().enumerate()
        {
            let Event::Connection { change: decoded, connection, .. } = decode_one(&record(event as u32, 0, 0)) else {
                panic!()
            };
            assert_eq!((decoded, connection.direction, connection.error), (change, Direction::Connect, None));
        }
    }

    fn dns(is_answer: u32, message: &[u8]) -> Bytes {
        let mapped = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last];
        let record = Bytes::record(5).u64(0).u64(0).u32(is_answer).u32(0).u16(40000).u16(53).u32(message.len() as u32);
        record.raw(&mapped(1)).raw(&mapped(53)).raw(message)
    }

    /// `x. A?`
    const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01x\0\0\x01\0\x01";

    #[test]
    fn a_dns_message_has_all_its_fields() {
        let Event::Dns { at, asker, transport, local, server, message } = decode_one(&dns(0, QUERY)) else { panic!() };
        assert_eq!((at, asker, transport), (Ktime(2000), CHILD, Transport::Udp));
        assert_eq!((local.to_string().as_str(), server.to_string().as_str()), ("127.0.0.1:40000", "127.0.0.53:53"));
        let message = message.unwrap();
        assert_eq!((message.id, message.name.as_str(), message.kind.as_str(), message.answer), (7, "x", "A", None));
        assert!(decode(&mut Decoder::default(), &dns(0, b"no DNS").0).unwrap().is_none());
        assert!(matches!(decode_one(&dns(1, b"")), Event::Dns { message: None, .. }));
    }

    fn flow() -> Bytes {
        let mapped = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last];
        Bytes::record(7).u32(1029).u32(3).u32(99).u16(40000).u16(443).raw(&mapped(1)).raw(&mapped(2))
    }

    #[test]
    fn a_new_flow_names_its_slot() {
        let Event::Flow { at, id, owner, is_over, flow } = decode_one(&flow()) else { panic!() };
        assert_eq!((at, owner, is_over), (Ktime(2000), CHILD, false));
        assert_eq!(id, FlowId { slot: 1029, generation: 3 });
        let expected = Flow {
            opened: Ktime(2000),
            local: "127.0.0.1:40000".parse().unwrap(),
            peer: "127.0.0.2:443".parse().unwrap(),
            network_namespace: 99,
            datagrams_sent: 0,
            datagrams_received: 0,
            bytes_sent: 0,
            bytes_received: 0,
        };
        assert_eq!(flow, expected);
    }

    fn failed_exec(file: &[u8]) -> Bytes {
        Bytes::record(6).u32(2).u32(file.len() as u32).raw(file)
    }

    #[test]
    fn a_failed_exec_names_the_file() {
        let Event::FailedExec { at, process, file, error, .. } = decode_one(&failed_exec(b"/bin/x\0")) else {
            panic!()
        };
        assert_eq!((at, process, file.as_str(), error), (Ktime(2000), CHILD, "/bin/x", 2));
    }

    fn unix(address: &[u8], error: u32) -> Bytes {
        Bytes::record(8).u32(error).u32(address.len() as u32).raw(address)
    }

    #[test]
    fn a_unix_socket_is_named_by_its_path_or_its_abstract_name() {
        for (address, expected) in [
            (&b"/run/x.sock\0rest"[..], "/run/x.sock"),
            (b"relative", "relative"),
            (b"\0/run/bus/X0", "@/run/bus/X0"),
            (b"\0a\0b\xff\n\0\0", "@a\\x00b\\xff\\n"),
            (b"\0\0", "@"),
        ] {
            let Event::Call { at, process, call, .. } = decode_one(&unix(address, 0)) else { panic!() };
            let connect = UnixConnectSpan { path: expected.to_owned(), error: None };
            assert_eq!((at, process, call), (Ktime(2000), CHILD, connect.into()));
        }
        let Event::Call { call, .. } = decode_one(&unix(b"x", 111)) else { panic!() };
        assert_eq!(call.errno(), Some(111));
    }

    #[test]
    fn every_truncated_record_is_an_error() {
        for record in [
            fork(0),
            exec(0),
            text(3, 0, b"abc", 0),
            exit(0),
            connection(0, 0, 0),
            dns(0, QUERY),
            failed_exec(b"x"),
            flow(),
        ] {
            for length in 0..record.0.len() {
                let result = decode(&mut Decoder::default(), &record.0[..length]);
                assert_eq!(result.unwrap_err(), DecodeError::Short(length));
            }
            assert!(decode(&mut Decoder::default(), &record.0).is_ok());
        }
    }

    #[test]
    fn impossible_values_are_errors() {
        let error = |bytes: &Bytes| decode(&mut Decoder::default(), &bytes.0).unwrap_err();
        assert_eq!(error(&Bytes::record(9)), DecodeError::Kind(9));
        assert_eq!(error(&text(8, 0, b"", 0)), DecodeError::Field { field: "part", value: 8 });
        assert_eq!(error(&connection(4, 0, 0)), DecodeError::Field { field: "event", value: 4 });
        assert_eq!(error(&connection(0, 2, 0)), DecodeError::Field { field: "direction", value: 2 });
        assert_eq!(error(&connection(0, 0, u32::MAX)), DecodeError::Field { field: "error", value: u32::MAX });
    }

    #[test]
    fn text_of_lost_execs_has_a_limit() {
        let mut decoder = Decoder::default();
        for tgid in 0..3000_u32 {
            assert!(decode(&mut decoder, &text(0, 0, b"x\0", 0).of(tgid).0).unwrap().is_none());
            assert!(decoder.texts.len() <= TEXTS);
        }
    }

    #[test]
    fn the_text_of_a_new_exec_is_kept_at_the_limit() {
        let mut decoder = Decoder::default();
        for tgid in 100..100 + TEXTS as u32 - 1 {
            assert!(decode(&mut decoder, &text(0, 0, b"x\0", 0).of(tgid).0).unwrap().is_none());
        }
        for record in [text(0, 0, b"/bin/a\0", 0), text(3, 0, b"a\0", 0), text(0, 0, b"x\0", 0).of(99)] {
            assert!(decode(&mut decoder, &record.at(3000).0).unwrap().is_none());
        }
        let Some(Event::Exec { image, .. }) = decode(&mut decoder, &exec(2).at(3000).0).unwrap() else { panic!() };
        assert_eq!((image.file.as_str(), image.arguments.bytes.as_slice()), ("/bin/a", &b"a\0"[..]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(records in vec(vec(any::<u8>(), 0..300), 0..20)) {
            let mut decoder = Decoder::default();
            for record in records {
                let _ = decode(&mut decoder, &record);
            }
        }

        #[test]
        fn arbitrary_records_do_not_panic(
            records in vec((prop::sample::select(&RecordKind::ALL[..]), any::<[u8; 16]>(), vec(any::<u8>(), 0..200)), 0..60),
        ) {
            let mut decoder = Decoder::default();
            for (kind, identity, rest) in records {
                let record = Bytes::record(kind as u32).raw(&rest);
                let mut bytes = record.0;
                bytes[8..24].copy_from_slice(&identity);
                let _ = decode(&mut decoder, &bytes);
            }
        }

        #[test]
        fn decoded_text_is_a_beginning_of_the_sent_text(
            whole in vec(any::<u8>(), 1..64),
            size in 1_usize..16,
            fates in vec(prop_oneof![4 => Just(Fate::Sent), 1 => Just(Fate::Lost), 1 => Just(Fate::Faulty)], 64),
        ) {
            let mut decoder = Decoder::default();
            for ((index, chunk), fate) in whole.chunks(size).enumerate().zip(&fates) {
                let fault = u32::from(*fate == Fate::Faulty);
                if *fate != Fate::Lost {
                    prop_assert!(decode(&mut decoder, &text(3, (index * size) as u32, chunk, fault).0).unwrap().is_none());
                }
            }
            let arrived = fates.iter().position(|fate| *fate != Fate::Sent).unwrap_or(fates.len()) * size;
            let decoded = decode(&mut decoder, &exec(whole.len() as u64).0).unwrap();
            let Some(Event::Exec { image, .. }) = decoded else { panic!() };
            prop_assert_eq!(&image.arguments.bytes, &whole[..arrived.min(whole.len())]);
            prop_assert_eq!(image.arguments.is_truncated(), arrived < whole.len());
            prop_assert!(decoder.texts.is_empty());
        }
    }
}
