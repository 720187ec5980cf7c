//! Properties of any text.

use proptest::prelude::*;

use crate::{
    Input, Program, Variables,
    ast::{Node, NodeKind},
    builtins, lex, parse,
};

struct Sample;

impl Variables for Sample {
    fn arguments(&self) -> Vec<std::borrow::Cow<'_, str>> {
        vec!["cc".into(), "-O2".into(), "ünï.c".into()]
    }

    fn environment(&self) -> Vec<(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> {
        vec![("A".into(), "1".into()), ("B".into(), "".into())]
    }

    fn now(&self) -> i64 {
        1_000_000_000
    }
}

fn tree(source: &str) -> Option<Node> {
    // The tests have small stacks.
    parse::parse(&lex::tokens(source).ok()?, 100).ok()
}

/// Pieces of expressions in any order.
fn pieces() -> impl Strategy<Value = String> {
    let mut words = vec![
        "args",
        "env",
        "cmdline",
        "env.A",
        "$env",
        "x",
        "1",
        "2.5",
        "0x1F",
        "\"a\"",
        "'é'",
        "`r`",
        "b\"x\"",
        "nil",
        "true",
        "false",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        ";",
        "?",
        "??",
        "?.",
        ".",
        "..",
        "|",
        "#",
        "#acc",
        "#index",
        "+",
        "-",
        "*",
        "/",
        "%",
        "**",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "&&",
        "||",
        "!",
        "not ",
        " in ",
        " matches ",
        " contains ",
        " and ",
        " or ",
        "let x = ",
        "if ",
        " else ",
        "a: ",
        "/* c */",
        "// c\n",
        " ",
        "\\",
        "\u{1F600}",
    ];
    words.extend(builtins::ALL.iter().map(|builtin| builtin.name));
    prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.concat())
}

/// Well-formed expressions.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "args",
        "env",
        "cmdline",
        "env.A",
        "env.NONE",
        "1",
        "2.5",
        "1e300",
        "\"a\\n\\u00e9\"",
        "b\"\\xff\"",
        "nil",
        "true",
        "[]",
        "{}",
        "1..3",
        "fromJSON(\"[1]\")",
        "date(\"2024-02-29\")",
        "duration(\"1h\")",
        "-1",
        "not true",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operators = vec![
            "+", "-", "*", "/", "%", "**", "==", "!=", "<", "<=", "in", "not in", "matches", "contains", "&&", "or",
            "..", "??",
        ];
        let functions: Vec<&str> = builtins::ALL.iter().map(|builtin| builtin.name).collect();
        prop_oneof![
            (inner.clone(), prop::sample::select(operators), inner.clone())
                .prop_map(|(a, o, b)| format!("({a}) {o} ({b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("{a} == nil ? {b} : {c}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}:]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{a: {a}, (\"b\"): {b}}}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(let v = {a}; [v, {b}])")),
            inner.clone().prop_map(|a| format!("({a})?.x.y?.z")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (prop::sample::select(functions.clone()), inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (prop::sample::select(functions), inner.clone(), inner).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
        ]
    })
}

fn evaluate(source: &str) {
    if let Ok(program) = Program::compile(source)
        && let Ok(value) = program.evaluate(&Input::new(&Sample))
    {
        let _ = (value.json(), value.text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn printing_and_parsing_gives_the_same_tree(source in prop_oneof![pieces(), expressions()]) {
        if let Some(parsed) = tree(&source) {
            let printed = parsed.to_string();
            let again = tree(&printed);
            prop_assert_eq!(again.as_ref(), Some(&parsed), "{} became {}", source, printed);
        }
    }

    #[test]
    fn no_text_panics(source in prop_oneof![pieces(), expressions(), any::<String>(), "[ -~]{0,40}"]) {
        evaluate(&source);
    }

    #[test]
    fn no_pattern_panics(pattern in prop_oneof![any::<String>(), r"[\\\[\]\^a-c{}0-9,()?*+|:.pPdDwWQEx-]{0,16}"]) {
        let _ = crate::regex::Pattern::new(&pattern).map(|pattern| pattern.compile());
    }

    #[test]
    fn no_layout_or_date_panics(layout in "[0-9A-Za-z_:., +-]{0,24}", date in "[0-9A-Za-z:., +-]{0,24}") {
        if let Some(time) = crate::time::parse(&layout, &date, None) {
            let _ = crate::time::layout::format(&time, &layout);
        }
        let _ = crate::time::duration::parse(&date);
    }

    #[test]
    fn durations_are_read_as_they_are_printed(duration in any::<i64>()) {
        let printed = crate::time::duration::text(duration);
        prop_assert_eq!(crate::time::duration::parse(&printed), Some(duration), "{}", printed);
    }

    #[test]
    fn times_are_read_as_they_are_printed(seconds in -62_135_596_800_i64..253_402_300_800, nanoseconds in 0..1_000_000_000_u32) {
        let time = crate::Time { seconds, nanoseconds, zone: crate::Zone::Utc };
        let layout = "2006-01-02T15:04:05.000000000Z07:00";
        let printed = crate::time::layout::format(&time, layout);
        let again = crate::time::parse(layout, &printed, None);
        prop_assert_eq!(again, Some(time), "{}", printed);
    }
}

#[test]
fn a_comparison_of_three_is_two_comparisons() {
    let chained = tree("1 < 2 < 3").map(|node| node.kind);
    assert!(matches!(chained, Some(NodeKind::Binary(crate::ast::BinaryOperator::And, ..))));
}

#[test]
fn an_error_of_matches_names_the_type_of_its_text() {
    let program = Program::compile(r#"fromJSON("1") matches "a""#).unwrap();
    let error = program.evaluate(&Input::new(&Sample)).unwrap_err();
    assert!(error.to_string().contains("a string is needed, but this is float"), "{error}");
}
