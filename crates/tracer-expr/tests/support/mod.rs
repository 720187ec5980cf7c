//! The variables and the notation of the recorded answers.

use std::borrow::Cow;

use tracer_expr::{Error, Input, Program, Value, Variables};

/// The same variables as in `xtask/expr-oracle/main.go`.
pub(crate) struct Recorded;

const ARGUMENTS: [&str; 8] = ["cc", "-O2", "-c", "x.c", "-o", "x.o", "-O1", "ünï.c"];

const ENVIRONMENT: [(&str, &str); 13] = [
    ("HOME", "/home/ci"),
    ("CI", "true"),
    ("JOBS", "8"),
    ("EMPTY", ""),
    ("BRANCH", "feature/é-日本"),
    ("VERSION", "v1.2.3"),
    ("LIST", "a,b,,c"),
    ("SPACES", "  padded\t"),
    ("FLOAT", "2.5"),
    ("JSON", r#"{"a":[1,2.5,"x",null,true],"b":{"c":"d"}}"#),
    ("DATE", "2024-02-29T12:30:45+02:00"),
    ("in", "keyword"),
    ("with-dash", "dash"),
];

impl Variables for Recorded {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        ARGUMENTS.map(Cow::from).to_vec()
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        ENVIRONMENT.map(|(name, value)| (name.into(), value.into())).to_vec()
    }

    fn now(&self) -> i64 {
        1_800_000_000_000_000_000
    }
}

/// Compiles and evaluates an expression.
pub(crate) fn evaluate(expression: &str) -> Result<Value, Error> {
    Program::compile(expression)?.evaluate(&Input::new(&Recorded))
}

/// A value in the notation of the recorded answers.
pub(crate) fn encode(value: &Value) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
    match value {
        Value::Nil => "nil".to_owned(),
        // A deliberate difference with its own tests.
        Value::Absent => "\"\"".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Byte(value) => format!("u{value}"),
        Value::Float(value) if value.is_nan() => "fNaN".to_owned(),
        Value::Float(value) => format!("f{:x}", value.to_bits()),
        Value::String(text) => quote(text),
        Value::Bytes(bytes) => {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("u{byte}")).collect();
            format!("[{}]", bytes.join(" "))
        }
        Value::List(list) if list.is_nil() => "nil[]".to_owned(),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(|item| encode(&item)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", encode(&key), encode(value))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(" "))
        }
        Value::Time(time) => format!("t{}.{}@{}", time.unix_seconds(), time.nanosecond(), time.zone().name()),
        Value::Duration(value) => format!("d{value}"),
        Value::Month(value) => format!("m{value}"),
        Value::Weekday(value) => format!("w{value}"),
        Value::Zone(zone) => format!("z{}", zone.name()),
        Value::Method(_) => "?func".to_owned(),
    }
}
