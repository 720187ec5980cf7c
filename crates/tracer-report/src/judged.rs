//! The processes of a saved trace, as rules see them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracer_model::{
    SpanId, Value,
    event::{Image, base_name},
    semconv,
};

use crate::span::Span;

/// A process of a saved trace. Its environment is not known.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its span.
    pub id: SpanId,
    /// It is the root of its run. A rule cannot leave it out.
    pub is_root: bool,
    /// The span above it.
    pub parent: Option<SpanId>,
    /// Its thread group id.
    pub pid: u32,
    /// The process that forked it.
    pub parent_pid: u32,
    /// Time of its fork.
    pub start: SystemTime,
    /// Its last image, as far as the trace has it. The trace does not have the file that was passed to exec, so `file` is the
    /// script or the base name of `argv[0]`.
    pub image: Image,
    /// The attributes of the user.
    pub attributes: Vec<(String, Value)>,
}

impl Judged {
    /// Reads a span. `None`: it is not the span of a process.
    #[must_use]
    pub fn of(span: &Span<'_>) -> Option<Self> {
        let process = span.process()?;
        let mut image = Image::default();
        let (mut script, mut own) = (None, Vec::new());
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        for (key, value) in span.details().attributes {
            match (&*key, value) {
                (semconv::PROCESS_COMMAND_ARGS, Value::Strings(arguments)) => {
                    image.arguments = arguments.into_iter().collect();
                }
                (semconv::PROCESS_USER_ID, Value::Int(id)) => image.user_id = u32::try_from(id).unwrap_or_default(),
                (semconv::PROCESS_USER_NAME, value) => image.names.user = text(value).map(Into::into),
                (semconv::PROCESS_LINUX_CGROUP, value) => image.cgroup = text(value).map(Into::into),
                (semconv::PROCESS_WORKING_DIRECTORY, value) => image.directory = text(value).map(Into::into),
                (semconv::PROCESS_EXECUTABLE_PATH, value) => image.executable = text(value),
                (semconv::SCRIPT, value) => script = text(value),
                (key, value) if semconv::ATTRIBUTES.iter().all(|known| known.key != key) => {
                    own.push((key.to_owned(), value));
                }
                _ => {}
            }
        }
        image.is_script = script.is_some();
        image.file = script.unwrap_or_else(|| {
            // A login shell has a minus before its name.
            let first = image.arguments.iter().next().unwrap_or_default();
            base_name(first.strip_prefix('-').unwrap_or(&first)).to_owned()
        });
        Some(Self {
            id: span.id,
            is_root: span.certificate().is_some(),
            parent: span.parent,
            pid: process.pid,
            parent_pid: process.parent_pid,
            start: UNIX_EPOCH + Duration::from_nanos(span.start),
            image,
            attributes: own,
        })
    }
}
