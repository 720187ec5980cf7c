//! One run, from a configuration to the command's end: set up, start, wait, deliver, say what came of it.

use std::{
    borrow::Cow,
    ffi::OsString,
    io,
    os::unix::ffi::OsStrExt,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Error, Result, bail};
use nix::unistd::{getegid, geteuid, getgid, getuid};
use rand::{TryRng, rngs::SysRng};
use tracer_bpf::{
    Attached, Capture, Options, Stream, Timing,
    probe::{self, Obstacle},
};
use tracer_model::{
    Anchor, Event, ExitStatus, IdGenerator, Identity, Ktime, Losses, Settings, TraceId, Tracer,
    context::{SpanContext, TRACEPARENT},
    event::{Image, Strings, Usage},
    span::Certificate,
};

use crate::{
    config::{Config, Wait},
    console,
    drain::{self, Drain},
    inheritance::Inheritance,
    launch, load,
    outcome::Outcome,
    privileges,
    resource::resource,
    seats::Seat,
    signals::Signals,
    sinks::{Delivery, Intake, OpenSinks, RunFacts, Sinks, Undelivered},
    sudo,
    user::{User, accounts, hosts},
    variables::variable,
};

/// Runs the command and traces it.
///
/// # Errors
///
/// What kept us from starting the command.
pub(crate) fn run(mut config: Config, inheritance: Inheritance) -> Result<Outcome> {
    let resource = resource(config.service_name.as_deref());
    let mut ids = IdGenerator::new(seed()?);
    let trace_id = config.trace_id.unwrap_or_else(|| ids.trace_id());
    let root_span_id = ids.span_id();
    let spool = config.spool.as_ref().map(|folder| folder.join(format!("{trace_id}-{root_span_id}.jsonl")));
    let token = format!("{:032x}", u128::from_le_bytes(seed()?));
    let facts = RunFacts { resource: &resource, spool: spool.as_deref(), root: root_span_id, token: &token };
    let sinks = OpenSinks::open(&config.outputs, &config.otlp, &facts)?;
    let attributes = std::mem::take(&mut config.attributes);
    let system_calls = SystemCalls::prepare(&mut config)?;
    let command = &config.command;
    let capture = start_capture(attributes.need_environment(), &config)?;
    let tracer = Tracer::new(Settings {
        trace_id,
        root_span_id,
        root_parent_id: config.parent_id,
        root_name: command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
        anchor: Anchor { ktime: drain::now(), wall: SystemTime::now() },
        seed: seed()?,
        attributes,
        arguments: std::mem::take(&mut config.arguments),
        accounts: accounts(),
        cpus: thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        hosts: hosts(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    privileges::drop_before_launch();
    inheritance.environment().restore();
    pass_on_context(trace_id, &SpanContext { trace_id, span_id: root_span_id }.to_string());
    for (name, value) in config.user.iter().flat_map(User::variables) {
        launch::set_variable(name, Some(&value));
    }

    let signals = Signals::hold().context("cannot hold back signals")?;
    let sinks = sinks.start();
    let intake = sinks.intake();
    // They clear away what they have begun.
    let give_up = |sinks: Sinks| {
        intake.close(Duration::ZERO);
        sinks.join();
    };
    let watch = match Watch::start(capture, tracer, &intake, &config) {
        Ok(watch) => watch,
        Err(error) => {
            give_up(sinks);
            return Err(error);
        }
    };

    let started = drain::now();
    let child = match launch::launch(command, inheritance, config.user.clone()) {
        Ok(child) => child,
        Err(error) => {
            let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            console::say(format_args!("cannot run '{program}': {}", reason(&error)));
            give_up(sinks);
            return Ok(Outcome::NotInvoked { is_found: error.kind() != io::ErrorKind::NotFound });
        }
    };
    // From here on nothing is allowed to fail: the command's status is to be ours.
    privileges::drop_after_launch();
    let (outcome, usage) = signals.wait_for(child.id(), |signal| watch.paired_signals(signal));
    if config.wait == Wait::Tree {
        signals.wait_until(|| watch.live_processes() == 0);
    }
    signals.forget();
    let finishing = Instant::now();
    let root = Root { identity: Identity { tgid: child.id(), start: started }, command, outcome, usage };
    match watch.finish(&root, &intake, system_calls.unobserved) {
        Ok((tracer, capture)) => {
            intake.close(config.flush_timeout);
            // While the sinks deliver what is left.
            drop(capture);
            listen_to_impatience(signals, intake);
            report(&tracer, trace_id, &sinks.join(), config.is_quiet);
        }
        Err(error) => console::warn(format_args!("the trace was lost: {error:#}")),
    }
    if config.is_verbose {
        console::say(format_args!("{} to finish the trace", ms(finishing.elapsed())));
    }
    Ok(outcome)
}

/// Whoever does not want to wait for the delivery says so by a signal: then what is left is kept. By another one they end us.
fn listen_to_impatience(signals: Signals, intake: Intake) {
    let listener = thread::Builder::new().name("impatience".to_owned()).spawn(move || {
        signals.wait_until(|| false);
        intake.close(Duration::ZERO);
        signals.release();
        // Signals find no other thread that lets them in.
        loop {
            thread::park();
        }
    });
    if let Err(error) = listener {
        console::warn(format_args!("cannot start a thread: {error}"));
    }
}

/// What there is to watch the command with.
enum Watch {
    /// The programs: all of its tree.
    Tree(Drain),
    /// Our own eyes: the command alone, and why.
    Root(Box<Tracer>, String),
}

impl Watch {
    /// Begins to watch: the next fork is the command.
    fn start(
        capture: Result<(Capture, Stream), String>,
        tracer: Tracer,
        intake: &Intake,
        config: &Config,
    ) -> Result<Self> {
        let start = |(mut capture, stream): (Capture, Stream)| {
            capture.arm();
            drain::Waiting::start(capture, stream, intake.clone())
        };
        let reason = match capture.map(start) {
            Ok(Ok(waiting)) => return Ok(Self::Tree(waiting.begin(tracer))),
            Ok(Err(error)) => unobserved(&error, config)?,
            Err(reason) => reason,
        };
        Ok(Self::Root(Box::new(tracer), reason))
    }

    /// Processes of the tree that are alive, as far as we can tell.
    fn live_processes(&self) -> u64 {
        match self {
            Self::Tree(drain) => drain.capture().live_processes(),
            Self::Root(..) => 0,
        }
    }

    /// How often a signal has been sent to the command by who sent it to us, as far as we can tell.
    fn paired_signals(&self, signal: i32) -> u32 {
        match self {
            Self::Tree(drain) => usize::try_from(signal).map_or(0, |signal| drain.capture().paired_signals(signal)),
            Self::Root(..) => 0,
        }
    }

    /// Ends the trace, of which something may have been left `unobserved`. Gives the programs as well, if there are any, still
    /// running.
    fn finish(
        self,
        root: &Root<'_>,
        intake: &Intake,
        unobserved: Option<String>,
    ) -> Result<(Tracer, Option<Arc<Capture>>)> {
        match self {
            Self::Tree(drain) => drain.finish(root.usage, unobserved).map(|(tracer, capture)| (tracer, Some(capture))),
            Self::Root(mut tracer, unobserved) => {
                root.trace(&mut tracer, unobserved);
                drain::hand_on(&mut tracer, intake);
                Ok((*tracer, None))
            }
        }
    }
}

/// What takes a program at the system calls: failed execs and connections to unix sockets.
struct SystemCalls {
    /// Held as long as the program runs.
    _seat: Option<Seat>,
    /// Why they are not observed, although they were asked for.
    unobserved: Option<String>,
}

impl SystemCalls {
    /// An ordinary user needs a seat for them. Without one the run goes on without them, or with `--strict` fails.
    fn prepare(config: &mut Config) -> Result<Self> {
        if privileges::viewer().is_none() || !(config.failed_execs || config.unix) {
            return Ok(Self { _seat: None, unobserved: None });
        }
        let reason = match Seat::take() {
            Ok(Some(seat)) => return Ok(Self { _seat: Some(seat), unobserved: None }),
            Ok(None) => "other runs without root watch the system calls, and no more may".to_owned(),
            Err(error) => format!("cannot take a seat at the system calls: {error}"),
        };
        let flags = [("--failed-execs", config.failed_execs), ("--unix", config.unix)];
        let flags: Vec<_> = flags.into_iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| flag).collect();
        let flags = flags.join(" and ");
        if config.is_strict {
            bail!("the command is not started, as --strict asks: {flags}: {reason}; try again later, or run with sudo");
        }
        console::warn(format_args!("{flags} is left out: {reason}; try again later, or run with sudo"));
        (config.failed_execs, config.unix) = (false, false);
        Ok(Self { _seat: None, unobserved: Some(format!("{flags}: {reason}")) })
    }
}

/// Loads and attaches the programs. If that cannot be, a warning says what is missing, or with `--strict` an error.
fn start_capture(environment: bool, config: &Config) -> Result<Result<(Capture, Stream), String>> {
    let started = Instant::now();
    let attached = attach(config);
    let timing = attached.as_ref().ok().and_then(Attached::timing);
    let capture = attached.and_then(|attached| Ok(Capture::start(attached, environment)?));
    if capture.is_ok() && config.is_verbose {
        let steps = timing.map_or(String::new(), |Timing { object, maps, programs }| {
            format!(": object {}, types and maps {}, programs {}", ms(object), ms(maps), ms(programs))
        });
        console::say(format_args!("eBPF programs attached in {}{steps}", ms(started.elapsed())));
    }
    match capture {
        Ok(capture) => Ok(Ok(capture)),
        Err(error) => Ok(Err(unobserved(&error, config)?)),
    }
}

/// What the command starts cannot be seen: says so and gives the reason, or with `--strict` an error.
fn unobserved(error: &Error, config: &Config) -> Result<String> {
    if config.is_strict {
        bail!("the command is not started, as --strict asks: {error:#}");
    }
    console::warn(format_args!("only the command itself is traced, not what it starts: {error:#}"));
    Ok(format!("{error:#}"))
}

/// Loads and attaches the programs, by way of sudo if that is wanted and we need it.
fn attach(config: &Config) -> Result<Attached> {
    let options = Options {
        ring_bytes: config.ring_bytes,
        max_processes: config.max_processes,
        viewer: privileges::viewer(),
        failed_execs: config.failed_execs,
        unix: config.unix,
    };
    match probe::check() {
        Ok(()) => load::load(options),
        Err(Obstacle::Privileges { .. }) if config.uses_sudo => sudo::attach(&options),
        Err(obstacle) => bail!("{obstacle}; {}", obstacle.remedy()),
    }
}

/// Goes with `TRACEPARENT`: W3C Trace Context.
const TRACESTATE: &str = "TRACESTATE";

/// What the command starts finds our root span as its parent. The state of a caller's trace stays if it is our trace too.
fn pass_on_context(trace_id: TraceId, traceparent: &str) {
    let caller = variable(TRACEPARENT).and_then(|caller| caller.parse::<SpanContext>().ok());
    if caller.is_none_or(|caller| caller.trace_id != trace_id) {
        launch::set_variable(TRACESTATE, None);
    }
    launch::set_variable(TRACEPARENT, Some(traceparent));
}

/// The command as we ourselves see it.
struct Root<'a> {
    identity: Identity,
    command: &'a [OsString],
    outcome: Outcome,
    /// Of all the tree.
    usage: Usage,
}

impl Root<'_> {
    /// Traces it: what can be seen without eBPF.
    fn trace(&self, tracer: &mut Tracer, unobserved: String) {
        let end = drain::now();
        let (process, parent) = (self.identity, Identity { tgid: std::process::id(), start: Ktime(0) });
        let image = Image {
            file: self.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
            directory: std::env::current_dir().ok().map(|directory| directory.to_string_lossy().into_owned()),
            arguments: self.command.iter().map(|argument| argument.as_bytes()).collect::<Strings>(),
            argument_count: self.command.len().try_into().unwrap_or(u32::MAX),
            user_id: geteuid().as_raw(),
            real_user_id: getuid().as_raw(),
            group_id: getegid().as_raw(),
            real_group_id: getgid().as_raw(),
            ..Image::default()
        };
        // The environment it was given is our own.
        let environment = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let environment = Some(environment.collect::<Strings>());
        tracer.handle(Event::Fork { process, parent, is_root: true });
        tracer.handle(Event::Exec {
            at: process.start,
            process,
            parent,
            image: Arc::new(image),
            environment,
            context: None,
        });
        let status = match self.outcome {
            Outcome::Exited(code) => ExitStatus::Code(code),
            Outcome::Killed { signal, core_dumped } => ExitStatus::Signal { number: signal as u8, core_dumped },
            Outcome::NotInvoked { .. } => return,
        };
        tracer.handle(Event::Exit { at: end, process, parent, status, is_oom_victim: false, usage: None });
        tracer.set_tree_usage(self.usage);
        tracer.finish(end, Losses { unobserved: Some(unobserved), ..Losses::default() });
    }
}

/// Says what came of the trace: its sinks' text, what went wrong, and one last line.
fn report(tracer: &Tracer, trace_id: TraceId, deliveries: &[Delivery], is_quiet: bool) {
    for text in deliveries.iter().filter_map(|delivery| delivery.closing.text.as_deref()) {
        console::write(text);
    }
    for failure in tracer.failures() {
        console::warn(format_args!(
            "attribute '{}' was left out {} times, since its expression failed; the first time: {}",
            failure.name, failure.count, failure.first
        ));
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
    let Certificate { processes, connections, flows, unix_connects, lookups, .. } = certificate;
    let spans = processes + connections + flows + unix_connects + lookups;
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
    console::say(format_args!("trace {trace_id}, {}{to}, {verdict}", counted(spans, "span")));
}

/// Whether the trace is complete, and if not, why.
fn verdict(certificate: &Certificate, is_kept: bool) -> Cow<'static, str> {
    if certificate.is_complete && is_kept {
        return Cow::Borrowed("complete");
    }
    let losses = &certificate.losses;
    let untracked = losses.untracked_processes + losses.untracked_connections;
    let mut reasons: Vec<String> = [
        (losses.records(), "record lost to a full buffer", "records lost to a full buffer"),
        (untracked, "process or connection too many to follow", "processes or connections too many to follow"),
        (losses.text_faults, "piece of text unreadable", "pieces of text unreadable"),
        (losses.missed, "event missed by the kernel", "events missed by the kernel"),
        (losses.undecodable, "record not understood", "records not understood"),
        (certificate.truncated, "command line or environment cut", "command lines or environments cut"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
    .collect();
    if let Some(reason) = &losses.unobserved {
        reasons.push(format!("not observed: {reason}"));
    }
    if !is_kept || losses.undelivered > 0 {
        reasons.push("not all delivered".to_owned());
    }
    Cow::Owned(format!("incomplete: {}", reasons.join(", ")))
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// What exec said, without the number that std appends.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Bytes that nobody can guess.
fn seed<const N: usize>() -> Result<[u8; N]> {
    let mut seed = [0; N];
    SysRng.try_fill_bytes(&mut seed).context("the system has no random numbers for us")?;
    Ok(seed)
}
