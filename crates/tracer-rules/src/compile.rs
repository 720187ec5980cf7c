//! From the keys of a file to compiled rules. Mistakes that [`parse`](crate::parse) does not find are found here,
//! before anything starts.

use std::time::Duration;

use tracer_expr::{Program, Scope};
use tracer_model::{
    Value,
    expression::{Attribute, CompileError, ExpressionError, is_reserved},
    judge::Fate,
};

use crate::{
    Error, File, Located,
    connections::{self, ConnectionRule, Connections},
    facts::{SCOPE, kernel_name},
    located::Place,
    pattern::Pattern,
    rule::{Actions, Given, Rule, Selectors, When},
    schema::{self, Drop, Scalar},
    tags::TagCommand,
    template::Template,
};

/// The variables of our own environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The compiled rules of a file.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) rules: Vec<Rule>,
    /// The patterns over the names of processes above.
    pub(crate) parents: Vec<Pattern>,
    /// What happens without a match.
    pub(crate) default: Fate,
    /// Whether a command prints tags.
    pub(crate) has_tags: bool,
    /// That command.
    pub(crate) tags: Option<TagCommand>,
    pub(crate) connections: Connections,
}

/// Compiles the rules of a file. `text` is the file, to find the column of a mistake within a value.
pub(crate) fn compile(file: &File, text: &str, environment: Environment<'_>) -> Result<Compiled, Error> {
    let tags = file.tags.as_ref().map(tag_command).transpose()?;
    let mut compiler = Compiler { text, environment, parents: Vec::new() };
    let rules: Vec<Rule> = file.rules.iter().map(|rule| compiler.rule(rule)).collect::<Result<_, _>>()?;
    if let (Some(rule), None) = (rules.iter().find(|rule| rule.actions.tagged_only), &tags) {
        return Err(Error::new(rule.place, "'tagged_only' needs 'tags', whose command prints tags"));
    }
    let connections = file.connections.iter().map(|rule| compiler.connection(rule)).collect::<Result<_, _>>()?;
    let default = match file.default {
        schema::Default::Accept => Fate::Keep,
        schema::Default::Drop => Fate::Drop { always: false, shorter_than: None },
    };
    Ok(Compiled {
        rules,
        parents: compiler.parents.into_iter().map(|(_, pattern)| pattern).collect(),
        default,
        has_tags: tags.is_some(),
        tags,
        connections: Connections(connections),
    })
}

/// The `interval` of the command that prints tags, if the file has none.
const INTERVAL: Duration = Duration::from_secs(10);

/// A shorter time would keep the machine busy.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

fn tag_command(tags: &Located<schema::Tags>) -> Result<TagCommand, Error> {
    let schema::Tags { command, interval, user } = &tags.value;
    let interval = match interval {
        Some(interval) if interval.value.0 < MIN_INTERVAL => {
            return Err(Error::new(interval.place, "'interval' must be at least 100ms"));
        }
        Some(interval) => interval.value.0,
        None => INTERVAL,
    };
    if command.first().is_none_or(|program| program.value.is_empty()) {
        return Err(Error::new(tags.place, "'command' names no program"));
    }
    let command = command.iter().map(|word| word.value.clone()).collect();
    Ok(TagCommand { command, interval, user: user.clone() })
}

struct Compiler<'a> {
    text: &'a str,
    environment: Environment<'a>,
    parents: Vec<(String, Pattern)>,
}

impl Compiler<'_> {
    fn rule(&mut self, located: &Located<schema::Rule>) -> Result<Rule, Error> {
        let (rule, place) = (&located.value, located.place);
        let selectors = self.selectors(rule, place)?;
        let actions = self.actions(rule, place, &selectors)?;
        Ok(Rule { place, selectors, actions, continues: rule.continues.unwrap_or_default() })
    }

    fn connection(&self, located: &Located<schema::ConnectionRule>) -> Result<ConnectionRule, Error> {
        let schema::ConnectionRule { when, drop, accept } = &located.value;
        let drops = match (drop.unwrap_or_default(), accept.unwrap_or_default()) {
            (true, true) => return Err(Error::new(located.place, "a rule has 'drop' or 'accept', not both")),
            (false, false) => {
                let reason = "a rule for connections needs 'drop: true' or 'accept: true'";
                return Err(Error::new(located.place, reason));
            }
            (drops, _) => drops,
        };
        let when = when.as_ref().map(|when| self.when(&connections::SCOPE, when, located.place)).transpose()?;
        Ok(ConnectionRule { when, drops })
    }

    fn selectors(&mut self, rule: &schema::Rule, place: Option<Place>) -> Result<Selectors, Error> {
        let values = |list: &[Located<String>]| list.iter().map(|text| text.value.clone()).collect();
        let process = rule.process.as_ref().map(|text| self.pattern(text)).transpose()?;
        let has_process = process.is_some();
        let cmdline = rule.cmdline.iter().map(|text| self.pattern(text));
        let patterns: Vec<Pattern> = process.map(Ok).into_iter().chain(cmdline).collect::<Result<_, Error>>()?;
        Ok(Selectors {
            container: rule.container,
            user: values(&rule.user),
            comm: rule.comm.iter().map(|text| kernel_name(&text.value).to_owned()).collect(),
            exe: values(&rule.exe),
            parent: rule.parent.as_ref().map(|text| self.parent(text)).transpose()?,
            patterns,
            has_process,
            cgroup: rule.cgroup.as_ref().map(|text| self.pattern(text)).transpose()?,
            env: rule.env.iter().map(|text| self.variable(text)).collect::<Result<_, _>>()?,
            attribute: rule.attribute.as_ref().map(|text| self.pattern(text)).transpose()?,
            when: rule.when.as_ref().map(|text| self.when(&SCOPE, text, place)).transpose()?,
        })
    }

    fn pattern(&self, text: &Located<String>) -> Result<Pattern, Error> {
        let wrong = |reason| Error::new(text.place, format!("'{}' is no regular expression: {reason}", text.value));
        Pattern::compile(&text.value).map_err(wrong)
    }

    /// The number of a pattern over the names of the processes above.
    fn parent(&mut self, text: &Located<String>) -> Result<usize, Error> {
        if let Some(known) = self.parents.iter().position(|(known, _)| *known == text.value) {
            return Ok(known);
        }
        self.parents.push((text.value.clone(), self.pattern(text)?));
        Ok(self.parents.len() - 1)
    }

    fn variable(&self, text: &Located<String>) -> Result<(String, Option<Pattern>), Error> {
        let wrong = |reason: String| Error::new(text.place, reason);
        let (name, glob) = match text.value.split_once('=') {
            Some((name, glob)) => (name, Some(Pattern::of_glob(glob).map_err(wrong)?)),
            None => (text.value.as_str(), None),
        };
        if name.is_empty() {
            return Err(wrong("a variable is NAME or NAME=GLOB".to_owned()));
        }
        Ok((name.to_owned(), glob))
    }

    fn when(&self, scope: &Scope, text: &Located<String>, rule: Option<Place>) -> Result<When, Error> {
        let program = Program::compile_in(scope, &text.value).map_err(|error| self.expression(text, &error))?;
        if !program.can_be_bool() {
            return Err(Error::new(text.place, "the value of 'when' is not true or false"));
        }
        let line = rule.map(|place| format!(" in line {}", place.line)).unwrap_or_default();
        Ok(When { program, name: format!("the rule{line}"), failures: 0, first_failure: None })
    }

    /// A mistake in an expression.
    fn expression(&self, text: &Located<String>, error: &ExpressionError) -> Error {
        let place = match error.position {
            Some(position) if position.line <= 1 => self.within(text, position.column.saturating_sub(1)),
            _ => text.place,
        };
        let reason = match error.unknown_name.as_deref() {
            Some((unknown, Some(similar))) => format!("unknown name '{unknown}'; did you mean '{similar}'?"),
            Some((unknown, None)) => format!("unknown name '{unknown}'"),
            None => error.to_string(),
        };
        Error::new(place, format!("the expression does not compile: {reason}"))
    }

    /// The place of a character of a value. If the value has line breaks or escapes, it is the place of
    /// the whole value.
    fn within(&self, text: &Located<String>, offset: usize) -> Option<Place> {
        let place = text.place?;
        let line = self.text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
        let before = usize::try_from(place.column).ok()?.checked_sub(1)?;
        let written: String = line.chars().skip(before).collect();
        let quotes = usize::from(written.starts_with(['\'', '"']));
        let value: String = written.chars().skip(quotes).take(text.value.chars().count()).collect();
        if value != text.value {
            return Some(place);
        }
        Some(Place { column: place.column + (quotes + offset) as u64, ..place })
    }

    fn actions(&self, rule: &schema::Rule, place: Option<Place>, selectors: &Selectors) -> Result<Actions, Error> {
        let refuse = |place: Option<Place>, reason: &str| Err(Error::new(place, reason));
        if let (Some(_), Some(rewrite)) = (&rule.name, &rule.rewrite) {
            return refuse(rewrite.place, "a rule has 'name' or 'rewrite', not both");
        }
        if let Some(rewrite) = &rule.rewrite
            && selectors.patterns.is_empty()
        {
            return refuse(rewrite.place, "'rewrite' needs 'process' or 'cmdline', whose match it replaces");
        }
        if let (Some(true), Some(drop)) = (rule.tagged_only, &rule.drop) {
            return refuse(drop.place, "a rule has 'drop' or 'tagged_only', not both");
        }
        if rule.children.is_some() && rule.group.is_none() {
            return refuse(place, "'children' needs 'group'");
        }
        let template = |text: &Located<String>| self.template(text, &selectors.patterns);
        let group = rule.group.as_ref().map(|group| {
            let text = group.value.as_deref().filter(|text| !text.is_empty()).unwrap_or("{{.ExeBase}}");
            template(&Located { value: text.to_owned(), place: group.place })
        });
        Ok(Actions {
            name: rule.name.as_ref().map(template).transpose()?,
            rewrite: rule.rewrite.as_ref().map(template).transpose()?,
            group: group.transpose()?,
            has_children: rule.children.unwrap_or(true),
            attributes: rule
                .attributes
                .iter()
                .map(|(name, value)| self.attribute(name, value))
                .collect::<Result<_, _>>()?,
            fate: fate(rule, place)?,
            tagged_only: rule.tagged_only.unwrap_or_default(),
        })
    }

    fn template(&self, text: &Located<String>, patterns: &[Pattern]) -> Result<Template, Error> {
        Template::compile(&text.value, patterns, self.environment)
            .map_err(|mistake| Error::new(self.within(text, mistake.offset), mistake.reason))
    }

    fn attribute(&self, name: &str, value: &Located<Scalar>) -> Result<Given, Error> {
        let wrong = |reason: String| Error::new(value.place, format!("attribute '{name}': {reason}"));
        if name.trim().is_empty() {
            return Err(wrong("it has no name".to_owned()));
        }
        if is_reserved(name) {
            return Err(wrong(CompileError::Reserved(name.to_owned()).to_string()));
        }
        let literal = |value| Ok(Given::Literal(name.trim().to_owned(), value));
        match &value.value {
            Scalar::Bool(value) => literal(Value::Bool(*value)),
            Scalar::Int(value) => literal(Value::Int(*value)),
            Scalar::Float(value) => literal(Value::Float(*value)),
            Scalar::Text(source) => match Attribute::compile_in(&SCOPE, name, source) {
                Ok(attribute) => Ok(Given::Expression(Box::new(attribute))),
                Err(CompileError::Expression(invalid)) => {
                    let text = Located { value: source.clone(), place: value.place };
                    Err(self.expression(&text, &invalid.error))
                }
                Err(error) => Err(wrong(error.to_string())),
            },
        }
    }
}

/// Whether the processes of a rule have spans. `None`: the rule does not decide that.
fn fate(rule: &schema::Rule, place: Option<Place>) -> Result<Option<Fate>, Error> {
    let shorter_than = rule.shorter_than.as_ref();
    match (rule.drop.as_ref(), rule.accept) {
        (_, Some(false)) => Err(Error::new(place, "'accept: false' has no meaning; 'drop: true' leaves a process out")),
        (Some(Located { value: Drop::Yes | Drop::Always, place }), Some(true)) => {
            Err(Error::new(*place, "a rule has 'drop' or 'accept', not both"))
        }
        (Some(Located { value: drop @ (Drop::Yes | Drop::Always), .. }), None) => Ok(Some(Fate::Drop {
            always: *drop == Drop::Always,
            shorter_than: shorter_than.map(|limit| limit.value.0),
        })),
        (drop, accept) => match shorter_than {
            Some(limit) => Err(Error::new(limit.place, "'shorter_than' needs 'drop: true'")),
            None => Ok((drop.is_some() || accept.is_some()).then_some(Fate::Keep)),
        },
    }
}
