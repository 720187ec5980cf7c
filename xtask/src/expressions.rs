//! Expressions for the comparison of tracer-expr with the Go library. They are written by hand, made from tables, or
//! random.

use std::collections::BTreeSet;

/// Written by hand, one a line.
const BY_HAND: &str = include_str!("../expr-oracle/expressions.txt");

const BINARY: [&str; 29] = [
    "|",
    "or",
    "||",
    "and",
    "&&",
    "==",
    "!=",
    "<",
    ">",
    ">=",
    "<=",
    "in",
    "not in",
    "matches",
    "not matches",
    "contains",
    "not contains",
    "startsWith",
    "not startsWith",
    "endsWith",
    "..",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "^",
    "??",
];

const UNARY: [&str; 5] = ["-", "+", "!", "not ", "!!"];

/// One literal or variable of each kind and size.
const ATOMS: [&str; 78] = [
    "0",
    "1",
    "2",
    "-3",
    "7",
    "100",
    "1_000",
    "0x1F",
    "0b101",
    "0o17",
    "007",
    "9223372036854775807",
    "0.5",
    "2.0",
    ".25",
    "1e3",
    "1.5e-7",
    "1e21",
    "123456789.5",
    "1_0.5",
    "true",
    "false",
    "nil",
    "\"\"",
    "\"a\"",
    "'b'",
    "\"abc\"",
    "'8'",
    "\"2.5\"",
    "\"ünï\"",
    "\"日本\"",
    "`raw\\n`",
    "\"a,b,,c\"",
    "\"\\n\\t\\x41\\u00e9\"",
    "b\"abc\"",
    "b\"\\xff\\x00\"",
    "[]",
    "[1]",
    "[1, 2, 3]",
    "[3, 1, 2]",
    "[1.5, 2]",
    "[\"b\", \"a\"]",
    "[\"a\", 1, nil]",
    "[[1, 2], [3]]",
    "[nil]",
    "[true, false]",
    "{}",
    "{a: 1}",
    "{\"b\": 2, \"a\": [1]}",
    "1..3",
    "3..1",
    "-1..1",
    "env",
    "args",
    "cmdline",
    "env.HOME",
    "env[\"JOBS\"]",
    "env.EMPTY",
    "args[0]",
    "args[-1]",
    "args[1:3]",
    "len(args)",
    "$env",
    "$env.args",
    "int(env.JOBS)",
    "float(env.FLOAT)",
    "fromJSON(env.JSON)",
    "fromJSON(env.JSON).a",
    "fromJSON(env.JSON).b",
    "fromJSON(\"3\")",
    "fromJSON('\"s\"')",
    "fromJSON(\"null\")",
    "fromJSON(\"true\")",
    "date(\"2024-02-29\")",
    "duration(\"1h30m\")",
    "timezone(\"UTC\")",
    "split(cmdline, \" \")",
    "toPairs({a: 1})",
];

/// For tables in which each entry is combined with each other entry.
const FEW_ATOMS: [&str; 26] = [
    "0",
    "2",
    "-3",
    "0.5",
    "true",
    "false",
    "nil",
    "\"a\"",
    "\"abc\"",
    "b\"abc\"",
    "[1, 2, 3]",
    "[\"b\", \"a\"]",
    "[1, \"a\", nil]",
    "{a: 1}",
    "1..3",
    "env",
    "args",
    "env.HOME",
    "fromJSON(env.JSON)",
    "fromJSON(\"3\")",
    "fromJSON('\"a\"')",
    "fromJSON(\"null\")",
    "date(\"2024-02-29\")",
    "duration(\"90m\")",
    "findIndex(args, false)",
    "concat([])",
];

const FUNCTIONS: [&str; 55] = [
    "len",
    "type",
    "abs",
    "ceil",
    "floor",
    "round",
    "int",
    "float",
    "string",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "upper",
    "lower",
    "split",
    "splitAfter",
    "replace",
    "repeat",
    "join",
    "indexOf",
    "lastIndexOf",
    "hasPrefix",
    "hasSuffix",
    "max",
    "min",
    "mean",
    "median",
    "toJSON",
    "fromJSON",
    "toBase64",
    "fromBase64",
    "duration",
    "date",
    "timezone",
    "first",
    "last",
    "get",
    "take",
    "keys",
    "values",
    "toPairs",
    "fromPairs",
    "reverse",
    "uniq",
    "concat",
    "flatten",
    "sort",
    "bitand",
    "bitor",
    "bitxor",
    "bitnand",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitnot",
];

const LOOPS: [&str; 15] = [
    "all",
    "none",
    "any",
    "one",
    "filter",
    "map",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "count",
    "sum",
    "groupBy",
    "sortBy",
    "reduce",
];

const LISTS: [&str; 14] = [
    "args",
    "[]",
    "[3, 1, 2]",
    "[1, 2.5, -3]",
    "1..5",
    "3..1",
    "[\"b\", \"a\", \"b\"]",
    "[true, false, true]",
    "[1, \"a\", nil]",
    "[{n: 1, s: \"x\"}, {n: 2, s: \"y\"}, {n: 1, s: \"z\"}]",
    "[[1, 2], [3], []]",
    "b\"cab\"",
    "fromJSON(env.JSON).a",
    "split(env.LIST, \",\")",
];

const PREDICATES: [&str; 34] = [
    "{#}",
    "#",
    "{# > 1}",
    "# > 1",
    "# >= 2 and # < 4",
    "{true}",
    "{false}",
    "{nil}",
    "{# == \"b\"}",
    "{# startsWith \"-\"}",
    "# endsWith \".c\"",
    "{len(#) > 1}",
    "{.n > 1}",
    ".n",
    "{.n == 1 && .s != \"x\"}",
    "{#.s}",
    "#index",
    "{# + #index}",
    "{#acc + #}",
    "# + #acc",
    "{#acc}",
    "{let x = #; x == x}",
    "{string(#)}",
    "{type(#)}",
    "{# in args}",
    "{# % 2}",
    "{# % 2 == 0}",
    "{-#}",
    "{!#}",
    "not #",
    "{[#]}",
    "{any([1, 2], # == 1)}",
    "{# matches \"^[a-c]\"}",
    "{1; # != 2}",
];

const PATTERNS: [&str; 96] = [
    "^\\\\w+$",
    "\\\\d+",
    "\\\\W",
    "\\\\D",
    "\\\\s",
    "\\\\S",
    "[\\\\w-]+",
    "[^\\\\d]",
    "[\\\\D]",
    "[a&&b]",
    "[a--b]",
    "[a-c]",
    "[^a-c]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[a-\\\\d]",
    "\\\\<",
    "\\\\>",
    "\\\\bcc\\\\b",
    "\\\\Bc",
    "\\\\B",
    "\\\\Qa.b\\\\E",
    "\\\\Q.",
    "\\\\Qab\\\\E+",
    "a{2}",
    "a{,2}",
    "a{2,}",
    "a{2,1}",
    "a{1001}",
    "a{1000}",
    "(a{10}){200}",
    "a{",
    "{",
    "}",
    "x{a}",
    "a**",
    "a*?",
    "a+?",
    "a??",
    "a{2}{3}",
    "*a",
    "a|*",
    "(?i)CC",
    "(?i:C)c",
    "(?s).",
    "(?m)^x",
    "(?U)a+",
    "(?x)a b",
    "(?P<n>a)",
    "(?<n>a)",
    "(?P<1>a)",
    "(?P<n>a)(?P<n>b)",
    "(?=a)",
    "(?!a)",
    "(?:a",
    "(a",
    "a)",
    "[a",
    "\\\\pL",
    "\\\\p{L}",
    "\\\\p{Greek}",
    "\\\\P{L}",
    "\\\\p{^L}",
    "\\\\pX",
    "\\\\p{Foo}",
    "[[:alpha:]]",
    "[[:^digit:]]",
    "[[:foo:]]",
    "[[:word:]",
    "\\\\x41",
    "\\\\x{e9}",
    "\\\\x{110000}",
    "\\\\101",
    "\\\\1",
    "\\\\8",
    "\\\\0",
    "\\\\a",
    "\\\\e",
    "\\\\_",
    "\\\\é",
    "\\\\ ",
    "\\\\-",
    "\\\\/",
    "\\\\z",
    "\\\\Z",
    "\\\\A",
    "$",
    "^$",
    "",
    ".",
    "a|b",
    "日",
    "ü",
    "\\\\C",
];

const TEXTS: [&str; 14] = [
    "\"\"",
    "\"a\"",
    "\"aa\"",
    "\"abc\"",
    "\"CC x.c\"",
    "\"a.b\"",
    "\"a{,2}\"",
    "\"{\"",
    "\"é\"",
    "\"日本\"",
    "\"a b\"",
    "\"12\"",
    "\"x\\ny\"",
    "\"٣\"",
];

const LAYOUTS: [&str; 30] = [
    "2006-01-02",
    "2006-01-02T15:04:05Z07:00",
    "Jan 2, 2006",
    "January _2 2006",
    "Mon Jan 2 15:04:05 2006",
    "02/01/06",
    "3:04PM",
    "03:04:05 pm",
    "15:04",
    "15:4:5",
    "2006-002",
    "2006 __2",
    "15:04:05.000",
    "15:04:05.999",
    "15:04:05,000",
    "2006-01-02 15:04:05 -0700",
    "2006-01-02 15:04:05 MST",
    "-07",
    "-07:00:00",
    "Z0700",
    "Z070000",
    "Monday",
    "Mon",
    "",
    "x",
    "2006",
    "1",
    "_2",
    "_2006",
    "20060102150405",
];

const DATES: [&str; 26] = [
    "2024-02-29",
    "2023-02-29",
    "2024-02-29T12:30:45Z",
    "2024-02-29T12:30:45+02:00",
    "2024-02-29T12:30:45.123456789Z",
    "Feb 29, 2024",
    "February 29 2024",
    "Thu Feb 29 12:30:45 2024",
    "29/02/24",
    "3:04PM",
    "12:00AM",
    "03:04:05 pm",
    "25:00",
    "9:5:7",
    "2024-060",
    "12:30:45.123",
    "12:30:45,5",
    "2024-02-29 12:30:45 +0530",
    "2024-02-29 12:30:45 CET",
    "2024-02-29 12:30:45 GMT+3",
    "29 Feb 24 12:30 UTC",
    "Thursday, 29-Feb-24 12:30:45 UTC",
    "Thu, 29 Feb 2024 12:30:45 MST",
    "",
    "0001-01-01",
    "20240229123045",
];

const TIME_METHODS: [&str; 40] = [
    "Year()",
    "Month()",
    "Month().String()",
    "Day()",
    "Hour()",
    "Minute()",
    "Second()",
    "Nanosecond()",
    "YearDay()",
    "Weekday()",
    "Weekday().String()",
    "Unix()",
    "UnixMilli()",
    "UnixMicro()",
    "UnixNano()",
    "UTC()",
    "Location().String()",
    "Zone()",
    "Format(\"Mon Jan _2 15:04:05.000 MST 2006\")",
    "Format(\"2006-01-02T15:04:05Z07:00\")",
    "Format(\"3:4:5pm 06 002 __2\")",
    "String()",
    "AddDate(0, 1, 1)",
    "AddDate(1, -14, 400)",
    "Add(duration(\"36h\"))",
    "Sub(date(\"2024-01-01\"))",
    "After(date(\"2024-01-01\"))",
    "Before(date(\"2024-01-01\"))",
    "Equal(date(\"2024-02-29\"))",
    "IsZero()",
    "IsDST()",
    "ISOWeek()",
    "Truncate(duration(\"1h\"))",
    "Round(duration(\"7m\"))",
    "In(timezone(\"America/New_York\"))",
    "Compare(date(\"2024-01-01\"))",
    "Foo()",
    "Year",
    "Date()",
    "MarshalJSON()",
];

/// Random numbers. The same seed gives the same numbers.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// The names of the variables that are set.
const SET: [&str; 13] =
    ["HOME", "CI", "JOBS", "EMPTY", "BRANCH", "VERSION", "LIST", "SPACES", "FLOAT", "JSON", "DATE", "in", "with-dash"];

/// Whether an expression uses a variable that is not set. This is a deliberate difference.
fn asks_for_absent(expression: &str) -> bool {
    let access = ["env.", "env?.", "env[\"", "env?.[\""];
    access.iter().any(|access| {
        expression.split(access).skip(1).any(|rest| {
            let is_name = |next: char| next.is_alphanumeric() || next == '_' || next == '-' && access.ends_with('"');
            let name: String = rest.chars().take_while(|next| is_name(*next)).collect();
            !name.is_empty() && !SET.contains(&name.as_str())
        })
    })
}

/// All expressions, each one once.
pub(crate) fn all(seed: u64) -> Vec<String> {
    let mut chance = Chance(seed);
    let mut all: Vec<String> = BY_HAND.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    tables(&mut all, &mut chance);
    by_chance(&mut all, &mut chance);
    let mut seen = BTreeSet::new();
    all.retain(|expression| seen.insert(expression.clone()) && !asks_for_absent(expression));
    all
}

fn tables(all: &mut Vec<String>, chance: &mut Chance) {
    all.extend(ATOMS.map(str::to_owned));
    for operator in UNARY {
        all.extend(ATOMS.map(|atom| format!("{operator}{atom}")));
        for second in BINARY {
            all.push(format!("{operator}1 {second} 2"));
            all.push(format!("{operator}true {second} false"));
            all.push(format!("2 {second} {operator}1"));
        }
    }
    for first in BINARY {
        for left in FEW_ATOMS {
            for right in FEW_ATOMS {
                if chance.below(4) == 0 {
                    all.push(format!("{left} {first} {right}"));
                }
            }
        }
        for second in BINARY {
            for operands in
                [["2", "3", "4"], ["\"a\"", "\"ab\"", "args"], ["true", "false", "nil"], ["nil", "1", "args"]]
            {
                let [a, b, c] = operands;
                all.push(format!("{a} {first} {b} {second} {c}"));
            }
            let [a, b, c] = [0; 3].map(|_| chance.pick(&FEW_ATOMS));
            all.push(format!("({a} {first} {b}) {second} {c}"));
            all.push(format!("{a} {first} ({b} {second} {c})"));
        }
    }
    for function in FUNCTIONS {
        all.push(format!("{function}()"));
        all.push(function.to_owned());
        for atom in ATOMS {
            all.push(format!("{function}({atom})"));
        }
        for _ in 0..45 {
            let [a, b, c] = [0; 3].map(|_| chance.pick(&ATOMS));
            all.push(format!("{function}({a}, {b})"));
            all.push(format!("{a} | {function}({b})"));
            if chance.below(3) == 0 {
                all.push(format!("{function}({a}, {b}, {c})"));
            }
        }
    }
    for function in LOOPS {
        all.push(format!("{function}()"));
        all.push(format!("{function}(args)"));
        for list in LISTS {
            all.extend(PREDICATES.map(|predicate| format!("{function}({list}, {predicate})")));
            all.push(format!("{list} | {function}(#)"));
            for more in ["\"desc\"", "0", "\"\"", "nil", "[]"] {
                let predicate = chance.pick(&PREDICATES);
                all.push(format!("{function}({list}, {predicate}, {more})"));
            }
        }
    }
    for pattern in PATTERNS {
        for text in TEXTS {
            if chance.below(3) == 0 {
                all.push(format!("{text} matches \"{pattern}\""));
            }
        }
        all.push(format!("\"ab12 cc x.c é日\" matches \"{pattern}\""));
        all.push(format!("fromJSON('\"aab\"') matches string(\"{pattern}\")"));
    }
    for layout in LAYOUTS {
        for date in DATES {
            all.push(format!("date(\"{date}\", \"{layout}\")"));
        }
        all.push(format!("date(\"2024-03-01T07:08:09.012Z\").Format(\"{layout}\")"));
        all.push(format!(
            "date(\"2024-11-05 06:00:00\", \"2006-01-02 15:04:05\", \"Europe/Berlin\").Format(\"{layout}\")"
        ));
    }
    for date in DATES {
        all.push(format!("date(\"{date}\")"));
        all.push(format!("string(date(\"{date}\"))"));
        all.push(format!("date(timezone(\"America/New_York\"), \"{date}\")"));
    }
    for method in TIME_METHODS {
        for date in ["\"2024-02-29\"", "\"2024-02-29T12:30:45.5+02:00\"", "\"2024-12-30\""] {
            all.push(format!("date({date}).{method}"));
        }
        all.push(format!("date(\"2024-07-04 23:59:59\", \"2006-01-02 15:04:05\", \"Europe/Berlin\").{method}"));
        all.push(format!("duration(\"1h30m5.5s\").{method}"));
    }
}

fn by_chance(all: &mut Vec<String>, chance: &mut Chance) {
    for _ in 0..5000 {
        let depth = 1 + chance.below(3);
        all.push(tree(chance, depth, false));
    }
    for _ in 0..24_000 {
        let depth = 1 + chance.below(4);
        let kind = chance.pick(&["int", "float", "string", "bool", "strings", "ints", "any", "map"]);
        all.push(typed(chance, kind, depth, None));
    }
    // Broken expressions: a part is removed, doubled or replaced.
    let whole = all.len();
    for _ in 0..2500 {
        let expression: Vec<char> = all[chance.below(whole)].chars().collect();
        if expression.is_empty() || expression.len() > 120 {
            continue;
        }
        let at = chance.below(expression.len());
        let end = (at + 1 + chance.below(3)).min(expression.len());
        let (before, after): (String, String) = (expression[..at].iter().collect(), expression[end..].iter().collect());
        let cut: String = expression[at..end].iter().collect();
        all.push(match chance.below(3) {
            0 => format!("{before}{after}"),
            1 => format!("{before}{cut}{cut}{after}"),
            _ => {
                let parts = [
                    "(", ")", "[", "]", "{", "}", ",", ";", ":", "?", "?.", ".", "..", "#", "|", " ", "1", "\"",
                    "not ", "let x = ", "-",
                ];
                format!("{before}{}{after}", chance.pick(&parts))
            }
        });
    }
}

/// A random expression.
fn tree(chance: &mut Chance, depth: usize, in_predicate: bool) -> String {
    if depth == 0 {
        if in_predicate && chance.below(2) == 0 {
            return chance.pick(&["#", "#", "#", ".n", "#index", "#acc"]).to_owned();
        }
        return chance.pick(&ATOMS).to_owned();
    }
    let child = |chance: &mut Chance| {
        let depth = depth - 1 - usize::from(depth > 1 && chance.below(3) == 0);
        tree(chance, depth, in_predicate)
    };
    match chance.below(16) {
        0 => format!("{}{}", chance.pick(&UNARY), child(chance)),
        1..=4 => {
            let (left, right) = (child(chance), child(chance));
            let operator = chance.pick(&BINARY[1..]);
            match chance.below(3) {
                0 => format!("({left}) {operator} ({right})"),
                _ => format!("{left} {operator} {right}"),
            }
        }
        5 => format!("{} ? {} : {}", child(chance), child(chance), child(chance)),
        6 => format!("if {} {{ {} }} else {{ {} }}", child(chance), child(chance), child(chance)),
        7 => format!("let v = {}; [v, {}]", child(chance), child(chance)),
        8 => format!("[{}, {}]", child(chance), child(chance)),
        9 => format!("{{a: {}, \"b\": {}}}", child(chance), child(chance)),
        10 => format!("({})[{}]", child(chance), child(chance)),
        11 => {
            let object = child(chance);
            match chance.below(5) {
                0 => format!("({object})[{}:{}]", child(chance), child(chance)),
                1 => format!("({object})[{}:]", chance.pick(&["0", "1", "-2", "9"])),
                2 => format!("({object})[:{}]", chance.pick(&["0", "1", "-1", "9"])),
                3 => format!("({object})?.{}", chance.pick(&["a", "b", "HOME", "n.m", "a.b?.c"])),
                _ => format!("({object}).{}", chance.pick(&["a", "b", "HOME", "a.b", "a?.b"])),
            }
        }
        12 => {
            let function = chance.pick(&FUNCTIONS);
            match chance.below(3) {
                0 => format!("{function}({})", child(chance)),
                1 => format!("{} | {function}()", child(chance)),
                _ => format!("{function}({}, {})", child(chance), child(chance)),
            }
        }
        _ => {
            let function = chance.pick(&LOOPS);
            let list = if chance.below(3) == 0 { child(chance) } else { chance.pick(&LISTS).to_owned() };
            let predicate = if chance.below(3) == 0 {
                chance.pick(&PREDICATES).to_owned()
            } else {
                format!("{{{}}}", tree(chance, depth - 1, true))
            };
            format!("{function}({list}, {predicate})")
        }
    }
}

/// A random expression of a type. Within a predicate, the type of its element is known.
fn typed(chance: &mut Chance, kind: &str, depth: usize, element: Option<&str>) -> String {
    if depth == 0 || chance.below(12) == 0 {
        if element == Some(kind) && chance.below(3) > 0 {
            return "#".to_owned();
        }
        let leaves: &[&str] = match kind {
            "int" => &[
                "0",
                "1",
                "2",
                "-3",
                "7",
                "0x1F",
                "len(args)",
                "len(env.HOME)",
                "int(env.JOBS)",
                "1_000",
                "findIndex(args, # == \"-c\")",
            ],
            "float" => &["0.5", "2.0", "1e3", "-1.25", "float(env.FLOAT)", "1/3", "fromJSON(\"3\")", "1e21", "1.5e-7"],
            "string" => &[
                "\"\"",
                "\"a\"",
                "'Bc'",
                "env.HOME",
                "env[\"BRANCH\"]",
                "args[0]",
                "args[-1]",
                "cmdline",
                "env.LIST",
                "`x\\n`",
                "\"ß日\"",
                "env.SPACES",
                "\"12\"",
            ],
            "bool" => &[
                "true",
                "false",
                "env.CI == \"true\"",
                "\"-c\" in args",
                "cmdline contains \"-O\"",
                "fromJSON(\"true\")",
            ],
            "strings" => {
                &["args", "split(cmdline, \" \")", "split(env.LIST, \",\")", "[\"b\", \"a\"]", "[]", "args[1:4]"]
            }
            "ints" => &["[3, 1, 2]", "1..5", "[]", "[-1, 0, 1, 1]", "3..1", "[len(args)]"],
            "map" => &[
                "env",
                "{a: 1}",
                "{b: \"x\", a: nil}",
                "fromJSON(env.JSON)",
                "fromJSON(env.JSON).b",
                "{}",
                "groupBy(args, len(#))",
                "fromPairs([[\"k\", 1]])",
            ],
            _ => &[
                "nil",
                "1",
                "\"a\"",
                "[1, \"x\", nil]",
                "{a: [1]}",
                "fromJSON(env.JSON).a[2]",
                "1.0",
                "true",
                "first([])",
                "get(env, \"NO\")",
            ],
        };
        return chance.pick(leaves).to_owned();
    }
    let of = |chance: &mut Chance, kind: &str| typed(chance, kind, depth - 1, element);
    let within = |chance: &mut Chance, kind: &str, item: &str| typed(chance, kind, depth - 1, Some(item));
    if chance.below(14) == 0 {
        let condition = of(chance, "bool");
        let (then, otherwise) = (of(chance, kind), of(chance, kind));
        return match chance.below(3) {
            0 => format!("({condition} ? {then} : {otherwise})"),
            1 => format!("(if {condition} {{ {then} }} else {{ {otherwise} }})"),
            _ => format!("({} ?? {otherwise})", of(chance, "any")),
        };
    }
    let number = |chance: &mut Chance| chance.pick(&["int", "float"]);
    match kind {
        "int" => match chance.below(12) {
            0..=3 => {
                let operator = chance.pick(&["+", "-", "*", "%"]);
                format!("({} {operator} {})", of(chance, "int"), of(chance, "int"))
            }
            4 => format!("len({})", {
                let kind = chance.pick(&["string", "strings", "ints", "map"]);
                of(chance, kind)
            }),
            5 => format!(
                "{}({}, {})",
                chance.pick(&["indexOf", "lastIndexOf"]),
                of(chance, "string"),
                of(chance, "string")
            ),
            6 => format!("count({}, {})", of(chance, "strings"), within(chance, "bool", "string")),
            7 => format!("sum({}, {})", of(chance, "ints"), within(chance, "int", "int")),
            8 => format!(
                "{}({}, {})",
                chance.pick(&["bitand", "bitor", "bitxor", "bitnand"]),
                of(chance, "int"),
                of(chance, "int")
            ),
            9 => format!("int({})", {
                let kind = number(chance);
                of(chance, kind)
            }),
            10 => format!(
                "reduce({}, #acc + {}, {})",
                of(chance, "ints"),
                within(chance, "int", "int"),
                of(chance, "int")
            ),
            _ => format!("{}({})", chance.pick(&["abs", "-", "max", "min"]), of(chance, "int")),
        },
        "float" => match chance.below(5) {
            0 => {
                format!("({} {} {})", of(chance, "float"), chance.pick(&["+", "-", "*", "/", "**"]), of(chance, "int"))
            }
            1 => format!("({} / {})", of(chance, "int"), of(chance, "int")),
            2 => format!("{}({})", chance.pick(&["ceil", "floor", "round", "abs", "float"]), of(chance, "float")),
            3 => format!(
                "{}({}, {})",
                chance.pick(&["mean", "median", "max", "min"]),
                of(chance, "ints"),
                of(chance, "float")
            ),
            _ => format!("({} ** {})", of(chance, "int"), of(chance, "int")),
        },
        "string" => match chance.below(14) {
            0..=2 => format!("({} + {})", of(chance, "string"), of(chance, "string")),
            3 => format!(
                "{}({})",
                chance.pick(&["upper", "lower", "trim", "toBase64", "trimPrefix"]),
                of(chance, "string")
            ),
            4 => format!(
                "{}({}, {})",
                chance.pick(&["trim", "trimPrefix", "trimSuffix"]),
                of(chance, "string"),
                of(chance, "string")
            ),
            5 => format!("string({})", of(chance, "any")),
            6 => format!("string({})", {
                let kind = chance.pick(&["int", "float", "strings", "ints", "map", "bool"]);
                of(chance, kind)
            }),
            7 => format!("join({}, {})", of(chance, "strings"), of(chance, "string")),
            8 => format!("replace({}, {}, {})", of(chance, "string"), of(chance, "string"), of(chance, "string")),
            9 => format!("toJSON({})", {
                let kind = chance.pick(&["int", "float", "strings", "ints", "any", "map"]);
                of(chance, kind)
            }),
            // Texts with longer characters are not sliced, because a slice inside a character is a deliberate
            // difference.
            10 => format!(
                "{}[{}:{}]",
                chance.pick(&["env.HOME", "env.VERSION", "\"abcdef\"", "args[0]"]),
                chance.pick(&["", "0", "1"]),
                chance.pick(&["", "1", "-1", "3"])
            ),
            11 => format!("type({})", of(chance, "any")),
            12 => format!("repeat({}, {})", of(chance, "string"), chance.pick(&["0", "1", "3"])),
            _ => format!("({} | {}())", of(chance, "string"), chance.pick(&["upper", "lower", "trim", "string"])),
        },
        "bool" => match chance.below(14) {
            0 => format!("({} {} {})", of(chance, "bool"), chance.pick(&["and", "or", "&&", "||"]), of(chance, "bool")),
            1 => format!("{}({})", chance.pick(&["!", "not "]), of(chance, "bool")),
            2 => {
                let (left, right) = (number(chance), number(chance));
                format!(
                    "({} {} {})",
                    of(chance, left),
                    chance.pick(&["<", ">", "<=", ">=", "==", "!="]),
                    of(chance, right)
                )
            }
            3 => format!(
                "({} {} {})",
                of(chance, "string"),
                chance.pick(&["<", "==", "!=", "contains", "startsWith", "endsWith", "not contains"]),
                of(chance, "string")
            ),
            4 => format!("({} in {})", of(chance, "string"), {
                let kind = chance.pick(&["strings", "map"]);
                of(chance, kind)
            }),
            5 => format!("({} in {})", of(chance, "int"), of(chance, "ints")),
            6 => format!(
                "{}({}, {})",
                chance.pick(&["all", "any", "none", "one"]),
                of(chance, "strings"),
                within(chance, "bool", "string")
            ),
            7 => format!(
                "{}({}, {})",
                chance.pick(&["all", "any", "none", "one"]),
                of(chance, "ints"),
                within(chance, "bool", "int")
            ),
            8 => format!("({} {} {})", of(chance, "any"), chance.pick(&["==", "!="]), of(chance, "any")),
            9 => {
                let kind = chance.pick(&["strings", "ints", "map"]);
                format!("({} == {})", of(chance, kind), of(chance, kind))
            }
            10 => format!(
                "({} matches \"{}\")",
                of(chance, "string"),
                chance.pick(&["^-", "[a-c]+", "\\\\.c$", "(?i)CC", "\\\\w\\\\d", "^$"])
            ),
            11 => format!("({} < {} <= {})", of(chance, "int"), of(chance, "int"), of(chance, "int")),
            12 => format!(
                "{}({}, {})",
                chance.pick(&["hasPrefix", "hasSuffix"]),
                of(chance, "string"),
                of(chance, "string")
            ),
            _ => format!(
                "(count({}, {}) {} {})",
                of(chance, "strings"),
                within(chance, "bool", "string"),
                chance.pick(&["<", ">", ">=", "<="]),
                chance.pick(&["0", "1", "2", "3"])
            ),
        },
        "strings" => match chance.below(10) {
            0 => format!("filter({}, {})", of(chance, "strings"), within(chance, "bool", "string")),
            1 => format!("map({}, {})", of(chance, "strings"), within(chance, "string", "string")),
            2 => format!("map({}, {{{}}})", of(chance, "ints"), within(chance, "string", "int")),
            3 => {
                format!("{}({}, {})", chance.pick(&["split", "splitAfter"]), of(chance, "string"), of(chance, "string"))
            }
            4 => format!(
                "split({}, {}, {})",
                of(chance, "string"),
                of(chance, "string"),
                chance.pick(&["0", "1", "2", "-1"])
            ),
            5 => format!("{}({})", chance.pick(&["reverse", "uniq", "sort", "flatten"]), of(chance, "strings")),
            6 => format!(
                "sortBy({}, {}, \"{}\")",
                of(chance, "strings"),
                within(chance, "int", "string"),
                chance.pick(&["asc", "desc"])
            ),
            7 => format!("concat({}, {})", of(chance, "strings"), of(chance, "strings")),
            8 => format!("take({}, {})", of(chance, "strings"), chance.pick(&["0", "2", "9"])),
            _ => format!("[{}, {}]", of(chance, "string"), of(chance, "string")),
        },
        "ints" => match chance.below(9) {
            0 => format!("filter({}, {})", of(chance, "ints"), within(chance, "bool", "int")),
            1 => format!("map({}, {})", of(chance, "ints"), within(chance, "int", "int")),
            2 => format!("map({}, {} + #index)", of(chance, "strings"), within(chance, "int", "string")),
            3 => format!("{}({})", chance.pick(&["reverse", "uniq", "sort", "flatten"]), of(chance, "ints")),
            4 => format!("sortBy({}, {})", of(chance, "ints"), within(chance, "int", "int")),
            5 => format!("concat({}, {})", of(chance, "ints"), of(chance, "ints")),
            6 => format!("{}[{}:]", of(chance, "ints"), chance.pick(&["0", "1", "-2"])),
            7 => format!("({}..{})", chance.pick(&["0", "-2", "len(args)"]), chance.pick(&["1", "4", "len(env.HOME)"])),
            _ => format!("[{}, {}]", of(chance, "int"), of(chance, "int")),
        },
        "map" => match chance.below(4) {
            0 => format!("groupBy({}, {})", of(chance, "strings"), {
                let kind = chance.pick(&["int", "bool", "string"]);
                within(chance, kind, "string")
            }),
            1 => format!("{{x: {}, \"y z\": {}}}", of(chance, "any"), of(chance, "string")),
            2 => format!("fromPairs([[{}, {}]])", of(chance, "any"), of(chance, "any")),
            _ => format!("fromJSON(toJSON({}))", of(chance, "map")),
        },
        _ => match chance.below(8) {
            0 => format!("[{}, {}]", of(chance, "any"), of(chance, "any")),
            1 => {
                let kind = chance.pick(&["int", "float", "string", "bool", "strings", "ints", "map"]);
                of(chance, kind)
            }
            2 => format!("{}({})", chance.pick(&["first", "last"]), {
                let kind = chance.pick(&["strings", "ints"]);
                of(chance, kind)
            }),
            3 => format!(
                "{}({}, {})",
                chance.pick(&["find", "findLast", "findIndex", "findLastIndex"]),
                of(chance, "strings"),
                within(chance, "bool", "string")
            ),
            4 => format!("get({}, {})", of(chance, "strings"), of(chance, "int")),
            5 => format!("{}[{}]", of(chance, "strings"), chance.pick(&["0", "-1", "1"])),
            6 => format!("let v = {}; [v, {}]", of(chance, "any"), of(chance, "any")),
            _ => format!("{}?.{}", of(chance, "map"), chance.pick(&["a", "b.c", "x", "k", "b?.c"])),
        },
    }
}
