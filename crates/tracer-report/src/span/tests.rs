//! A span of a run and the same span of a saved trace say the same.

use std::sync::Arc;

use tracer_model::{
    ExitStatus,
    calls::{CallCounts, UnixConnectSpan},
    event::Image,
    span::{Certificate as ModelCertificate, LookupSpan, ProcessSpan, Reply, Subject as ModelSubject},
};

use super::{details::cut, *};

fn run(subject: ModelSubject) -> tracer_model::Span {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    tracer_model::Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent_id: Some(SpanId([3; 8])),
        links: Vec::new(),
        start,
        end: start + Duration::from_nanos(5),
        is_unfinished: false,
        is_repaired: true,
        owner: None,
        is_handled: false,
        attributes: [].into(),
        subject,
    }
}

/// The span of a process with the user's attributes.
fn run_with(subject: ModelSubject, attributes: &[(&str, Value)]) -> tracer_model::Span {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    tracer_model::Span { attributes: attributes.collect(), ..run(subject) }
}

fn process(exit: ExitStatus) -> ProcessSpan {
    ProcessSpan {
        pid: 7,
        parent_pid: 6,
        forked_by: None,
        name: "cc".to_owned(),
        image: None,
        executions: Vec::new(),
        failed_execs: Vec::new(),
        dropped_executions: 0,
        is_fork: true,
        exit: Some(exit),
        is_oom_victim: false,
        usage: None,
        group: None,
        folded: tracer_model::span::Folded::default(),
        certificate: None,
    }
}

/// The span as a file has it, with string values of attributes cut to `limit` characters.
fn saved(span: &tracer_model::Span, limit: usize) -> saved::Span {
    let description = semconv::describe(span);
    let mut attributes: saved::Attributes =
        description.attributes.into_iter().map(|(key, value)| (key.into_owned(), value)).collect();
    attributes.iter_mut().for_each(|(_, value)| cut(value, limit));
    saved::Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_id: span.parent_id,
        is_parent_remote: false,
        kind: match description.kind {
            semconv::Kind::Internal => saved::Kind::Internal,
            semconv::Kind::Client => saved::Kind::Client,
            semconv::Kind::Server => saved::Kind::Server,
        },
        name: span.name().into_owned(),
        start: nanoseconds(span.start),
        end: nanoseconds(span.end),
        attributes,
        events: Vec::new(),
        links: Vec::new(),
        is_run: false,
        has_failed: description.error.is_some(),
        message: description.error.map(|error| error.message.into_owned()).unwrap_or_default(),
        resource: Arc::default(),
    }
}

/// The facts of a span of a run, which the saved span must share.
fn facts(span: &tracer_model::Span) -> (String, Option<String>) {
    let facts = |span: &Span<'_>| {
        let is_repaired = span.is_repaired;
        (format!("{:?} {is_repaired}", span.subject), span.failure.as_deref().map(str::to_owned))
    };
    let of_run = facts(&span.into());
    assert_eq!(facts(&(&saved(span, 5)).into()), of_run, "the saved trace says something else");
    of_run
}

#[test]
fn attributes_and_limits_do_not_change_the_facts() {
    let evil = [
        ("dns.question.name", Value::String("x".to_owned())),
        ("network.transport", Value::String("tcp".to_owned())),
        ("process.exit.code", Value::Int(0)),
        ("error.type", Value::String("none".to_owned())),
    ];
    let killed = ExitStatus::Signal { number: 9, core_dumped: false };
    for (exit, failure) in [
        (ExitStatus::Code(0), None),
        (ExitStatus::Code(3), Some("exit 3")),
        (killed, Some("SIGKILL")),
        (ExitStatus::Signal { number: 11, core_dumped: true }, Some("SIGSEGV")),
    ] {
        let (subject, found) = facts(&run_with(ModelSubject::Process(Box::new(process(exit))), &evil));
        assert!(subject.starts_with("Process(Process { pid: 7, parent_pid: 6,"), "{subject}");
        assert_eq!(subject.contains("exit: Some(Signal { number: 9,"), failure == Some("SIGKILL"), "{subject}");
        assert_eq!(found.as_deref(), failure);
    }
    let handled = tracer_model::Span {
        is_handled: true,
        ..run_with(ModelSubject::Process(Box::new(process(ExitStatus::Code(3)))), &evil)
    };
    let (subject, failure) = facts(&handled);
    assert!(subject.contains("exit: None") && failure.is_none(), "{subject} {failure:?}");
    let victim = ProcessSpan { is_oom_victim: true, ..process(killed) };
    let (_, failure) = facts(&run_with(ModelSubject::Process(Box::new(victim)), &evil));
    assert_eq!(failure.as_deref(), Some("SIGKILL, out of memory"));
    // With --attributes-on all, connections and lookups have them too.
    let connect = UnixConnectSpan { path: "/x".to_owned(), error: Some(111) };
    let (subject, failure) = facts(&run_with(ModelSubject::Call(connect.into()), &evil));
    assert!(subject.contains("peer: Some(\"/x\")"), "{subject}");
    assert_eq!(failure.as_deref(), Some("connection refused"));
}

#[test]
fn a_limit_does_not_cut_the_reason_of_a_failed_connection_or_lookup() {
    let connect = UnixConnectSpan { path: "/x".to_owned(), error: Some(111) };
    let (subject, failure) = facts(&run(ModelSubject::Call(connect.into())));
    assert!(subject.contains("peer: Some(\"/x\")"), "{subject}");
    assert_eq!(failure.as_deref(), Some("connection refused"));
    let address = "192.0.2.7:53".parse().unwrap();
    let code = "SERVFAIL".to_owned();
    let answer = tracer_model::dns::Answer { code, addresses: Vec::new(), aliases: Vec::new(), is_truncated: false };
    for (reply, failure) in
        [(Reply::None, Some("no answer")), (Reply::Answer(answer), Some("SERVFAIL")), (Reply::Unread, None)]
    {
        let lookup = LookupSpan {
            name: "a.example".to_owned(),
            kind: "A".to_owned(),
            transport: tracer_model::event::Transport::Udp,
            local: address,
            server: address,
            attempts: 1,
            reply,
        };
        let (subject, found) = facts(&run(ModelSubject::Lookup(Box::new(lookup))));
        assert_eq!((subject.as_str(), found.as_deref()), ("Lookup true", failure));
    }
}

#[test]
fn a_certificate_with_losses_is_not_complete() {
    let certificate = |is_complete, cut_arguments| ModelCertificate {
        is_complete,
        is_cut_off: false,
        processes: 1,
        connections: 0,
        flows: 0,
        lookups: 0,
        calls: CallCounts::default(),
        failed_expressions: 0,
        losses: tracer_model::Losses { cut_arguments, ..Default::default() },
        gaps: Vec::new(),
        tree: None,
        cpus: 2,
        shortage: Box::default(),
        version: "0.1.0".to_owned(),
        trace_id_source: "SHA-256 of env.CI_PIPELINE_ID".to_owned(),
        source: None,
        failure: None,
    };
    for (is_complete, lost) in [(true, 0), (false, 1)] {
        let certificate = Some(certificate(is_complete, lost));
        let root = ProcessSpan { certificate, ..process(ExitStatus::Code(0)) };
        let root = run(ModelSubject::Process(Box::new(root)));
        let mut saved = saved(&root, 100);
        for span in [Span::from(&root), Span::from(&saved)] {
            let certificate = span.certificate().unwrap();
            assert_eq!((certificate.is_complete, certificate.cpus), (is_complete, 2));
            assert_eq!(certificate.losses.len() as u64, lost);
        }
        // An older version accepted `-a process_tracer.complete=true`.
        saved.attributes.retain(|(key, _)| key != semconv::COMPLETE);
        saved.attributes.push((semconv::COMPLETE.to_owned(), Value::Bool(true)));
        assert_eq!(Span::from(&saved).certificate().unwrap().is_complete, is_complete);
    }
}

#[test]
fn a_users_arguments_replace_the_real_ones() {
    let image = Image {
        arguments: [&b"cc"[..], b"secret\xff"].into_iter().collect(),
        directory: Some(b"/src\xff".to_vec()),
        ..Default::default()
    };
    let shown = |attributes: &[(&str, Value)]| {
        let process = ProcessSpan { image: Some(Arc::new(image.clone())), ..process(ExitStatus::Code(1)) };
        let span = run_with(ModelSubject::Process(Box::new(process)), attributes);
        let calls = [Span::from(&span).call(), Span::from(&saved(&span, 100)).call()];
        calls.map(|call| format!("{:?}", call))
    };
    let [of_run, of_saved] = shown(&[]);
    assert!(of_run.contains("secret") && of_run.contains("/src") && of_run == of_saved, "{of_run} {of_saved}");
    for value in [Value::String("***".to_owned()), Value::Strings(vec!["***".to_owned()])] {
        let [of_run, of_saved] = shown(&[("process.command_args", value)]);
        assert!(!of_run.contains("secret") && of_run == of_saved, "{of_run} {of_saved}");
    }
}

#[test]
fn a_process_is_shown_with_the_arguments_of_the_program_that_named_it() {
    let called = |name: &str, commands: &[&str]| {
        let mut root = process(ExitStatus::Code(0));
        root.name = name.to_owned();
        for command in commands {
            let arguments: tracer_model::event::Strings = command.split(' ').collect();
            let executable = Some(command.split(' ').next().unwrap().to_owned());
            let image = Image {
                file: executable.clone().unwrap(),
                executable: executable.clone(),
                arguments: arguments.clone(),
                ..Default::default()
            };
            root.image = Some(Arc::new(image));
            let at = SystemTime::UNIX_EPOCH;
            root.executions.push(tracer_model::span::Execution { at, executable, arguments });
        }
        let span = run(ModelSubject::Process(Box::new(root)));
        let mut span = Span::from(&span);
        span.process_mut().unwrap().is_root = true;
        let (arguments, is_shell) = span.named_call();
        format!("{}{}", arguments.join(" "), if is_shell { " (shell)" } else { "" })
    };
    assert_eq!(called("cc", &["/bin/cc a.c"]), "/bin/cc a.c");
    assert_eq!(called("nightly", &["/bin/cc a.c"]), "");
    assert_eq!(called("build: make", &["/bin/make all"]), "/bin/make all");
    assert_eq!(called("bash", &["bash -c x", "/bin/sleep 5"]), "bash -c x (shell)");
    assert_eq!(called("nice", &["nice sleep 5", "/bin/sleep 5"]), "nice sleep 5");
    assert_eq!(called("nightly", &["nice sleep 5", "/bin/sleep 5"]), "");
    assert_eq!(called("run", &["/bin/env sh /x/run y", "/bin/sh /x/run y", "/bin/app z"]), "/x/run y");
    assert_eq!(called("python3", &["/bin/env bash /x/python3 a.py", "python3 a.py"]), "python3 a.py");
}

#[test]
fn a_limit_cuts_the_shown_attributes_and_events() {
    let attributes = [("a", Value::String("äöü".to_owned())), ("b", Value::Strings(vec!["abc".to_owned()]))];
    let mut process = process(ExitStatus::Code(0));
    process.executions.push(tracer_model::span::Execution {
        at: SystemTime::UNIX_EPOCH,
        executable: Some("/bin/cc".to_owned()),
        arguments: Default::default(),
    });
    let span = run_with(ModelSubject::Process(Box::new(process)), &attributes);
    let details = Span::from(&span).with_value_limit(Some(2)).details();
    let value = |attributes: &KeyValues, key| attributes.iter().find(|(name, _)| name == key).unwrap().1.clone();
    assert_eq!(value(&details.attributes, "a"), Value::String("äö".to_owned()));
    assert_eq!(value(&details.attributes, "b"), Value::Strings(vec!["ab".to_owned()]));
    assert_eq!(value(&details.events[0].attributes, "process.executable.path"), Value::String("/b".to_owned()));
    assert_eq!(value(&Span::from(&span).details().attributes, "a"), Value::String("äöü".to_owned()));
}
