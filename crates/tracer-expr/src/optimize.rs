//! Rewrites the tree as the reference does before it evaluates.
//!
//! The rewrites have visible effects. They decide which part fails, and how much the memory budget counts.

use crate::{
    ast::{BinaryOperator, Builtin, Child, Node, NodeKind, UnaryOperator},
    budget::MAX_SIZE,
    check::types::{Kind, Type},
    error::Fault,
    numbers,
};

type Rewrite = fn(&mut Node) -> Result<bool, Fault>;

/// Rewrites a checked tree.
pub(crate) fn optimize(node: &mut Node) -> Result<(), Fault> {
    walk(node, in_list)?;
    for _ in 0..=1000 {
        if !walk(node, fold)? {
            break;
        }
    }
    let passes: [Rewrite; 11] = [
        in_range,
        filter_map,
        filter_len,
        filter_last,
        filter_first,
        predicate_combination,
        sum_range,
        sum_list,
        sum_map,
        count_any,
        count_threshold,
    ];
    for pass in passes {
        walk(node, pass)?;
    }
    Ok(())
}

/// Applies a rewrite to all nodes, children first. True if one applied.
fn walk(node: &mut Node, rewrite: Rewrite) -> Result<bool, Fault> {
    let mut applied = false;
    let mut fault = None;
    node.children_mut(&mut |child| {
        if fault.is_none() {
            match walk(child, rewrite) {
                Ok(done) => applied |= done,
                Err(error) => fault = Some(error),
            }
        }
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    Ok(rewrite(node)? || applied)
}

/// Replaces a node, and keeps its place.
fn replace(node: &mut Node, kind: NodeKind, nature: Type) {
    let mut new = Node::new(kind, node.offset);
    new.nature = nature;
    *node = new;
}

/// Replaces a node, and keeps its type. The known facts about a list's elements are lost, as in the reference.
fn replace_same(node: &mut Node, kind: NodeKind) {
    let nature = match std::mem::replace(&mut node.nature, Type::Unknown) {
        Type::List(_) => Type::List(None),
        other => other,
    };
    replace(node, kind, nature);
}

fn take(node: &mut Node) -> Node {
    std::mem::replace(node, Node::new(NodeKind::Nil, 0))
}

fn take_child(node: &mut Child) -> Child {
    Box::new(take(node))
}

fn literal_kind(node: &Node) -> Option<Type> {
    Some(match node.kind {
        NodeKind::Integer(_) => Type::Int,
        NodeKind::Float(_) => Type::Float,
        NodeKind::String(_) => Type::String,
        NodeKind::Bool(_) => Type::Bool,
        _ => return None,
    })
}

/// A list of literals on the right side of `in` becomes a set.
fn in_list(node: &mut Node) -> Result<bool, Fault> {
    let NodeKind::Binary(BinaryOperator::In, left, right) = &mut node.kind else { return Ok(false) };
    let NodeKind::Array(items) = &mut right.kind else { return Ok(false) };
    let all = |nature: Type| !items.is_empty() && items.iter().all(|item| literal_kind(item) == Some(nature.clone()));
    if all(Type::Int) && left.nature.kind() == Kind::Int || all(Type::String) {
        let items = std::mem::take(items);
        replace(right, NodeKind::ConstantSet(items), Type::Unknown);
    }
    Ok(false)
}

#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

fn number(node: &Node) -> Option<Number> {
    match node.kind {
        NodeKind::Integer(value) => Some(Number::Int(value)),
        NodeKind::Float(value) => Some(Number::Float(value)),
        _ => None,
    }
}

fn boolean(node: &Node) -> Option<bool> {
    match node.kind {
        NodeKind::Bool(value) => Some(value),
        _ => None,
    }
}

fn fold(node: &mut Node) -> Result<bool, Fault> {
    let offset = node.offset;
    let folded = match &mut node.kind {
        NodeKind::Unary(operator, operand) => match (*operator, number(operand), boolean(operand)) {
            (UnaryOperator::Minus, Some(Number::Int(value)), _) => NodeKind::Integer(value.wrapping_neg()),
            (UnaryOperator::Minus, Some(Number::Float(value)), _) => NodeKind::Float(-value),
            (UnaryOperator::Plus, Some(Number::Int(value)), _) => NodeKind::Integer(value),
            (UnaryOperator::Plus, Some(Number::Float(value)), _) => NodeKind::Float(value),
            (UnaryOperator::Not, _, Some(value)) => NodeKind::Bool(!value),
            _ => return Ok(false),
        },
        NodeKind::Binary(operator @ (BinaryOperator::And | BinaryOperator::Or), left, right) => {
            // `true && x` and `false || x` are x.
            let neutral = *operator == BinaryOperator::And;
            let (left_value, right_value) = (boolean(left), boolean(right));
            let kept = if left_value == Some(neutral) {
                right
            } else if right_value == Some(neutral) {
                left
            } else if left_value.is_some() || right_value.is_some() {
                replace(node, NodeKind::Bool(!neutral), Type::Bool);
                return Ok(true);
            } else {
                return Ok(false);
            };
            let kept = take(kept);
            let nature = std::mem::replace(&mut node.nature, Type::Unknown);
            *node = kept;
            node.nature = nature;
            return Ok(true);
        }
        NodeKind::Binary(operator, left, right) => match fold_binary(*operator, left, right) {
            Some(Ok(folded)) => folded,
            Some(Err(message)) => return Err(Fault::types(offset, message)),
            None => return Ok(false),
        },
        NodeKind::Array(items) if !items.is_empty() && items.iter().all(|item| literal_kind(item).is_some()) => {
            let items = std::mem::take(items);
            replace(node, NodeKind::ConstantList(items), Type::List(None));
            return Ok(true);
        }
        NodeKind::Builtin(outer) if outer.name == "filter" => return Ok(fold_filter(node)),
        _ => return Ok(false),
    };
    let nature = match &folded {
        NodeKind::Integer(_) => Type::Int,
        NodeKind::Float(_) => Type::Float,
        NodeKind::String(_) => Type::String,
        _ => Type::Bool,
    };
    replace(node, folded, nature);
    Ok(true)
}

fn fold_binary(operator: BinaryOperator, left: &Node, right: &Node) -> Option<Result<NodeKind, &'static str>> {
    use BinaryOperator as Op;
    if let (Some(left), Some(right)) = (left.as_string(), right.as_string()) {
        return Some(Ok(match operator {
            // The texts are joined once, and not at each evaluation. So a long text takes memory only once.
            Op::Add => NodeKind::String([left, right].concat().into()),
            Op::Equal => NodeKind::Bool(left == right),
            _ => return None,
        }));
    }
    if let (Some(left), Some(right), Op::Equal) = (boolean(left), boolean(right), operator) {
        return Some(Ok(NodeKind::Bool(left == right)));
    }
    let (left, right) = (number(left)?, number(right)?);
    if let (Number::Int(left), Number::Int(right)) = (left, right) {
        match operator {
            Op::Add => return Some(Ok(NodeKind::Integer(left.wrapping_add(right)))),
            Op::Subtract => return Some(Ok(NodeKind::Integer(left.wrapping_sub(right)))),
            Op::Multiply => return Some(Ok(NodeKind::Integer(left.wrapping_mul(right)))),
            Op::Modulo if right == 0 => return Some(Err("the integer is divided by zero")),
            Op::Modulo => return Some(Ok(NodeKind::Integer(left.wrapping_rem(right)))),
            Op::Equal => return Some(Ok(NodeKind::Bool(left == right))),
            _ => {}
        }
    }
    let float = |number| match number {
        Number::Int(value) => value as f64,
        Number::Float(value) => value,
    };
    let (left, right) = (float(left), float(right));
    Some(Ok(NodeKind::Float(match operator {
        Op::Add => left + right,
        Op::Subtract => left - right,
        Op::Multiply => left * right,
        Op::Divide => left / right,
        Op::Power => numbers::power(left, right),
        _ => return None,
    })))
}

/// A filter of a filter is one filter.
fn fold_filter(node: &mut Node) -> bool {
    let NodeKind::Builtin(outer) = &mut node.kind else { return false };
    let [list, predicate] = outer.arguments.as_mut_slice() else { return false };
    let NodeKind::Builtin(inner) = &mut list.kind else { return false };
    if inner.name != "filter" {
        return false;
    }
    let (Some(first), Some(second)) = (body(inner.arguments.get_mut(1)), body(Some(predicate))) else { return false };
    let combined = NodeKind::Binary(BinaryOperator::And, take_child(first), take_child(second));
    let combined = NodeKind::Predicate(Box::new(Node::new(combined, predicate.offset)));
    let arguments = vec![take(&mut inner.arguments[0]), Node::new(combined, predicate.offset)];
    replace_same(node, NodeKind::Builtin(Builtin::new("filter", arguments)));
    true
}

fn body(predicate: Option<&mut Node>) -> Option<&mut Child> {
    match &mut predicate?.kind {
        NodeKind::Predicate(body) => Some(body),
        _ => None,
    }
}

/// How many nodes a rewritten tree has.
fn count(node: &Node) -> usize {
    let mut total = 1;
    node.children(&mut |child| total += count(child));
    total
}

/// `x in 1..5` compares with both ends.
fn in_range(node: &mut Node) -> Result<bool, Fault> {
    let offset = node.offset;
    let NodeKind::Binary(BinaryOperator::In, left, right) = &mut node.kind else { return Ok(false) };
    let NodeKind::Binary(BinaryOperator::Range, from, to) = &mut right.kind else { return Ok(false) };
    let literal = |node: &Node| matches!(node.kind, NodeKind::Integer(_));
    if left.nature.kind() != Kind::Int || !literal(from) || !literal(to) {
        return Ok(false);
    }
    if count(left) > MAX_SIZE / 2 {
        return Err(Fault::budget("the expression repeats too many of its parts").at(offset));
    }
    let compare = |operator, left: &Node, right: &Node| {
        Box::new(Node::new(NodeKind::Binary(operator, Box::new(left.clone()), Box::new(right.clone())), offset))
    };
    let above = compare(BinaryOperator::GreaterOrEqual, left, from);
    let below = compare(BinaryOperator::LessOrEqual, left, to);
    replace_same(node, NodeKind::Binary(BinaryOperator::And, above, below));
    Ok(true)
}

/// The call, if a node calls this function of the language.
fn call_of<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Builtin> {
    match &mut node.kind {
        NodeKind::Builtin(builtin) if builtin.name == name => Some(builtin),
        _ => None,
    }
}

fn filter_of(node: &mut Node) -> Option<&mut Builtin> {
    call_of(node, "filter").filter(|filter| filter.arguments.len() == 2)
}

fn has_index(node: &Node) -> bool {
    let mut found = matches!(&node.kind, NodeKind::Pointer(name) if name == "index");
    node.children(&mut |child| found = found || has_index(child));
    found
}

/// A map of a filter is one loop.
fn filter_map(node: &mut Node) -> Result<bool, Fault> {
    let Some(map) = call_of(node, "map") else { return Ok(false) };
    let [list, predicate] = map.arguments.as_mut_slice() else { return Ok(false) };
    if has_index(predicate) {
        return Ok(false);
    }
    let Some(filter) = call_of(list, "filter").filter(|filter| filter.map.is_none()) else { return Ok(false) };
    let Some(mapped) = body(Some(predicate)) else { return Ok(false) };
    let mut merged = Builtin::new("filter", std::mem::take(&mut filter.arguments));
    merged.map = Some(take_child(mapped));
    replace_same(node, NodeKind::Builtin(merged));
    Ok(true)
}

/// The length of a filter is a count.
fn filter_len(node: &mut Node) -> Result<bool, Fault> {
    let Some(len) = call_of(node, "len").filter(|len| len.arguments.len() == 1) else { return Ok(false) };
    let Some(filter) = filter_of(&mut len.arguments[0]) else { return Ok(false) };
    let arguments = std::mem::take(&mut filter.arguments);
    replace_same(node, NodeKind::Builtin(Builtin::new("count", arguments)));
    Ok(true)
}

fn filter_last(node: &mut Node) -> Result<bool, Fault> {
    Ok(filter_end(node, -1, "last", "findLast"))
}

fn filter_first(node: &mut Node) -> Result<bool, Fault> {
    Ok(filter_end(node, 0, "first", "find"))
}

/// The first or the last element of a filter is a find.
fn filter_end(node: &mut Node, place: i64, function: &str, find: &'static str) -> bool {
    let (filter, throws) = match &mut node.kind {
        NodeKind::Member { object, property, optional: false, .. } if property.kind == NodeKind::Integer(place) => {
            (filter_of(object), true)
        }
        NodeKind::Builtin(builtin) if builtin.name == function && builtin.arguments.len() == 1 => {
            (filter_of(&mut builtin.arguments[0]), false)
        }
        _ => return false,
    };
    let Some(filter) = filter else { return false };
    let mut found = Builtin::new(find, std::mem::take(&mut filter.arguments));
    found.map = filter.map.take();
    found.throws = throws;
    replace_same(node, NodeKind::Builtin(found));
    true
}

/// `all(x, p) && all(x, q)` is `all(x, p && q)`.
fn predicate_combination(node: &mut Node) -> Result<bool, Fault> {
    let NodeKind::Binary(operator, left, right) = &mut node.kind else { return Ok(false) };
    let (NodeKind::Builtin(first), NodeKind::Builtin(second)) = (&mut left.kind, &mut right.kind) else {
        return Ok(false);
    };
    let combined = match (first.name, *operator) {
        ("all", BinaryOperator::And) => BinaryOperator::And,
        ("any", BinaryOperator::Or) | ("none", BinaryOperator::And) => BinaryOperator::Or,
        _ => return Ok(false),
    };
    if first.name != second.name || first.arguments[0] != second.arguments[0] {
        return Ok(false);
    }
    let name = first.name;
    let (Some(one), Some(two)) = (body(first.arguments.get_mut(1)), body(second.arguments.get_mut(1))) else {
        return Ok(false);
    };
    let offset = one.offset;
    let mut combined = Node::new(NodeKind::Binary(combined, take_child(one), take_child(two)), offset);
    predicate_combination(&mut combined)?;
    let predicate = Node::new(NodeKind::Predicate(Box::new(combined)), offset);
    let arguments = vec![take(&mut first.arguments[0]), predicate];
    replace_same(node, NodeKind::Builtin(Builtin::new(name, arguments)));
    Ok(true)
}

/// The ends of a range of literals that is not empty.
fn literal_range(node: &Node) -> Option<(i64, i64)> {
    match &node.kind {
        NodeKind::Binary(BinaryOperator::Range, from, to) => match (&from.kind, &to.kind) {
            (NodeKind::Integer(from), NodeKind::Integer(to)) if to >= from => Some((*from, *to)),
            _ => None,
        },
        _ => None,
    }
}

fn is_pointer(node: &Node, name: &str) -> bool {
    matches!(&node.kind, NodeKind::Pointer(pointer) if pointer == name)
}

/// Sums over a range of literals need no loop.
fn sum_range(node: &mut Node) -> Result<bool, Fault> {
    let NodeKind::Builtin(builtin) = &node.kind else { return Ok(false) };
    let Some((from, to)) = builtin.arguments.first().and_then(literal_range) else { return Ok(false) };
    let count = to.wrapping_sub(from).wrapping_add(1);
    let sum = count.wrapping_mul(from.wrapping_add(to)) / 2;
    let predicate = match builtin.arguments.get(1).map(|argument| &argument.kind) {
        Some(NodeKind::Predicate(body)) => Some(body),
        _ => None,
    };
    let result = match (builtin.name, builtin.arguments.get(2), predicate) {
        ("sum", None, None) => Some(sum),
        ("sum", None, Some(body)) => sum_of(body, sum, count),
        ("reduce", initial, Some(body)) => match &body.kind {
            NodeKind::Binary(BinaryOperator::Add, left, right)
                if is_pointer(left, "") && is_pointer(right, "acc")
                    || is_pointer(left, "acc") && is_pointer(right, "") =>
            {
                match initial.map(|initial| &initial.kind) {
                    None => Some(sum),
                    Some(NodeKind::Integer(initial)) => Some(initial.wrapping_add(sum)),
                    Some(_) => None,
                }
            }
            _ => None,
        },
        _ => None,
    };
    let Some(result) = result else { return Ok(false) };
    replace(node, NodeKind::Integer(result), Type::Int);
    Ok(true)
}

/// The sum of a simple predicate.
fn sum_of(body: &Node, sum: i64, count: i64) -> Option<i64> {
    if is_pointer(body, "") {
        return Some(sum);
    }
    let NodeKind::Binary(operator, left, right) = &body.kind else { return None };
    let (constant, pointer_first) = match (&left.kind, &right.kind) {
        (_, NodeKind::Integer(constant)) if is_pointer(left, "") => (*constant, true),
        (NodeKind::Integer(constant), _) if is_pointer(right, "") => (*constant, false),
        _ => return None,
    };
    let constants = count.wrapping_mul(constant);
    Some(match operator {
        BinaryOperator::Multiply => constant.wrapping_mul(sum),
        BinaryOperator::Add => sum.wrapping_add(constants),
        BinaryOperator::Subtract if pointer_first => sum.wrapping_sub(constants),
        BinaryOperator::Subtract => constants.wrapping_sub(sum),
        _ => return None,
    })
}

/// The sum of a list is a chain of additions, the last one first.
fn sum_list(node: &mut Node) -> Result<bool, Fault> {
    let offset = node.offset;
    let Some(sum) = call_of(node, "sum").filter(|sum| sum.arguments.len() == 1) else { return Ok(false) };
    let NodeKind::Array(items) = &mut sum.arguments[0].kind else { return Ok(false) };
    if items.len() < 2 {
        return Ok(false);
    }
    let mut items = std::mem::take(items);
    let Some(mut chain) = items.pop() else { return Ok(false) };
    while let Some(item) = items.pop() {
        chain = Node::new(NodeKind::Binary(BinaryOperator::Add, Box::new(item), Box::new(chain)), offset);
    }
    replace_same(node, chain.kind);
    Ok(true)
}

/// The sum of a map is one loop.
fn sum_map(node: &mut Node) -> Result<bool, Fault> {
    let Some(sum) = call_of(node, "sum").filter(|sum| sum.arguments.len() == 1) else { return Ok(false) };
    let Some(map) = call_of(&mut sum.arguments[0], "map").filter(|map| map.arguments.len() == 2) else {
        return Ok(false);
    };
    let arguments = std::mem::take(&mut map.arguments);
    replace_same(node, NodeKind::Builtin(Builtin::new("sum", arguments)));
    Ok(true)
}

/// A comparison of a count with a literal: the call, the operator, the number.
fn compared_count(node: &mut Node) -> Option<(&mut Builtin, BinaryOperator, i64)> {
    let NodeKind::Binary(operator, left, right) = &mut node.kind else { return None };
    let NodeKind::Integer(number) = right.kind else { return None };
    let count = call_of(left, "count").filter(|count| count.arguments.len() == 2)?;
    Some((count, *operator, number))
}

/// `count(…) > 0` is `any(…)`.
fn count_any(node: &mut Node) -> Result<bool, Fault> {
    let Some((count, operator, number)) = compared_count(node) else { return Ok(false) };
    if !matches!((operator, number), (BinaryOperator::Greater, 0) | (BinaryOperator::GreaterOrEqual, 1)) {
        return Ok(false);
    }
    let arguments = std::mem::take(&mut count.arguments);
    replace_same(node, NodeKind::Builtin(Builtin::new("any", arguments)));
    Ok(true)
}

/// A count ends when the comparison is decided.
fn count_threshold(node: &mut Node) -> Result<bool, Fault> {
    let Some((count, operator, number)) = compared_count(node) else { return Ok(false) };
    let threshold = match operator {
        _ if number < 0 => return Ok(false),
        BinaryOperator::Greater | BinaryOperator::LessOrEqual => number.wrapping_add(1),
        BinaryOperator::GreaterOrEqual | BinaryOperator::Less => number,
        _ => return Ok(false),
    };
    if threshold > 1 {
        count.threshold = Some(threshold);
    }
    Ok(false)
}
