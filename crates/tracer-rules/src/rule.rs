//! A compiled rule: its selectors, cheapest first, and its actions.

use std::sync::Arc;

use regex::bytes::{Captures, Match};
use tracer_expr::{Input, Program, Value};
use tracer_model::{
    Value as AttributeValue,
    expression::{Attribute, Failure},
    judge::{Fate, Group, Ruling},
    tags::PREFIX,
};

use crate::{
    facts::{Facts, InRule},
    located::Place,
    pattern::Pattern,
    template::Template,
};

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) place: Option<Place>,
    pub(crate) selectors: Selectors,
    pub(crate) actions: Actions,
    /// Later rules can match, too.
    pub(crate) continues: bool,
}

/// All that are given must match.
#[derive(Debug, Default)]
pub(crate) struct Selectors {
    pub(crate) container: Option<bool>,
    pub(crate) user: Vec<String>,
    pub(crate) comm: Vec<String>,
    pub(crate) exe: Vec<String>,
    /// The number of a pattern over the names of the processes above.
    pub(crate) parent: Option<usize>,
    /// The expression over the name of the process, if `has_process`, and then those over its arguments.
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) has_process: bool,
    pub(crate) cgroup: Option<Pattern>,
    /// Names of variables, some with a pattern for their values.
    pub(crate) env: Vec<(String, Option<Pattern>)>,
    pub(crate) attribute: Option<Pattern>,
    pub(crate) when: Option<When>,
}

/// An expression that is true or false.
#[derive(Debug)]
pub(crate) struct When {
    pub(crate) program: Program,
    /// For messages.
    pub(crate) name: String,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Actions {
    pub(crate) name: Option<Template>,
    /// Replaces the matches of the first pattern.
    pub(crate) rewrite: Option<Template>,
    pub(crate) group: Option<Template>,
    pub(crate) has_children: bool,
    pub(crate) attributes: Vec<Given>,
    /// `None`: the rule does not decide.
    pub(crate) fate: Option<Fate>,
    /// A process without tags has no span, unless it fails.
    pub(crate) tagged_only: bool,
}

/// An attribute of a rule.
#[derive(Debug)]
pub(crate) enum Given {
    Literal(String, AttributeValue),
    Expression(Box<Attribute>),
}

impl Rule {
    /// Adds its actions to a ruling, if it matches.
    pub(crate) fn apply(&mut self, facts: &Facts<'_>, ruling: &mut Ruling) -> bool {
        if !self.selectors.match_all(facts, &ruling.attributes) {
            return false;
        }
        let captures = self.selectors.captures(facts);
        let patterns = &self.selectors.patterns;
        let by_key = || by_key(patterns, &captures);
        let variables = InRule { facts, captures: &by_key };
        let input = Input::new(&variables);
        if let Some(when) = &mut self.selectors.when
            && !when.is_true(&input)
        {
            return false;
        }
        let Actions { name, rewrite, group, has_children, attributes, .. } = &mut self.actions;
        if let Some(name) = name {
            ruling.name = some_text(name.render(facts, &captures));
        }
        if let (Some(text), Some(pattern)) = (rewrite, patterns.first()) {
            let whole = if self.selectors.has_process { facts.name } else { facts.command_line() };
            ruling.name = some_text(rewritten(whole, pattern, text, facts, self.selectors.captures(facts)));
        }
        if let Some(group) = group
            && let Some(name) = some_text(group.render(facts, &captures))
        {
            ruling.group = Some(Group { name, has_children: *has_children });
        }
        for given in attributes {
            let mut add = |name: String, value: AttributeValue| match ruling
                .attributes
                .iter_mut()
                .find(|(known, _)| *known == name)
            {
                Some((_, earlier)) => *earlier = value,
                None => ruling.attributes.push((name, value)),
            };
            match given {
                Given::Literal(name, value) => add(name.clone(), value.clone()),
                Given::Expression(attribute) => attribute.evaluate(&input, add),
            }
        }
        true
    }

    pub(crate) fn needs_environment(&self) -> bool {
        let attributes = self.actions.attributes.iter();
        !self.selectors.env.is_empty()
            || self.selectors.when.as_ref().is_some_and(|when| when.program.uses_environment())
            || attributes.into_iter().any(|given| matches!(given, Given::Expression(it) if it.needs_environment()))
    }

    /// Whether this rule can give different rulings for a process and its fork. A fork has the image of its parent, but
    /// its own pid, its own start, and one more process above it.
    pub(crate) fn differs_in_forks(&self) -> bool {
        let Actions { name, rewrite, group, attributes, .. } = &self.actions;
        self.selectors.parent.is_some()
            || self.selectors.when.is_some()
            || [name, rewrite, group].into_iter().flatten().any(Template::differs_in_forks)
            || attributes.iter().any(|given| matches!(given, Given::Expression(_)))
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        let attributes = self.actions.attributes.iter().filter_map(|given| match given {
            Given::Expression(attribute) => attribute.failure(),
            Given::Literal(..) => None,
        });
        self.selectors.when.as_ref().and_then(When::failure).into_iter().chain(attributes)
    }
}

fn some_text(text: String) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// The captures of the first pattern by number, and the named captures of all patterns. If several patterns capture a text
/// under the same name, the first text counts.
fn by_key(patterns: &[Pattern], captures: &[Option<Captures<'_>>]) -> Vec<(String, String)> {
    let first = captures.iter().take(1).flatten().flat_map(Captures::iter).enumerate();
    let text = |found: Match<'_>| String::from_utf8_lossy(found.as_bytes()).into_owned();
    let mut all: Vec<_> = first.filter_map(|(number, found)| Some((number.to_string(), text(found?)))).collect();
    for (pattern, captures) in patterns.iter().zip(captures) {
        for (name, text) in captures.iter().flat_map(|captures| pattern.named(captures)) {
            if all.iter().all(|(known, _)| *known != name) {
                all.push((name, text));
            }
        }
    }
    all
}

/// Replaces each match of a pattern in `whole` by `text`.
fn rewritten<'a>(
    whole: &'a str,
    pattern: &Pattern,
    text: &Template,
    facts: &Facts<'_>,
    mut captures: Vec<Option<Captures<'a>>>,
) -> String {
    let mut result = Vec::new();
    let mut end = 0;
    for found in pattern.all(whole) {
        let Some(range) = found.get(0).map(|whole| whole.range()) else { continue };
        if let Some(first) = captures.first_mut() {
            *first = Some(found);
        }
        result.extend_from_slice(&whole.as_bytes()[end..range.start]);
        result.extend_from_slice(text.render(facts, &captures).as_bytes());
        end = range.end;
    }
    result.extend_from_slice(&whole.as_bytes()[end..]);
    String::from_utf8_lossy(&result).into_owned()
}

impl Selectors {
    /// Whether all selectors except `when` match. The cheapest come first.
    fn match_all(&self, facts: &Facts<'_>, more: &[(String, AttributeValue)]) -> bool {
        let is_one_of = |list: &[String], text: &str| list.iter().any(|known| known == text);
        (self.comm.is_empty() || is_one_of(&self.comm, facts.comm))
            && (self.exe.is_empty() || self.exe.iter().any(|exe| is_exe(exe, facts)))
            && self.parent.is_none_or(|parent| has_bit(&facts.subject.lineage.0, parent))
            && (self.user.is_empty() || self.has_user(facts))
            && self.container.is_none_or(|container| facts.container().is_some() == container)
            && self.cgroup.as_ref().is_none_or(|cgroup| facts.cgroups().any(|path| cgroup.matches(path)))
            && self.patterns_match(facts)
            && (self.env.is_empty() || self.has_variable(facts))
            && self.attribute.as_ref().is_none_or(|attribute| has_attribute(attribute, facts, more))
    }

    /// Whether a tag that is not known yet can make them match.
    pub(crate) fn could_match(&mut self, facts: &Facts<'_>) -> bool {
        let Some(attribute) = self.attribute.take() else { return false };
        let could_match = self.match_all(facts, &[]);
        self.attribute = Some(attribute);
        could_match
    }

    /// The captures of each pattern.
    fn captures<'a>(&self, facts: &'a Facts<'_>) -> Vec<Option<Captures<'a>>> {
        let patterns = self.patterns.iter().enumerate();
        patterns.map(|(index, pattern)| pattern.captures(self.text(index, facts))).collect()
    }

    /// The text in which a pattern is searched.
    fn text<'a>(&self, index: usize, facts: &'a Facts<'_>) -> &'a str {
        if index == 0 && self.has_process { facts.name } else { facts.command_line() }
    }

    /// Whether all patterns match. Captures are not needed here, and would cost much more.
    fn patterns_match(&self, facts: &Facts<'_>) -> bool {
        self.patterns.iter().enumerate().all(|(index, pattern)| pattern.matches(self.text(index, facts)))
    }

    fn has_user(&self, facts: &Facts<'_>) -> bool {
        let image = facts.subject.image;
        self.user.iter().any(|user| {
            image.names.user.as_deref() == Some(user.as_str())
                || user.parse::<u32>().is_ok_and(|id| id == image.user_id)
        })
    }

    fn has_variable(&self, facts: &Facts<'_>) -> bool {
        facts.definitions().any(|definition| {
            let (name, value) = definition.split_once('=').unwrap_or((&definition, ""));
            let fits = |pattern: &Option<Pattern>| pattern.as_ref().is_none_or(|pattern| pattern.matches(value));
            self.env.iter().any(|(known, pattern)| known == name && fits(pattern))
        })
    }
}

/// Whether `exe` is `argv[0]`. If `exe` has no slash, it is compared with the base name of `argv[0]`.
fn is_exe(exe: &str, facts: &Facts<'_>) -> bool {
    exe == if exe.contains('/') { facts.exe_full() } else { facts.exe_base() }
}

pub(crate) fn has_bit(bits: &[u64], index: usize) -> bool {
    bits.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
}

fn has_attribute(pattern: &Pattern, facts: &Facts<'_>, more: &[(String, AttributeValue)]) -> bool {
    let mut attributes = facts.subject.attributes.iter().chain(more);
    let matches = |key: &str, value: &AttributeValue| pattern.matches(&format!("{key}:{value}"));
    // A tag also matches under the key that the command gave it.
    let mut tags = facts.subject.tags.into_iter().flatten();
    attributes.any(|(key, value)| matches(key, value))
        || tags.any(|(key, value)| matches(key, value) || matches(key.strip_prefix(PREFIX).unwrap_or(key), value))
}

impl When {
    pub(crate) fn is_true(&mut self, input: &Input<'_>) -> bool {
        let reason = match self.program.evaluate(input) {
            Ok(Value::Bool(value)) => return value,
            Ok(_) => "the value is not true or false".to_owned(),
            Err(error) => error.to_string(),
        };
        self.failures += 1;
        self.first_failure.get_or_insert(reason);
        false
    }

    pub(crate) fn failure(&self) -> Option<Failure<'_>> {
        let first = self.first_failure.as_deref()?;
        Some(Failure { name: &self.name, is_selector: true, count: self.failures, first })
    }
}
