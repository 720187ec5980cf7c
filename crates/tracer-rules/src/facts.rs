//! The facts about a process that selectors and templates need. The command line and the first argument are read
//! only once, when a rule first needs them.

use std::{borrow::Cow, cell::OnceCell, fmt::Write, time::UNIX_EPOCH};

use tracer_expr::{Nature, Scope, Value, Variables};
use tracer_model::{cgroup::container_id, event::base_name, judge::Subject};

/// The bytes that the kernel keeps of a name: `TASK_COMM_LEN` without its NUL.
const COMM: usize = 15;

/// The names in the expressions of rules.
pub(crate) const SCOPE: Scope = Scope {
    has_command: true,
    variables: &[
        ("comm", Nature::Text),
        ("exe", Nature::Text),
        ("ppid", Nature::Int),
        ("user", Nature::Text),
        ("cwd", Nature::Text),
        ("container", Nature::Text),
        ("script", Nature::Text),
        ("captures", Nature::Texts),
    ],
    functions: &[],
};

/// A fact about a process that a template can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    ExeBase,
    ExeFull,
    Comm,
    Username,
    Pid,
    StartTime,
    Cgroups,
    Cwd,
}

#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) subject: &'a Subject<'a>,
    /// The kernel's name of the process.
    pub(crate) comm: &'a str,
    /// The name of the process, before rules.
    pub(crate) name: &'a str,
    command_line: OnceCell<String>,
    first_argument: OnceCell<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(subject: &'a Subject<'a>) -> Self {
        let image = subject.image;
        Self {
            subject,
            comm: kernel_name(base_name(&image.file)),
            name: image.name(),
            command_line: OnceCell::new(),
            first_argument: OnceCell::new(),
        }
    }

    /// The arguments, joined by spaces.
    pub(crate) fn command_line(&self) -> &str {
        self.command_line.get_or_init(|| {
            let mut line = String::with_capacity(self.subject.image.arguments.bytes.len());
            for argument in self.subject.image.arguments.iter() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(&argument);
            }
            line
        })
    }

    /// `argv[0]`, or the kernel's name if that is empty.
    pub(crate) fn exe_full(&self) -> &str {
        let first = self.first_argument.get_or_init(|| self.subject.image.arguments.iter().next().unwrap_or_default());
        if first.is_empty() { self.comm } else { first }
    }

    pub(crate) fn exe_base(&self) -> &str {
        base_name(self.exe_full())
    }

    pub(crate) fn user(&self) -> Cow<'a, str> {
        let image = self.subject.image;
        match &image.names.user {
            Some(name) => Cow::Borrowed(name.as_ref()),
            None => Cow::Owned(image.user_id.to_string()),
        }
    }

    /// The paths of its control groups.
    pub(crate) fn cgroups(&self) -> impl Iterator<Item = &'a str> {
        let image = self.subject.image;
        let lines = [&image.cgroup, &image.cgroup_v1].into_iter().flatten();
        lines.map(|line| line.splitn(3, ':').last().unwrap_or_default())
    }

    pub(crate) fn container(&self) -> Option<&'a str> {
        self.cgroups().find_map(container_id)
    }

    /// The path of a script that is called by its own name, such as `./configure`. Empty for any other process.
    pub(crate) fn script(&self) -> &'a str {
        let image = self.subject.image;
        if image.is_script { &image.file } else { "" }
    }

    pub(crate) fn directory(&self) -> Cow<'a, str> {
        self.subject.image.directory().unwrap_or_default()
    }

    /// The variables of its environment, each as `NAME=VALUE`.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.subject.environment.into_iter().flat_map(|environment| environment.iter())
    }

    pub(crate) fn write(&self, field: Field, text: &mut String) {
        match field {
            Field::ExeBase => text.push_str(self.exe_base()),
            Field::ExeFull => text.push_str(self.exe_full()),
            Field::Comm => text.push_str(self.comm),
            Field::Username => text.push_str(&self.user()),
            Field::Cwd => text.push_str(&self.directory()),
            Field::Pid => drop(write!(text, "{}", self.subject.pid)),
            Field::StartTime => drop(write!(text, "{}", humantime::format_rfc3339(self.subject.start))),
            // The same form as in process-exporter: `[/a /b]`.
            Field::Cgroups => drop(write!(text, "[{}]", self.cgroups().collect::<Vec<_>>().join(" "))),
        }
    }
}

/// The part of a name that the kernel keeps.
pub(crate) fn kernel_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(COMM)]
}

/// The variables of an expression in a rule.
pub(crate) struct InRule<'a, 'f> {
    pub(crate) facts: &'a Facts<'f>,
    /// The captures of the rule, by name or number.
    pub(crate) captures: &'a dyn Fn() -> Vec<(String, String)>,
}

impl Variables for InRule<'_, '_> {
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        self.facts.subject.image.arguments.iter().collect()
    }

    fn environment(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let split = |definition: Cow<'_, str>| {
            let (name, value) = definition.split_once('=')?;
            Some((name.to_owned().into(), value.to_owned().into()))
        };
        self.facts.definitions().filter_map(split).collect()
    }

    fn now(&self) -> i64 {
        let since = self.facts.subject.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    fn variable(&self, name: &'static str) -> Value {
        let facts = self.facts;
        match name {
            "comm" => facts.comm.into(),
            "exe" => facts.exe_full().into(),
            "ppid" => Value::Int(facts.subject.parent_pid.into()),
            "user" => Value::from(&*facts.user()),
            "cwd" => Value::from(&*facts.directory()),
            "container" => facts.container().unwrap_or_default().into(),
            "script" => facts.script().into(),
            "captures" => Value::texts((self.captures)()),
            _ => Value::Nil,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use tracer_model::{event::Image, judge::Lineage};

    use super::*;

    pub(crate) fn subject<'a>(image: &'a Image, lineage: &'a Lineage) -> Subject<'a> {
        let start = UNIX_EPOCH + Duration::from_secs(1);
        Subject {
            pid: 7,
            parent_pid: 6,
            start,
            at: start,
            image,
            environment: None,
            attributes: &[],
            tags: None,
            lineage,
        }
    }

    #[test]
    fn names_come_from_the_file_or_from_the_first_argument() {
        let lineage = Lineage::default();
        let facts = |file: &str, arguments: &[&str]| {
            let image = Image { file: file.into(), arguments: arguments.iter().collect(), ..Image::default() };
            let subject = subject(&image, &lineage);
            let facts = Facts::new(&subject);
            (facts.comm.to_owned(), facts.exe_full().to_owned(), facts.exe_base().to_owned())
        };
        let owned = |(comm, full, base): (&str, &str, &str)| (comm.to_owned(), full.to_owned(), base.to_owned());
        assert_eq!(facts("/bin/dash", &["/bin/sh", "-c"]), owned(("dash", "/bin/sh", "sh")));
        assert_eq!(
            facts("/bin/a-very-long-program", &[]),
            owned(("a-very-long-pro", "a-very-long-pro", "a-very-long-pro"))
        );
        assert_eq!(facts("/bin/x", &["", "y"]), owned(("x", "x", "x")));
    }
}
