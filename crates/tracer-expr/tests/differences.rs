//! The deliberate differences from the Go library. docs/expressions.md lists them in a table.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::borrow::Cow;

use tracer_expr::{Input, Program, Value, Variables};

/// The environment has no `NONE`.
struct Sample;

impl Variables for Sample {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        vec!["cc".into()]
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        vec![("SET".into(), "set".into()), ("EMPTY".into(), "".into())]
    }

    fn now(&self) -> i64 {
        0
    }
}

fn value(expression: &str) -> Value {
    let program = Program::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    program.evaluate(&Input::new(&Sample)).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn text(expression: &str) -> String {
    match value(expression) {
        Value::Absent => "(absent)".to_owned(),
        value => value.json().unwrap(),
    }
}

#[test]
fn an_absent_variable_takes_the_right_side_of_coalesce() {
    assert_eq!(text(r#"env["NONE"] ?? "default""#), r#""default""#);
    assert_eq!(text(r#"env.EMPTY ?? "default""#), r#""""#);
    assert_eq!(text(r#"env?.NONE ?? "default""#), r#""default""#);
    assert_eq!(text(r#"$env.env.NONE ?? "default""#), r#""default""#);
    assert_eq!(text(r#"env["NO" + "NE"] ?? env.NONE ?? 1"#), "1");
    assert_eq!(text(r#"(true ? env.NONE : "") ?? "default""#), r#""default""#);
    assert_eq!(text(r#"let x = env.NONE; x ?? "default""#), r#""default""#);
    assert_eq!(text(r#"if true { env.NONE } else { "" } "#), "(absent)");
}

#[test]
fn an_absent_variable_equals_nil_and_the_empty_string() {
    for expression in [
        "env.NONE == nil",
        "nil == env.NONE",
        "!(env.NONE != nil)",
        "env.NONE == \"\"",
        "env.NONE == env.EMPTY",
        "env.EMPTY != nil",
        "env.NONE == env.NONE2",
        "let x = env.NONE; x == nil and x == \"\"",
    ] {
        assert_eq!(text(expression), "true", "{expression}");
    }
}

#[test]
fn an_absent_variable_alone_has_no_value() {
    for expression in
        ["env.NONE", "env[\"NONE\"]", "env?.NONE", "let x = env.NONE; x", "true ? env.NONE : 1", "1; env.NONE"]
    {
        assert!(matches!(value(expression), Value::Absent), "{expression}");
    }
}

#[test]
fn an_absent_variable_adds_no_key_and_is_an_empty_element() {
    assert_eq!(text("{a: env.NONE, b: env.EMPTY, c: env.SET}"), r#"{"b":"","c":"set"}"#);
    assert_eq!(text("[env.NONE, env.SET]"), r#"["","set"]"#);
    assert_eq!(text("map(args, env.NONE)"), r#"[""]"#);
    assert_eq!(text("[env.NONE][0] ?? 1"), r#""""#);
}

#[test]
fn an_absent_variable_is_an_empty_string_in_operators_and_functions() {
    for (expression, expected) in [
        (r#"env.NONE != "" ? "branch" : "tag""#, r#""tag""#),
        (r#"env.NONE + "-ci""#, r#""-ci""#),
        (r#""ci-" + env.NONE"#, r#""ci-""#),
        ("len(env.NONE)", "0"),
        ("upper(env.NONE)", r#""""#),
        ("string(env.NONE)", r#""""#),
        ("type(env.NONE)", r#""string""#),
        ("toJSON(env.NONE)", r#""\"\"""#),
        (r#"split(env.NONE, ",")"#, r#"[""]"#),
        (r#"env.NONE contains """#, "true"),
        (r#"env.NONE startsWith "a""#, "false"),
        (r#""a" endsWith env.NONE"#, "true"),
        (r#"env.NONE matches "^$""#, "true"),
        (r#""x" matches env.NONE"#, "true"),
        (r#"env.NONE in ["", "a"]"#, "true"),
        ("env.NONE in args", "false"),
        ("env.NONE in env", "false"),
        (r#"env.NONE < "a""#, "true"),
        ("env.NONE[0:3]", r#""""#),
        ("reduce(args, #acc + #, env.NONE)", r#""cc""#),
        ("{(env.NONE): 1}", r#"{"":1}"#),
        ("\"NONE\" in env", "false"),
        ("get(env, \"NONE\")", "null"),
    ] {
        assert_eq!(text(expression), expected, "{expression}");
    }
}

#[test]
fn a_slice_inside_a_character_gives_replacement_characters() {
    assert_eq!(text(r#""é"[0:1]"#), "\"\\ufffd\"");
    assert_eq!(text(r#"len("日本"[1:])"#), "3");
    assert_eq!(text(r#""日本"[0:3]"#), "\"日\"");
    assert_eq!(text(r#"len(fromBase64("/w=="))"#), "1");
}

#[test]
fn maps_are_in_the_order_of_their_keys() {
    assert_eq!(text("keys({b: 1, c: 2, a: 3})"), r#"["a","b","c"]"#);
    assert_eq!(text("values({b: 1, c: 2, a: 3})"), "[3,1,2]");
    assert_eq!(text("toPairs({b: 1, a: 2})"), r#"[["a",2],["b",1]]"#);
}

#[test]
fn a_time_zone_as_text_is_its_name() {
    assert_eq!(text(r#"string(timezone("Europe/Berlin"))"#), r#""Europe/Berlin""#);
    assert_eq!(text(r#"timezone("Local").String() + date("2024-01-01").Local().Zone()"#), r#""LocalUTC""#);
    for folder in ["posix", "right"] {
        let program = Program::compile(&format!(r#"timezone("{folder}/UTC")"#));
        assert!(program.and_then(|program| program.evaluate(&Input::new(&Sample))).is_err(), "{folder}");
    }
}
