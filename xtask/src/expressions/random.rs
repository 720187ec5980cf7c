//! Random expressions. Some have any parts, some have parts of the right types, and some are broken.

use super::{
    chance::Chance,
    tables::{ATOMS, BINARY, FUNCTIONS, LISTS, LOOPS, PREDICATES, UNARY},
    typed::typed,
};

/// Adds the expressions.
pub(super) fn add(all: &mut Vec<String>, chance: &mut Chance) {
    for _ in 0..5000 {
        let depth = 1 + chance.below(3);
        all.push(tree(chance, depth, false));
    }
    for _ in 0..24_000 {
        let depth = 1 + chance.below(4);
        let kind = chance.pick(&["int", "float", "string", "bool", "strings", "ints", "any", "map"]);
        all.push(typed(chance, kind, depth));
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
