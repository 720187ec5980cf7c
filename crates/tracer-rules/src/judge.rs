//! The rules of a trace, as the model uses them: those of the user, and the built-in names.

use tracer_model::{
    expression::Failure,
    judge::{Judge, Lineage, Ruling, Subject},
};

use crate::{Book, Met, Names, builtin::BuiltIn};

/// Judges the processes of a trace.
#[derive(Debug)]
pub struct RulesJudge {
    user: Book,
    names: BuiltIn,
}

impl RulesJudge {
    /// The rules of the user, and names for the processes that these rules do not name.
    #[must_use]
    pub fn new(user: Book, names: Names) -> Self {
        Self { user, names: BuiltIn::new(names) }
    }

    /// Judges a process, and calls `met` with each rule of the user that matches it.
    pub fn judge_and_tell(&mut self, subject: &Subject<'_>, met: impl FnMut(Met)) -> Ruling {
        let mut ruling = self.user.judge(subject, met);
        if ruling.name.is_none()
            && let Some(names) = self.names.book_for(subject.image.name())
        {
            ruling.name = names.judge(subject, |_| {}).name;
        }
        ruling
    }
}

impl Judge for RulesJudge {
    fn judge(&mut self, subject: &Subject<'_>) -> Ruling {
        self.judge_and_tell(subject, |_| {})
    }

    fn judges_forks(&self) -> bool {
        // A fork has the same image, so the built-in names are the same.
        self.user.differs_in_forks()
    }

    fn judges_tags(&self) -> bool {
        self.user.depends_on_tags()
    }

    fn may_drop(&self) -> bool {
        self.user.may_drop()
    }

    fn needs_environment(&self) -> bool {
        // The built-in names need no environment.
        self.user.needs_environment()
    }

    fn lineage_of(&self, names: &[String]) -> Lineage {
        names.iter().fold(Lineage::default(), |above, name| self.extend(&above, name))
    }

    fn extend(&self, above: &Lineage, name: &str) -> Lineage {
        self.user.extend(above, name)
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        self.user.failures().chain(self.names.failures()).collect()
    }
}
