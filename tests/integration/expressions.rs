//! User attributes.

use crate::harness::{process_tracer, trace_script};

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
fn a_failing_expression_is_left_out_and_shown_once() {
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
