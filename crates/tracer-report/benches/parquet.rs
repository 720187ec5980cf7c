//! Time and size of a Parquet file of a million spans: `cargo bench -p tracer-report --bench parquet [SPANS]`. The spans are
//! those of a large build, made by chance.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::{
    fs::{self, File},
    io::BufWriter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tracer_model::{
    ExitStatus, Resource, Span, SpanId, TraceId, Value,
    event::{Connection, Direction, End, Image, Names, Usage},
    span::{ConnectionSpan, Execution, Folded, OwnerProcess, ProcessSpan, Subject},
};
use tracer_report::{files, formats::Format};

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let path = std::env::temp_dir().join(format!("process-tracer-bench-{}.parquet", std::process::id()));
    let resource = resource();
    let mut report =
        files::begin(Format::Parquet, Box::new(BufWriter::new(File::create(&path).unwrap())), None).unwrap();
    let mut chance = Chance(1);
    let mut spent = Duration::ZERO;
    for number in 0..count {
        let span = span(number, &mut chance);
        let begin = Instant::now();
        report.add(&tracer_report::Span::from(&span).with_resource(&resource)).unwrap();
        spent += begin.elapsed();
    }
    let begin = Instant::now();
    report.finish(&resource).unwrap();
    spent += begin.elapsed();
    let bytes = fs::metadata(&path).unwrap().len();
    let peak = fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim();
    println!("{count} spans: {:.1} s, {:.1} MB, peak memory {peak}", spent.as_secs_f64(), bytes as f64 / 1e6);
    println!("{}", path.display());
}

/// xorshift64*: <https://doi.org/10.1145/2845077>.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

fn resource() -> Resource {
    let text = |text: &str| Value::String(text.to_owned());
    Resource::from_iter([
        ("service.name", text("process-tracer")),
        ("host.name", text("runner-7")),
        ("host.arch", text("amd64")),
        ("os.type", text("linux")),
        ("os.name", text("Debian GNU/Linux")),
        ("os.version", text("12")),
        ("os.description", text("Debian GNU/Linux 12 (bookworm)")),
        ("os.build_id", text("6.1.0-39-amd64")),
        ("cicd.pipeline.name", text("build")),
        ("cicd.pipeline.run.id", text("18234567")),
        ("vcs.ref.head.name", text("main")),
        ("vcs.ref.head.revision", text("0af7651916cd43dd8448eb211c80319c0af76519")),
    ])
}

const PROGRAMS: [(&str, &str); 8] = [
    ("sh", "/usr/bin/dash"),
    ("gcc", "/usr/bin/x86_64-linux-gnu-gcc-12"),
    ("cc1", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1"),
    ("as", "/usr/bin/x86_64-linux-gnu-as"),
    ("sed", "/usr/bin/sed"),
    ("grep", "/usr/bin/grep"),
    ("make", "/usr/bin/make"),
    ("rm", "/usr/bin/rm"),
];

fn arguments(program: &str, source: u64, folder: u64) -> Vec<String> {
    let file = format!("src/module{folder}/file{source}.c");
    let words = match program {
        "gcc" => format!(
            "gcc -std=c11 -O2 -g -Wall -Wextra -Isrc/include -Ilib/module{folder} -MMD -MF build/{source}.d -c -o build/{source}.o {file}"
        ),
        "cc1" => format!(
            "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -I src/include -I lib/module{folder} {file} -quiet -dumpbase {source}.c -mtune=generic -march=x86-64 -g -O2 -Wall -Wextra -std=c11 -o /tmp/cc{source:06x}.s"
        ),
        "as" => format!("as --gdwarf-5 -I src/include --64 -o build/{source}.o /tmp/cc{source:06x}.s"),
        "sh" => format!("/bin/sh -c gcc\u{a0}-c\u{a0}{file}\u{a0}-o\u{a0}build/{source}.o"),
        other => format!("{other} -e s/x/y/ {file}"),
    };
    words.split(' ').map(str::to_owned).collect()
}

fn span(number: u64, chance: &mut Chance) -> Span {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_738_468);
    let start = begin + Duration::from_nanos(number * 1_300_000 + chance.below(900_000));
    let image = image(number);
    let attributes: Arc<[(String, Value)]> = [].into();
    let is_connection = number % 10 == 9;
    let subject = if is_connection { connection(chance) } else { process(number, start, image.clone(), chance) };
    Span {
        trace_id: TraceId([7; 16]),
        span_id: SpanId(chance.next().to_be_bytes()),
        // About four processes have the same parent.
        parent_id: Some(SpanId(Chance(number / 4 + 1).next().to_be_bytes())),
        links: Vec::new(),
        start,
        end: start + Duration::from_nanos(1_000_000 + chance.below(50_000_000)),
        is_unfinished: false,
        is_repaired: false,
        owner: is_connection.then_some(OwnerProcess { pid: number as u32 % 4_000_000, image: Some(image) }),
        is_handled: false,
        attributes,
        subject,
    }
}

fn image(number: u64) -> Arc<Image> {
    let (name, path) = PROGRAMS[(number % 8) as usize];
    let arguments = arguments(name, number / 8, number / 400 % 500);
    Arc::new(Image {
        file: path.to_owned(),
        executable: Some(path.to_owned()),
        directory: Some("/home/runner/work/project/project".to_owned()),
        argument_count: arguments.len() as u32,
        arguments: arguments.iter().collect(),
        cgroup: Some("0::/system.slice/actions.runner.service".into()),
        user_id: 1001,
        real_user_id: 1001,
        group_id: 127,
        real_group_id: 127,
        names: Names { user: Some("runner".into()), group: Some("docker".into()), ..Names::default() },
        ..Image::default()
    })
}

fn process(number: u64, start: SystemTime, image: Arc<Image>, chance: &mut Chance) -> Subject {
    let fails = chance.below(50) == 0;
    Subject::Process(Box::new(ProcessSpan {
        pid: number as u32 % 4_000_000,
        parent_pid: (number / 4) as u32 % 4_000_000,
        forked_by: None,
        name: image.name().to_owned(),
        executions: vec![Execution {
            at: start + Duration::from_nanos(200_000 + chance.below(100_000)),
            executable: image.executable.clone(),
            arguments: image.arguments.clone(),
        }],
        image: Some(image),
        failed_execs: Vec::new(),
        dropped_executions: 0,
        is_fork: false,
        exit: Some(ExitStatus::Code(u8::from(fails))),
        is_oom_victim: false,
        usage: Some(Box::new(Usage {
            user_ns: 200_000 + chance.below(30_000_000),
            system_ns: 100_000 + chance.below(5_000_000),
            peak_resident_bytes: 4096 * (400 + chance.below(9000)),
            minor_faults: 60 + chance.below(4000),
            voluntary_switches: chance.below(8),
            involuntary_switches: chance.below(40),
            read_chars: 3000 + chance.below(900_000),
            written_chars: chance.below(100_000),
            run_delay_ns: chance.below(4_000_000),
            ..Usage::default()
        })),
        folded: Folded::default(),
        group: None,
        certificate: None,
    }))
}

fn connection(chance: &mut Chance) -> Subject {
    let end = |ip: [u8; 4], port: u64| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port as u16);
    Subject::Connection(Box::new(ConnectionSpan {
        connection: Connection {
            direction: Direction::Connect,
            local: end([10, 0, 0, 7], 32_768 + chance.below(28_000)),
            peer: end([10, 1, 0, chance.below(20) as u8], 443),
            network_namespace: 1,
            network_inode: 0,
            bytes_sent: 500 + chance.below(5000),
            bytes_received: chance.below(5_000_000),
            packets_sent: 10 + chance.below(300) as u32,
            packets_received: 10 + chance.below(3000) as u32,
            retransmits: 0,
            syn_retransmits: 0,
            round_trip_us: 200 + chance.below(3000) as u32,
            round_trip_variance_us: 50 + chance.below(300) as u32,
            error: None,
            closed_by: Some(End::Local),
        },
        established: None,
        host: Some("registry.example".into()),
    }))
}
