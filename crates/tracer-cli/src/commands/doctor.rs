//! `process-tracer doctor`: what this machine allows, and what to do about what it does not.

use std::{
    fmt::{Display, Write as _},
    fs,
    io::{Write, stdout},
    time::Instant,
};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use tracer_bpf::{
    Attached, Capture, Options,
    probe::{CAP_BPF, CAP_PERFMON, Facts, MEMLOCK_FREE, Obstacle, has_capability},
};
use tracer_report::untrusted::visible;

use crate::{cli::config::Otlp, console::is_coloured, privileges, sinks::otlp};

/// Exit status where tracing would not work.
const EXIT_SICK: u8 = 1;

/// A line of the table.
struct Row {
    what: &'static str,
    found: String,
    /// What to do, if it is not as it should be.
    remedy: Option<String>,
}

/// Examines this machine, prints the table on stdout, and gives the exit status: 0 if tracing would work.
pub(crate) fn examine(collector: Option<&Otlp>) -> Result<u8> {
    let facts = Facts::gather();
    let obstacles = facts.obstacles();
    let mut rows = kernel_rows(&facts, &obstacles);
    rows.extend(privilege_rows(&facts, &obstacles));
    rows.push(program_row(&obstacles));
    rows.push(collector_row(collector));
    let problems = rows.iter().filter(|row| row.remedy.is_some()).count();
    let verdict = match problems {
        0 => "tracing works here".to_owned(),
        1 => "1 problem".to_owned(),
        _ => format!("{problems} problems"),
    };
    let text = render(&rows, is_coloured(&stdout())) + &verdict + "\n";
    stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(if problems == 0 { 0 } else { EXIT_SICK })
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

fn privilege_rows(facts: &Facts, obstacles: &[Obstacle]) -> Vec<Row> {
    let missing = obstacles.iter().find(|obstacle| matches!(obstacle, Obstacle::Privileges { .. }));
    let capability = |what, capability| {
        let is_held = facts.capabilities.is_none_or(|held| has_capability(held, capability));
        let remedy = missing.filter(|_| !is_held).map(Obstacle::remedy);
        Row { what, found: if is_held { "held" } else { "not held" }.to_owned(), remedy }
    };
    let setting = |what, path, meaning| {
        let value = fs::read_to_string(path).map_or("not visible".to_owned(), |value| value.trim().to_owned());
        Row { what, found: format!("{value} ({meaning})"), remedy: None }
    };
    let memlock = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((u64::MAX, _)) => "unlimited".to_owned(),
        Ok((soft, _)) => format!("{} KiB", soft / 1024),
        Err(error) => error.desc().to_owned(),
    };
    let counts =
        if facts.is_at_least(MEMLOCK_FREE) { "does not count since Linux 5.11" } else { "is lifted if it can be" };
    vec![
        capability("CAP_BPF", CAP_BPF),
        capability("CAP_PERFMON", CAP_PERFMON),
        setting(
            "unprivileged_bpf_disabled",
            "/proc/sys/kernel/unprivileged_bpf_disabled",
            "does not matter with the capabilities",
        ),
        setting(
            "perf_event_paranoid",
            "/proc/sys/kernel/perf_event_paranoid",
            "does not matter: raw tracepoints are not perf events",
        ),
        Row { what: "locked memory", found: format!("{memlock} ({counts})"), remedy: None },
        Row { what: "clang", found: "not needed: the eBPF programs are built in".to_owned(), remedy: None },
    ]
}

/// The proof: loads and attaches them.
fn program_row(obstacles: &[Obstacle]) -> Row {
    let what = "eBPF programs";
    if !obstacles.is_empty() {
        return Row { what, found: "not tried".to_owned(), remedy: Some("mend the above".to_owned()) };
    }
    let started = Instant::now();
    let options = Options { viewer: privileges::viewer(), ..Options::default() };
    let attached = Attached::load(&options)
        .map_err(|error| error.to_string())
        .and_then(|attached| Capture::start(attached, false).map_err(|error| error.to_string()));
    match attached {
        Ok(_) => {
            Row { what, found: format!("loaded and attached in {} ms", started.elapsed().as_millis()), remedy: None }
        }
        Err(error) => Row {
            what,
            found: error,
            remedy: Some("a security module or a seccomp filter may forbid bpf(2); else please report this".to_owned()),
        },
    }
}

fn collector_row(collector: Option<&Otlp>) -> Row {
    let what = "collector";
    let Some(otlp) = collector else {
        let found = "none configured: spans go to a summary, or where -o says".to_owned();
        return Row { what, found, remedy: None };
    };
    let started = Instant::now();
    let answer = otlp::check(otlp);
    let endpoint = &otlp.endpoint;
    match answer {
        Ok(warning) => {
            let answers = format!("{endpoint} answers in {} ms", started.elapsed().as_millis());
            let found = warning.map_or_else(|| answers.clone(), |warning| format!("{answers}: {warning}"));
            Row { what, found, remedy: None }
        }
        Err(error) => Row {
            what,
            found: format!("{endpoint}: {error}"),
            remedy: Some("check --endpoint and --protocol, or OTEL_EXPORTER_OTLP_*, and that it runs".to_owned()),
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
    text
}
