//! Any text, compiled and evaluated. Run it with
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/tracer-expr/fuzz -s none evaluate`.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use tracer_expr::{Input, Program, Variables};

struct Sample;

impl Variables for Sample {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        vec!["cc".into(), "-O2".into(), "ünï.c".into()]
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        vec![("A".into(), "1".into()), ("B".into(), "".into()), ("J".into(), r#"{"a":[1,"x",null]}"#.into())]
    }

    fn now(&self) -> i64 {
        1_700_000_000_123_456_789
    }
}

fuzz_target!(|source: &str| {
    if let Ok(program) = Program::compile(source)
        && let Ok(value) = program.evaluate(&Input::new(&Sample))
    {
        let _ = (value.json(), value.text());
    }
});
