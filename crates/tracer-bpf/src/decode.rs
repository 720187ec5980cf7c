//! Bytes of the ring buffer → [`Event`]. Total: any byte string gives an event, nothing yet, or an error.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use tracer_model::{
    Event, ExitStatus, Identity, Ktime,
    event::{Change, Connection, Direction, Flow, Image, Strings},
};
use zerocopy::FromBytes;

use crate::wire;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the record has.
    #[error("record of {0} bytes is too short")]
    Short(usize),
    /// No record is of that kind.
    #[error("no record is of kind {0}")]
    Kind(u32),
    /// A field has a value that it cannot have.
    #[error("field {field} cannot be {value}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it was.
        value: u32,
    },
}

/// Turns records into events. It holds the text of an exec until the exec itself comes.
#[derive(Debug, Default)]
pub struct Decoder {
    texts: HashMap<Identity, Text>,
}

/// Execs under way are at most as many as processors; more than this are the leavings of lost exec records.
const TEXTS: usize = 1024;

/// The text of one exec, by part.
#[derive(Debug, Default)]
struct Text {
    time_ns: u64,
    parts: [Option<Part>; wire::TEXT_PARTS as usize],
}

/// The beginning of a part of text, up to the first chunk that is missing.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    is_broken: bool,
}

impl Decoder {
    /// Decodes one record. `None`: text, of which more follows.
    ///
    /// # Errors
    ///
    /// If the bytes are not a record.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<Event>, DecodeError> {
        let header: wire::RecordHeader = prefix(bytes)?.0;
        let at = Ktime(header.time_ns);
        let process = identity(header.process);
        let parent = identity(header.parent);
        Ok(Some(match header.kind {
            wire::RECORD_FORK => {
                let (fork, _): (wire::ForkRecord, _) = prefix(bytes)?;
                Event::Fork { process, parent, is_root: fork.is_root != 0 }
            }
            wire::RECORD_TEXT => {
                self.text(process, bytes)?;
                return Ok(None);
            }
            wire::RECORD_EXEC => {
                let (exec, _): (wire::ExecRecord, _) = prefix(bytes)?;
                let text = self.texts.remove(&process).filter(|text| text.time_ns == header.time_ns);
                let (image, environment) = image(&exec, text.unwrap_or_default());
                Event::Exec { at, process, parent, image: Arc::new(image), environment }
            }
            wire::RECORD_EXIT => {
                let (exit, _): (wire::ExitRecord, _) = prefix(bytes)?;
                self.texts.remove(&process);
                Event::Exit { at, process, parent, status: ExitStatus::from_wait_status(exit.status) }
            }
            wire::RECORD_CONNECTION => connection(&prefix(bytes)?.0)?,
            kind => return Err(DecodeError::Kind(kind)),
        }))
    }

    fn text(&mut self, process: Identity, bytes: &[u8]) -> Result<(), DecodeError> {
        let (record, rest): (wire::TextRecord, _) = prefix(bytes)?;
        let size = record.size as usize;
        let chunk = rest.get(..size).ok_or(DecodeError::Short(bytes.len()))?;
        if record.part >= wire::TEXT_PARTS {
            return Err(DecodeError::Field { field: "part", value: record.part });
        }
        if self.texts.len() >= TEXTS {
            self.texts.clear();
        }
        let text = self.texts.entry(process).or_default();
        if text.time_ns != record.header.time_ns {
            *text = Text { time_ns: record.header.time_ns, ..Text::default() };
        }
        let part = text.parts[record.part as usize].get_or_insert_default();
        part.is_broken |= record.fault != 0 || record.offset as usize != part.bytes.len();
        if !part.is_broken {
            part.bytes.extend_from_slice(chunk);
        }
        Ok(())
    }
}

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))
}

fn identity(identity: wire::Identity) -> Identity {
    Identity { tgid: identity.tgid, start: Ktime(identity.start_ns) }
}

fn image(exec: &wire::ExecRecord, text: Text) -> (Image, Option<Strings>) {
    let [file, executable, directory, arguments, environment] = text.parts;
    let file = file.map(|part| part.bytes).unwrap_or_default();
    let image = Image {
        file: String::from_utf8_lossy(file.strip_suffix(b"\0").unwrap_or(&file)).into_owned(),
        executable: executable.map(|part| path(&part.bytes)),
        directory: directory.map(|part| path(&part.bytes)),
        arguments: Strings { bytes: arguments.unwrap_or_default().bytes, size: exec.arguments_size },
        argument_count: exec.argument_count,
        user_id: exec.user_id,
        real_user_id: exec.real_user_id,
    };
    let environment = environment.map(|part| Strings { bytes: part.bytes, size: exec.environment_size });
    (image, environment)
}

/// A path that was written from leaf to root, each component with a NUL. The root has none.
fn path(components: &[u8]) -> String {
    let Some(components) = components.strip_suffix(b"\0") else { return "/".to_owned() };
    let mut path = Vec::with_capacity(components.len() + 1);
    for component in components.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    String::from_utf8_lossy(&path).into_owned()
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
    Ok(Event::Connection {
        at: Ktime(record.header.time_ns),
        flow: Flow { socket: record.socket, opened: Ktime(record.opened_ns) },
        owner: identity(record.header.process),
        change,
        connection: Connection {
            direction,
            local: address(record.local_address, record.local_port),
            peer: address(record.peer_address, record.peer_port),
            bytes_sent: record.bytes_sent,
            bytes_received: record.bytes_received,
            retransmits: record.retransmits,
            round_trip_us: record.round_trip_us,
            error,
        },
    })
}

fn address(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}
