use proptest::{collection::vec, prelude::*};

use super::*;

/// Decodes a record with at most one event.
fn decode(decoder: &mut Decoder, record: &[u8]) -> Result<Option<Event>, DecodeError> {
    let mut decoded = None;
    decoder.decode(record, |event| assert!(decoded.replace(event).is_none())).map(|()| decoded)
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
        .u64(71)
        .u64(72)
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
    let Event::Exit { at, process, parent, status, is_oom_victim, usage } = decode_one(&exit(3 << 8)) else { panic!() };
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
    assert_eq!((image.vpid, image.group_leader_pid, image.session_leader_pid, image.is_interactive), (7, 40, 41, true));
    assert_eq!((image.is_script, image.group_id, image.real_group_id, image.nice), (true, 50, 51, 5));
    assert_eq!(image.root_folder, RootFolder { inode: 71, mount: 72 });
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
        let Some(Event::Exec { context: decoded, environment, .. }) = decode(&mut decoder, &exec(0).0).unwrap() else {
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
    let Event::Connection { at, id, owner, change, connection } = decode_one(&connection(3, 1, 104)) else { panic!() };
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
    for (event, change) in [Change::Opened, Change::Established, Change::Owned, Change::Closed].into_iter().enumerate()
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
    let Event::FailedExec { at, process, file, error, .. } = decode_one(&failed_exec(b"/bin/x\0")) else { panic!() };
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
