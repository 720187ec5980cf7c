//! One run, from the configuration to the last line: set up, start, wait, deliver, report.

use std::{
    borrow::Cow,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Error, Result, bail};
use rand::{TryRng, rngs::SysRng};
use tracer_model::{
    Anchor, IdGenerator, Settings, TraceId, Tracer,
    context::SpanContext,
    judge::Rules,
    losses::{Cause, Losses},
    source::Source,
    span::Certificate,
};
use tracer_otlp::Encoder;
use tracer_ptrace::clock::now;

use crate::{
    child::{inheritance::Inheritance, launch, outcome::Outcome, privileges, refusal, signals::Signals, user::User},
    cli::config::{Config, Output, Wait},
    console::{self, counted, ms},
    drain::{Drain, Ending, Input, Waiting},
    limits,
    machine::{accounts, hosts},
    nesting,
    resource::resource,
    sinks::{Delivery, Intake, OpenSinks, RunFacts, Sinks, Undelivered},
    sources::{self, Chosen, Notice, Seat},
    tags::{Latest, TagRunner},
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
    if let Some(outer) = nesting::outer_run(trace_id) {
        config.outputs.retain(|wanted| !matches!(wanted.output, Output::Otlp | Output::JobSummary(_)));
        if config.is_verbose {
            console::say(format_args!("process {outer} exports this trace, so this run sends nothing over OTLP"));
        }
        if config.outputs.is_empty() {
            restore_environment(&config, inheritance, &single);
            return Ok(replace(&config, inheritance));
        }
    }
    let root_span_id = ids.span_id();
    let is_sampled = config.sample(trace_id);
    // Without outputs, an unsampled trace is nothing to report.
    let is_quiet = config.is_quiet || !is_sampled && config.outputs.is_empty();
    let spool = config.spool.as_ref().map(|folder| folder.join(format!("{trace_id}-{root_span_id}.jsonl")));
    let token = format!("{:032x}", u128::from_le_bytes(seed()?));
    let facts = RunFacts {
        encoder: Encoder::new(resource.clone(), config.limits.value_length)
            .with_counts(config.limits.counts)
            .with_context(config.trace_state.clone(), is_sampled),
        value_limit: config.limits.value_length,
        resource: &resource,
        spool: spool.as_deref(),
        root: root_span_id,
        token: &token,
        by: config.by.as_ref(),
    };
    let sinks = match OpenSinks::open(&config.outputs, &config.collector, &facts) {
        Ok(sinks) => sinks,
        Err(error) => return without_room(error, &config, inheritance, &single),
    };
    let attributes = std::mem::take(&mut config.attributes);
    let needs_environment = attributes.need_environment() || needs_environment(&config.rules);
    let chosen = match sources::choose(&config, needs_environment) {
        Ok(chosen) => chosen,
        Err(error) => {
            // The files that they have begun must not stay.
            drop(sinks);
            return without_room(error, &config, inheritance, &single);
        }
    };
    let is_sent = config.outputs.iter().any(|wanted| wanted.output == Output::Otlp);
    let is_all = config.captured.left_out().next().is_none();
    let announcement = (is_sent && is_all && chosen.source.description().sees_everything())
        .then(|| nesting::announce(trace_id))
        .flatten();
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
        peer_names: std::mem::take(&mut config.peer_names),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        errors: config.errors.into(),
        rules: std::mem::take(&mut config.rules),
    });
    restore_environment(&config, inheritance, &single);
    let root = SpanContext { trace_id, span_id: root_span_id };
    for (name, value) in config.propagators.inject(root, is_sampled, config.caller) {
        launch::set_variable(name, value.as_deref(), &single);
    }

    let mut signals = match Signals::hold(&single).map_err(io::Error::from) {
        Ok(signals) => signals,
        Err(error) if limits::is_limit(&error) => {
            drop(sinks);
            return run_untraced(&error, &config, inheritance);
        }
        Err(error) => return Err(error).context("cannot hold back signals"),
    };
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
    let latest_tags = Arc::clone(&observation.tags);
    let (early, late) = match observation.notice.clone() {
        Some(notice) if notice.is_of_limit => (None, Some(notice)),
        notice => (notice, None),
    };
    early.iter().for_each(Notice::print);
    let mut child = match source.launch(launch::spawn(config.command.clone(), inheritance, config.user.clone())) {
        Ok(child) => child,
        Err(error) => {
            give_up(sinks);
            return match limits::is_limit(&error) {
                true => run_untraced(&error, &config, inheritance),
                false => Ok(not_invoked(&error, &config)),
            };
        }
    };
    // From here on nothing may fail, because the command's exit status becomes ours.
    intake.begin();
    let tagging = config.tagging.take().map(|tagging| TagRunner::start(tagging, child.id(), latest_tags, threads));
    privileges::drop_after_launch();
    let end = signals.wait_for(&mut *child, |signal, sender| source.paired_signals(signal, sender));
    if config.wait == Wait::Tree {
        signals.wait_until(|| source.live_processes() == 0);
    }
    signals.forget();
    let finishing = Instant::now();
    let tag_warning = tagging.and_then(|tagging| match tagging {
        Ok(tagging) => tagging.finish(),
        Err(error) => Some(format!("tags: {error:#}")),
    });
    let Observation { source, drain, unobserved, seat, .. } = observation;
    late.iter().for_each(Notice::print);
    match drain.finish(Ending { end, unobserved }) {
        Ok(tracer) => {
            intake.close(config.flush_timeout);
            source.warnings().iter().chain(&tag_warning).for_each(console::warn);
            if tracer.has_foreign_tags() {
                console::warn("tags are ignored: the pids of this pid namespace are not those of the machine");
            }
            // This can take the kernel long. Meanwhile the sinks deliver what is left.
            drop((source, seat, announcement));
            listen_to_impatience(signals, intake, threads);
            report(&tracer, trace_id, &sinks.join(), is_quiet);
        }
        Err(error) => console::warn(format_args!("the trace was lost: {error:#}")),
    }
    if config.is_verbose {
        console::say(format_args!("{} to finish the trace", ms(finishing.elapsed())));
    }
    Ok(end.into())
}

/// Runs the command in place of process-tracer, because a limit leaves no room for both.
///
/// # Errors
///
/// With `--strict`.
fn run_untraced(error: &io::Error, config: &Config, inheritance: Inheritance) -> Result<Outcome> {
    let reason = limits::in_words(error);
    if config.is_strict {
        bail!("the command is not started, because of --strict: {reason}");
    }
    console::warn(format_args!("the command runs without a trace: {reason}"));
    Ok(replace(config, inheritance))
}

/// Runs the command without a trace, if a limit caused the error.
///
/// # Errors
///
/// The error, if nothing can be done about it.
fn without_room(error: Error, config: &Config, inheritance: Inheritance, single: &SingleThread) -> Result<Outcome> {
    let Some(limit) = limits::behind(&error) else { return Err(error) };
    restore_environment(config, inheritance, single);
    run_untraced(limit, config, inheritance)
}

/// Executes the command in place of process-tracer. Returns only if that is impossible.
fn replace(config: &Config, inheritance: Inheritance) -> Outcome {
    not_invoked(&launch::replace(&config.command, inheritance, config.user.clone()), config)
}

fn not_invoked(error: &io::Error, config: &Config) -> Outcome {
    let program = config.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    console::say(format_args!("cannot run '{program}': {}", refusal::reason(&config.command, error)));
    Outcome::NotInvoked { is_found: error.kind() != io::ErrorKind::NotFound }
}

/// Gives the command its environment, once the privileges for the observation are not needed any more.
fn restore_environment(config: &Config, inheritance: Inheritance, single: &SingleThread) {
    privileges::drop_before_launch();
    inheritance.environment().restore(single);
    for (name, value) in config.user.iter().flat_map(User::variables) {
        launch::set_variable(name, Some(&value), single);
    }
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

/// The source of the run.
struct Observation {
    source: Arc<dyn Source>,
    drain: Drain,
    unobserved: Option<String>,
    seat: Option<Seat>,
    notice: Option<Notice>,
    tags: Latest,
}

/// Whether rules look at environments.
fn needs_environment(rules: &Rules) -> bool {
    rules.judge.as_ref().is_some_and(|judge| judge.needs_environment())
}

impl Observation {
    /// Starts to read the events. If that is impossible, it observes the command alone, or fails with `--strict`.
    fn start(chosen: Chosen, tracer: Tracer, intake: &Intake, config: &Config, threads: Threads) -> Result<Self> {
        let tags = Latest::default();
        let wait = |Chosen { source, stream, unobserved, seat, notice }| {
            let (source_of_input, tags) = (Arc::clone(&source), Arc::clone(&tags));
            let input = Input { source: source_of_input, stream, intake: intake.clone(), tags };
            Waiting::start(input, threads).map(|waiting| (source, waiting, unobserved, seat, notice))
        };
        let started = wait(chosen).or_else(|error| wait(sources::alone(&error, config, true)?));
        let (source, waiting, unobserved, seat, notice) = started?;
        Ok(Self { source, drain: waiting.begin(tracer), unobserved, seat, notice, tags })
    }
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
            "{missing} of {} did not reach {}: {}",
            counted(missing + delivery.delivered, "span"),
            delivery.destination,
            delivery.closing.problem.as_deref().unwrap_or("no reason known")
        ));
        if let Some(command) = &delivery.to_send {
            console::say(format_args!("{} kept; to deliver: {command}", counted(delivery.missing.saved, "span")));
        }
    }
    for note in deliveries.iter().filter_map(|delivery| delivery.closing.note.as_ref()).filter(|_| !is_quiet) {
        console::say(note);
    }
    let Some(certificate) = tracer.certificate() else { return };
    if is_quiet {
        // Undelivered spans and what was not observed have their own warnings. A long command line is no reason for one.
        let losses = losses(certificate, |cause| cause != Cause::Cut);
        if !losses.is_empty() {
            console::warn(format_args!("the trace is incomplete: {}", losses.join(", ")));
        }
        return;
    }
    let is_kept = deliveries.iter().all(|delivery| delivery.missing.lost == 0);
    let mut verdict = verdict(certificate, is_kept);
    if certificate.is_complete && is_kept && deliveries.iter().any(|delivery| delivery.missing.saved > 0) {
        verdict += " once delivered";
    }
    let unseen = if certificate.losses.unobserved.is_none() { unseen(certificate) } else { String::new() };
    let from = &certificate.trace_id_source;
    console::say(format_args!(
        "trace {trace_id} ({from}), {}, {verdict}{unseen}",
        spans_to(deliveries, &counted(certificate.spans(), "span"))
    ));
}

/// How many spans each destination has: "3 spans to a.jsonl, b.html, 2 of 3 spans to URL".
fn spans_to(deliveries: &[Delivery], spans: &str) -> String {
    let named = deliveries.iter().filter(|delivery| !delivery.destination.is_empty());
    let (whole, partial): (Vec<_>, Vec<_>) = named.partition(|delivery| delivery.missing == Undelivered::default());
    let partial =
        partial.iter().map(|delivery| format!("{} of {spans} to {}", delivery.delivered, delivery.destination));
    let mut parts: Vec<_> = partial.collect();
    let whole: Vec<_> = whole.iter().map(|delivery| &*delivery.destination).collect();
    if !whole.is_empty() {
        parts.insert(0, format!("{spans} to {}", whole.join(", ")));
    }
    if parts.is_empty() { spans.to_owned() } else { parts.join(", ") }
}

/// The main kinds of events that were not observed. An attribute of the root has all of them.
fn unseen(certificate: &Certificate) -> String {
    let kinds = certificate.source.as_ref().map_or(&[][..], |source| &source.unobserved_kinds);
    let mut names = ["processes", "connections", "flows", "lookups"].to_vec();
    names.retain(|kind| kinds.contains(kind));
    if let [.., "connections", "flows", "lookups"] = names[..] {
        // Connections stand for the whole network.
        names.truncate(names.len() - 2);
    }
    if names.is_empty() { String::new() } else { format!(", {} not observed", names.join(" and ")) }
}

/// Whether the trace is complete. If not, the reasons.
fn verdict(certificate: &Certificate, is_kept: bool) -> Cow<'static, str> {
    if certificate.is_complete && is_kept {
        return Cow::Borrowed("complete");
    }
    let losses = &certificate.losses;
    let mut reasons = self::losses(certificate, |_| true);
    if let Some(reason) = &losses.unobserved {
        reasons.push(reason.clone());
    }
    if !is_kept || losses.undelivered > 0 {
        reasons.push("not all delivered".to_owned());
    }
    Cow::Owned(format!("incomplete: {}", reasons.join(", ")))
}

/// What the source lost for such causes, in words. Undelivered spans are not among them.
fn losses(certificate: &Certificate, is_such: impl Fn(Cause) -> bool) -> Vec<String> {
    let losses = &certificate.losses;
    let causes = Cause::ALL.iter().filter(|cause| **cause != Cause::Undelivered && is_such(**cause));
    causes.filter_map(|cause| Some(losses.in_words(*cause)? + &programs(losses, *cause))).collect()
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

/// Random bytes of the system.
fn seed<const N: usize>() -> Result<[u8; N]> {
    let mut seed = [0; N];
    SysRng.try_fill_bytes(&mut seed).context("the system has no random numbers for us")?;
    Ok(seed)
}
