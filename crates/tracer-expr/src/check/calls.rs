//! The types of calls: the functions of the language, and methods.

use super::{
    ALL_VARIABLES, Checker,
    types::{Kind, Method, Type},
};
use crate::{
    ast::{Node, NodeKind},
    error,
};

/// The parameters and the result of one form of a function.
type Form = (&'static [Type], Type);

impl Checker<'_> {
    pub(super) fn call(&mut self, callee: &mut Node, arguments: &mut [Node], offset: usize) -> Type {
        if callee.is_identifier(ALL_VARIABLES) {
            return self.error(offset, format!("{ALL_VARIABLES} cannot be called"));
        }
        if let NodeKind::Identifier(name) = &callee.kind
            && !self.names.iter().any(|(known, _)| known == name)
            && let Some(function) = self.scope.function(name)
        {
            let natures = self.visit_all(arguments);
            let parameters: Vec<_> = function.parameters.iter().map(|parameter| parameter.as_type()).collect();
            return match fits(function.name, &parameters, &natures, arguments, offset) {
                Ok(()) => function.result.as_type(),
                Err((offset, message)) => self.error(offset, message),
            };
        }
        match self.visit(callee) {
            nature if nature.is_unknown() => Type::Unknown,
            Type::Function(name) => match crate::builtins::find(name) {
                Some(builtin) if builtin.call.is_some() => self.plain_builtin(name, arguments, offset),
                // A function with a predicate that is called under another name. The type of its result is not known.
                _ => {
                    for argument in arguments {
                        self.visit(argument);
                    }
                    Type::Unknown
                }
            },
            Type::Method(method) => self.method(method, arguments, offset),
            Type::Nil => self.error(offset, "nil cannot be called"),
            nature => self.error(offset, format!("{nature} cannot be called")),
        }
    }

    fn method(&mut self, method: &'static Method, arguments: &mut [Node], offset: usize) -> Type {
        let Some(result) = &method.result else {
            return self.error(offset, format!("{} gives no value that an expression can take", method.name));
        };
        let natures = self.visit_all(arguments);
        match fits(method.name, method.parameters, &natures, arguments, offset) {
            Ok(()) => result.clone(),
            Err((offset, message)) => self.error(offset, message),
        }
    }

    fn visit_all(&mut self, arguments: &mut [Node]) -> Vec<Type> {
        arguments.iter_mut().map(|argument| self.visit(argument)).collect()
    }

    /// Tries each form of a function.
    fn overloads(&mut self, name: &str, forms: &[Form], arguments: &mut [Node], offset: usize) -> Type {
        let natures = self.visit_all(arguments);
        let mut last = None;
        // The error of the form with the right number of arguments is the most useful.
        for (parameters, result) in forms {
            match fits(name, parameters, &natures, arguments, offset) {
                Ok(()) => return result.clone(),
                Err(error) if last.is_none() || parameters.len() == arguments.len() => last = Some(error),
                Err(_) => {}
            }
        }
        let (offset, message) = last.unwrap_or((offset, format!("{name} does not take these arguments")));
        self.error(offset, message)
    }

    pub(super) fn plain_builtin(&mut self, name: &'static str, arguments: &mut [Node], offset: usize) -> Type {
        use Type::{Any, Byte, Float, Int, List, Nil, String, Strings, Zone};
        const TEXT: &[Type] = &[String];
        const TEXTS: &[Type] = &[String, String];
        const TEXTS_AND_INT: &[Type] = &[String, String, Int];
        let forms: &[Form] = match name {
            "type" | "string" | "toJSON" => &[(&[Any], String)],
            "trim" => &[(TEXT, String), (TEXTS, String)],
            "trimPrefix" | "trimSuffix" => &[(TEXTS, String), (TEXT, String)],
            "upper" | "lower" | "toBase64" | "fromBase64" => &[(TEXT, String)],
            "split" | "splitAfter" => &[(TEXTS, Strings), (TEXTS_AND_INT, Strings)],
            "replace" => &[(&[String, String, String, Int], String), (&[String, String, String], String)],
            "repeat" => &[(&[String, Int], String)],
            "join" => &[
                (&[Strings, String], String),
                (&[List(None), String], String),
                (&[List(None)], String),
                (&[Strings], String),
            ],
            "indexOf" | "lastIndexOf" => &[(TEXTS, Int)],
            "hasPrefix" | "hasSuffix" => &[(TEXTS, Type::Bool)],
            "fromJSON" => &[(TEXT, Any)],
            "duration" => &[(TEXT, Type::Duration)],
            "timezone" => &[(TEXT, Zone)],
            "sort" => &[
                (&[List(None), String], List(None)),
                (&[Strings, String], List(None)),
                (&[List(None)], List(None)),
                (&[Strings], List(None)),
            ],
            "bitand" | "bitor" | "bitxor" | "bitnand" | "bitshl" | "bitshr" | "bitushr" => &[(&[Int, Int], Int)],
            "bitnot" => &[(&[Int], Int)],
            _ => &[],
        };
        if !forms.is_empty() {
            return self.overloads(name, forms, arguments, offset);
        }
        if name == "get" {
            return self.get(arguments, offset);
        }
        let mut natures = self.visit_all(arguments);
        natures.iter_mut().filter(|nature| nature.is_unknown()).for_each(|nature| *nature = Any);
        let list = |nature: &Type| nature.is_unknown() || nature.is_list();
        // Durations and similar values count as numbers here.
        let number = |nature: &Type| {
            matches!(nature.kind(), Kind::Interface | Kind::Int | Kind::Int64 | Kind::Byte | Kind::Float)
        };
        let text = |nature: &Type| *nature == String;
        let map = |nature: &Type| nature.is_unknown() || nature.is_map();
        let result = match (name, natures.as_slice()) {
            ("max" | "min" | "mean" | "median", natures) => return self.aggregate(name, natures, offset),
            ("now", []) => Some(Type::Time),
            ("now", [Zone]) => Some(Type::Time),
            ("date", natures) => {
                let natures = natures.strip_prefix(&[Zone]).unwrap_or(natures);
                (!arguments.is_empty() && natures.len() <= 3).then_some(Type::Time)
            }
            ("concat", natures) => (!natures.is_empty() && natures.iter().all(list)).then_some(List(None)),
            ("len", [nature]) => (list(nature) || map(nature) || text(nature)).then_some(Int),
            ("abs", [nature]) => number(nature).then(|| nature.clone()),
            ("ceil" | "floor" | "round", [nature]) => number(nature).then_some(Float),
            ("int", [nature]) => (number(nature) || text(nature)).then_some(Int),
            ("float", [nature]) => (number(nature) || text(nature)).then_some(Float),
            ("first" | "last", [nature]) => list(nature).then(|| match nature {
                List(_) => Any,
                Type::Bytes => Byte,
                nature if nature.is_unknown() => Any,
                nature => nature.element(),
            }),
            ("take", [nature, count]) => {
                let integer = matches!(count.kind(), Kind::Interface | Kind::Int | Kind::Int64);
                (list(nature) && integer).then(|| without_elements(nature))
            }
            ("keys" | "values" | "toPairs", [nature]) => map(nature).then_some(List(None)),
            ("fromPairs", [nature]) => list(nature).then_some(Type::AnyMap),
            ("reverse" | "uniq" | "flatten", [nature]) => list(nature).then_some(List(None)),
            _ => {
                let message = format!("{name} does not take {}", error::arguments(arguments.len()));
                return self.error(offset, message);
            }
        };
        let shown: Vec<std::string::String> =
            natures.iter().map(|nature| if *nature == Nil { "nil".to_owned() } else { nature.to_string() }).collect();
        result.unwrap_or_else(|| self.error(offset, format!("{name} does not take {}", shown.join(", "))))
    }

    fn aggregate(&mut self, name: &str, natures: &[Type], offset: usize) -> Type {
        if natures.is_empty() {
            return self.error(offset, format!("not enough arguments for {name}"));
        }
        for nature in natures {
            match nature.kind() {
                // After a list, the other arguments are not checked.
                Kind::Interface | Kind::Slice => return Type::Any,
                Kind::Int | Kind::Int64 | Kind::Byte | Kind::Float => {}
                _ => return self.error(offset, format!("{name} does not take {nature}")),
            }
        }
        natures[0].clone()
    }

    fn get(&mut self, arguments: &mut [Node], offset: usize) -> Type {
        let [object, key] = arguments else {
            return self.error(offset, format!("get takes 2 arguments, not {}", arguments.len()));
        };
        let (base, nature) = (self.visit(object), self.visit(key));
        if object.is_identifier(ALL_VARIABLES) {
            return key.as_string().and_then(|name| self.scope.variable(name)).unwrap_or(Type::Unknown);
        }
        match base.kind() {
            _ if base.is_unknown() => Type::Unknown,
            Kind::Slice if !nature.is_integer() && !nature.is_unknown() => {
                self.error(key.offset, format!("the index of a list is an integer, not {nature}"))
            }
            Kind::Map if !nature.assignable_to(&base.key()) && !nature.is_unknown() => {
                self.error(key.offset, format!("{nature} cannot be a key of this map, whose keys are {}", base.key()))
            }
            Kind::Slice | Kind::Map => base.element(),
            _ => self.error(object.offset, format!("{base} has no elements")),
        }
    }
}

/// Whether arguments fit one form of a function.
fn fits(
    name: &str,
    parameters: &[Type],
    natures: &[Type],
    arguments: &[Node],
    offset: usize,
) -> Result<(), (usize, String)> {
    if natures.len() != parameters.len() {
        let many = if natures.len() > parameters.len() { "too many" } else { "not enough" };
        return Err((offset, format!("{many} arguments for {name}")));
    }
    for ((nature, parameter), argument) in natures.iter().zip(parameters).zip(arguments) {
        if parameter.is_integer() && nature.is_integer() {
            continue;
        }
        if *nature == Type::Nil && matches!(parameter.kind(), Kind::Pointer | Kind::Interface) {
            continue;
        }
        if *nature == Type::Nil || !nature.assignable_to(parameter) && !nature.is_unknown() {
            return Err((argument.offset, format!("{name} takes {parameter} here, not {nature}")));
        }
    }
    Ok(())
}

/// A type without the known facts about its elements.
fn without_elements(nature: &Type) -> Type {
    match nature {
        Type::List(_) => Type::List(None),
        other => other.clone(),
    }
}
