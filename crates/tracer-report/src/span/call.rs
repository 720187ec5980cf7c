//! How a process was called: its arguments and its working directory.

use std::{borrow::Cow, iter};

use tracer_model::{
    Value, blame,
    event::{Image, base_name},
    semconv::{self, ValueRef},
    span::{ProcessSpan, Subject as ModelSubject},
};

use super::{Origin, Span, Subject};
use crate::{
    saved::{self, value_of},
    untrusted::Untrusted,
};

/// How a process was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) directory: Option<Untrusted>,
    pub(crate) arguments: Vec<Untrusted>,
    /// The process had more arguments. Nobody knows them.
    pub(crate) is_cut: bool,
}

impl Call {
    /// The bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let size = |text: &Untrusted| size_of::<Untrusted>() + text.size();
        self.arguments.iter().chain(&self.directory).map(size).sum()
    }
}

/// The kernel puts at most two arguments before the path of a script: the interpreter, and the rest of the first line
/// as one argument. So the path is among the first three arguments.
const SHEBANG: usize = 3;

/// The number of bytes of arguments that most reports read.
const ARGUMENT_BYTES: usize = 4096;

impl Span<'_> {
    /// The arguments of its first exec, if it is a process that has executed several programs.
    pub(crate) fn first_call(&self) -> Option<Vec<Untrusted>> {
        match self.origin {
            // The user's arguments replace the real ones everywhere.
            Origin::Run(span) if span.attributes.iter().any(|(key, _)| key == semconv::PROCESS_COMMAND_ARGS) => None,
            Origin::Run(span) => match span.process()?.executions.as_slice() {
                [first, _, ..] => {
                    let texts = arguments(first.arguments.iter(), usize::MAX);
                    Some(Untrusted::with_bytes(texts, first.arguments.not_utf8()))
                }
                _ => None,
            },
            Origin::Saved(span) => {
                let execs: Vec<_> = span.events.iter().filter(|event| event.name == "exec").collect();
                let [first, _, ..] = execs.as_slice() else { return None };
                match value_of(&first.attributes, semconv::PROCESS_COMMAND_ARGS) {
                    Some(Value::Strings(texts)) => {
                        let texts = arguments(texts.iter().map(|text| Cow::Borrowed(text.as_str())), usize::MAX);
                        let bytes = value_of(&first.attributes, semconv::ARGS_RAW).and_then(Value::as_bytes);
                        Some(Untrusted::with_bytes(texts, bytes))
                    }
                    _ => None,
                }
            }
        }
        .filter(|arguments| !arguments.is_empty())
    }

    /// How it was called, with all arguments and byte by byte, if it is a process.
    pub(crate) fn call(&self) -> Call {
        let Call { directory, arguments, .. } = self.call_within(usize::MAX);
        let directory = directory.into_iter().collect();
        Call {
            directory: Untrusted::with_bytes(directory, self.bytes(semconv::WORKING_DIRECTORY_RAW)).pop(),
            arguments: Untrusted::with_bytes(arguments, self.bytes(semconv::ARGS_RAW)),
            is_cut: self.value(semconv::ARGS_SIZE).is_some(),
        }
    }

    fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.value(key)? {
            ValueRef::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// One of its attributes.
    fn value(&self, key: &str) -> Option<ValueRef<'_>> {
        match self.origin {
            Origin::Run(span) => semconv::attributes(span).find(|(known, _)| *known == key).map(|(_, value)| value),
            Origin::Saved(span) => span.value(key).map(Into::into),
        }
    }

    /// Like [`Self::call`], but with only the first arguments, and `...` for the rest.
    pub(crate) fn short_call(&self) -> Call {
        self.call_within(ARGUMENT_BYTES)
    }

    fn call_within(&self, room: usize) -> Call {
        let Subject::Process(_) = self.subject else { return Call::default() };
        match self.origin {
            Origin::Run(span) => match &span.subject {
                ModelSubject::Process(process) => call_of_run(process, &span.attributes, room),
                _ => Call::default(),
            },
            Origin::Saved(span) => {
                let directory = span.text(semconv::PROCESS_WORKING_DIRECTORY).map(Untrusted::from);
                Call { directory, arguments: arguments(arguments_of_saved(span), room), is_cut: false }
            }
        }
    }

    /// The first arguments of the program that has given a process its name, and whether that program is a shell.
    ///
    /// A root has the name of the first program, or a name that the user has chosen. If no program has that name, there are no
    /// arguments. Other processes have the name of their last program, or a name that a rule has made of it.
    pub(crate) fn named_call(&self) -> (Vec<Cow<'_, str>>, bool) {
        let Some(process) = self.process() else { return (Vec::new(), false) };
        let arguments = self.arguments();
        let is_last = arguments.first().is_some_and(|program| self.is_named_after(program));
        if is_last || !(process.is_root || process.is_run) || self.last_program().any(|path| self.is_named_after(path))
        {
            return (arguments, process.is_shell);
        }
        let first: Vec<_> = self.first_call().into_iter().flatten().map(|text| text.exact().to_owned()).collect();
        // The words before a script are those of its first line.
        let Some(place) = first.iter().take(SHEBANG).position(|program| self.is_named_after(program)) else {
            return (Vec::new(), false);
        };
        let is_shell = blame::is_shell(&first[place], &first[place], false);
        (first.into_iter().skip(place).map(Cow::Owned).collect(), is_shell)
    }

    /// Whether its name is that of this program, perhaps with more words before or after it: `build: make`.
    fn is_named_after(&self, program: &str) -> bool {
        let program = base_name(program);
        !program.is_empty() && (self.name == program || self.name.split(' ').any(|word| word == program))
    }

    /// The paths of its last program: the script or file that was executed, and the mapped file.
    fn last_program(&self) -> impl Iterator<Item = &str> {
        let paths = match self.origin {
            Origin::Run(span) => match &span.subject {
                ModelSubject::Process(process) => {
                    let image = process.image.as_deref();
                    [image.map(Image::name), image.and_then(|image| image.executable.as_deref())]
                }
                _ => [None, None],
            },
            Origin::Saved(span) => [span.text(semconv::SCRIPT), span.text(semconv::PROCESS_EXECUTABLE_PATH)],
        };
        paths.into_iter().flatten()
    }

    /// The first arguments of its last exec, if it is a process.
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        if self.process().is_none() {
            return Vec::new();
        }
        let mut room = ARGUMENT_BYTES;
        let fits = |text: &Cow<'_, str>| {
            room = room.saturating_sub(text.len() + 1);
            room > 0
        };
        match self.origin {
            Origin::Run(span) => match &span.subject {
                ModelSubject::Process(process) => {
                    arguments_of_run(process, &span.attributes).take_while(fits).collect()
                }
                _ => Vec::new(),
            },
            Origin::Saved(span) => arguments_of_saved(span).take_while(fits).collect(),
        }
    }
}

/// How a process of a run was called. The user's own attribute replaces ours, because it may hide a secret.
fn call_of_run(process: &ProcessSpan, attributes: &[(String, Value)], room: usize) -> Call {
    let own = |key| attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let image = process.image.as_deref();
    let directory = match own(semconv::PROCESS_WORKING_DIRECTORY) {
        Some(Value::String(text)) => Some(Cow::Borrowed(text.as_str())),
        Some(_) => None,
        None => image.and_then(Image::directory),
    };
    let arguments = arguments(arguments_of_run(process, attributes), room);
    Call { directory: directory.map(|text| text.as_ref().into()), arguments, is_cut: false }
}

/// The arguments of a process of a run. The user's own attribute replaces them.
fn arguments_of_run<'a>(
    process: &'a ProcessSpan,
    attributes: &'a [(String, Value)],
) -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
    let own = attributes.iter().find(|(name, _)| name == semconv::PROCESS_COMMAND_ARGS);
    match (own, process.image.as_deref()) {
        (Some((_, Value::Strings(texts))), _) => Box::new(texts.iter().map(|text| Cow::Borrowed(text.as_str()))),
        (None, Some(image)) => Box::new(image.arguments.iter()),
        _ => Box::new(iter::empty()),
    }
}

fn arguments_of_saved(span: &saved::Span) -> impl Iterator<Item = Cow<'_, str>> {
    let texts = match span.value(semconv::PROCESS_COMMAND_ARGS) {
        Some(Value::Strings(texts)) => texts.as_slice(),
        _ => &[],
    };
    texts.iter().map(|text| Cow::Borrowed(text.as_str()))
}

/// The arguments within so many bytes, and `...` for the rest.
fn arguments<'a>(texts: impl Iterator<Item = Cow<'a, str>>, mut room: usize) -> Vec<Untrusted> {
    let mut arguments: Vec<Untrusted> = Vec::new();
    for text in texts {
        room = room.saturating_sub(text.len() + 1);
        if room == 0 {
            arguments.push("...".into());
            break;
        }
        arguments.push(text.as_ref().into());
    }
    arguments
}
