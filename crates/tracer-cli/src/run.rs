//! One run, from the configuration to the last line: set up, start, wait, deliver, report.

use std::{
    borrow::Cow,
    env, io,
    ops::ControlFlow::{self, Break, Continue},
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
    source::{Child, Source},
    span::Certificate,
};
use tracer_otlp::Encoder;
use tracer_ptrace::clock::now;

use crate::{
    child::{
        inheritance::Inheritance,
        launch::{self, Variables},
        outcome::Outcome,
        privileges, refusal,
        signals::Signals,
        user::User,
    },
    cli::config::{Config, Output, Wait},
    console::{self, counted, ms},
    drain::{Drain, Ending, Input, Waiting},
    limits,
    machine::{accounts, hosts},
    nesting::{self, Announcement},
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
pub(crate) fn run(config: Config, inheritance: Inheritance, single: SingleThread) -> Result<Outcome> {
    let prepared = match prepare(config, inheritance, single)? {
        Continue(prepared) => prepared,
        Break(outcome) => return Ok(outcome),
    };
    match prepared.start()? {
        Continue(running) => Ok(running.finish()),
        Break(outcome) => Ok(outcome),
    }
}

/// A run that is ready to start the command.
struct Prepared {
    config: Config,
    inheritance: Inheritance,
    trace_id: TraceId,
    is_quiet: bool,
    sinks: OpenSinks,
    chosen: Chosen,
    announcement: Option<Announcement>,
    tracer: Tracer,
    /// The former values of the variables that name the root span.
    former: Variables,
    signals: Signals,
    threads: Threads,
}

/// A run whose command has started.
struct Running {
    config: Config,
    trace_id: TraceId,
    is_quiet: bool,
    sinks: Sinks,
    intake: Intake,
    observation: Observation,
    announcement: Option<Announcement>,
    signals: Signals,
    child: Box<dyn Child>,
    tagging: Option<Result<TagRunner>>,
    threads: Threads,
}

/// Opens the outputs, chooses the source and sets the environment of the command. Returns the outcome of a command that ran
/// without a trace.
///
/// # Errors
///
/// The run is impossible.
fn prepare(
    mut config: Config,
    inheritance: Inheritance,
    single: SingleThread,
) -> Result<ControlFlow<Outcome, Prepared>> {
    let resource = resource(config.service_name.as_deref());
    let mut ids = IdGenerator::new(seed()?);
    let trace_id = config.trace_id.unwrap_or_else(|| ids.trace_id());
    let outer = nesting::outer_run(trace_id);
    if let Some(outer) = outer {
        config.outputs.retain(|wanted| !matches!(wanted.output, Output::Otlp | Output::JobSummary(_)));
        if config.is_verbose {
            console::say(format_args!("process {outer} exports this trace, so this run sends nothing over OTLP"));
        }
        if config.outputs.is_empty() {
            restore_environment(&config, inheritance, &single);
            return Ok(Break(replace(&config, inheritance, Variables::new())));
        }
    }
    let root_span_id = ids.span_id();
    let is_sampled = config.sample(trace_id);
    // An unsampled trace without outputs is not reported.
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
        Err(error) => return without_room(error, &config, inheritance, &single).map(Break),
    };
    let attributes = std::mem::take(&mut config.attributes);
    let needs_environment = attributes.need_environment() || needs_environment(&config.rules);
    let chosen = match sources::choose(&config, needs_environment) {
        Ok(chosen) => chosen,
        Err(error) => {
            // The sinks remove the files that they have begun.
            drop(sinks);
            return without_room(error, &config, inheritance, &single).map(Break);
        }
    };
    let is_sent = config.outputs.iter().any(|wanted| wanted.output == Output::Otlp);
    let announcement = (is_sent && config.captured.processes && chosen.source.description().sees_everything())
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
        own_name: own_name(),
        accounts: accounts(),
        cpus: thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        hosts: hosts(),
        peer_names: std::mem::take(&mut config.peer_names),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        errors: config.errors.into(),
        rules: std::mem::take(&mut config.rules),
    });
    restore_environment(&config, inheritance, &single);
    // If an outer run exports this trace, no span has the id of our root. So the variables must not name it.
    let variables = match outer {
        Some(_) => Vec::new(),
        None => config.propagators.inject(SpanContext { trace_id, span_id: root_span_id }, is_sampled, config.caller),
    };
    let former = launch::set_variables(variables, &single);

    let signals = match Signals::hold(&single).map_err(io::Error::from) {
        Ok(signals) => signals,
        Err(error) if limits::is_limit(&error) => {
            drop(sinks);
            return run_untraced(&error, &config, inheritance, former).map(Break);
        }
        Err(error) => return Err(error).context("cannot block signals"),
    };
    let threads = single.end();
    Ok(Continue(Prepared {
        config,
        inheritance,
        trace_id,
        is_quiet,
        sinks,
        chosen,
        announcement,
        tracer,
        former,
        signals,
        threads,
    }))
}

impl Prepared {
    /// Starts the threads and the command. Returns the outcome of a command that ran without a trace, or did not start.
    ///
    /// # Errors
    ///
    /// The run is impossible.
    fn start(self) -> Result<ControlFlow<Outcome, Running>> {
        let Self { mut config, inheritance, threads, .. } = self;
        let sinks = self.sinks.start(threads);
        let intake = sinks.intake();
        // The sinks remove the files that they have begun.
        let give_up = |sinks: Sinks| {
            intake.close(Duration::ZERO);
            sinks.join();
        };
        let mut observation = match Observation::start(self.chosen, self.tracer, &intake, &config, threads) {
            Ok(observation) => observation,
            Err(error) => {
                give_up(sinks);
                return Err(error);
            }
        };
        if let Some(notice) = observation.notice.take_if(|notice| !notice.is_of_limit) {
            notice.print();
        }
        let spawn = launch::spawn(config.command.clone(), inheritance, config.user.clone());
        let child = match observation.source.launch(spawn) {
            Ok(child) => child,
            Err(error) => {
                give_up(sinks);
                return match limits::is_limit(&error) {
                    true => run_untraced(&error, &config, inheritance, self.former).map(Break),
                    false => Ok(Break(not_invoked(&error, &config))),
                };
            }
        };
        // From here on nothing may fail, because the command's exit status becomes ours.
        intake.begin();
        let tags = &observation.tags;
        let start_tags = |tagging| TagRunner::start(tagging, child.id(), Arc::clone(tags), threads);
        let tagging = config.tagging.take().map(start_tags);
        privileges::drop_after_launch();
        Ok(Continue(Running {
            config,
            trace_id: self.trace_id,
            is_quiet: self.is_quiet,
            sinks,
            intake,
            observation,
            announcement: self.announcement,
            signals: self.signals,
            child,
            tagging,
            threads,
        }))
    }
}

impl Running {
    /// Waits for the command, delivers the spans and reports.
    fn finish(mut self) -> Outcome {
        let Observation { source, drain, unobserved, seat, notice, .. } = self.observation;
        let end = self.signals.wait_for(&mut *self.child, |signal, sender| source.paired_signals(signal, sender));
        if self.config.wait == Wait::Tree {
            self.signals.wait_until(|| source.live_processes() == 0);
        }
        self.signals.forget();
        let finishing = Instant::now();
        let tag_warning = self.tagging.and_then(|tagging| match tagging {
            Ok(tagging) => tagging.finish(),
            Err(error) => Some(format!("tags: {error:#}")),
        });
        notice.iter().for_each(Notice::print);
        let tracer = drain.finish(Ending { end, unobserved });
        self.intake.close(self.config.flush_timeout);
        if let Err(error) = &tracer {
            console::warn(format_args!("the rest of the trace is lost: {error:#}"));
        }
        let tracer = tracer.ok();
        source.warnings().iter().chain(&tag_warning).for_each(console::warn);
        if tracer.as_ref().is_some_and(Tracer::has_foreign_tags) {
            console::warn("tags are ignored: the pids of this pid namespace are not those of the machine");
        }
        // The kernel can take long to detach the source. Meanwhile the sinks deliver the remaining spans.
        drop((source, seat, self.announcement));
        listen_to_impatience(self.signals, self.intake, self.threads);
        report(tracer.as_ref(), self.trace_id, &self.sinks.join(), self.is_quiet);
        if self.config.is_verbose {
            console::say(format_args!("{} to finish the trace", ms(finishing.elapsed())));
        }
        end.into()
    }
}

/// Runs the command in place of process-tracer, because a limit leaves no room for both. The variables that name the root
/// span get their former values back.
///
/// # Errors
///
/// With `--strict`.
fn run_untraced(error: &io::Error, config: &Config, inheritance: Inheritance, former: Variables) -> Result<Outcome> {
    let reason = limits::in_words(error);
    if config.is_strict {
        bail!("the command is not started, because of --strict: {reason}");
    }
    console::warn(format_args!("the command runs without a trace: {reason}"));
    Ok(replace(config, inheritance, former))
}

/// Runs the command without a trace, if a limit caused the error.
///
/// # Errors
///
/// If no limit caused the error. With `--strict`, always.
fn without_room(error: Error, config: &Config, inheritance: Inheritance, single: &SingleThread) -> Result<Outcome> {
    let Some(limit) = limits::behind(&error) else { return Err(error) };
    restore_environment(config, inheritance, single);
    run_untraced(limit, config, inheritance, Variables::new())
}

/// Executes the command in place of process-tracer. Returns only if that is impossible.
fn replace(config: &Config, inheritance: Inheritance, former: Variables) -> Outcome {
    not_invoked(&launch::replace(&config.command, inheritance, config.user.clone(), former), config)
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
    let variables = config.user.iter().flat_map(User::variables).map(|(name, value)| (name, Some(value)));
    launch::set_variables(variables, single);
}

/// Ends the delivery at the first signal, and keeps the spans that are left. A second signal ends the process.
fn listen_to_impatience(signals: Signals, intake: Intake, threads: Threads) {
    let listener = threads.start("impatience", move || {
        privileges::drop_in_thread();
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

/// Prints the texts of the sinks, the warnings, and one last line. Without a tracer, the end of the trace is lost,
/// and there is no last line.
fn report(tracer: Option<&Tracer>, trace_id: TraceId, deliveries: &[Delivery], is_quiet: bool) {
    for text in deliveries.iter().filter_map(|delivery| delivery.closing.text.as_deref()) {
        console::write(text);
    }
    for failure in tracer.into_iter().flat_map(Tracer::failures) {
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
    let Some(certificate) = tracer.and_then(Tracer::certificate) else { return };
    if is_quiet {
        // Undelivered spans and unobserved events have their own warnings. A command line that was cut is no reason for a
        // warning.
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

/// The kinds of spans that were not observed. The attribute `process_tracer.unobserved.kinds` also lists smaller kinds,
/// for example `usage`.
fn unseen(certificate: &Certificate) -> String {
    let mut kinds = ["processes", "connections", "flows", "lookups"].to_vec();
    kinds.retain(|kind| !certificate.has_observed(kind));
    if let [.., "connections", "flows", "lookups"] = kinds[..] {
        // All three are missing. The line names only the connections.
        kinds.truncate(kinds.len() - 2);
    }
    match kinds.as_slice() {
        [] => String::new(),
        [kind] => format!(", {kind} not observed"),
        [kinds @ .., last] => format!(", {} and {last} not observed", kinds.join(", ")),
    }
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

/// The losses of the source, in words, if `is_such` accepts their cause. Undelivered spans are not among them.
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

/// The file name of process-tracer.
fn own_name() -> String {
    let path = env::current_exe().unwrap_or_default();
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Random bytes of the system.
fn seed<const N: usize>() -> Result<[u8; N]> {
    let mut seed = [0; N];
    SysRng.try_fill_bytes(&mut seed).context("the system has no random numbers for us")?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::BorrowedFd, sync::mpsc};

    use nix::sys::eventfd::EventFd;
    use tracer_model::{
        ExitStatus,
        event::Usage,
        source::{ChildChange, End},
    };

    use super::*;
    use crate::{
        cli::{config::Wanted, origin},
        sinks::span_of_test,
    };

    /// A command that has ended with status 3.
    struct Ended;

    impl Child for Ended {
        fn id(&self) -> u32 {
            std::process::id()
        }

        fn look(&mut self) -> Option<ChildChange> {
            Some(ChildChange::Ended(End { status: ExitStatus::Code(3), usage: Usage::default() }))
        }

        fn as_fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    #[test]
    fn finished_spans_are_delivered_if_the_rest_of_the_trace_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.jsonl");
        let (args, origins) = origin::parse(&["process-tracer", "--", "false"].map(Into::into)).unwrap();
        let config = Config::resolve(args, &origins).unwrap();
        let resource = resource(None);
        let facts = RunFacts {
            encoder: Encoder::new(resource.clone(), None),
            value_limit: None,
            resource: &resource,
            spool: None,
            root: tracer_model::SpanId([1; 8]),
            token: "",
            by: None,
        };
        // SAFETY: only changes of the environment need a single thread. This test changes no environment.
        let single = unsafe { SingleThread::assume() };
        let wanted = Wanted { output: Output::JsonLines(file.clone()), is_optional: false };
        let threads = Threads::of_test();
        let sinks = OpenSinks::open(&[wanted], &config.collector, &facts).unwrap().start(threads);
        let intake = sinks.intake();
        intake.push(&Arc::new(span_of_test(10)));
        let drain = Drain::Thread {
            thread: threads.start_quiet("drain", || panic!("at the disco")).unwrap(),
            end: mpsc::channel().0,
            stop: Arc::new(EventFd::new().unwrap()),
        };
        let running = Running {
            trace_id: TraceId([1; 16]),
            is_quiet: false,
            sinks,
            intake,
            observation: Observation {
                source: sources::alone(&Error::msg("a test"), &config, false).unwrap().source,
                drain,
                unobserved: None,
                seat: None,
                notice: None,
                tags: Latest::default(),
            },
            announcement: None,
            signals: Signals::hold(&single).unwrap(),
            child: Box::new(Ended),
            tagging: None,
            threads,
            config,
        };
        assert_eq!(running.finish(), Outcome::Exited(3));
        assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 1);
    }
}
