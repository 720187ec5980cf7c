//! Parts of expressions, and the expressions that combine all of them.

use super::chance::Chance;

pub(super) const BINARY: [&str; 29] = [
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

pub(super) const UNARY: [&str; 5] = ["-", "+", "!", "not ", "!!"];

/// One literal or variable of each kind and size.
pub(super) const ATOMS: [&str; 78] = [
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

/// For expressions that combine two or three atoms with operators.
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

pub(super) const FUNCTIONS: [&str; 55] = [
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

pub(super) const LOOPS: [&str; 15] = [
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

pub(super) const LISTS: [&str; 14] = [
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

pub(super) const PREDICATES: [&str; 34] = [
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

/// Adds the expressions.
pub(super) fn add(all: &mut Vec<String>, chance: &mut Chance) {
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
