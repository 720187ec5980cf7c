//! Evaluates an expression over a command: `cargo run -p tracer-expr --example evaluate`.
#![allow(clippy::print_stdout)]

use std::borrow::Cow;

use tracer_expr::{Error, Input, Program, Value, Variables};

/// `cc -O2 -c t_hash.c`, in the job `build`.
struct Command;

impl Variables for Command {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        ["cc", "-O2", "-c", "t_hash.c"].map(Cow::Borrowed).into()
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        vec![("JOB".into(), "build".into())]
    }

    fn now(&self) -> i64 {
        0
    }
}

fn main() -> Result<(), Error> {
    println!("{:?}", sources()?);
    Ok(())
}

/// Returns the job and the files that the command compiles.
pub(crate) fn sources() -> Result<Value, Error> {
    let program = Program::compile(r#"env.JOB + ": " + (args | filter(# endsWith ".c") | join(", "))"#)?;
    program.evaluate(&Input::new(&Command))
}
