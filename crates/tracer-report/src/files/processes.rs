//! All processes for scripts: as JSON, and as CSV. `docs/processes.md` describes the fields.
//!
//! Each process is written as soon as it comes, so that memory does not grow with the trace.

use std::{
    collections::HashSet,
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Map, Value as Json, json};
use tracer_model::{Resource, Value, semconv};

use crate::{
    command_line::command_line,
    json::{json_object, json_value},
    report::Report,
    span::{Details, Process, Span},
    untrusted::Untrusted,
};

/// The version of the fields. A new field does not change it.
const SCHEMA: u32 = 1;

/// How the processes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// One object, which has an array of all processes.
    Json,
    /// RFC 4180, with a line of names.
    Csv,
}

/// A process and everything about it.
struct Facts<'a> {
    span: &'a Span<'a>,
    process: &'a Process,
    details: Details,
}

/// A field: its name, and its value for a process.
type Field = (&'static str, fn(&Facts<'_>) -> Json);

/// The fields of a process in both files.
const FIELDS: [Field; 18] = [
    ("span_id", |facts| facts.span.id.to_string().into()),
    ("parent_span_id", |facts| facts.parent()),
    ("name", |facts| Json::from(&*facts.span.name)),
    ("pid", |facts| facts.process.pid.into()),
    ("parent_pid", |facts| facts.process.parent_pid.into()),
    ("command", |facts| facts.command()),
    ("directory", |facts| facts.attribute(semconv::PROCESS_WORKING_DIRECTORY)),
    ("executable", |facts| facts.attribute(semconv::PROCESS_EXECUTABLE_PATH)),
    ("user", |facts| facts.attribute(semconv::PROCESS_USER_NAME)),
    ("start", |facts| time(facts.span.start)),
    ("duration_seconds", |facts| seconds(facts.span.end - facts.span.start)),
    ("cpu_seconds", |facts| facts.cpu()),
    ("memory_peak_bytes", |facts| facts.attribute(semconv::MEMORY_PEAK)),
    ("exit_code", |facts| facts.exit_code()),
    ("signal", |facts| facts.attribute(semconv::EXIT_SIGNAL)),
    ("failure", |facts| facts.span.failure.as_deref().map_or(Json::Null, Json::from)),
    ("fork", |facts| facts.process.is_fork.into()),
    ("unfinished", |facts| facts.span.is_unfinished.into()),
];

/// The attributes that are fields. JSON does not have them twice.
const KNOWN: [&str; 14] = [
    semconv::PROCESS_PID,
    semconv::PROCESS_PARENT_PID,
    semconv::PROCESS_COMMAND_ARGS,
    semconv::PROCESS_WORKING_DIRECTORY,
    semconv::PROCESS_EXECUTABLE_PATH,
    semconv::PROCESS_USER_NAME,
    semconv::PROCESS_CREATION_TIME,
    semconv::CPU_USER,
    semconv::CPU_SYSTEM,
    semconv::MEMORY_PEAK,
    semconv::PROCESS_EXIT_CODE,
    semconv::EXIT_SIGNAL,
    semconv::FORK,
    semconv::UNFINISHED,
];

impl<'a> Facts<'a> {
    fn of(span: &'a Span<'a>) -> Option<Self> {
        Some(Self { span, process: span.process()?, details: span.details() })
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.details.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    fn attribute(&self, key: &str) -> Json {
        self.value(key).map_or(Json::Null, json_value)
    }

    /// Null for an unfinished process.
    fn cpu(&self) -> Json {
        self.value(semconv::CPU_USER).map_or(Json::Null, |_| seconds(self.process.cpu))
    }

    /// The span above several runs is only in reports for people.
    fn parent(&self) -> Json {
        let parent = self.span.parent.filter(|_| !self.process.is_run);
        parent.map_or(Json::Null, |parent| parent.to_string().into())
    }

    fn arguments(&self) -> &[String] {
        match self.value(semconv::PROCESS_COMMAND_ARGS) {
            Some(Value::Strings(arguments)) => arguments,
            _ => &[],
        }
    }

    fn command(&self) -> Json {
        let arguments = self.arguments().iter().map(|argument| argument.as_str().into()).collect();
        let bytes = self.value(semconv::ARGS_RAW).and_then(Value::as_bytes);
        command_line(None, &Untrusted::with_bytes(arguments, bytes), true)
            .map_or(Json::Null, |line| line.exact().into())
    }

    /// If a process failed, its real exit code counts, even if the user sets `process.exit.code` with `-a`.
    fn exit_code(&self) -> Json {
        match self.process.exit {
            Some(exit) => exit.shell_code().map_or(Json::Null, Json::from),
            None => self.attribute(semconv::PROCESS_EXIT_CODE),
        }
    }

    /// The object of JSON: the fields, the arguments one by one, and all other attributes.
    fn object(&self) -> Json {
        let mut object: Map<String, Json> =
            FIELDS.iter().map(|(name, value)| ((*name).to_owned(), value(self))).collect();
        object.insert("arguments".to_owned(), self.arguments().into());
        let known: HashSet<&str> = KNOWN.into_iter().collect();
        let others = self.details.attributes.iter().filter(|(key, _)| !known.contains(key.as_ref()));
        object.insert("attributes".to_owned(), json_object(&others.cloned().collect()).into());
        object.into()
    }
}

/// UTC, as RFC 3339 writes it.
fn time(nanoseconds: u64) -> Json {
    let time = UNIX_EPOCH + Duration::from_nanos(nanoseconds);
    humantime::format_rfc3339_nanos(time).to_string().into()
}

fn seconds(nanoseconds: u64) -> Json {
    (nanoseconds as f64 / 1e9).into()
}

pub(crate) struct Processes {
    to: Box<dyn Write + Send>,
    syntax: Syntax,
    is_first: bool,
    trace: Option<String>,
    /// The root of each run.
    runs: Vec<Json>,
}

impl Processes {
    pub(crate) fn begin(mut to: Box<dyn Write + Send>, syntax: Syntax) -> io::Result<Self> {
        match syntax {
            Syntax::Json => write!(to, "{{\"schema\":{SCHEMA},\"processes\":[")?,
            Syntax::Csv => writeln!(to, "{}\r", FIELDS.map(|(name, _)| name).join(","))?,
        }
        Ok(Self { to, syntax, is_first: true, trace: None, runs: Vec::new() })
    }

    fn add_run(&mut self, span: &Span<'_>, facts: &Facts<'_>) {
        let Some(certificate) = span.certificate() else { return };
        let losses: Map<_, _> = certificate.losses.iter().map(|(key, count)| (key.clone(), (*count).into())).collect();
        self.runs.push(json!({
            "span_id": span.id.to_string(),
            "command": facts.command(),
            "complete": certificate.is_complete,
            "losses": losses,
            "unobserved": certificate.unobserved.as_ref().map(Untrusted::exact),
        }));
    }
}

impl Report for Processes {
    fn add(&mut self, span: &Span<'_>) -> io::Result<()> {
        self.trace.get_or_insert_with(|| span.trace.to_string());
        let Some(facts) = Facts::of(span) else { return Ok(()) };
        match self.syntax {
            Syntax::Json => {
                self.add_run(span, &facts);
                self.to.write_all(if self.is_first { b"\n" } else { b",\n" })?;
                self.is_first = false;
                Ok(serde_json::to_writer(&mut self.to, &facts.object())?)
            }
            Syntax::Csv => {
                let cells = FIELDS.map(|(_, value)| cell(&value(&facts)));
                writeln!(self.to, "{}\r", cells.join(","))
            }
        }
    }

    fn finish(mut self: Box<Self>, resource: &Resource) -> io::Result<()> {
        if self.syntax == Syntax::Json {
            let resource: Map<_, _> =
                resource.iter().map(|(key, value)| (key.to_string(), json_value(value))).collect();
            let root_is_missing = self.runs.is_empty() && !self.is_first;
            let (trace, runs, resource) = (Json::from(self.trace), Json::from(self.runs), Json::from(resource));
            write!(self.to, "\n],\"trace_id\":{trace},\"root_missing\":{root_is_missing},")?;
            writeln!(self.to, "\"runs\":{runs},\"resource\":{resource}}}")?;
        }
        self.to.flush()
    }
}

/// A field of CSV. It is in quotes if it has to be.
fn cell(value: &Json) -> String {
    let text = match value {
        Json::Null => return String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Story, story, written};

    fn build() -> Story {
        story("make", 0, 1500)
            .cpu(20)
            .arguments(&["make", "CC=a, \"b\""])
            .exits(2)
            .starts("cc", 10, 250, |cc| cc.cpu(125).connects("cache", 443, 20, 30, 5))
            .starts("sh", 300, 1000, |sh| sh.forks().dies())
    }

    fn text(syntax: Syntax) -> String {
        let bytes = written(&build().spans(), |to| Box::new(Processes::begin(to, syntax).unwrap()));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_every_process_with_its_facts() {
        let json: Json = serde_json::from_str(&text(Syntax::Json)).unwrap();
        assert_eq!((&json["schema"], &json["trace_id"]), (&1.into(), &"00000000000000000000000000000001".into()));
        let processes = json["processes"].as_array().unwrap();
        let named = |name: &str| processes.iter().find(|process| process["name"] == name).unwrap();
        assert_eq!(processes.len(), 3, "connections are no processes");
        let (make, cc, sh) = (named("make"), named("cc"), named("sh"));
        assert_eq!(make["parent_span_id"], Json::Null);
        assert_eq!(make["arguments"], json!(["make", "CC=a, \"b\""]));
        assert_eq!((&make["exit_code"], &make["failure"]), (&2.into(), &"exit 2".into()));
        assert_eq!(make["start"], "2001-09-09T01:46:40.000000000Z");
        assert_eq!(make["attributes"]["process_tracer.complete"], true);
        assert_eq!(cc["parent_span_id"], make["span_id"]);
        assert_eq!((&cc["duration_seconds"], &cc["cpu_seconds"]), (&0.25.into(), &0.125.into()));
        assert_eq!((&cc["exit_code"], &cc["failure"], &cc["signal"]), (&0.into(), &Json::Null, &Json::Null));
        assert_eq!((&cc["directory"], &cc["fork"]), (&"/src".into(), &false.into()));
        assert_eq!((&sh["exit_code"], &sh["signal"], &sh["fork"]), (&143.into(), &"SIGTERM".into(), &true.into()));
        let run = &json["runs"][0];
        assert_eq!((&run["span_id"], &run["complete"], &run["losses"]), (&make["span_id"], &true.into(), &json!({})));
        assert_eq!(json["root_missing"], false);
    }

    #[test]
    fn csv_has_a_line_for_each_process() {
        let text = text(Syntax::Csv);
        let lines: Vec<_> = text.split_terminator("\r\n").collect();
        assert_eq!(lines[0], FIELDS.map(|(name, _)| name).join(","));
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("0000000000000002,0000000000000001,cc,102,101,cc,/src,,,2001-"), "{text}");
        assert!(lines[3].contains(",\"make 'CC=a, \"\"b\"\"'\",/src,"), "{text}");
        assert!(lines[3].ends_with(",1.5,0.02,,2,,exit 2,false,false"), "{text}");
    }

    #[test]
    fn an_unknown_cpu_time_is_null() {
        let mut spans = build().spans();
        for span in &mut spans {
            span.attributes.retain(|(key, _)| key != semconv::CPU_USER);
        }
        let bytes = written(&spans, |to| Box::new(Processes::begin(to, Syntax::Json).unwrap()));
        let json: Json = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["processes"][0]["cpu_seconds"], Json::Null);
    }

    #[test]
    fn a_trace_without_processes_is_still_json() {
        let bytes = written(&[], |to| Box::new(Processes::begin(to, Syntax::Json).unwrap()));
        let json: Json = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&json["processes"], &json["runs"]), (&json!([]), &json!([])));
        let spans: Vec<_> = build().spans().into_iter().filter(|span| span.name != "make").collect();
        let bytes = written(&spans, |to| Box::new(Processes::begin(to, Syntax::Json).unwrap()));
        let json: Json = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&json["root_missing"], &json["runs"]), (&true.into(), &json!([])));
    }

    #[test]
    fn the_documentation_describes_each_field() {
        let page = include_str!("../../../../docs/processes.md");
        for (name, _) in FIELDS {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
