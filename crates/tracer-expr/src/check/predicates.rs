//! The types of functions with predicates.

use super::{Checker, Predicate, types::Type};
use crate::ast::{Builtin, Node};

impl Checker<'_> {
    pub(super) fn predicate_builtin(&mut self, builtin: &mut Builtin) -> Type {
        let name = builtin.name;
        let Some((list, rest)) = builtin.arguments.split_first_mut() else { return Type::Unknown };
        let collection = self.visit(list);
        if !collection.is_list() && !collection.is_unknown() {
            return self.error(list.offset, format!("{name} needs a list, but this is {collection}"));
        }
        let element = if collection.is_unknown() { Type::Unknown } else { collection.element() };
        let Some((predicate, more)) = rest.split_first_mut() else {
            return if name == "count" { Type::Int } else { element };
        };
        self.predicates.push(Predicate {
            collection: collection.clone(),
            index: matches!(name, "map" | "reduce"),
            accumulator: name == "reduce",
        });
        let result = self.visit(predicate);
        self.predicates.pop();
        if let Some(third) = more.first_mut() {
            let third_nature = self.visit(third);
            if name == "sortBy" && third_nature != Type::String && !third_nature.is_unknown() {
                return self.error(third.offset, format!("the order of sortBy is a string, not {third_nature}"));
            }
        }
        if result == Type::Nil {
            return self.error(predicate.offset, format!("the predicate of {name} is always nil"));
        }
        let boolean = !matches!(name, "map" | "sum" | "groupBy" | "sortBy" | "reduce");
        if boolean && result != Type::Bool && !result.is_unknown() {
            return self.not_boolean(name, predicate, &result);
        }
        match name {
            "all" | "none" | "any" | "one" => Type::Bool,
            "count" | "findIndex" | "findLastIndex" => Type::Int,
            "filter" if collection.is_unknown() => Type::List(None),
            "filter" => Type::list_of(element),
            "map" => Type::list_of(result),
            "sum" if result.is_unknown() => Type::Any,
            "sum" | "reduce" => result,
            "groupBy" => Type::Groups,
            "sortBy" => collection,
            _ => element,
        }
    }

    fn not_boolean(&mut self, name: &str, predicate: &Node, result: &Type) -> Type {
        self.error(predicate.offset, format!("the predicate of {name} gives {result}, not bool"))
    }
}
