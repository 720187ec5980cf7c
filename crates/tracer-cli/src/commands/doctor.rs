//! `process-tracer doctor`: checks whether this machine can trace, and prints how to fix what is missing.

use std::{
    fmt::{Display, Write as _},
    fs,
    io::stdout,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Error, Result};
use nix::sys::resource::{Resource, getrlimit};
use tracer_bpf::{
    Attached, Capture, Options,
    probe::{CAP_BPF, CAP_PERFMON, Facts, MEMLOCK_FREE, Obstacle, has_capability},
};
use tracer_otlp::{Client, Collector, Signal, Url};
use tracer_ptrace::probe;
use tracer_report::untrusted::visible;

use crate::{
    child::privileges,
    commands::setup,
    console::{self, is_coloured},
};

/// The exit status if this machine cannot trace, or the collector does not answer.
const EXIT_SICK: u8 = 1;

/// The row of the eBPF programs.
const EBPF: &str = "eBPF programs";
/// The row of ptrace.
const PTRACE: &str = "ptrace";
/// The row of the collector.
const COLLECTOR: &str = "collector";

/// A line of the table.
struct Row {
    what: &'static str,
    found: String,
    /// How to fix it. `None`: there is no problem.
    remedy: Option<String>,
}

/// The facts that the table shows.
struct Machine {
    facts: Facts,
    ptrace: Ptrace,
    /// Each sysctl as its file shows it. `None`: not visible.
    unprivileged_bpf_disabled: Option<String>,
    perf_event_paranoid: Option<String>,
    /// The limit for locked memory.
    memlock: String,
    /// Who can trace with the file of process-tracer.
    file_capabilities: String,
}

/// The facts that decide whether ptrace can be the source.
struct Ptrace {
    facts: probe::Facts,
    /// A program that ptrace can break.
    hazard: Option<PathBuf>,
}

impl Ptrace {
    fn look() -> Self {
        Self { facts: probe::Facts::gather(), hazard: probe::hazard() }
    }
}

impl Machine {
    fn look() -> Self {
        let sysctl = |path| fs::read_to_string(path).ok().map(|value| value.trim().to_owned());
        Self {
            facts: Facts::gather(),
            ptrace: Ptrace::look(),
            unprivileged_bpf_disabled: sysctl("/proc/sys/kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: sysctl("/proc/sys/kernel/perf_event_paranoid"),
            memlock: match getrlimit(Resource::RLIMIT_MEMLOCK) {
                Ok((u64::MAX, _)) => "unlimited".to_owned(),
                Ok((soft, _)) => format!("{} KiB", soft / 1024),
                Err(error) => error.desc().to_owned(),
            },
            file_capabilities: setup::state(),
        }
    }
}

/// Checks this machine and prints the table on stdout. Returns the exit status: 0 if this machine can trace and the collector
/// answers.
///
/// # Errors
///
/// stdout cannot be written.
pub(crate) fn examine(collector: Option<&Collector>) -> Result<u8> {
    let machine = Machine::look();
    let attempt = machine.facts.obstacles().is_empty().then(load);
    let endpoint = collector.map(|collector| collector.url(Signal::Traces));
    let asked = endpoint.as_ref().zip(collector.map(ask));
    let rows = rows(&machine, attempt, asked);
    console::print(render(&rows, is_coloured(&stdout())))?;
    Ok(exit_status(&rows))
}

/// The error of an attempt to load the programs. It includes the obstacle that caused it, if that is known.
type Failure = (String, Option<Obstacle>);

/// The final check: loads and attaches the programs. Returns the time that this took.
fn load() -> Result<Duration, Failure> {
    let started = Instant::now();
    let options = Options { viewer: privileges::viewer(), ..Options::default() };
    let attached = Attached::load(&options).map_err(|error| {
        let obstacle = error.obstacle();
        (format!("{:#}", Error::new(error)), obstacle)
    })?;
    Capture::start(attached, false).map_err(|error| (error.to_string(), None))?;
    Ok(started.elapsed())
}

/// The time of the answer, with the warning of the collector if there is one.
type Answer = Result<(Duration, Option<String>), String>;

/// Sends a request without spans.
fn ask(collector: &Collector) -> Answer {
    let started = Instant::now();
    let client = Client::open(collector, console::warn).map_err(|error| format!("{:#}", Error::new(error)))?;
    let answer = client.export(Signal::Traces, &Vec::new().into(), &|| None);
    client.close();
    let accepted = answer.map_err(|failure| failure.to_string())?;
    Ok((started.elapsed(), accepted.warning))
}

fn rows(machine: &Machine, attempt: Option<Result<Duration, Failure>>, asked: Option<(&Url, Answer)>) -> Vec<Row> {
    let obstacles = machine.facts.obstacles();
    let mut rows = kernel_rows(&machine.facts, &obstacles);
    rows.extend(privilege_rows(machine, &obstacles));
    let has_ebpf = matches!(attempt, Some(Ok(_)));
    rows.push(program_row(attempt));
    rows.extend(ptrace_rows(&machine.ptrace, has_ebpf));
    rows.push(collector_row(asked));
    rows
}

/// ptrace alone is enough. Without eBPF, the row of ptrace has a remedy if ptrace is forbidden or can break a program.
fn exit_status(rows: &[Row]) -> u8 {
    let is_needed = |row: &&Row| [PTRACE, COLLECTOR].contains(&row.what);
    if rows.iter().filter(is_needed).all(|row| row.remedy.is_none()) { 0 } else { EXIT_SICK }
}

fn kernel_rows(facts: &Facts, obstacles: &[Obstacle]) -> Vec<Row> {
    let remedy = |is_it: fn(&Obstacle) -> bool| obstacles.iter().find(|obstacle| is_it(obstacle)).map(Obstacle::remedy);
    let types = facts.types.map_or("missing".to_owned(), |bytes| format!("{} KiB of BTF", bytes / 1024));
    let namespace = if facts.is_initial_user_namespace { "the initial one" } else { "not the initial one" };
    vec![
        Row {
            what: "kernel",
            found: format!("Linux {}", facts.release),
            remedy: remedy(|obstacle| matches!(obstacle, Obstacle::OldKernel(_))),
        },
        Row {
            what: "type information",
            found: types,
            remedy: remedy(|obstacle| matches!(obstacle, Obstacle::NoTypes)),
        },
        Row {
            what: "lockdown",
            found: facts.lockdown.clone().unwrap_or_else(|| "not in this kernel, or not visible".to_owned()),
            remedy: remedy(|obstacle| matches!(obstacle, Obstacle::Lockdown)),
        },
        Row {
            what: "user namespace",
            found: namespace.to_owned(),
            remedy: remedy(|obstacle| matches!(obstacle, Obstacle::UserNamespace)),
        },
    ]
}

fn privilege_rows(machine: &Machine, obstacles: &[Obstacle]) -> Vec<Row> {
    let missing = obstacles.iter().find(|obstacle| matches!(obstacle, Obstacle::Privileges { .. }));
    let capability = |what, capability| {
        let is_held = machine.facts.capabilities.is_none_or(|held| has_capability(held, capability));
        let remedy = missing.filter(|_| !is_held).map(Obstacle::remedy);
        Row { what, found: if is_held { "held" } else { "not held" }.to_owned(), remedy }
    };
    let setting = |what, value: &Option<String>, meaning| {
        let value = value.as_deref().unwrap_or("not visible");
        Row { what, found: format!("{value} ({meaning})"), remedy: None }
    };
    let memlock = Some(machine.memlock.clone());
    let is_free = machine.facts.is_at_least(MEMLOCK_FREE);
    vec![
        capability("CAP_BPF", CAP_BPF),
        capability("CAP_PERFMON", CAP_PERFMON),
        Row { what: "file capabilities", found: machine.file_capabilities.clone(), remedy: None },
        setting(
            "unprivileged_bpf_disabled",
            &machine.unprivileged_bpf_disabled,
            "does not matter if the capabilities are held",
        ),
        setting(
            "perf_event_paranoid",
            &machine.perf_event_paranoid,
            "does not matter: raw tracepoints are not perf events",
        ),
        setting(
            "locked memory",
            &memlock,
            if is_free { "does not matter since Linux 5.11" } else { "process-tracer lifts the limit if it can" },
        ),
        Row { what: "clang", found: "not needed: the eBPF programs are built in".to_owned(), remedy: None },
    ]
}

/// `attempt` is `None` if another row already shows why the programs cannot be loaded.
fn program_row(attempt: Option<Result<Duration, Failure>>) -> Row {
    let what = EBPF;
    match attempt {
        None => Row { what, found: "not tried".to_owned(), remedy: Some("fix the problems above first".to_owned()) },
        Some(Ok(time)) => Row { what, found: format!("loaded and attached in {} ms", time.as_millis()), remedy: None },
        Some(Err((error, obstacle))) => {
            let remedy = match obstacle {
                Some(obstacle) => format!("{obstacle}: {}", obstacle.remedy()),
                None => "a security module may forbid bpf(2); otherwise please report this".to_owned(),
            };
            Row { what, found: error, remedy: Some(remedy) }
        }
    }
}

/// `Seccomp` of proc_pid_status(5).
const FILTER: u32 = 2;

/// With eBPF, ptrace is not needed, so no row has a remedy.
fn ptrace_rows(Ptrace { facts, hazard }: &Ptrace, has_ebpf: bool) -> Vec<Row> {
    let row = |what, found| Row { what, found, remedy: None };
    let scope = match facts.yama_scope {
        None => "not in this kernel".to_owned(),
        Some(scope @ 0..=1) => format!("{scope} (allows ptrace of own children)"),
        Some(scope) => format!("{scope} (forbids ptrace without CAP_SYS_PTRACE)"),
    };
    let seccomp = match facts.seccomp {
        Some(0) => "no filter",
        Some(FILTER) => "a filter",
        _ => "not visible",
    };
    let tracer = match &facts.outer_tracer {
        None => "none".to_owned(),
        Some((pid, name)) => format!("process {pid} ({name})"),
    };
    let (found, remedy) = match (facts.obstacle(), hazard) {
        (Some(obstacle), _) => ("forbidden".to_owned(), Some(obstacle)),
        (None, Some(program)) => (
            format!("allowed, but '{}' could lose its privileges", program.display()),
            Some("use --source ptrace, if the command does not need this program".to_owned()),
        ),
        (None, None) => {
            ("works: process-tracer uses it if eBPF is impossible, and records no connections".to_owned(), None)
        }
    };
    let verdict = Row { what: PTRACE, found, remedy: remedy.filter(|_| !has_ebpf) };
    vec![row("Yama ptrace_scope", scope), row("seccomp", seccomp.to_owned()), row("outer tracer", tracer), verdict]
}

fn collector_row(asked: Option<(&Url, Answer)>) -> Row {
    let what = COLLECTOR;
    let Some((endpoint, answer)) = asked else {
        let found = "none configured: the trace goes to the outputs of -o, or to a summary".to_owned();
        return Row { what, found, remedy: None };
    };
    match answer {
        Ok((time, warning)) => {
            let warning = warning.map_or(String::new(), |warning| format!(": {warning}"));
            let found = format!("{endpoint} answers in {} ms{warning}", time.as_millis());
            Row { what, found, remedy: None }
        }
        Err(error) => Row {
            what,
            found: format!("{endpoint}: {error}"),
            remedy: Some(
                "check that the collector runs, and check --endpoint and --protocol, or OTEL_EXPORTER_OTLP_*"
                    .to_owned(),
            ),
        },
    }
}

fn render(rows: &[Row], is_coloured: bool) -> String {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    let paint = |colour: &str, text: &str| {
        if is_coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let mut text = String::new();
    let mut line = |mark: &dyn Display, what, found: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark}  {what:width$}  {}", visible(found));
    };
    for row in rows {
        match &row.remedy {
            None => line(&paint("32", "ok  "), row.what, &row.found),
            Some(remedy) => {
                line(&paint("31", "FAIL"), row.what, &row.found);
                line(&"    ", "", &format!("remedy: {remedy}"));
            }
        }
    }
    text + &verdict(rows) + "\n"
}

/// The last line.
fn verdict(rows: &[Row]) -> String {
    let is_well = |what| rows.iter().all(|row| row.what != what || row.remedy.is_none());
    let problems = match rows.iter().filter(|row| row.remedy.is_some()).count() {
        0 => return "tracing works here".to_owned(),
        1 => "1 problem".to_owned(),
        problems => format!("{problems} problems"),
    };
    if is_well(PTRACE) && !is_well(EBPF) {
        format!("{problems}, but tracing works here with ptrace: no connections are recorded")
    } else {
        problems
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn machine(capabilities: u64, is_root: bool) -> Machine {
        Machine {
            facts: Facts {
                release: "6.1.0-39-amd64".to_owned(),
                types: Some(5 << 20),
                lockdown: Some("none".to_owned()),
                is_initial_user_namespace: true,
                capabilities: Some(capabilities),
                has_no_new_privileges: false,
                is_root,
                // The file does not exist, so its file system does not matter.
                executable: "/opt/no-such-folder/process-tracer".into(),
            },
            ptrace: Ptrace {
                facts: probe::Facts { yama_scope: Some(1), seccomp: Some(FILTER), outer_tracer: None, error: None },
                hazard: None,
            },
            unprivileged_bpf_disabled: Some("2".to_owned()),
            perf_event_paranoid: None,
            memlock: "8192 KiB".to_owned(),
            file_capabilities: "none. To let ordinary users trace: sudo /usr/bin/process-tracer setup".to_owned(),
        }
    }

    fn expect_table(rows: &[Row], expected: Expect) {
        expected.assert_eq(&render(rows, false));
    }

    #[test]
    fn a_machine_that_can_trace_has_no_problem() {
        let url = Url::parse("http://localhost:4318").unwrap();
        let asked = Some((&url, Ok((Duration::from_millis(3), None))));
        expect_table(
            &rows(&machine(u64::MAX, true), Some(Ok(Duration::from_millis(40))), asked),
            expect![[r#"
                ok    kernel                     Linux 6.1.0-39-amd64
                ok    type information           5120 KiB of BTF
                ok    lockdown                   none
                ok    user namespace             the initial one
                ok    CAP_BPF                    held
                ok    CAP_PERFMON                held
                ok    file capabilities          none. To let ordinary users trace: sudo /usr/bin/process-tracer setup
                ok    unprivileged_bpf_disabled  2 (does not matter if the capabilities are held)
                ok    perf_event_paranoid        not visible (does not matter: raw tracepoints are not perf events)
                ok    locked memory              8192 KiB (does not matter since Linux 5.11)
                ok    clang                      not needed: the eBPF programs are built in
                ok    eBPF programs              loaded and attached in 40 ms
                ok    Yama ptrace_scope          1 (allows ptrace of own children)
                ok    seccomp                    a filter
                ok    outer tracer               none
                ok    ptrace                     works: process-tracer uses it if eBPF is impossible, and records no connections
                ok    collector                  http://localhost:4318 answers in 3 ms
                tracing works here
            "#]],
        );
    }

    #[test]
    fn ptrace_alone_can_trace_and_a_collector_must_answer() {
        let url = Url::parse("http://localhost:4318").unwrap();
        let answer = || Ok((Duration::from_millis(3), None));
        let without_ebpf = machine(0, false);
        assert_eq!(exit_status(&rows(&without_ebpf, None, Some((&url, answer())))), 0);
        assert_eq!(exit_status(&rows(&without_ebpf, None, Some((&url, Err("connection refused".to_owned()))))), 1);
        let mut without_both = without_ebpf;
        without_both.ptrace.facts.yama_scope = Some(3);
        without_both.ptrace.facts.error = Some(std::io::Error::from_raw_os_error(1));
        assert_eq!(exit_status(&rows(&without_both, None, None)), 1);
        // With eBPF, ptrace is not needed.
        assert_eq!(exit_status(&rows(&without_both, Some(Ok(Duration::from_millis(40))), None)), 0);
    }

    #[test]
    fn an_ordinary_user_reads_how_to_get_the_capabilities() {
        let url = Url::parse("http://localhost:4318").unwrap();
        let asked = Some((&url, Err("connection refused".to_owned())));
        expect_table(
            &rows(&machine(0, false), None, asked),
            expect![[r#"
                ok    kernel                     Linux 6.1.0-39-amd64
                ok    type information           5120 KiB of BTF
                ok    lockdown                   none
                ok    user namespace             the initial one
                FAIL  CAP_BPF                    not held
                                                 remedy: run with sudo or --sudo, or once: sudo /opt/no-such-folder/process-tracer setup
                FAIL  CAP_PERFMON                not held
                                                 remedy: run with sudo or --sudo, or once: sudo /opt/no-such-folder/process-tracer setup
                ok    file capabilities          none. To let ordinary users trace: sudo /usr/bin/process-tracer setup
                ok    unprivileged_bpf_disabled  2 (does not matter if the capabilities are held)
                ok    perf_event_paranoid        not visible (does not matter: raw tracepoints are not perf events)
                ok    locked memory              8192 KiB (does not matter since Linux 5.11)
                ok    clang                      not needed: the eBPF programs are built in
                FAIL  eBPF programs              not tried
                                                 remedy: fix the problems above first
                ok    Yama ptrace_scope          1 (allows ptrace of own children)
                ok    seccomp                    a filter
                ok    outer tracer               none
                ok    ptrace                     works: process-tracer uses it if eBPF is impossible, and records no connections
                FAIL  collector                  http://localhost:4318: connection refused
                                                 remedy: check that the collector runs, and check --endpoint and --protocol, or OTEL_EXPORTER_OTLP_*
                4 problems, but tracing works here with ptrace: no connections are recorded
            "#]],
        );
    }

    #[test]
    fn root_in_a_container_reads_about_capabilities_and_the_seccomp_profile() {
        expect_table(
            &rows(&machine(0, true), None, None),
            expect![[r#"
                ok    kernel                     Linux 6.1.0-39-amd64
                ok    type information           5120 KiB of BTF
                ok    lockdown                   none
                ok    user namespace             the initial one
                FAIL  CAP_BPF                    not held
                                                 remedy: give the container CAP_BPF and CAP_PERFMON by --cap-add BPF --cap-add PERFMON, and a seccomp profile that allows bpf(2); if its profile allows bpf(2) only with CAP_SYS_ADMIN, add --security-opt seccomp=unconfined
                FAIL  CAP_PERFMON                not held
                                                 remedy: give the container CAP_BPF and CAP_PERFMON by --cap-add BPF --cap-add PERFMON, and a seccomp profile that allows bpf(2); if its profile allows bpf(2) only with CAP_SYS_ADMIN, add --security-opt seccomp=unconfined
                ok    file capabilities          none. To let ordinary users trace: sudo /usr/bin/process-tracer setup
                ok    unprivileged_bpf_disabled  2 (does not matter if the capabilities are held)
                ok    perf_event_paranoid        not visible (does not matter: raw tracepoints are not perf events)
                ok    locked memory              8192 KiB (does not matter since Linux 5.11)
                ok    clang                      not needed: the eBPF programs are built in
                FAIL  eBPF programs              not tried
                                                 remedy: fix the problems above first
                ok    Yama ptrace_scope          1 (allows ptrace of own children)
                ok    seccomp                    a filter
                ok    outer tracer               none
                ok    ptrace                     works: process-tracer uses it if eBPF is impossible, and records no connections
                ok    collector                  none configured: the trace goes to the outputs of -o, or to a summary
                3 problems, but tracing works here with ptrace: no connections are recorded
            "#]],
        );
        let error = "cannot load the eBPF object's type information: Operation not permitted (os error 1)";
        expect_table(
            &rows(&machine(u64::MAX, true), Some(Err((error.to_owned(), Some(Obstacle::Seccomp)))), None),
            expect![[r#"
                ok    kernel                     Linux 6.1.0-39-amd64
                ok    type information           5120 KiB of BTF
                ok    lockdown                   none
                ok    user namespace             the initial one
                ok    CAP_BPF                    held
                ok    CAP_PERFMON                held
                ok    file capabilities          none. To let ordinary users trace: sudo /usr/bin/process-tracer setup
                ok    unprivileged_bpf_disabled  2 (does not matter if the capabilities are held)
                ok    perf_event_paranoid        not visible (does not matter: raw tracepoints are not perf events)
                ok    locked memory              8192 KiB (does not matter since Linux 5.11)
                ok    clang                      not needed: the eBPF programs are built in
                FAIL  eBPF programs              cannot load the eBPF object's type information: Operation not permitted (os error 1)
                                                 remedy: a seccomp profile forbids bpf(2), although the capabilities are held: in a container, add --security-opt seccomp=unconfined, or use --privileged
                ok    Yama ptrace_scope          1 (allows ptrace of own children)
                ok    seccomp                    a filter
                ok    outer tracer               none
                ok    ptrace                     works: process-tracer uses it if eBPF is impossible, and records no connections
                ok    collector                  none configured: the trace goes to the outputs of -o, or to a summary
                1 problem, but tracing works here with ptrace: no connections are recorded
            "#]],
        );
    }

    #[test]
    fn an_old_and_locked_kernel_has_its_remedies() {
        let mut machine = machine(u64::MAX, true);
        machine.facts.release = "5.4.0-1-amd64".to_owned();
        machine.facts.types = None;
        machine.facts.lockdown = Some("confidentiality".to_owned());
        machine.facts.is_initial_user_namespace = false;
        expect_table(
            &rows(&machine, None, None),
            expect![[r#"
                FAIL  kernel                     Linux 5.4.0-1-amd64
                                                 remedy: use a newer kernel
                FAIL  type information           missing
                                                 remedy: use a kernel built with CONFIG_DEBUG_INFO_BTF=y
                FAIL  lockdown                   confidentiality
                                                 remedy: boot with lockdown=integrity on the kernel's command line, or without the option lockdown
                FAIL  user namespace             not the initial one
                                                 remedy: start process-tracer outside of this namespace, and let it run the program that makes the namespace
                ok    CAP_BPF                    held
                ok    CAP_PERFMON                held
                ok    file capabilities          none. To let ordinary users trace: sudo /usr/bin/process-tracer setup
                ok    unprivileged_bpf_disabled  2 (does not matter if the capabilities are held)
                ok    perf_event_paranoid        not visible (does not matter: raw tracepoints are not perf events)
                ok    locked memory              8192 KiB (process-tracer lifts the limit if it can)
                ok    clang                      not needed: the eBPF programs are built in
                FAIL  eBPF programs              not tried
                                                 remedy: fix the problems above first
                ok    Yama ptrace_scope          1 (allows ptrace of own children)
                ok    seccomp                    a filter
                ok    outer tracer               none
                ok    ptrace                     works: process-tracer uses it if eBPF is impossible, and records no connections
                ok    collector                  none configured: the trace goes to the outputs of -o, or to a summary
                5 problems, but tracing works here with ptrace: no connections are recorded
            "#]],
        );
    }
}
