//! No expression can use up the machine: depth, steps and memory have limits.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use tracer_expr::{ErrorKind, Program};

mod support;

use support::{encode, evaluate};

fn exceeds(expression: &str) -> String {
    match evaluate(expression) {
        Err(error) if error.kind == ErrorKind::Budget => error.to_string(),
        other => panic!("{}: {:?}", &expression[..expression.len().min(80)], other.map(|value| encode(&value))),
    }
}

#[test]
fn deep_and_long_expressions_compile_up_to_the_limit() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(encode(&evaluate(&nested(4_000)).unwrap()), "1");
    let terms = |count: usize| vec!["1"; count].join(" + ");
    assert_eq!(encode(&evaluate(&terms(5_000)).unwrap()), "5000");
    assert!(exceeds(&terms(10_000)).contains("more than 10000 parts"));
    assert!(exceeds(&nested(100_000)).contains("nests deeper"));
    for deep in ["[", "{a:", "-", "not ", "f(", "1 + (", "a?.[", "if ", "let a = ", "all([], ", "1 ? ", "\"a\" | trim("]
    {
        for times in [20, 30, 60, 199, 1_000, 50_000] {
            assert!(evaluate(&deep.repeat(times)).is_err(), "{deep}");
        }
    }
    assert!(exceeds(&"1".repeat(2 << 20)).contains("longer than"));
}

#[test]
fn parts_that_are_evaluated_twice_do_not_multiply_without_end() {
    let mut expression = "1".to_owned();
    for _ in 0..40 {
        expression = format!("(0 < {expression} < 9 ? 1 : 2)");
    }
    assert!(exceeds(&expression).contains("repeats too many"));
    let mut expression = "1".to_owned();
    for _ in 0..40 {
        expression = format!("({expression} ?: 2)");
    }
    assert!(evaluate(&expression).is_err());
    let mut expression = "len(args)".to_owned();
    for _ in 0..40 {
        expression = format!("({expression} in 1..9 ? 1 : 2)");
    }
    assert!(exceeds(&expression).contains("repeats too many"));
    let mut expression = "\"a\"".to_owned();
    for _ in 0..40 {
        expression = format!("trim({expression}, \"b\")");
    }
    assert_eq!(encode(&evaluate(&expression).unwrap()), "\"a\"");
    let nested = format!("{}0{}", "[0][".repeat(30), "]".repeat(30));
    assert_eq!(encode(&evaluate(&nested).unwrap()), "0");
}

#[test]
fn lists_and_texts_do_not_grow_without_end() {
    for expression in [
        "1..(len(args) * 1000000000)",
        "0..9223372036854775806",
        "map(1..999998, repeat(\"a\", #))",
        "map(1..600000, #)",
        "reduce(1..100, #acc + #acc, \"a\")",
        "reduce(1..1000, concat(#acc, #acc), [1])",
        "reduce(1..100, replace(#acc, \"\", #acc), \"ab\")",
        "reduce(1..100, [#acc, #acc], [1]) | flatten()",
        "reduce(1..100, string([#acc, #acc]), \"a\")",
        "reduce(1..100, toJSON([#acc, #acc]), \"a\")",
        "reduce(1..100, join([#acc, #acc], #acc), \"a\")",
        "reduce(1..1000, toBase64(#acc), cmdline)",
        "repeat(cmdline, 1000000)",
        "reduce(1..5000, [#acc], 1)",
        "map(1..90, findLast(1..90000, # == 0))",
    ] {
        exceeds(expression);
    }
}

#[test]
fn loops_do_not_run_without_end() {
    for expression in [
        "let r = 1..9000; count(r, count(r, count(r, true) == 1) == 1)",
        "let r = 1..9000; all(r, # not in r or all(r, # in r))",
        "uniq(1..900000)",
        "let r = 1..9000; map(r, sort(r, \"desc\")[0])",
        "let s = repeat(\"a\", 900000); map(1..9000, s matches \"(a|aa)+$\")",
        "map(1..90000, \"a\" matches string(#))",
        "let s = repeat(\"a\", 900000); count(1..99000, s contains \"b\")",
        "let a = map(1..90000, #); let b = map(1..90000, #); count(1..9000, a == b)",
    ] {
        exceeds(expression);
    }
}

#[test]
fn a_loop_over_as_many_elements_as_the_reference_allows_has_a_value() {
    assert_eq!(encode(&evaluate("count(1..999998, # % 2 == 0)").unwrap()), "499999");
    assert_eq!(encode(&evaluate("sum(1..999998, # * 1)").unwrap()), "499998500001");
    assert_eq!(encode(&evaluate("len(map(1..499998, # + 1))").unwrap()), "499998");
}

#[test]
fn deep_values_are_refused_before_they_overflow_the_stack() {
    let json = format!("fromJSON('{}{}')", "[".repeat(100_000), "]".repeat(100_000));
    assert!(exceeds(&json).contains("nests deeper"));
    assert!(Program::compile(&format!("\"a\" matches '{}'", "(".repeat(100_000))).is_err());
    for open in ["(", "(a|", "(?:"] {
        for depth in [60, 1_000, 20_000] {
            let pattern = format!("{}a{}", open.repeat(depth), ")*".repeat(depth));
            let compiled = Program::compile(&format!("\"a\" matches '{pattern}'"));
            assert_eq!(compiled.is_ok(), depth == 60, "{open} {depth}");
        }
    }
    let patterns = vec!["\"a\" matches '\\pL{1,100}'"; 1_500].join(" or ").replace('\\', "\\\\");
    assert!(exceeds(&patterns).contains("regular expressions are too large"));
    let deep = "let a = reduce(1..150, [#acc], 1); let b = reduce(1..150, [#acc], 1);";
    let used = "[a == b, a in [b], len(string(a)), len(flatten(a)), a[0] == b, max(a), mean(a)]";
    assert_eq!(encode(&evaluate(&format!("{deep} {used}")).unwrap()), "[true true 301 1 false 1 f3ff0000000000000]");
}
