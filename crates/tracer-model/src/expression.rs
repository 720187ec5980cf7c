//! User attributes: `NAME=EXPR`, compiled once, evaluated at every exec over that image's `env`, `args` and `cmdline`.
//!
//! The language is [expr](https://expr-lang.org/), by the crate `expr-lang`.

use std::{
    cell::OnceCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use expr::{Context, ContextProvider, Program};
use indexmap::IndexMap;

use crate::{event::Strings, span::Value};

/// The variables of an expression.
const VARIABLES: [&str; 3] = ["env", "args", "cmdline"];

/// Attributes of our own begin so. No user sets them, in a span or in the resource.
pub const RESERVED: &str = "process_tracer.";

/// Whether an attribute's name is one of ours.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.trim().get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

/// Why a `NAME=EXPR` is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No `=`, or nothing before it.
    #[error("'{0}' is not NAME=EXPR; for example: -a pod='env[\"POD_NAME\"]'")]
    NoName(String),
    /// Its name is one of ours, by which reports know what a trace is worth.
    #[error("attribute '{0}': names that begin with '{RESERVED}' are process-tracer's own; choose another")]
    Reserved(String),
    /// Not an expression.
    #[error(
        "expression of attribute '{name}' does not compile at column {column}: {source_text}; \
         for a literal string quote it twice: -a {name}='\"{source_text}\"'"
    )]
    Syntax {
        /// The attribute.
        name: String,
        /// Counted in characters from 1.
        column: usize,
        /// The expression.
        source_text: String,
    },
    /// A well-formed expression that cannot be meant, such as a number out of range.
    #[error("expression of attribute '{name}' does not compile: {reason}")]
    Invalid {
        /// The attribute.
        name: String,
        /// As the compiler says it.
        reason: String,
    },
    /// It names something that does not exist.
    #[error(
        "expression of attribute '{name}' names '{unknown}' at column {column}, which is not one of env, args and cmdline; \
         for a literal string quote it twice: -a {name}='\"{source_text}\"'"
    )]
    UnknownVariable {
        /// The attribute.
        name: String,
        /// The name it uses.
        unknown: String,
        /// Counted in characters from 1.
        column: usize,
        /// The expression.
        source_text: String,
    },
}

/// One user attribute.
#[derive(Debug)]
pub struct Attribute {
    name: String,
    program: Program,
    needs_environment: bool,
    failures: u64,
    first_failure: Option<String>,
}

impl Attribute {
    /// Compiles `NAME=EXPR`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn compile(definition: &str) -> Result<Self, CompileError> {
        let no_name = || CompileError::NoName(definition.to_owned());
        let (name, source) = definition.split_once('=').ok_or_else(no_name)?;
        let name = name.trim().to_owned();
        if name.is_empty() {
            return Err(no_name());
        }
        if is_reserved(&name) {
            return Err(CompileError::Reserved(name));
        }
        // The library panics at some that it does not foresee.
        let program = match catch_unwind(|| expr::compile(source)) {
            Ok(Ok(program)) => program,
            Err(_) => return Err(CompileError::Invalid { name, reason: "it is not understood".to_owned() }),
            Ok(Err(expr::Error::PestError(error))) => {
                use pest::error::LineColLocation::{Pos, Span};
                let (Pos((_, column)) | Span((_, column), _)) = error.line_col;
                return Err(CompileError::Syntax { name, column, source_text: source.to_owned() });
            }
            Ok(Err(other)) => return Err(CompileError::Invalid { name, reason: other.to_string() }),
        };
        // The compiler does not know the variables. Evaluating over nothing finds the unknown ones that are reached, above
        // all the literal whose quotes the shell took away; what else goes wrong over nothing means nothing.
        if let Err(error) = run(&program, &Variables::new(&Strings::default(), None))
            && let Some(unknown) = error.strip_prefix("unknown variable: ")
        {
            let column = source.find(unknown).map_or(1, |at| source[..at].chars().count() + 1);
            let unknown = unknown.to_owned();
            return Err(CompileError::UnknownVariable { name, unknown, column, source_text: source.to_owned() });
        }
        // More than is needed (`env` within a string literal) costs little; less would lose an attribute.
        let needs_environment = source.contains("env");
        Ok(Self { name, program, needs_environment, failures: 0, first_failure: None })
    }
}

/// Runs an expression. The library panics at some, such as a range without end; that is the expression's failure, not ours.
fn run(program: &Program, variables: &Variables<'_>) -> Result<expr::Value, String> {
    match catch_unwind(AssertUnwindSafe(|| expr::run(program, variables))) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it cannot be evaluated".to_owned()),
    }
}

/// An attribute whose expression failed at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The attribute.
    pub name: &'a str,
    /// How often.
    pub count: u64,
    /// What was wrong the first time.
    pub first: &'a str,
}

/// All user attributes.
#[derive(Debug, Default)]
pub struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Whether any of them looks at the environment. If none does, it need not be read.
    #[must_use]
    pub fn need_environment(&self) -> bool {
        self.0.iter().any(|attribute| attribute.needs_environment)
    }

    /// The attributes of one image. One whose expression gives `nil` is left out, as is one that fails; a later attribute
    /// of the same name replaces an earlier one.
    pub fn evaluate(&mut self, arguments: &Strings, environment: Option<&Strings>) -> Vec<(String, Value)> {
        let mut values: Vec<(String, Value)> = Vec::new();
        let variables = Variables::new(arguments, environment);
        for attribute in &mut self.0 {
            match run(&attribute.program, &variables) {
                Ok(value) => {
                    let Some(value) = attribute_value(&value) else { continue };
                    match values.iter_mut().find(|(name, _)| *name == attribute.name) {
                        Some((_, earlier)) => *earlier = value,
                        None => values.push((attribute.name.clone(), value)),
                    }
                }
                Err(error) => {
                    attribute.failures += 1;
                    attribute.first_failure.get_or_insert(error);
                }
            }
        }
        values
    }

    /// The attributes that failed at run time.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.0.iter().filter_map(|attribute| {
            let first = attribute.first_failure.as_deref()?;
            Some(Failure { name: &attribute.name, count: attribute.failures, first })
        })
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

/// What an expression sees, each variable made when it is first asked for.
struct Variables<'a> {
    arguments: &'a Strings,
    environment: Option<&'a Strings>,
    args: OnceCell<expr::Value>,
    cmdline: OnceCell<expr::Value>,
    env: OnceCell<expr::Value>,
}

impl<'a> Variables<'a> {
    fn new(arguments: &'a Strings, environment: Option<&'a Strings>) -> Self {
        let (args, cmdline, env) = Default::default();
        Self { arguments, environment, args, cmdline, env }
    }

    fn args(&self) -> expr::Value {
        expr::Value::Array(self.arguments.iter().map(|arg| expr::Value::String(arg.into_owned())).collect())
    }

    fn cmdline(&self) -> expr::Value {
        expr::Value::String(self.arguments.iter().collect::<Vec<_>>().join(" "))
    }

    /// The first of several definitions counts, as it does for getenv(3).
    fn env(&self) -> expr::Value {
        let mut variables = IndexMap::new();
        for variable in self.environment.into_iter().flat_map(Strings::iter) {
            if let Some((name, value)) = variable.split_once('=')
                && !variables.contains_key(name)
            {
                variables.insert(name.to_owned(), expr::Value::String(value.to_owned()));
            }
        }
        variables.into()
    }
}

impl ContextProvider for Variables<'_> {
    fn get(&self, key: &str) -> Option<&expr::Value> {
        match key {
            "args" => Some(self.args.get_or_init(|| self.args())),
            "cmdline" => Some(self.cmdline.get_or_init(|| self.cmdline())),
            "env" => Some(self.env.get_or_init(|| self.env())),
            _ => None,
        }
    }

    fn to_context(&self) -> Context {
        VARIABLES.iter().filter_map(|name| Some((name, self.get(name)?.clone()))).collect()
    }
}

/// OpenTelemetry has strings, numbers, booleans and arrays of one type; the rest becomes JSON text, `nil` nothing.
fn attribute_value(value: &expr::Value) -> Option<Value> {
    Some(match value {
        expr::Value::Nil => return None,
        expr::Value::Bool(value) => Value::Bool(*value),
        expr::Value::Integer(value) => Value::Int(*value),
        expr::Value::Float(value) => Value::Float(*value),
        expr::Value::String(value) => Value::String(value.clone()),
        expr::Value::Array(items) => array(items).unwrap_or_else(|| json(value)),
        other => json(other),
    })
}

fn array(items: &[expr::Value]) -> Option<Value> {
    let strings: Option<Vec<_>> = items.iter().map(|item| Some(item.as_string()?.to_owned())).collect();
    let ints = || items.iter().map(expr::Value::as_integer).collect::<Option<Vec<_>>>();
    let floats = || items.iter().map(expr::Value::as_float).collect::<Option<Vec<_>>>();
    let bools = || items.iter().map(expr::Value::as_bool).collect::<Option<Vec<_>>>();
    strings
        .map(Value::Strings)
        .or_else(|| ints().map(Value::Ints))
        .or_else(|| floats().map(Value::Floats))
        .or_else(|| bools().map(Value::Bools))
}

fn json(value: &expr::Value) -> Value {
    Value::String(serde_json::to_string(value).unwrap_or_else(|_| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(definition: &str) -> Option<Value> {
        let arguments = ["cc", "-O2", "-c", "x.c", "-O1"].into_iter().collect();
        let environment = ["POD_NAME=pod-1", "EMPTY=", "POD_NAME=second", "novalue"].into_iter().collect();
        let mut attributes: Attributes = [Attribute::compile(definition).unwrap()].into_iter().collect();
        let values = attributes.evaluate(&arguments, Some(&environment));
        assert_eq!(attributes.failures().count(), 0, "{definition}");
        values.into_iter().next().map(|(_, value)| value)
    }

    #[test]
    fn expressions_see_env_args_and_cmdline() {
        let string = |text: &str| Some(Value::String(text.to_owned()));
        assert_eq!(evaluate(r#"pod=env["POD_NAME"]"#), string("pod-1"));
        assert_eq!(evaluate("pod=env.POD_NAME"), string("pod-1"));
        assert_eq!(evaluate(r#"pod=$env["env"]["POD_NAME"]"#), string("pod-1"));
        assert_eq!(evaluate(r#"empty=env["EMPTY"]"#), string(""));
        assert_eq!(evaluate(r#"none=env["NONE"]"#), None);
        assert_eq!(evaluate(r#"none=env["NONE"] ?? "default""#), string("default"));
        assert_eq!(evaluate("tool=args[0]"), string("cc"));
        assert_eq!(evaluate("line=cmdline"), string("cc -O2 -c x.c -O1"));
        assert_eq!(evaluate(r#"optimised=cmdline contains "-O""#), Some(Value::Bool(true)));
        assert_eq!(evaluate(r#"opt=filter(args, {# startsWith "-O"}) | join(",")"#), string("-O2,-O1"));
        assert_eq!(evaluate("equals=\"a=b\""), string("a=b"));
    }

    #[test]
    fn values_map_to_the_types_of_opentelemetry() {
        assert_eq!(evaluate("a=len(args)"), Some(Value::Int(5)));
        assert_eq!(evaluate("a=1.5"), Some(Value::Float(1.5)));
        assert_eq!(evaluate("a=[1, 2]"), Some(Value::Ints(vec![1, 2])));
        assert_eq!(evaluate("a=[1.5]"), Some(Value::Floats(vec![1.5])));
        assert_eq!(evaluate("a=[true]"), Some(Value::Bools(vec![true])));
        assert_eq!(evaluate(r#"a=["x"]"#), Some(Value::Strings(vec!["x".into()])));
        assert_eq!(evaluate(r#"a=[1, "x"]"#), Some(Value::String(r#"[1,"x"]"#.into())));
        assert_eq!(evaluate(r#"a={"x": 1}"#), Some(Value::String(r#"{"x":1}"#.into())));
        assert_eq!(evaluate("a=nil"), None);
    }

    #[test]
    fn what_makes_the_compiler_panic_does_not_compile() {
        assert!(matches!(Attribute::compile("a={A:filter}"), Err(CompileError::Invalid { .. })));
    }

    #[test]
    fn a_range_without_end_is_a_failure_of_its_own() {
        let mut attributes: Attributes =
            [Attribute::compile("a=0..9223372036854775807").unwrap()].into_iter().collect();
        assert!(attributes.evaluate(&Strings::default(), None).is_empty());
        assert_eq!(attributes.failures().next().unwrap().first, "it cannot be evaluated");
    }

    #[test]
    fn the_environment_is_needed_only_where_it_is_named() {
        let needs = |definition| Attribute::compile(definition).unwrap().needs_environment;
        assert!(needs(r#"pod=env["POD_NAME"]"#));
        assert!(!needs("tool=args[0]"));
    }

    #[test]
    fn what_does_not_compile_says_where_and_what_to_type() {
        let error = |definition: &str| Attribute::compile(definition).unwrap_err().to_string();
        assert!(error("novalue").contains("'novalue' is not NAME=EXPR"));
        assert!(error("=1").contains("is not NAME=EXPR"));
        for name in ["process_tracer.complete", " process_tracer.x ", "Process_Tracer.complete"] {
            assert!(error(&format!("{name}=true")).contains("process-tracer's own"), "{name}");
        }
        assert!(Attribute::compile("process_tracer_x=true").is_ok());
        assert!(error(r#"pod=env["X"#).contains("'pod' does not compile at column "), "{}", error(r#"pod=env["X"#));
        assert!(error("pod=1 +").contains("at column 4"), "{}", error("pod=1 +"));
        let literal = error("stage=prod");
        assert!(literal.contains("names 'prod' at column 1"), "{literal}");
        assert!(literal.contains(r#"-a stage='"prod"'"#), "{literal}");
        assert!(error("n=99999999999999999999").contains("does not compile"));
    }

    #[test]
    fn a_failure_leaves_the_attribute_out_and_is_counted() {
        let mut attributes: Attributes =
            ["a=args[7].x.y", "b=1"].map(|definition| Attribute::compile(definition).unwrap()).into_iter().collect();
        let arguments = ["true"].into_iter().collect();
        for _ in 0..3 {
            assert_eq!(attributes.evaluate(&arguments, None), [("b".to_owned(), Value::Int(1))]);
        }
        let failures: Vec<_> = attributes.failures().map(|failure| (failure.name, failure.count)).collect();
        assert_eq!(failures, [("a", 3)]);
    }
}
