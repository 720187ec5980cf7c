//! User attributes.

use crate::{
    harness::{process_tracer, trace_python, trace_script},
    trace::{KIND_CLIENT, Trace},
};

#[test]
fn attributes_are_on_the_spans_of_their_processes() {
    let flags = [
        "-a",
        r#"pod=env["POD_NAME"]"#,
        "-a",
        r#"opt=filter(args, {# startsWith "-O"}) | join(",")"#,
        "-a",
        "n=len(args)",
    ];
    let run = trace_script(&flags, "POD_NAME=pod-7 /bin/echo -O2 x -O1; /bin/true");
    run.trace.assert_complete();
    let (echo, other, root) = (run.trace.named("echo"), run.trace.named("true"), run.trace.root());
    assert_eq!((echo.attribute("pod"), echo.attribute("opt"), echo.attribute("n")), ("pod-7", "-O2,-O1", "4"));
    assert_eq!((other.attribute("opt"), other.attribute("n")), ("", "1"));
    assert!(!other.attributes.contains_key("pod") && !root.attributes.contains_key("pod"));
}

#[test]
fn an_environment_of_100_kib_is_read_completely() {
    let value = "v".repeat(100_000);
    let script = format!("BEFORE={value} AFTER=end exec /bin/true");
    let run = trace_script(&["-a", r#"length=len(env["BEFORE"])"#, "-a", r#"after=env["AFTER"]"#], &script);
    run.trace.assert_complete();
    assert_eq!(run.trace.root().attribute("length"), "100000");
    assert_eq!(run.trace.root().attribute("after"), "end");
}

#[test]
fn an_attribute_whose_expression_fails_is_left_out_and_reported_once() {
    let run = trace_script(&["-a", "bad=args[7]", "-a", "good=args[0]"], "/bin/true; /bin/true");
    run.trace.assert_complete();
    assert_eq!(run.code(), Some(0));
    assert!(run.trace.spans.iter().all(|span| !span.attributes.contains_key("bad")));
    assert_eq!(run.trace.root().attribute("good"), "sh");
    assert_eq!(run.trace.root().attribute("process_tracer.failed_expressions"), "3");
    assert_eq!(run.stderr.matches("attribute 'bad' was left out 3 times").count(), 1, "{}", run.stderr);
}

#[test]
fn only_variables_that_an_expression_uses_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.args(["-a", r#"pod=env["POD_NAME"]"#, "-o", "summary", "-o"]).arg(&file).args(["--", "true"]);
    let output = command.env("POD_NAME", "pod-7").env("SECRET", "hunter2").output().unwrap();
    let told = std::fs::read_to_string(&file).unwrap() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("pod-7") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_map_becomes_one_attribute_per_key() {
    let map = r#"ci={"job": env["JOB"], "ref": env["NO_SUCH_VARIABLE"]}"#;
    let run = trace_script(&["-a", map, "-a", r#"empty="""#, "--skip-empty-values"], "JOB=build /bin/true");
    run.trace.assert_complete();
    let process = run.trace.named("true");
    assert_eq!(process.attribute("ci.job"), "build");
    for absent in ["ci", "ci.ref", "empty"] {
        assert!(!process.attributes.contains_key(absent), "{absent}: {process:?}");
    }
}

#[test]
fn attributes_can_be_on_all_spans_of_a_process() {
    let script = "
import socket
listener = socket.create_server((\"127.0.0.1\", 0))
socket.create_connection(listener.getsockname()).close()";
    for (flags, is_expected) in [(&["--attributes-on", "all"][..], true), (&[][..], false)] {
        let attributes = ["-a", r#"team="ci""#, "-a", r#"network.transport="mine""#];
        let run = trace_python(&[flags, &attributes].concat(), script, &[]);
        run.trace.assert_complete();
        assert_eq!(run.trace.root().attribute("team"), "ci");
        let connections: Vec<_> = run.trace.spans.iter().filter(|span| span.kind == KIND_CLIENT).collect();
        assert!(!connections.is_empty());
        for connection in connections {
            assert_eq!(
                connection.attributes.get("team").is_some_and(|team| team == "ci"),
                is_expected,
                "{connection:?}"
            );
            assert_eq!(connection.attribute("network.transport"), "tcp");
        }
    }
}

#[test]
fn a_trace_id_can_be_the_hash_of_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let run = |flags: &[&str]| {
        let mut command = process_tracer();
        command.args(flags).arg("-o").arg(&file).args(["--", "true"]).env("CI_PIPELINE_ID", "4711");
        let output = command.env_remove("TRACEPARENT").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // From `printf 4711 | sha256sum`.
    let hash = "de650d61f5bd166a91f8ccec3158297d";
    let (code, stderr) = run(&["-t", "expr:env['CI_PIPELINE_ID']", "-p", "expr:env.CI_PIPELINE_ID"]);
    let root = Trace::read(&file).root().clone();
    assert_eq!((code, root.trace_id.as_str(), root.parent_id.as_str()), (Some(0), hash, &hash[..16]), "{stderr}");
    assert_eq!(root.attribute("process_tracer.trace_id.source"), "SHA-256 of env['CI_PIPELINE_ID']");
    assert!(stderr.contains(&format!("trace {hash} (SHA-256 of env['CI_PIPELINE_ID']), ")), "{stderr}");
    let (_, stderr) = run(&["-t", &format!("expr:'{hash}'")]);
    assert!(stderr.contains(&format!("trace {hash} ('{hash}'), ")), "{stderr}");
    let (_, stderr) = run(&["-t", hash]);
    assert!(stderr.contains(&format!("trace {hash} (--trace-id), ")), "{stderr}");
    let (_, stderr) = run(&[]);
    assert!(stderr.contains(" (random), "), "{stderr}");
    for (value, words) in [
        ("expr:env.NO_SUCH_VARIABLE", "--trace-id: the value of 'expr:env.NO_SUCH_VARIABLE' is empty"),
        ("build-42", r#"-t 'expr:"build-42"'"#),
        ("expr:len(arg)", "unknown name"),
    ] {
        let (code, stderr) = run(&["-t", value]);
        assert!(code == Some(125) && stderr.contains(words), "{value}: {stderr}");
    }
    assert!(run(&["-t", "expr:len(arg)"]).1.contains("\n | len(arg)\n |     ^"), "{}", run(&["-t", "expr:len(arg)"]).1);
}

#[test]
fn a_value_without_quotes_is_refused_and_both_correct_forms_are_shown() {
    let output = process_tracer().args(["-a", "team=platform", "--", "true"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains(r#"-a team='"platform"'"#) && stderr.contains(r#"-a team='env["TEAM"]'"#), "{stderr}");
    let run = trace_script(&["-a", r#"tool=expr:args[0]"#], "true");
    assert_eq!(run.trace.root().attribute("tool"), "sh");
}

#[test]
fn a_report_computes_attributes_of_a_saved_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (saved, page) = (folder.path().join("t.jsonl"), folder.path().join("t.json"));
    let output = process_tracer().arg("-o").arg(&saved).args(["--", "sh", "-c", "echo one two; :"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report = |attribute: &str| {
        let mut command = process_tracer();
        command.args(["report", "-a", attribute, "-o"]).arg(&page).arg(&saved);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(report("number=len(args)"), (Some(0), String::new()));
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.contains(r#""number":3"#), "{text}");
    let (code, stderr) = report("pod=env.POD_NAME");
    assert!(code == Some(125) && stderr.contains("a saved trace has no environment"), "{stderr}");
    let (code, stderr) = report("bad=args[7]");
    assert!(code == Some(0) && stderr.contains("attribute 'bad' was left out"), "{stderr}");
}
