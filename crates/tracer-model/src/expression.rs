//! User attributes: `NAME=EXPR`, compiled once, evaluated at every exec over that image's `env`, `args` and `cmdline`.
//!
//! The language is [expr](https://expr-lang.org/). Our crate `tracer-expr` evaluates it. An expression may begin with
//! `expr:`, as in tools where a value without this prefix is literal text.

use std::{
    borrow::Cow,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

pub use tracer_expr::Error as ExpressionError;
use tracer_expr::{ErrorKind, Input, List, Program, Scope, Variables};

use crate::{event::Strings, span::Value};

/// The beginning of the keys of our own attributes. A user cannot set these attributes, in a span or in the resource.
pub const RESERVED: &str = "process_tracer.";

/// Whether an attribute's name is one of ours.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.trim().get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

/// Marks an expression, where a value can also be a plain text.
pub const PREFIX: &str = "expr:";

/// The largest number of attributes of one map.
const MAX_MEMBERS: usize = 128;

/// After this many evaluations beyond the budget, an expression is not evaluated any more.
const MAX_EXCEEDED: u64 = 3;

/// Why a `NAME=EXPR` is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// There is no `=`, or nothing before it.
    #[error("'{0}' is not NAME=EXPR; for example: -a pod='env[\"POD_NAME\"]'")]
    NoName(String),
    /// Its name is one of ours. Reports read from these names whether a trace is complete.
    #[error("attribute '{0}': names that begin with '{RESERVED}' are process-tracer's own; choose another")]
    Reserved(String),
    /// The expression does not compile.
    #[error(transparent)]
    Expression(Box<InvalidExpression>),
}

/// An expression that does not compile.
#[derive(Debug)]
pub struct InvalidExpression {
    /// The attribute.
    pub name: String,
    /// The expression.
    pub source_text: String,
    /// The reason and the place.
    pub error: tracer_expr::Error,
}

impl std::error::Error for InvalidExpression {}

impl fmt::Display for InvalidExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, source_text, error } = self;
        let place = match error.position {
            Some(position) if position.line > 1 => format!(" at line {}, column {}", position.line, position.column),
            Some(position) => format!(" at column {}", position.column),
            None => String::new(),
        };
        match error.unknown_name.as_deref() {
            Some((unknown, similar)) => {
                write!(f, "expression of attribute '{name}' names '{unknown}'{place}, ")?;
                f.write_str("which is not one of env, args and cmdline")?;
                if let Some(similar) = similar {
                    write!(f, "; did you mean '{similar}'?")?;
                }
            }
            None => write!(f, "expression of attribute '{name}' does not compile{place}: {error}")?,
        }
        // The shell has removed the quotes of a literal string, or the user did not write them.
        let is_bare = source_text.chars().all(|next| next.is_alphanumeric() || " -_./:@,+".contains(next));
        if is_bare {
            let variable: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let variable = variable.to_ascii_uppercase();
            write!(f, "; for this text, quote it twice: -a {name}='\"{source_text}\"'")?;
            write!(f, "; an expression is, for example: -a {name}='env[\"{variable}\"]'")?;
        }
        Ok(())
    }
}

impl CompileError {
    /// Two lines: the line of the expression, and a caret below the error. Empty if no place is known.
    #[must_use]
    pub fn snippet(&self) -> String {
        match self {
            Self::Expression(invalid) => invalid.error.snippet(),
            Self::NoName(_) | Self::Reserved(_) => String::new(),
        }
    }
}

/// One user attribute.
#[derive(Debug)]
pub struct Attribute {
    name: String,
    program: Program,
    failures: u64,
    first_failure: Option<String>,
    /// How often an evaluation exceeded its budget.
    exceeded: u64,
}

impl Attribute {
    /// Compiles `NAME=EXPR`.
    ///
    /// # Errors
    ///
    /// The definition has no name, the name is ours, or the expression does not compile.
    pub fn compile(definition: &str) -> Result<Self, CompileError> {
        let no_name = || CompileError::NoName(definition.to_owned());
        let (name, source) = definition.split_once('=').ok_or_else(no_name)?;
        if name.trim().is_empty() {
            return Err(no_name());
        }
        Self::compile_in(&Scope::COMMAND, name, source)
    }

    /// Compiles the expression of an attribute. It uses the names of a scope.
    ///
    /// # Errors
    ///
    /// The name is ours, or the expression does not compile.
    pub fn compile_in(scope: &Scope, name: &str, source: &str) -> Result<Self, CompileError> {
        let name = name.trim().to_owned();
        if is_reserved(&name) {
            return Err(CompileError::Reserved(name));
        }
        let source = without_prefix(source);
        match Program::compile_in(scope, source) {
            Ok(program) => Ok(Self { name, program, failures: 0, first_failure: None, exceeded: 0 }),
            Err(error) => {
                let source_text = source.to_owned();
                Err(CompileError::Expression(Box::new(InvalidExpression { name, source_text, error })))
            }
        }
    }

    /// Whether the expression looks at the environment.
    #[must_use]
    pub fn needs_environment(&self) -> bool {
        self.program.uses_environment()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Evaluates the expression, and passes each attribute to `add`. If it fails, it adds no attribute.
    pub fn evaluate(&mut self, input: &Input<'_>, mut add: impl FnMut(String, Value)) {
        if self.exceeded >= MAX_EXCEEDED {
            self.failures += 1;
            return;
        }
        let mut members = Vec::new();
        let value = self.program.evaluate(input);
        match value.map_err(Into::into).and_then(|value| flatten(&self.name, &value, &mut members)) {
            Ok(()) => members.into_iter().for_each(|(name, value)| add(name, value)),
            Err(problem) => {
                self.failures += 1;
                self.exceeded += u64::from(problem.is_budget);
                self.first_failure.get_or_insert(problem.text);
            }
        }
    }
}

impl Attribute {
    /// Its failures at run time, if there are any.
    #[must_use]
    pub fn failure(&self) -> Option<Failure<'_>> {
        let first = self.first_failure.as_deref()?;
        Some(Failure { name: &self.name, is_selector: false, count: self.failures, first })
    }
}

/// Why an evaluation gave no attribute.
struct Problem {
    text: String,
    is_budget: bool,
}

impl From<tracer_expr::Error> for Problem {
    fn from(error: tracer_expr::Error) -> Self {
        Self { is_budget: error.kind == ErrorKind::Budget, text: error.to_string() }
    }
}

/// The attributes of a value. A map gives one for each of its members, `NAME.KEY`.
fn flatten(name: &str, value: &tracer_expr::Value, to: &mut Vec<(String, Value)>) -> Result<(), Problem> {
    let problem = |text| Err(Problem { text, is_budget: false });
    if let tracer_expr::Value::Map(map) = value {
        return map.iter().try_for_each(|(key, value)| flatten(&format!("{name}.{}", key.text()?), value, to));
    }
    let Some(value) = attribute_value(value)? else { return Ok(()) };
    // The name of a map's member is known only now.
    if is_reserved(name) {
        return problem(format!("names that begin with '{RESERVED}' are process-tracer's own"));
    }
    if to.len() == MAX_MEMBERS {
        return problem(format!("the map has more than {MAX_MEMBERS} members"));
    }
    to.push((name.to_owned(), value));
    Ok(())
}

/// An expression without the optional `expr:`.
fn without_prefix(source: &str) -> &str {
    source.trim_start().strip_prefix(PREFIX).unwrap_or(source)
}

/// Checks an expression for [`text`].
///
/// # Errors
///
/// The expression does not compile.
pub fn check(source: &str) -> Result<(), tracer_expr::Error> {
    Program::compile(without_prefix(source)).map(drop)
}

/// Evaluates an expression over one process's arguments and environment. Returns its value as a text, which is empty if the
/// value is absent.
///
/// # Errors
///
/// The expression does not compile, or its evaluation fails.
pub fn text(
    source: &str,
    arguments: &Strings,
    environment: &Strings,
    now: SystemTime,
) -> Result<String, tracer_expr::Error> {
    let variables = ExecVariables { arguments, environment: Some(environment), now };
    let value = Program::compile(without_prefix(source))?.evaluate(&Input::new(&variables))?;
    Ok(match attribute_value(&value)? {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(_) => value.json()?,
    })
}

/// An attribute or a rule whose expression failed at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The attribute, or the place of the rule.
    pub name: &'a str,
    /// It is the `when` of a rule.
    pub is_selector: bool,
    /// How often.
    pub count: u64,
    /// The reason of the first failure.
    pub first: &'a str,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, is_selector, count, first } = self;
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        if *is_selector {
            return write!(f, "the 'when' of {name} failed {times} and counted as false; the first time: {first}");
        }
        write!(f, "attribute '{name}' was left out {times}, because its expression failed; the first time: {first}")
    }
}

/// All user attributes.
#[derive(Debug, Default)]
pub struct Attributes {
    list: Vec<Attribute>,
    skips_empty: bool,
    are_on_all_spans: bool,
}

impl Attributes {
    /// Leaves out attributes with an empty text.
    #[must_use]
    pub fn skip_empty_values(self, skips_empty: bool) -> Self {
        Self { skips_empty, ..self }
    }

    /// Puts them also on the connections, flows, lookups and calls of the processes.
    #[must_use]
    pub fn on_all_spans(self, are_on_all_spans: bool) -> Self {
        Self { are_on_all_spans, ..self }
    }

    pub(crate) fn are_on_all_spans(&self) -> bool {
        self.are_on_all_spans
    }

    /// Whether any expression uses the environment. If not, the environment is not read.
    #[must_use]
    pub fn need_environment(&self) -> bool {
        self.list.iter().any(Attribute::needs_environment)
    }

    /// The attributes of one image, whose exec was at `now`.
    ///
    /// A failed expression adds no attribute. The value `nil` adds no attribute. A later attribute replaces an earlier
    /// one of the same name.
    pub fn evaluate(
        &mut self,
        arguments: &Strings,
        environment: Option<&Strings>,
        now: SystemTime,
    ) -> Vec<(String, Value)> {
        let mut values: Vec<(String, Value)> = Vec::new();
        let variables = ExecVariables { arguments, environment, now };
        let input = Input::new(&variables);
        let is_left_out = |value: &Value| self.skips_empty && matches!(value, Value::String(text) if text.is_empty());
        for attribute in &mut self.list {
            attribute.evaluate(&input, |name, value| match values.iter_mut().find(|(known, _)| *known == name) {
                _ if is_left_out(&value) => {}
                Some((_, earlier)) => *earlier = value,
                None => values.push((name, value)),
            });
        }
        values
    }

    /// The attributes that failed at run time.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.list.iter().filter_map(Attribute::failure)
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        Self { list: attributes.into_iter().collect(), skips_empty: false, are_on_all_spans: false }
    }
}

/// What expressions can read at one exec.
struct ExecVariables<'a> {
    arguments: &'a Strings,
    environment: Option<&'a Strings>,
    now: SystemTime,
}

impl ExecVariables<'_> {
    /// The variables of the environment, each with its `=`.
    fn definitions(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.environment.into_iter().flat_map(Strings::iter)
    }
}

impl Variables for ExecVariables<'_> {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        self.arguments.iter().collect()
    }

    /// The first of several definitions counts, as it does for getenv(3).
    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let split = |definition: Cow<'_, str>| {
            let (name, value) = definition.split_once('=')?;
            Some((name.to_owned().into(), value.to_owned().into()))
        };
        self.definitions().filter_map(split).collect()
    }

    fn environment_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        // A name contains no `=`, because it ends at the first `=`.
        if name.contains('=') {
            return None;
        }
        self.definitions().find_map(|definition| match definition {
            Cow::Borrowed(definition) => Some(definition.strip_prefix(name)?.strip_prefix('=')?.into()),
            Cow::Owned(definition) => Some(definition.strip_prefix(name)?.strip_prefix('=')?.to_owned().into()),
        })
    }

    fn now(&self) -> i64 {
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// OpenTelemetry has strings, numbers, booleans and lists of one type. Maps and other lists become JSON. Times and
/// similar values become text. `nil` becomes nothing.
fn attribute_value(value: &tracer_expr::Value) -> Result<Option<Value>, tracer_expr::Error> {
    use tracer_expr::Value as Expr;
    Ok(Some(match value {
        Expr::Nil | Expr::Absent | Expr::Method(_) => return Ok(None),
        Expr::List(list) if list.is_nil() => return Ok(None),
        Expr::Bool(value) => Value::Bool(*value),
        Expr::Int(value) => Value::Int(*value),
        Expr::Byte(value) => Value::Int(i64::from(*value)),
        Expr::Float(value) => Value::Float(*value),
        Expr::String(value) => Value::String(value.to_string()),
        Expr::Bytes(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        Expr::List(list) => match list_value(list) {
            Some(list) => list,
            None => Value::String(value.json()?),
        },
        Expr::Map(_) => Value::String(value.json()?),
        Expr::Time(_) | Expr::Duration(_) | Expr::Month(_) | Expr::Weekday(_) | Expr::Zone(_) => {
            Value::String(value.text()?)
        }
    }))
}

/// A list whose elements have one type.
fn list_value(list: &List) -> Option<Value> {
    use tracer_expr::Value as Expr;
    /// All elements, if each of them fits.
    fn all<T>(list: &List, fit: impl Fn(&Expr) -> Option<T>) -> Option<Vec<T>> {
        list.iter().map(|item| fit(&item)).collect()
    }
    let strings = || {
        all(list, |item| match item {
            Expr::String(text) => Some(text.to_string()),
            _ => None,
        })
    };
    let ints = || {
        all(list, |item| match item {
            Expr::Int(value) => Some(*value),
            Expr::Byte(value) => Some(i64::from(*value)),
            _ => None,
        })
    };
    let floats = || {
        all(list, |item| match item {
            Expr::Float(value) => Some(*value),
            _ => None,
        })
    };
    let bools = || {
        all(list, |item| match item {
            Expr::Bool(value) => Some(*value),
            _ => None,
        })
    };
    None.or_else(|| strings().map(Value::Strings))
        .or_else(|| ints().map(Value::Ints))
        .or_else(|| floats().map(Value::Floats))
        .or_else(|| bools().map(Value::Bools))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(definition: &str) -> Option<Value> {
        let arguments = ["cc", "-O2", "-c", "x.c", "-O1"].into_iter().collect();
        let environment = ["POD_NAME=pod-1", "EMPTY=", "POD_NAME=second", "novalue"].into_iter().collect();
        let mut attributes: Attributes = [Attribute::compile(definition).unwrap()].into_iter().collect();
        let values = attributes.evaluate(&arguments, Some(&environment), UNIX_EPOCH);
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
        assert_eq!(evaluate(r#"a=[{"x": 1}]"#), Some(Value::String(r#"[{"x":1}]"#.into())));
        assert_eq!(evaluate("a=nil"), None);
    }

    /// The attributes of one image, and the reasons of those that failed.
    fn all(definitions: &[&str], skips_empty: bool) -> (Vec<(String, Value)>, Vec<String>) {
        let compile = |definition: &&str| Attribute::compile(definition).unwrap();
        let attributes: Attributes = definitions.iter().map(compile).collect();
        let mut attributes = attributes.skip_empty_values(skips_empty);
        let environment = ["JOB=test", "EMPTY="].into_iter().collect();
        let values = attributes.evaluate(&["cc"].into_iter().collect(), Some(&environment), UNIX_EPOCH);
        (values, attributes.failures().map(|failure| failure.first.to_owned()).collect())
    }

    #[test]
    fn a_map_gives_one_attribute_per_member() {
        let text = |key: &str, text: &str| (key.to_owned(), Value::String(text.to_owned()));
        let (values, _) = all(&[r#"ci={"job": env.JOB, "ref": env.NONE, "deep": {"n": 1}}"#], false);
        assert_eq!(values, [("ci.deep.n".to_owned(), Value::Int(1)), text("ci.job", "test")]);
        assert_eq!(all(&["ci={}"], false).0, []);
        // A later attribute replaces a member.
        assert_eq!(all(&[r#"ci={"job": 1}"#, r#"ci.job="x""#], false).0, [text("ci.job", "x")]);
        let (values, failures) = all(&[r#"process_tracer={"complete": true}"#, "x=1"], false);
        assert_eq!(values, [("x".to_owned(), Value::Int(1))]);
        assert!(failures[0].contains("process-tracer's own"), "{failures:?}");
        let (values, failures) = all(&["x=fromPairs(map(1..129, [string(#), #]))"], false);
        assert!(values.is_empty() && failures[0].contains("more than 128 members"), "{failures:?}");
    }

    #[test]
    fn empty_values_can_be_left_out() {
        let definitions = [r#"a=env.EMPTY"#, r#"b="""#, r#"c={"x": "", "y": "z"}"#, "d=[]", "e=0"];
        let names = |skips| all(&definitions, skips).0.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(false), ["a", "b", "c.x", "c.y", "d", "e"]);
        assert_eq!(names(true), ["c.y", "d", "e"]);
    }

    #[test]
    fn an_expression_may_have_the_prefix_of_other_tools() {
        assert_eq!(evaluate(r#"pod=expr:env["POD_NAME"]"#), Some(Value::String("pod-1".to_owned())));
        assert_eq!(evaluate("n=expr: 1 + 1"), Some(Value::Int(2)));
    }

    #[test]
    fn an_expression_over_one_process_is_a_text() {
        let (arguments, environment) =
            (["make", "-j2"].into_iter().collect(), ["CI_PIPELINE_ID=42"].into_iter().collect());
        let text = |source| text(source, &arguments, &environment, UNIX_EPOCH);
        assert_eq!(text("expr:env['CI_PIPELINE_ID']").unwrap(), "42");
        assert_eq!(text("env.NONE").unwrap(), "");
        assert_eq!(text("len(args)").unwrap(), "2");
        assert!(text("args[7]").is_err() && text("nonsense").is_err());
    }

    #[test]
    fn an_expression_that_exceeds_its_budget_fails_and_is_evaluated_three_times_only() {
        let compile = |definition| Attribute::compile(definition).unwrap();
        let mut attributes: Attributes = [compile("a=0..9223372036854775806"), compile("b=1")].into_iter().collect();
        for _ in 0..5 {
            let values = attributes.evaluate(&Strings::default(), None, UNIX_EPOCH);
            assert_eq!(values, [("b".to_owned(), Value::Int(1))]);
        }
        let failures: Vec<_> = attributes.failures().collect();
        assert_eq!((failures.len(), failures[0].count), (1, 5));
        assert!(failures[0].first.contains("the limit of 1000000 elements"), "{}", failures[0].first);
        assert_eq!(attributes.list[0].exceeded, MAX_EXCEEDED);
    }

    #[test]
    fn an_absent_variable_adds_no_attribute_and_is_empty_elsewhere() {
        let string = |text: &str| Some(Value::String(text.to_owned()));
        assert_eq!(evaluate("a=env.NONE"), None);
        assert_eq!(evaluate("a=env.EMPTY"), string(""));
        assert_eq!(evaluate(r#"a=env["NONE"] != "" ? "branch" : "tag""#), string("tag"));
        assert_eq!(evaluate(r#"a=env["NONE"] + "-ci""#), string("-ci"));
        assert_eq!(evaluate(r#"a=[{"x": env.NONE, "y": env.EMPTY}]"#), string(r#"[{"y":""}]"#));
    }

    #[test]
    fn now_is_the_time_of_the_exec() {
        let mut attributes: Attributes = [Attribute::compile("a=now().Unix()").unwrap()].into_iter().collect();
        let now = UNIX_EPOCH + std::time::Duration::from_secs(12);
        assert_eq!(attributes.evaluate(&Strings::default(), None, now), [("a".to_owned(), Value::Int(12))]);
    }

    #[test]
    fn the_environment_is_needed_only_where_it_is_named() {
        let needs = |definition| Attribute::compile(definition).unwrap().program.uses_environment();
        assert!(needs(r#"pod=env["POD_NAME"]"#));
        assert!(needs("all=len($env)"));
        assert!(!needs("tool=args[0]"));
        assert!(!needs(r#"text="env""#));
    }

    #[test]
    fn an_expression_that_does_not_compile_names_the_place_and_the_remedy() {
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
        assert!(literal.contains(r#"-a stage='env["STAGE"]'"#), "{literal}");
        assert!(error("n=99999999999999999999").contains("does not compile"));
        let similar = error("a=1 + len(arg)");
        assert!(similar.contains("did you mean 'args'?"), "{similar}");
        let snippet = |definition: &str| Attribute::compile(definition).unwrap_err().snippet();
        assert_eq!(snippet("a=1 + len(arg)"), " | 1 + len(arg)\n |         ^");
        assert_eq!(snippet("novalue"), "");
        assert!(error("a=1;\n  args + 1").contains("at line 2, column 8"), "{}", error("a=1;\n  args + 1"));
    }

    #[test]
    fn a_failure_leaves_the_attribute_out_and_is_counted() {
        let mut attributes: Attributes =
            ["a=args[7]", "b=1"].map(|definition| Attribute::compile(definition).unwrap()).into_iter().collect();
        let arguments = ["true"].into_iter().collect();
        for _ in 0..3 {
            assert_eq!(attributes.evaluate(&arguments, None, UNIX_EPOCH), [("b".to_owned(), Value::Int(1))]);
        }
        let failures: Vec<_> = attributes.failures().map(|failure| (failure.name, failure.count)).collect();
        assert_eq!(failures, [("a", 3)]);
    }
}
