//! The rules of a trace, and how they judge a process.

use std::mem;

use tracer_model::{
    expression::Failure,
    judge::{Fate, Lineage, Ruling, Subject},
    screen::Screen,
};

use crate::{
    Error,
    compile::{Compiled, compile},
    facts::Facts,
    located::Place,
    parse,
    pattern::Pattern,
    rule::{Rule, has_bit},
    tags::TagCommand,
};

/// The compiled rules of one file.
#[derive(Debug, Default)]
pub struct Book(Compiled);

/// A rule that matched a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The number of the rule. The first one is 0.
    pub rule: usize,
    /// Its place in the file.
    pub place: Option<Place>,
}

impl Book {
    /// Reads and compiles a rules file. `environment` has the variables of our own environment.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        compile(&parse(text)?, text, environment).map(Self)
    }

    /// Judges a process, and calls `met` with each rule that matches it.
    pub fn judge(&mut self, subject: &Subject<'_>, mut met: impl FnMut(Met)) -> Ruling {
        let facts = Facts::new(subject);
        let mut ruling = Ruling::default();
        let mut fate = None;
        let waits_for_tags = self.0.has_tags && subject.tags.is_none();
        let mut can_change = false;
        for (index, rule) in self.0.rules.iter_mut().enumerate() {
            if !rule.apply(&facts, &mut ruling) {
                can_change = can_change || waits_for_tags && rule.selectors.could_match(&facts);
                continue;
            }
            met(Met { rule: index, place: rule.place });
            fate = rule.actions.fate.or(fate);
            if rule.actions.tagged_only {
                can_change = true;
                if subject.tags.is_none_or(<[_]>::is_empty) {
                    fate = Some(Fate::Drop { always: false, shorter_than: None });
                }
            }
            if !rule.continues {
                // A process that matches a rule is kept, unless this rule or an earlier one has decided otherwise.
                fate.get_or_insert_default();
                break;
            }
        }
        let fate_without_tags = fate.unwrap_or(self.0.default);
        // A tag can still come, so the process is kept for now. It is judged again at its end.
        let fate = if waits_for_tags && can_change { Fate::Keep } else { fate_without_tags };
        Ruling { fate, fate_without_tags, ..ruling }
    }

    /// Whether a process and its fork can get different rulings.
    pub(crate) fn differs_in_forks(&self) -> bool {
        self.0.rules.iter().any(Rule::differs_in_forks)
    }

    /// Whether a process can be left out.
    #[must_use]
    pub fn may_drop(&self) -> bool {
        let is_drop = |fate: Fate| fate != Fate::Keep;
        let drops = |rule: &Rule| rule.actions.tagged_only || rule.actions.fate.is_some_and(is_drop);
        is_drop(self.0.default) || self.0.rules.iter().any(drops)
    }

    /// Whether a tag can change a ruling.
    pub(crate) fn depends_on_tags(&self) -> bool {
        let depends = |rule: &Rule| rule.actions.tagged_only || rule.selectors.attribute.is_some();
        self.0.has_tags && self.0.rules.iter().any(depends)
    }

    /// The command that prints tags. The caller runs it.
    pub fn take_tags(&mut self) -> Option<TagCommand> {
        self.0.tags.take()
    }

    /// The rules for connections, flows and lookups, if there are any.
    pub fn take_screen(&mut self) -> Option<Box<dyn Screen>> {
        let screen = mem::take(&mut self.0.connections);
        (!screen.0.is_empty()).then(|| Box::new(screen) as Box<dyn Screen>)
    }

    /// Whether the rules look at environments.
    #[must_use]
    pub fn needs_environment(&self) -> bool {
        self.0.rules.iter().any(Rule::needs_environment)
    }

    /// The lineage of a child of a process with this name.
    pub(crate) fn extend(&self, above: &Lineage, name: &str) -> Lineage {
        let is_new = |(index, parent): &(usize, &Pattern)| !has_bit(&above.0, *index) && parent.matches(name);
        let mut new = self.0.parents.iter().enumerate().filter(is_new).map(|(index, _)| index).peekable();
        if new.peek().is_none() {
            return above.clone();
        }
        let mut bits = above.0.to_vec();
        bits.resize(self.0.parents.len().div_ceil(64), 0);
        for index in new {
            if let Some(word) = bits.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
        Lineage(bits.into())
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.0.rules.iter().flat_map(Rule::failures)
    }

    /// The number of rules for processes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.rules.len()
    }

    /// Whether it has no rules for processes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }

    /// The number of rules for connections, flows and lookups.
    #[must_use]
    pub fn connection_rules(&self) -> usize {
        self.0.connections.0.len()
    }
}
