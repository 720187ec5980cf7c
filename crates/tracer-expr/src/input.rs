//! The variables that expressions read.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap};

use crate::{
    error::Fault,
    value::{Key, List, Map, MapKind, Value},
};

/// The origin of the variables.
pub trait Variables {
    /// The arguments of the command, the name of the program first.
    fn arguments(&self) -> Vec<Cow<'_, str>>;

    /// The names and values of the environment. If a name occurs several times, the first one counts.
    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)>;

    /// One variable of the environment.
    fn environment_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        self.environment().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of `now()`, in nanoseconds since 1970.
    fn now(&self) -> i64;

    /// A variable of the scope.
    fn variable(&self, _name: &'static str) -> Value {
        Value::Nil
    }
}

/// The variables that expressions read. `args`, `cmdline` and `env` are made once, when an expression first asks for
/// them.
pub struct Input<'a> {
    variables: &'a dyn Variables,
    arguments: OnceCell<Value>,
    command_line: OnceCell<Value>,
    environment: OnceCell<Value>,
}

impl<'a> Input<'a> {
    /// Takes the variables.
    #[must_use]
    pub fn new(variables: &'a dyn Variables) -> Self {
        let (arguments, command_line, environment) = Default::default();
        Self { variables, arguments, command_line, environment }
    }

    pub(crate) fn now(&self) -> i64 {
        self.variables.now()
    }

    pub(crate) fn arguments(&self) -> Value {
        let arguments = || {
            let arguments = self.variables.arguments().into_iter().map(|argument| Value::String(argument.into()));
            Value::List(List::strings(arguments.collect()))
        };
        self.arguments.get_or_init(arguments).clone()
    }

    pub(crate) fn variable(&self, name: &'static str) -> Value {
        self.variables.variable(name)
    }

    pub(crate) fn argument(&self, index: i64) -> Result<Value, Fault> {
        crate::operate::fetch(&self.arguments(), &Value::Int(index))
    }

    pub(crate) fn command_line(&self) -> Value {
        self.command_line.get_or_init(|| self.variables.arguments().join(" ").into()).clone()
    }

    pub(crate) fn environment(&self) -> Value {
        let environment = || {
            let mut entries = BTreeMap::new();
            for (name, value) in self.variables.environment() {
                entries.entry(Key::String(name.into())).or_insert_with(|| Value::String(value.into()));
            }
            // This map is never too deep, because texts do not nest.
            Map::new(MapKind::Environment, entries).map_or(Value::Nil, Value::Map)
        };
        self.environment.get_or_init(environment).clone()
    }

    pub(crate) fn environment_variable(&self, name: &str) -> Value {
        self.variables.environment_variable(name).map_or(Value::Absent, |value| Value::String(value.into()))
    }
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}
