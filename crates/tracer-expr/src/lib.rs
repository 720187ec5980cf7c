//! The expression language [expr](https://expr-lang.org), evaluated as version 1.17.8 of the Go library evaluates it.
//! Comments call that library the reference.
//!
//! By default, an expression sees three variables: `env`, a map of strings; `args`, a list of strings; `cmdline`, a
//! string. A [`Scope`] can give it other names.
//!
//! This crate does no I/O, with one exception: it reads a time zone from the system's database. An expression cannot
//! panic, run for long or use much memory: each evaluation has a budget.
//!
//! ```
//! use std::borrow::Cow;
//! use tracer_expr::{Input, Program, Value, Variables};
//!
//! struct Command;
//!
//! impl Variables for Command {
//!     fn arguments(&self) -> Vec<Cow<'_, str>> {
//!         vec!["cc".into(), "-O2".into(), "x.c".into()]
//!     }
//!
//!     fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
//!         vec![("JOB".into(), "build".into())]
//!     }
//!
//!     fn now(&self) -> i64 {
//!         0
//!     }
//! }
//!
//! let program = Program::compile(r#"env.JOB + ": " + (args | filter(# startsWith "-") | join(" "))"#)?;
//! let value = program.evaluate(&Input::new(&Command))?;
//! assert!(matches!(value, Value::String(text) if *text == *"build: -O2"));
//! # Ok::<(), tracer_expr::Error>(())
//! ```

#![forbid(unsafe_code)]

mod ast;
mod budget;
mod builtins;
mod check;
mod compile;
mod error;
mod escape;
mod format;
mod input;
mod lex;
mod numbers;
mod operate;
mod optimize;
mod parse;
mod print;
pub mod regex;
mod run;
mod scope;
mod sort;
#[cfg(test)]
mod tests;
mod time;
mod value;

pub use error::{Error, ErrorKind, Position};
pub use input::{Input, Variables};
pub use scope::{Function, Nature, Scope};
pub use time::{Time, Zone};
pub use value::{List, Map, Value};

use error::Fault;

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    source: String,
    code: compile::Code,
    can_be_bool: bool,
}

/// Sources with more tokens are compiled on a thread with a large stack.
const FEW_TOKENS: usize = 64;

/// Bytes of that stack. The kernel allocates only the used part.
const LARGE_STACK: usize = 512 << 20;

impl Program {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// The text is not an expression, a name is unknown, a type does not fit, or the expression is too large.
    pub fn compile(source: &str) -> Result<Self, Error> {
        Self::compile_in(&Scope::COMMAND, source)
    }

    /// Compiles an expression that uses the names of a scope.
    ///
    /// # Errors
    ///
    /// The same as those of [`compile`](Self::compile).
    pub fn compile_in(scope: &Scope, source: &str) -> Result<Self, Error> {
        let (code, can_be_bool) = compile_source(scope, source).map_err(|fault| Error::bind(fault, source))?;
        Ok(Self { source: source.to_owned(), code, can_be_bool })
    }

    /// Whether the value can be `true` or `false`.
    #[must_use]
    pub fn can_be_bool(&self) -> bool {
        self.can_be_bool
    }

    /// Whether the expression looks at the environment.
    #[must_use]
    pub fn uses_environment(&self) -> bool {
        self.code.uses_environment
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    ///
    /// The evaluation fails, or needs more than its budget.
    pub fn evaluate(&self, input: &Input<'_>) -> Result<Value, Error> {
        run::run(&self.code, input).map_err(|fault| Error::bind(fault, &self.source))
    }
}

fn compile_source(scope: &Scope, source: &str) -> Result<(compile::Code, bool), Fault> {
    if source.len() > budget::MAX_SOURCE {
        return Err(Fault::budget(format!("the expression is longer than {} bytes", budget::MAX_SOURCE)));
    }
    let tokens = lex::tokens(source)?;
    if tokens.len() <= FEW_TOKENS {
        return compile_tokens(scope, &tokens);
    }
    // The parser, the checker and the compiler are recursive.
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new()
            .stack_size(LARGE_STACK)
            .spawn_scoped(threads, || compile_tokens(scope, &tokens));
        let thread = thread.map_err(|error| Fault::budget(format!("no thread to compile the expression: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(Fault::evaluation("the compilation failed")))
    })
}

fn compile_tokens(scope: &Scope, tokens: &[lex::Token]) -> Result<(compile::Code, bool), Fault> {
    let mut node = parse::parse(tokens, budget::MAX_DEPTH)?;
    let nature = check::check(scope, &mut node)?;
    optimize::optimize(&mut node)?;
    let can_be_bool = nature == check::types::Type::Bool || nature.is_unknown();
    Ok((compile::compile(scope, &node)?, can_be_bool))
}
