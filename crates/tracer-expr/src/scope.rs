//! The names that an expression can use besides those of the language.
//!
//! An expression for `-a` sees `env`, `args` and `cmdline`. In a rules file, rules for processes see more names.
//! Rules for connections see only other names.

use crate::{check::types::Type, value::Value};

/// The variables of a command.
const VARIABLES: [(&str, Type); 3] = [("env", Type::Environment), ("args", Type::Strings), ("cmdline", Type::String)];

/// The names of one kind of expressions.
#[derive(Debug)]
pub struct Scope {
    /// Whether `env`, `args` and `cmdline` exist.
    pub has_command: bool,
    /// More variables. [`crate::Variables::variable`] gives their values.
    pub variables: &'static [(&'static str, Nature)],
    /// More functions.
    pub functions: &'static [Function],
}

/// The type of a variable, a parameter or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A text.
    Text,
    /// Texts by their names. A name that is absent has the empty text.
    Texts,
}

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its parameters.
    pub parameters: &'static [Nature],
    /// The type of its result.
    pub result: Nature,
    /// Its code. It gets one argument for each parameter, but an argument can have another type.
    pub call: fn(&[Value]) -> Value,
}

impl Scope {
    /// Only `env`, `args` and `cmdline`.
    pub const COMMAND: Self = Self { has_command: true, variables: &[], functions: &[] };

    /// All variables and their types.
    fn all(&self) -> impl Iterator<Item = (&'static str, Type)> {
        let more = self.variables.iter().map(|(name, nature)| (*name, nature.as_type()));
        VARIABLES.into_iter().filter(|_| self.has_command).chain(more)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|(name, _)| name).chain(self.functions.iter().map(|function| function.name))
    }

    pub(crate) fn variable(&self, name: &str) -> Option<Type> {
        self.all().find(|(known, _)| *known == name).map(|(_, nature)| nature)
    }

    /// One of the variables that only this scope has.
    pub(crate) fn more(&self, name: &str) -> Option<&'static str> {
        self.variables.iter().map(|(known, _)| *known).find(|known| *known == name)
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}

impl Nature {
    pub(crate) fn as_type(self) -> Type {
        match self {
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Text => Type::String,
            Self::Texts => Type::Environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::{Input, Program, Variables};

    const SCOPE: Scope = Scope {
        has_command: false,
        variables: &[("port", Nature::Int), ("host", Nature::Text), ("captures", Nature::Texts), ("tcp", Nature::Bool)],
        functions: &[Function {
            name: "has_prefix",
            parameters: &[Nature::Text, Nature::Text],
            result: Nature::Bool,
            call: |arguments| match arguments {
                [text, prefix] => {
                    Value::Bool(text.as_str().zip(prefix.as_str()).is_some_and(|(a, b)| a.starts_with(b)))
                }
                _ => Value::Nil,
            },
        }],
    };

    struct Sample;

    impl Variables for Sample {
        fn arguments(&self) -> Vec<Cow<'_, str>> {
            Vec::new()
        }

        fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
            Vec::new()
        }

        fn now(&self) -> i64 {
            0
        }

        fn variable(&self, name: &'static str) -> Value {
            match name {
                "port" => Value::Int(443),
                "host" => "a.example".into(),
                "captures" => Value::texts([("x", "1")]),
                "tcp" => Value::Bool(true),
                _ => Value::Nil,
            }
        }
    }

    fn value(source: &str) -> String {
        format!("{:?}", Program::compile_in(&SCOPE, source).unwrap().evaluate(&Input::new(&Sample)).unwrap())
    }

    #[test]
    fn a_scope_adds_variables_and_functions() {
        for source in [
            "tcp and port in 400..500",
            r#"has_prefix(host, "a.") and not has_prefix(host, "b")"#,
            r#"captures.x == "1" and captures["none"] + "!" == "!""#,
            r#"$env["host"] endsWith "example""#,
            r#"let p = port; p == 443"#,
        ] {
            assert_eq!(value(source), "Bool(true)", "{source}");
        }
    }

    #[test]
    fn names_of_other_scopes_are_unknown() {
        let error = |source: &str| Program::compile_in(&SCOPE, source).unwrap_err().unknown_name.map(|names| *names);
        assert_eq!(error("cmdline").unwrap().0, "cmdline");
        assert_eq!(error("prt == 1"), Some(("prt".to_owned(), Some("port".to_owned()))));
        assert!(Program::compile("port").is_err());
        let types = Program::compile_in(&SCOPE, "has_prefix(port, host)").unwrap_err();
        assert!(types.to_string().contains("has_prefix takes string here, not int"), "{types}");
        assert!(Program::compile_in(&SCOPE, "has_prefix(host)").is_err());
        assert!(Program::compile_in(&SCOPE, "let port = 1; port").is_err());
    }
}
