//! Nanoseconds per evaluation of typical expressions, compared with the crate that evaluated them before.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{borrow::Cow, cell::OnceCell, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use expr::{Context, ContextProvider};
use indexmap::IndexMap;
use tracer_expr::{Input, Program, Variables};

/// A compiler in a CI job.
struct Command {
    arguments: Vec<&'static str>,
    environment: Vec<(String, String)>,
}

impl Command {
    fn new() -> Self {
        let mut environment: Vec<_> = (0..60).map(|index| (format!("CI_VARIABLE_{index}"), "x".repeat(40))).collect();
        environment.push(("CI_JOB_NAME".to_owned(), "build".to_owned()));
        Self {
            arguments: "cc -O2 -Wall -g -std=c17 -I include -c src/main.c -o main.o".split(' ').collect(),
            environment,
        }
    }
}

impl Variables for Command {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        self.arguments.iter().map(|argument| Cow::Borrowed(*argument)).collect()
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        self.environment.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    }

    fn environment_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str().into())
    }

    fn now(&self) -> i64 {
        0
    }
}

/// The same variables for the former crate. Each is made when the expression asks for it.
struct Former<'a> {
    command: &'a Command,
    variables: [OnceCell<expr::Value>; 3],
}

impl<'a> Former<'a> {
    fn new(command: &'a Command) -> Self {
        Self { command, variables: Default::default() }
    }
}

impl ContextProvider for Former<'_> {
    fn get(&self, key: &str) -> Option<&expr::Value> {
        let Command { arguments, environment } = self.command;
        let text = |text: &str| expr::Value::String(text.to_owned());
        let [args, cmdline, env] = &self.variables;
        Some(match key {
            "args" => {
                args.get_or_init(|| expr::Value::Array(arguments.iter().map(|argument| text(argument)).collect()))
            }
            "cmdline" => cmdline.get_or_init(|| expr::Value::String(arguments.join(" "))),
            "env" => env.get_or_init(|| {
                let variables = environment.iter().map(|(name, value)| (name.clone(), text(value)));
                variables.collect::<IndexMap<_, _>>().into()
            }),
            _ => return None,
        })
    }

    fn to_context(&self) -> Context {
        let names = ["args", "cmdline", "env"];
        names.into_iter().filter_map(|name| Some((name, self.get(name)?.clone()))).collect()
    }
}

const EXPRESSIONS: [(&str, &str); 8] = [
    ("literal", r#""production""#),
    ("variable", r#"env["CI_JOB_NAME"]"#),
    ("default", r#"env.TARGET ?? "default""#),
    ("first argument", "args[0]"),
    ("contains", r#"cmdline contains "-O2""#),
    ("filter and join", r#"filter(args, {# startsWith "-O"}) | join(",")"#),
    ("find", r#"args[findIndex(args, {# == "-o"}) + 1]"#),
    ("matches", r#"cmdline matches "-std=c[0-9]+""#),
];

fn evaluate(criterion: &mut Criterion) {
    let command = Command::new();
    let mut group = criterion.benchmark_group("evaluate");
    for (name, source) in EXPRESSIONS {
        let program = Program::compile(source).unwrap();
        // The variables are made again at each exec.
        group.bench_function(name, |bencher| {
            bencher.iter(|| program.evaluate(&Input::new(black_box(&command))).unwrap());
        });
        let program = expr::compile(source).unwrap();
        group.bench_function(format!("{name}, expr-lang"), |bencher| {
            bencher.iter(|| expr::run(&program, &Former::new(black_box(&command))).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
