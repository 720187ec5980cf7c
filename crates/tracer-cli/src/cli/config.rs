//! Valid options and OpenTelemetry's variables → the configuration of a run.
//!
//! This module has the rules that concern several options, for example the choice of the outputs of a run.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf, time::Duration};

use anyhow::{Context, Error, Result, bail};
use tracer_bpf::RecordKind;
use tracer_model::{
    Captured, PeerNames, SpanId, TraceId,
    context::TRACEPARENT,
    event::base_name,
    expression::{Attribute, Attributes},
    judge::Rules,
    redact::{Pattern, Policy, Redactor},
};
use tracer_otlp::{Collector, Signal};
use tracer_report::{By, Filter, formats::Text};

use super::{
    args::Args,
    collector::{self, CertificateProblem},
    origin::{Origin, Origins},
    otel::{self, Limits},
    propagation::{Caller, Propagators},
    rules,
    sampler::Sampler,
    values::{AttributesOn, ErrorsChoice, Parent, Shown, Spool},
};
pub(crate) use super::{
    collector::TRACES_ENDPOINT,
    values::{Output, SourceChoice, Wait},
};
use crate::{child::user::User, ci, console, state, tags::Tagging, variables::variable};

/// The configuration of a run.
#[derive(Debug)]
pub(crate) struct Config {
    /// The command and its arguments: at least one.
    pub(crate) command: Vec<OsString>,
    /// `None`: a random one.
    pub(crate) trace_id: Option<TraceId>,
    /// Its origin, in words.
    pub(crate) trace_id_source: String,
    pub(crate) parent_id: Option<SpanId>,
    /// The trace that TRACEPARENT names.
    pub(crate) caller: Option<TraceId>,
    /// The sampling decision of our caller, if there is one.
    is_parent_sampled: Option<bool>,
    /// The state of the trace in W3C Trace Context. Empty: none.
    pub(crate) trace_state: String,
    sampler: Sampler,
    pub(crate) limits: Limits,
    pub(crate) propagators: Propagators,
    /// `None`: the program of the command.
    pub(crate) root_name: Option<String>,
    pub(crate) attributes: Attributes,
    pub(crate) outputs: Vec<Wanted>,
    /// `--by`: texts and pages show totals for each value of this property.
    pub(crate) by: Option<By>,
    pub(crate) collector: Collector,
    /// `None`: OpenTelemetry's variables decide.
    pub(crate) service_name: Option<String>,
    pub(crate) peer_names: PeerNames,
    /// `None`: the user of process-tracer.
    pub(crate) user: Option<User>,
    pub(crate) source: SourceChoice,
    pub(crate) wait: Wait,
    /// Which failed spans have the status ERROR.
    pub(crate) errors: ErrorsChoice,
    /// Time limit for delivery after the command has ended.
    pub(crate) flush_timeout: Duration,
    /// The folder for undelivered spans. `None`: they are not kept.
    pub(crate) spool: Option<PathBuf>,
    /// Bytes of the ring buffer: a power of two.
    pub(crate) ring_bytes: u32,
    /// How many live processes can be followed at once.
    pub(crate) max_processes: u32,
    pub(crate) uses_sudo: bool,
    /// The kinds of spans that are recorded.
    pub(crate) captured: Captured,
    /// The flags that ask for records of system calls, each with its records.
    pub(crate) system_calls: Vec<(&'static str, RecordKind)>,
    /// Which arguments are exported.
    pub(crate) arguments: Policy,
    /// How processes appear in the trace.
    pub(crate) rules: Rules,
    /// The command that prints tags of processes.
    pub(crate) tagging: Option<Tagging>,
    pub(crate) is_strict: bool,
    pub(crate) is_quiet: bool,
    pub(crate) is_verbose: bool,
}

/// An output, and whether the run can start without it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) output: Output,
    /// No flag asks for it. If it cannot be opened, the run starts without it.
    pub(crate) is_optional: bool,
}

impl Config {
    /// Resolves the options of a run.
    ///
    /// # Errors
    ///
    /// There is no command, two options contradict each other, or there is no such user.
    pub(crate) fn resolve(args: Args, origins: &Origins) -> Result<Self> {
        if args.command.is_empty() {
            bail!("no command to run; usage: process-tracer [OPTIONS] -- COMMAND [ARGS]...");
        }
        otel::warn_of_ignored();
        let propagators = Propagators::of_environment();
        let place = trace_context(&args, origins, &propagators)?;
        let attributes =
            args.attribute.iter().map(|text| Attribute::compile(text)).collect::<Result<Attributes, _>>()?;
        let (outputs, collector) = trusted_outputs(&args, origins)?;
        let (rules, tagging) = rules::of_run(&args, origins)?;
        let arguments = argument_policy(&args, origins)?;
        let wanted = |output| Wanted { is_optional: !is_asked_for(&output, &args, origins), output };
        Ok(Self {
            trace_id: place.trace_id,
            trace_id_source: place.trace_id_source,
            parent_id: place.parent_id,
            caller: place.caller,
            is_parent_sampled: place.is_parent_sampled,
            trace_state: place.trace_state,
            sampler: Sampler::of_environment(),
            limits: otel::limits(),
            propagators,
            attributes: attributes
                .skip_empty_values(args.skip_empty_values)
                .on_all_spans(args.attributes_on == AttributesOn::All),
            outputs: outputs.into_iter().map(wanted).collect(),
            collector,
            by: args.by.clone(),
            user: user(&args, origins)?,
            source: args.source,
            wait: args.wait,
            errors: args.errors,
            flush_timeout: args.flush_timeout,
            ring_bytes: args.buffer_size,
            max_processes: args.max_processes,
            uses_sudo: args.sudo,
            captured: args.capture,
            system_calls: args.system_calls(),
            root_name: root_name(&args, &arguments, origins)?,
            arguments,
            rules,
            tagging,
            is_strict: args.strict,
            is_quiet: args.quiet,
            is_verbose: args.verbose,
            spool: match args.spool {
                Some(Spool::Nowhere) => None,
                Some(Spool::Folder(folder)) => Some(folder),
                None => state::folder(),
            },
            peer_names: args.peer_name.into_iter().collect(),
            service_name: args.service_name.filter(|name| !name.is_empty()),
            command: args.command,
        })
    }

    /// Makes this a run for these rules and tags only. It belongs to no other trace, and nobody gets its spans. The
    /// command inherits the trace context unchanged.
    pub(crate) fn restrict_to(self, rules: Rules, tagging: Option<Tagging>) -> Self {
        Self {
            rules,
            tagging,
            outputs: Vec::new(),
            trace_id: None,
            sampler: Sampler::ALWAYS,
            propagators: Propagators::default(),
            is_quiet: true,
            ..self
        }
    }

    /// Decides whether this trace is sampled. If it is not, nothing goes out over OTLP.
    pub(crate) fn sample(&mut self, trace_id: TraceId) -> bool {
        let is_sampled = self.sampler.samples(self.is_parent_sampled, trace_id);
        if !is_sampled {
            if self.is_verbose {
                console::say(format_args!("trace {trace_id} is not sampled: nothing is sent over OTLP"));
            }
            self.outputs.retain(|wanted| wanted.output != Output::Otlp);
            // Nothing has to be observed, because nobody gets the spans.
            if self.outputs.is_empty() && self.wait == Wait::Command && !self.is_strict {
                (self.source, self.uses_sudo) = (SourceChoice::None, false);
            }
        }
        is_sampled
    }

    /// The flags whose events come from system calls, for a message. `None`: there is no such flag.
    pub(crate) fn system_call_flags(&self) -> Option<String> {
        let given: Vec<_> = self.system_calls.iter().map(|(flag, _)| *flag).collect();
        (!given.is_empty()).then(|| given.join(" and "))
    }
}

/// The name of the root, if the program alone does not decide it.
///
/// # Errors
///
/// The flag has an expression that fails.
fn root_name(args: &Args, policy: &Policy, origins: &Origins) -> Result<Option<String>> {
    let default = || name_in_ci(&args.command);
    let Some(name) = &args.root_name else { return Ok(default()) };
    let command = args.command.iter().map(|argument| argument.as_bytes()).collect();
    match name.evaluate(&policy.exported(command)) {
        Ok(name) => Ok(Some(name)),
        Err(error) if origins.of("root_name") == Origin::Variable => {
            console::warn(format_args!("{} is ignored: {error:#}", origins.name_of("root_name")));
            Ok(default())
        }
        Err(error) => Err(error.context(origins.name_of("root_name"))),
    }
}

/// In CI, the name of the job comes before the program.
fn name_in_ci(command: &[OsString]) -> Option<String> {
    let job = ci::job_name(variable)?;
    let program = command.first()?.to_string_lossy();
    Some(format!("{job}: {}", base_name(&program)))
}

/// The collector of a run, and whether the run sends to it.
pub(crate) fn collector(args: &Args) -> (Collector, bool) {
    let (outputs, collector, problem) = outputs(args);
    problem.iter().for_each(CertificateProblem::ignore);
    let is_wanted = outputs.contains(&Output::Otlp);
    (collector, is_wanted)
}

/// The outputs of `process-tracer report`. The default is the summary. A filter changes only the tree and the page, so with it
/// the default is the tree.
pub(crate) fn report_outputs(mut outputs: Vec<Output>, filter: &Filter) -> Vec<Output> {
    if outputs.is_empty() {
        outputs.push(Output::Text(if filter.shows_all() { Text::Summary } else { Text::Tree }));
    }
    outputs
}

/// The origin of an id that was not given.
const RANDOM: &str = "random";

/// The place of the trace among others.
#[derive(Debug, Default)]
struct Place {
    trace_id: Option<TraceId>,
    trace_id_source: String,
    parent_id: Option<SpanId>,
    /// The trace that TRACEPARENT names.
    caller: Option<TraceId>,
    /// The sampling decision of our caller, if there is one.
    is_parent_sampled: Option<bool>,
    trace_state: String,
}

fn trace_context(args: &Args, origins: &Origins, propagators: &Propagators) -> Result<Place> {
    let trace_id = args.trace_id.as_ref().map(|given| given.id);
    let parent_id = args.parent_id.as_ref().map(|given| given.id);
    let caller = propagators.extract(variable);
    let calling_trace = caller.as_ref().filter(|caller| caller.from == TRACEPARENT).map(|caller| caller.span.trace_id);
    let caller = match args.parent {
        Some(Parent::Ci) if caller.is_none() => {
            let run = ci::run_span(variable);
            if run.is_none() {
                console::warn(format_args!(
                    "{} ci is ignored: GITHUB_RUN_ID or GITHUB_RUN_ATTEMPT is not set; the CI run is not the parent",
                    origins.name_of("parent")
                ));
            }
            run.map(|span| Caller { span, is_sampled: None, state: String::new(), from: "ci" })
        }
        _ => caller,
    };
    // A span can only be a parent within its own trace.
    let caller = caller.filter(|caller| trace_id.is_none_or(|trace_id| trace_id == caller.span.trace_id));
    if parent_id.is_some() && trace_id.is_none() && caller.is_none() {
        if origins.of("parent_id") == Origin::Variable {
            console::warn(
                "PROCESS_TRACER_PARENT_ID is ignored: the trace of this parent is not known; set PROCESS_TRACER_TRACE_ID, \
                 too",
            );
            return Ok(Place { trace_id_source: RANDOM.to_owned(), caller: calling_trace, ..Place::default() });
        }
        bail!("--parent-id: the trace of this parent is not known; set --trace-id, too");
    }
    let trace_id_source = match (&args.trace_id, &caller) {
        (Some(given), _) => given.derivation.clone().unwrap_or_else(|| origins.name_of("trace_id")),
        (None, Some(caller)) => caller.from.to_owned(),
        (None, None) => RANDOM.to_owned(),
    };
    Ok(Place {
        trace_id: trace_id.or(caller.as_ref().map(|caller| caller.span.trace_id)),
        trace_id_source,
        parent_id: parent_id.or(caller.as_ref().map(|caller| caller.span.span_id)),
        caller: calling_trace,
        is_parent_sampled: match &caller {
            Some(caller) => caller.is_sampled,
            None => propagators.decision(variable),
        },
        trace_state: caller.map(|caller| caller.state).unwrap_or_default(),
    })
}

/// Here, an invalid variable is an error too. If it were ignored, the command would run as another user, possibly as
/// root.
fn user(args: &Args, origins: &Origins) -> Result<Option<User>> {
    let name = args.user.as_deref().filter(|name| !name.is_empty());
    name.map(User::look_up).transpose().with_context(|| origins.name_of("user"))
}

fn argument_policy(args: &Args, origins: &Origins) -> Result<Policy> {
    let is_off = args.no_redact.contains(&Shown::All);
    if is_off && [origins.of("redact"), origins.of("no_redact")] == [Origin::Flag; 2] {
        bail!("--redact: --no-redact without a pattern shows everything; use one of them");
    }
    let shown = args.no_redact.iter().filter_map(|shown| match shown {
        Shown::All => None,
        Shown::Named(pattern) => Some(pattern.clone()),
    });
    let redactor = (!is_off).then(|| Redactor::new(args.redact.clone(), shown.collect::<Vec<Pattern>>()));
    Ok(Policy { extent: args.args, redactor })
}

/// Whether a flag asks for that output. A variable alone does not count.
fn is_asked_for(output: &Output, args: &Args, origins: &Origins) -> bool {
    let is_flag = |option| origins.of(option) == Origin::Flag;
    match output {
        Output::Live(_) => is_flag("live"),
        Output::Otlp if is_flag("endpoint") => true,
        _ => is_flag("output") && args.output.contains(output),
    }
}

/// The outputs and the collector of a run. If the certificate authorities that the user named cannot be read, nothing is
/// sent over TLS.
///
/// # Errors
///
/// A flag asks for an export that needs these authorities.
fn trusted_outputs(args: &Args, origins: &Origins) -> Result<(Vec<Output>, Collector)> {
    let (mut outputs, collector, problem) = outputs(args);
    if let Some(problem) = problem {
        let is_needed = outputs.contains(&Output::Otlp) && collector.url(Signal::Traces).is_secure();
        if !is_needed {
            problem.ignore();
        } else if is_asked_for(&Output::Otlp, args, origins) {
            return Err(problem.into());
        } else {
            console::warn(format_args!("an output is left out: {:#}", Error::from(problem)));
            outputs.retain(|output| *output != Output::Otlp);
        }
    }
    Ok((outputs, collector))
}

const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";

fn outputs(args: &Args) -> (Vec<Output>, Collector, Option<CertificateProblem>) {
    let (collector, is_configured, problem) = collector::resolve(args.protocol, args.endpoint.as_ref());
    let mut outputs = Vec::new();
    for output in &args.output {
        if !outputs.contains(output) {
            outputs.push(output.clone());
        }
    }
    if args.endpoint.is_some() && !outputs.is_empty() && !outputs.contains(&Output::Otlp) {
        outputs.push(Output::Otlp);
    }
    if outputs.is_empty() {
        outputs = default_outputs(args.endpoint.is_some(), is_configured);
        // `--quiet` omits a summary that nobody asked for.
        outputs.retain(|output| !(args.quiet && *output == Output::Text(Text::Summary)));
    }
    let is_disabled = variable(SDK_DISABLED).is_some_and(|value| otel::is_true(SDK_DISABLED, &value));
    if is_disabled && outputs.contains(&Output::Otlp) {
        console::warn(format_args!("{SDK_DISABLED} is true: nothing is sent over OTLP"));
        outputs.retain(|output| *output != Output::Otlp);
        if outputs.is_empty() && !args.quiet {
            outputs.push(Output::Text(Text::Summary));
        }
    }
    outputs.extend(args.live.map(Output::Live));
    if let Some(file) = variable("GITHUB_STEP_SUMMARY").filter(|_| !args.quiet) {
        outputs.push(Output::JobSummary(file.into()));
    }
    (outputs, collector, problem)
}

/// The outputs of a run without `--output`.
fn default_outputs(has_endpoint_option: bool, has_endpoint: bool) -> Vec<Output> {
    let summary = Output::Text(Text::Summary);
    let usual = if has_endpoint { Output::Otlp } else { summary.clone() };
    let Some(names) = variable(EXPORTER).filter(|_| !has_endpoint_option) else {
        return vec![if has_endpoint_option { Output::Otlp } else { usual }];
    };
    let (outputs, unknown) = exporters(&names);
    for name in unknown {
        console::warn(format_args!("'{name}' of {EXPORTER} is ignored: it is not one of otlp, console and none"));
    }
    if outputs.is_empty() { vec![usual] } else { outputs }
}

const EXPORTER: &str = "OTEL_TRACES_EXPORTER";

/// The outputs that a list of exporters names, and the names that are not known. Without an exporter there is the summary.
fn exporters(names: &str) -> (Vec<Output>, Vec<&str>) {
    let (mut outputs, mut unknown) = (Vec::new(), Vec::new());
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let output = match name {
            "otlp" => Output::Otlp,
            "console" | "none" => Output::Text(Text::Summary),
            _ => {
                unknown.push(name);
                continue;
            }
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    (outputs, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_exporters_names_outputs() {
        let summary = Output::Text(Text::Summary);
        assert_eq!(exporters("otlp"), (vec![Output::Otlp], vec![]));
        assert_eq!(exporters("otlp, console,otlp"), (vec![Output::Otlp, summary.clone()], vec![]));
        assert_eq!(exporters("none"), (vec![summary.clone()], vec![]));
        assert_eq!(exporters("zipkin,console"), (vec![summary], vec!["zipkin"]));
    }
}
