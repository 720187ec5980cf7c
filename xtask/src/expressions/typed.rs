//! Random expressions of a type. Their parts have the types that they need, so most of them have a value.

use super::chance::Chance;

/// The place of an expression. Within a predicate, the type of its element is known.
#[derive(Clone, Copy)]
struct Place<'a> {
    depth: usize,
    element: Option<&'a str>,
}

/// A random expression of a type.
pub(super) fn typed(chance: &mut Chance, kind: &str, depth: usize) -> String {
    Place { depth, element: None }.expression(chance, kind)
}

impl Place<'_> {
    fn expression(self, chance: &mut Chance, kind: &str) -> String {
        if self.depth == 0 || chance.below(12) == 0 {
            if self.element == Some(kind) && chance.below(3) > 0 {
                return "#".to_owned();
            }
            return chance.pick(leaves(kind)).to_owned();
        }
        if chance.below(14) == 0 {
            return self.condition(chance, kind);
        }
        match kind {
            "int" => self.int(chance),
            "float" => self.float(chance),
            "string" => self.string(chance),
            "bool" => self.boolean(chance),
            "strings" => self.strings(chance),
            "ints" => self.ints(chance),
            "map" => self.map(chance),
            _ => self.any(chance),
        }
    }

    /// A part of this type.
    fn of(self, chance: &mut Chance, kind: &str) -> String {
        Self { depth: self.depth - 1, ..self }.expression(chance, kind)
    }

    /// A predicate of this type for elements of the type `element`.
    fn within(self, chance: &mut Chance, kind: &str, element: &str) -> String {
        Place { depth: self.depth - 1, element: Some(element) }.expression(chance, kind)
    }

    fn condition(self, chance: &mut Chance, kind: &str) -> String {
        let condition = self.of(chance, "bool");
        let (then, otherwise) = (self.of(chance, kind), self.of(chance, kind));
        match chance.below(3) {
            0 => format!("({condition} ? {then} : {otherwise})"),
            1 => format!("(if {condition} {{ {then} }} else {{ {otherwise} }})"),
            _ => format!("({} ?? {otherwise})", self.of(chance, "any")),
        }
    }

    fn int(self, chance: &mut Chance) -> String {
        match chance.below(12) {
            0..=3 => {
                let operator = chance.pick(&["+", "-", "*", "%"]);
                format!("({} {operator} {})", self.of(chance, "int"), self.of(chance, "int"))
            }
            4 => format!("len({})", {
                let kind = chance.pick(&["string", "strings", "ints", "map"]);
                self.of(chance, kind)
            }),
            5 => format!(
                "{}({}, {})",
                chance.pick(&["indexOf", "lastIndexOf"]),
                self.of(chance, "string"),
                self.of(chance, "string")
            ),
            6 => format!("count({}, {})", self.of(chance, "strings"), self.within(chance, "bool", "string")),
            7 => format!("sum({}, {})", self.of(chance, "ints"), self.within(chance, "int", "int")),
            8 => format!(
                "{}({}, {})",
                chance.pick(&["bitand", "bitor", "bitxor", "bitnand"]),
                self.of(chance, "int"),
                self.of(chance, "int")
            ),
            9 => format!("int({})", {
                let kind = number(chance);
                self.of(chance, kind)
            }),
            10 => format!(
                "reduce({}, #acc + {}, {})",
                self.of(chance, "ints"),
                self.within(chance, "int", "int"),
                self.of(chance, "int")
            ),
            _ => format!("{}({})", chance.pick(&["abs", "-", "max", "min"]), self.of(chance, "int")),
        }
    }

    fn float(self, chance: &mut Chance) -> String {
        match chance.below(5) {
            0 => {
                format!(
                    "({} {} {})",
                    self.of(chance, "float"),
                    chance.pick(&["+", "-", "*", "/", "**"]),
                    self.of(chance, "int")
                )
            }
            1 => format!("({} / {})", self.of(chance, "int"), self.of(chance, "int")),
            2 => format!("{}({})", chance.pick(&["ceil", "floor", "round", "abs", "float"]), self.of(chance, "float")),
            3 => format!(
                "{}({}, {})",
                chance.pick(&["mean", "median", "max", "min"]),
                self.of(chance, "ints"),
                self.of(chance, "float")
            ),
            _ => format!("({} ** {})", self.of(chance, "int"), self.of(chance, "int")),
        }
    }

    fn string(self, chance: &mut Chance) -> String {
        match chance.below(14) {
            0..=2 => format!("({} + {})", self.of(chance, "string"), self.of(chance, "string")),
            3 => format!(
                "{}({})",
                chance.pick(&["upper", "lower", "trim", "toBase64", "trimPrefix"]),
                self.of(chance, "string")
            ),
            4 => format!(
                "{}({}, {})",
                chance.pick(&["trim", "trimPrefix", "trimSuffix"]),
                self.of(chance, "string"),
                self.of(chance, "string")
            ),
            5 => format!("string({})", self.of(chance, "any")),
            6 => format!("string({})", {
                let kind = chance.pick(&["int", "float", "strings", "ints", "map", "bool"]);
                self.of(chance, kind)
            }),
            7 => format!("join({}, {})", self.of(chance, "strings"), self.of(chance, "string")),
            8 => format!(
                "replace({}, {}, {})",
                self.of(chance, "string"),
                self.of(chance, "string"),
                self.of(chance, "string")
            ),
            9 => format!("toJSON({})", {
                let kind = chance.pick(&["int", "float", "strings", "ints", "any", "map"]);
                self.of(chance, kind)
            }),
            // Texts with multi-byte characters are not sliced. tracer-expr deliberately differs from Go for a slice inside
            // a character.
            10 => format!(
                "{}[{}:{}]",
                chance.pick(&["env.HOME", "env.VERSION", "\"abcdef\"", "args[0]"]),
                chance.pick(&["", "0", "1"]),
                chance.pick(&["", "1", "-1", "3"])
            ),
            11 => format!("type({})", self.of(chance, "any")),
            12 => format!("repeat({}, {})", self.of(chance, "string"), chance.pick(&["0", "1", "3"])),
            _ => format!("({} | {}())", self.of(chance, "string"), chance.pick(&["upper", "lower", "trim", "string"])),
        }
    }

    fn boolean(self, chance: &mut Chance) -> String {
        match chance.below(14) {
            0 => format!(
                "({} {} {})",
                self.of(chance, "bool"),
                chance.pick(&["and", "or", "&&", "||"]),
                self.of(chance, "bool")
            ),
            1 => format!("{}({})", chance.pick(&["!", "not "]), self.of(chance, "bool")),
            2 => {
                let (left, right) = (number(chance), number(chance));
                format!(
                    "({} {} {})",
                    self.of(chance, left),
                    chance.pick(&["<", ">", "<=", ">=", "==", "!="]),
                    self.of(chance, right)
                )
            }
            3 => format!(
                "({} {} {})",
                self.of(chance, "string"),
                chance.pick(&["<", "==", "!=", "contains", "startsWith", "endsWith", "not contains"]),
                self.of(chance, "string")
            ),
            4 => format!("({} in {})", self.of(chance, "string"), {
                let kind = chance.pick(&["strings", "map"]);
                self.of(chance, kind)
            }),
            5 => format!("({} in {})", self.of(chance, "int"), self.of(chance, "ints")),
            6 => format!(
                "{}({}, {})",
                chance.pick(&["all", "any", "none", "one"]),
                self.of(chance, "strings"),
                self.within(chance, "bool", "string")
            ),
            7 => format!(
                "{}({}, {})",
                chance.pick(&["all", "any", "none", "one"]),
                self.of(chance, "ints"),
                self.within(chance, "bool", "int")
            ),
            8 => format!("({} {} {})", self.of(chance, "any"), chance.pick(&["==", "!="]), self.of(chance, "any")),
            9 => {
                let kind = chance.pick(&["strings", "ints", "map"]);
                format!("({} == {})", self.of(chance, kind), self.of(chance, kind))
            }
            10 => format!(
                "({} matches \"{}\")",
                self.of(chance, "string"),
                chance.pick(&["^-", "[a-c]+", "\\\\.c$", "(?i)CC", "\\\\w\\\\d", "^$"])
            ),
            11 => format!("({} < {} <= {})", self.of(chance, "int"), self.of(chance, "int"), self.of(chance, "int")),
            12 => format!(
                "{}({}, {})",
                chance.pick(&["hasPrefix", "hasSuffix"]),
                self.of(chance, "string"),
                self.of(chance, "string")
            ),
            _ => format!(
                "(count({}, {}) {} {})",
                self.of(chance, "strings"),
                self.within(chance, "bool", "string"),
                chance.pick(&["<", ">", ">=", "<="]),
                chance.pick(&["0", "1", "2", "3"])
            ),
        }
    }

    fn strings(self, chance: &mut Chance) -> String {
        match chance.below(10) {
            0 => format!("filter({}, {})", self.of(chance, "strings"), self.within(chance, "bool", "string")),
            1 => format!("map({}, {})", self.of(chance, "strings"), self.within(chance, "string", "string")),
            2 => format!("map({}, {{{}}})", self.of(chance, "ints"), self.within(chance, "string", "int")),
            3 => {
                format!(
                    "{}({}, {})",
                    chance.pick(&["split", "splitAfter"]),
                    self.of(chance, "string"),
                    self.of(chance, "string")
                )
            }
            4 => format!(
                "split({}, {}, {})",
                self.of(chance, "string"),
                self.of(chance, "string"),
                chance.pick(&["0", "1", "2", "-1"])
            ),
            5 => format!("{}({})", chance.pick(&["reverse", "uniq", "sort", "flatten"]), self.of(chance, "strings")),
            6 => format!(
                "sortBy({}, {}, \"{}\")",
                self.of(chance, "strings"),
                self.within(chance, "int", "string"),
                chance.pick(&["asc", "desc"])
            ),
            7 => format!("concat({}, {})", self.of(chance, "strings"), self.of(chance, "strings")),
            8 => format!("take({}, {})", self.of(chance, "strings"), chance.pick(&["0", "2", "9"])),
            _ => format!("[{}, {}]", self.of(chance, "string"), self.of(chance, "string")),
        }
    }

    fn ints(self, chance: &mut Chance) -> String {
        match chance.below(9) {
            0 => format!("filter({}, {})", self.of(chance, "ints"), self.within(chance, "bool", "int")),
            1 => format!("map({}, {})", self.of(chance, "ints"), self.within(chance, "int", "int")),
            2 => format!("map({}, {} + #index)", self.of(chance, "strings"), self.within(chance, "int", "string")),
            3 => format!("{}({})", chance.pick(&["reverse", "uniq", "sort", "flatten"]), self.of(chance, "ints")),
            4 => format!("sortBy({}, {})", self.of(chance, "ints"), self.within(chance, "int", "int")),
            5 => format!("concat({}, {})", self.of(chance, "ints"), self.of(chance, "ints")),
            6 => format!("{}[{}:]", self.of(chance, "ints"), chance.pick(&["0", "1", "-2"])),
            7 => format!("({}..{})", chance.pick(&["0", "-2", "len(args)"]), chance.pick(&["1", "4", "len(env.HOME)"])),
            _ => format!("[{}, {}]", self.of(chance, "int"), self.of(chance, "int")),
        }
    }

    fn map(self, chance: &mut Chance) -> String {
        match chance.below(4) {
            0 => format!("groupBy({}, {})", self.of(chance, "strings"), {
                let kind = chance.pick(&["int", "bool", "string"]);
                self.within(chance, kind, "string")
            }),
            1 => format!("{{x: {}, \"y z\": {}}}", self.of(chance, "any"), self.of(chance, "string")),
            2 => format!("fromPairs([[{}, {}]])", self.of(chance, "any"), self.of(chance, "any")),
            _ => format!("fromJSON(toJSON({}))", self.of(chance, "map")),
        }
    }

    fn any(self, chance: &mut Chance) -> String {
        match chance.below(8) {
            0 => format!("[{}, {}]", self.of(chance, "any"), self.of(chance, "any")),
            1 => {
                let kind = chance.pick(&["int", "float", "string", "bool", "strings", "ints", "map"]);
                self.of(chance, kind)
            }
            2 => format!("{}({})", chance.pick(&["first", "last"]), {
                let kind = chance.pick(&["strings", "ints"]);
                self.of(chance, kind)
            }),
            3 => format!(
                "{}({}, {})",
                chance.pick(&["find", "findLast", "findIndex", "findLastIndex"]),
                self.of(chance, "strings"),
                self.within(chance, "bool", "string")
            ),
            4 => format!("get({}, {})", self.of(chance, "strings"), self.of(chance, "int")),
            5 => format!("{}[{}]", self.of(chance, "strings"), chance.pick(&["0", "-1", "1"])),
            6 => format!("let v = {}; [v, {}]", self.of(chance, "any"), self.of(chance, "any")),
            _ => format!("{}?.{}", self.of(chance, "map"), chance.pick(&["a", "b.c", "x", "k", "b?.c"])),
        }
    }
}

fn number(chance: &mut Chance) -> &'static str {
    chance.pick(&["int", "float"])
}

/// Expressions of a type without parts.
fn leaves(kind: &str) -> &'static [&'static str] {
    match kind {
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
        "bool" => {
            &["true", "false", "env.CI == \"true\"", "\"-c\" in args", "cmdline contains \"-O\"", "fromJSON(\"true\")"]
        }
        "strings" => &["args", "split(cmdline, \" \")", "split(env.LIST, \",\")", "[\"b\", \"a\"]", "[]", "args[1:4]"],
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
    }
}
