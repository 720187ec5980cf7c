//! One run, from the configuration to the last line: set up, start, wait, deliver, report.

use std::{
    borrow::Cow,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use rand::{TryRng, rngs::SysRng};
use tracer_model::{
    Anchor, IdGenerator, Settings, TraceId, Tracer,
    context::{SpanContext, TRACEPARENT},
    losses::{Cause, Losses},
    source::Source,
    span::Certificate,
};
use tracer_ptrace::clock::now;

use crate::{
    child::{inheritance::Inheritance, launch, outcome::Outcome, privileges, signals::Signals, user::User},
    cli::config::{Config, Wait},
    cli::variables::variable,
    console::{self, ms},
    drain::{Drain, Ending, Input, Waiting},
    machine::{accounts, hosts},
    resource::resource,
    shortage,
    sinks::{Delivery, Intake, OpenSinks, RunFacts, Sinks, Undelivered},
    sources::{self, Chosen, Seat},
    threads::{SingleThread, Threads},
};

/// Runs the command and traces it.
///
/// # Errors
///
/// The command could not be started because of process-tracer.
pub(crate) fn run(mut config: Config, inheritance: Inheritance, single: SingleThread) -> Result<Outcome> {
    let resource = resource(config.service_name.as_deref());
    let mut ids = IdGenerator::new(seed()?);
    let trace_id = config.trace_id.unwrap_or_else(|| ids.trace_id());
    let root_span_id = ids.span_id();
    let spool = config.spool.as_ref().map(|folder| folder.join(format!("{trace_id}-{root_span_id}.jsonl")));
    let token = format!("{:032x}", u128::from_le_bytes(seed()?));
    let facts = RunFacts { resource: &resource, spool: spool.as_deref(), root: root_span_id, token: &token };
    let sinks = OpenSinks::open(&config.outputs, &config.collector, &facts)?;
    let attributes = std::mem::take(&mut config.attributes);
    let chosen = sources::choose(&config, attributes.need_environment())?;
    let tracer = Tracer::new(Settings {
        trace_id,
        trace_id_source: std::mem::take(&mut config.trace_id_source),
        root_span_id,
        root_parent_id: config.parent_id,
        root_label: std::mem::take(&mut config.root_name),
        root_name: config.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
        anchor: Anchor { ktime: now(), wall: SystemTime::now() },
        seed: seed()?,
        attributes,
        arguments: std::mem::take(&mut config.arguments),
        captured: config.captured,
        accounts: accounts(),
        cpus: thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        hosts: hosts(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    privileges::drop_before_launch();
    inheritance.environment().restore(&single);
    pass_on_context(trace_id, &SpanContext { trace_id, span_id: root_span_id }.to_string(), &single);
    for (name, value) in config.user.iter().flat_map(User::variables) {
        launch::set_variable(name, Some(&value), &single);
    }

    let mut signals = Signals::hold(&single).context("cannot hold back signals")?;
    let threads = single.end();
    let sinks = sinks.start(threads);
    let intake = sinks.intake();
    // The sinks remove the files that they have begun.
    let give_up = |sinks: Sinks| {
        intake.close(Duration::ZERO);
        sinks.join();
    };
    let observation = match Observation::start(chosen, tracer, &intake, &config, threads) {
        Ok(observation) => observation,
        Err(error) => {
            give_up(sinks);
            return Err(error);
        }
    };
    let source = &*observation.source;

    let machine_before = shortage::Reading::take();
    let mut child = match source.launch(launch::spawn(config.command.clone(), inheritance, config.user.clone())) {
        Ok(child) => child,
        Err(error) => {
            let program = config.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            console::say(format_args!("cannot run '{program}': {}", reason(&error)));
            give_up(sinks);
            return Ok(Outcome::NotInvoked { is_found: error.kind() != io::ErrorKind::NotFound });
        }
    };
    // From here on nothing may fail, because the command's exit status becomes ours.
    privileges::drop_after_launch();
    let end = signals.wait_for(&mut *child, |signal, sender| source.paired_signals(signal, sender));
    if config.wait == Wait::Tree {
        signals.wait_until(|| source.live_processes() == 0);
    }
    signals.forget();
    let finishing = Instant::now();
    let Observation { source, drain, unobserved, seat } = observation;
    let shortage = shortage::Reading::take().since(&machine_before);
    match drain.finish(Ending { end, unobserved, shortage }) {
        Ok(tracer) => {
            intake.close(config.flush_timeout);
            source.warnings().iter().for_each(console::warn);
            // This can take the kernel long. Meanwhile the sinks deliver what is left.
            drop((source, seat));
            listen_to_impatience(signals, intake, threads);
            report(&tracer, trace_id, &sinks.join(), config.is_quiet);
        }
        Err(error) => console::warn(format_args!("the trace was lost: {error:#}")),
    }
    if config.is_verbose {
        console::say(format_args!("{} to finish the trace", ms(finishing.elapsed())));
    }
    Ok(end.into())
}

/// Ends the delivery at the first signal, and keeps the spans that are left. A second signal ends the process.
fn listen_to_impatience(signals: Signals, intake: Intake, threads: Threads) {
    let listener = threads.start("impatience", move || {
        signals.wait_until(|| false);
        intake.close(Duration::ZERO);
        signals.release();
        // This thread stays, because all others block the signals.
        loop {
            thread::park();
        }
    });
    if let Err(error) = listener {
        console::warn(format_args!("cannot start a thread: {error}"));
    }
}

/// The source at work.
struct Observation {
    source: Arc<dyn Source>,
    drain: Drain,
    unobserved: Option<String>,
    seat: Option<Seat>,
}

impl Observation {
    /// Starts to read the events. If that is impossible, it observes the command alone, or fails with `--strict`.
    fn start(chosen: Chosen, tracer: Tracer, intake: &Intake, config: &Config, threads: Threads) -> Result<Self> {
        let wait = |Chosen { source, stream, unobserved, seat }| {
            let input = Input { source: Arc::clone(&source), stream, intake: intake.clone() };
            Waiting::start(input, threads).map(|waiting| (source, waiting, unobserved, seat))
        };
        let started = wait(chosen).or_else(|error| wait(sources::alone(&error, config, true)?));
        let (source, waiting, unobserved, seat) = started?;
        Ok(Self { source, drain: waiting.begin(tracer), unobserved, seat })
    }
}

/// Belongs to `TRACEPARENT`: W3C Trace Context.
const TRACESTATE: &str = "TRACESTATE";

/// Makes the root span the parent of spans that the command's programs make. The trace state of the caller stays only
/// if its trace is ours.
fn pass_on_context(trace_id: TraceId, traceparent: &str, single: &SingleThread) {
    let caller = variable(TRACEPARENT).and_then(|caller| caller.parse::<SpanContext>().ok());
    if caller.is_none_or(|caller| caller.trace_id != trace_id) {
        launch::set_variable(TRACESTATE, None, single);
    }
    launch::set_variable(TRACEPARENT, Some(traceparent), single);
}

/// Prints the texts of the sinks, the warnings, and one last line.
fn report(tracer: &Tracer, trace_id: TraceId, deliveries: &[Delivery], is_quiet: bool) {
    for text in deliveries.iter().filter_map(|delivery| delivery.closing.text.as_deref()) {
        console::write(text);
    }
    for failure in tracer.failures() {
        console::warn(failure);
    }
    for (delivery, warning) in
        deliveries.iter().filter_map(|delivery| Some((delivery, delivery.closing.warning.as_ref()?)))
    {
        console::warn(format_args!("{}: {warning}", delivery.destination));
    }
    for delivery in deliveries
        .iter()
        .filter(|delivery| delivery.missing != Undelivered::default() || delivery.closing.problem.is_some())
    {
        let missing = delivery.missing.lost + delivery.missing.saved;
        console::warn(format_args!(
            "{missing} of {} spans did not reach {}: {}",
            missing + delivery.delivered,
            delivery.destination,
            delivery.closing.problem.as_deref().unwrap_or("no reason known")
        ));
        if let Some(command) = &delivery.closing.to_send {
            console::say(format_args!("{} kept; to deliver: {command}", counted(delivery.missing.saved, "span")));
        }
    }
    let Some(certificate) = tracer.certificate().filter(|_| !is_quiet) else { return };
    let destinations: Vec<_> = deliveries
        .iter()
        .filter(|delivery| !delivery.destination.is_empty())
        .map(|delivery| match delivery.missing {
            Undelivered { lost: 0, saved: 0 } => delivery.destination.clone(),
            _ => format!("{} (only {})", delivery.destination, delivery.delivered),
        })
        .collect();
    let to = if destinations.is_empty() { String::new() } else { format!(" to {}", destinations.join(", ")) };
    let is_kept = deliveries.iter().all(|delivery| delivery.missing.lost == 0);
    let mut verdict = verdict(certificate, is_kept);
    if certificate.is_complete && is_kept && deliveries.iter().any(|delivery| delivery.missing.saved > 0) {
        verdict += " once delivered";
    }
    // An attribute of the root has the whole list.
    let is_blind = certificate.source.as_ref().is_some_and(|source| source.unobserved_kinds.contains(&"connections"));
    let unseen = if is_blind && certificate.losses.unobserved.is_none() { ", connections not observed" } else { "" };
    let from = &certificate.trace_id_source;
    console::say(format_args!(
        "trace {trace_id} ({from}), {}{to}, {verdict}{unseen}",
        counted(certificate.spans(), "span")
    ));
}

/// Whether the trace is complete, and if not, why.
fn verdict(certificate: &Certificate, is_kept: bool) -> Cow<'static, str> {
    if certificate.is_complete && is_kept {
        return Cow::Borrowed("complete");
    }
    let losses = &certificate.losses;
    // Undelivered spans have a reason of their own below.
    let causes = Cause::ALL.iter().filter(|cause| **cause != Cause::Undelivered);
    let counts = causes.map(|cause| (losses.by(*cause), *cause)).filter(|(count, _)| *count > 0);
    let mut reasons: Vec<_> = counts.map(|(count, cause)| cause.in_words(count) + &programs(losses, cause)).collect();
    match certificate.truncated {
        0 => {}
        1 => reasons.push("1 command line or environment cut".to_owned()),
        count => reasons.push(format!("{count} command lines or environments cut")),
    }
    if let Some(reason) = &losses.unobserved {
        reasons.push(format!("not observed: {reason}"));
    }
    if !is_kept || losses.undelivered > 0 {
        reasons.push("not all delivered".to_owned());
    }
    Cow::Owned(format!("incomplete: {}", reasons.join(", ")))
}

/// The names of the programs that are missing for this cause, if they are known.
fn programs(losses: &Losses, cause: Cause) -> String {
    /// A line with more names is too long.
    const NAMED: usize = 4;
    let names = losses.programs.iter().filter(|(of, _)| *of == cause).map(|(_, name)| name.as_str());
    let mut names: Vec<_> = names.take(NAMED + 1).collect();
    match names.len() {
        0 => return String::new(),
        1..=NAMED => {}
        _ => names[NAMED] = "…",
    }
    format!(" ({})", names.join(", "))
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The error of exec, without the number that std appends.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Random bytes of the system.
fn seed<const N: usize>() -> Result<[u8; N]> {
    let mut seed = [0; N];
    SysRng.try_fill_bytes(&mut seed).context("the system has no random numbers for us")?;
    Ok(seed)
}
