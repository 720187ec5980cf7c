//! Several runs in one trace, for example the steps of a CI job that share a trace id.
//!
//! Each run has its own root span, and no span is above them. So a report would show one run as the command of the others.
//! [`Runs`] puts a span above them, which stands for the whole trace. All reports then show the runs as siblings.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tracer_model::{ExitStatus, SpanId, TraceId, Value, semconv};

use crate::{
    saved::{Attributes, Kind, Span},
    span,
};

/// The spans of a saved trace, on their way to the reports. Root spans wait here for the end.
#[derive(Debug, Default)]
pub struct Runs {
    traces: BTreeSet<TraceId>,
    seen: HashSet<SpanId>,
    roots: HashMap<SpanId, Span>,
}

impl Runs {
    /// The traces of the spans so far. A report can only show one.
    pub fn traces(&self) -> Vec<TraceId> {
        self.traces.iter().copied().collect()
    }

    /// Takes a span and returns it, unless it is a root span or came before. The same span can be in two files.
    pub fn take(&mut self, span: Span) -> Option<Span> {
        self.traces.insert(span.trace_id);
        let is_new = span.span_id == NO_ID || self.seen.insert(span.span_id);
        if !span::is_root(&span) {
            return Some(span).filter(|_| is_new);
        }
        // The root span of a killed run (`process_tracer.cut_off`) ends early. If the real root span is there, too, it ends
        // later.
        match self.roots.get(&span.span_id) {
            Some(known) if known.end >= span.end => {}
            _ => drop(self.roots.insert(span.span_id, span)),
        }
        None
    }

    /// The root spans, and if there are several runs the span above them. No more spans come.
    pub fn finish(self) -> Vec<Span> {
        let Self { seen, roots, .. } = self;
        let mut roots: Vec<_> = roots.into_values().collect();
        roots.sort_by_key(|root| (root.start, root.span_id));
        // A run within a run is below a process of the outer one.
        let is_top = |root: &Span| root.parent_id.is_none_or(|parent| !seen.contains(&parent));
        if roots.iter().filter(|root| is_top(root)).count() < 2 {
            return roots;
        }
        let id = free_id(&seen);
        for root in roots.iter_mut().filter(|root| is_top(root)) {
            (root.parent_id, root.is_parent_remote, root.is_run) = (Some(id), false, true);
        }
        let runs: Vec<_> = roots.iter().filter(|root| root.is_run).collect();
        let trace = above(id, &runs);
        roots.extend(trace);
        roots
    }
}

/// Spans without an id are distinct.
const NO_ID: SpanId = SpanId([0; 8]);

/// An id that no span has.
fn free_id(seen: &HashSet<SpanId>) -> SpanId {
    let mut ids = (1..=u64::MAX).map(|number| SpanId(number.to_be_bytes()));
    ids.find(|id| !seen.contains(id)).unwrap_or(NO_ID)
}

/// The span above these runs. It is complete if all of them are.
fn above(id: SpanId, runs: &[&Span]) -> Option<Span> {
    let failed: Vec<_> = runs.iter().filter(|run| run.has_failed).collect();
    let first_failed = failed.iter().min_by_key(|run| run.end);
    let is_complete = runs.iter().all(|run| run.value(semconv::COMPLETE) == Some(&Value::Bool(true)));
    let mut losses: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, value) in runs.iter().flat_map(|run| &run.attributes) {
        if let Value::Int(count) = value
            && semconv::is_loss(key)
        {
            let sum = losses.entry(key).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    let mut attributes: Attributes = vec![(semconv::COMPLETE.to_owned(), Value::Bool(is_complete))];
    attributes.extend(losses.into_iter().map(|(key, count)| (key.to_owned(), Value::Int(count))));
    for key in [semconv::UNOBSERVED, semconv::CUT_OFF, semconv::VERSION] {
        let value = runs.iter().find_map(|run| run.value(key));
        attributes.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    Some(Span {
        trace_id: runs.first()?.trace_id,
        span_id: id,
        parent_id: None,
        is_parent_remote: false,
        kind: Kind::Runs(first_failed.map_or(ExitStatus::Code(0), |run| span::saved_exit(run))),
        name: format!("{} runs", runs.len()),
        start: runs.iter().map(|run| run.start).min()?,
        end: runs.iter().map(|run| run.end).max()?,
        attributes,
        events: Vec::new(),
        links: Vec::new(),
        has_failed: !failed.is_empty(),
        message: format!("{} of {} runs failed", failed.len(), runs.len()),
        resource: Arc::clone(&runs.first()?.resource),
        is_run: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::Tree,
        causes::Causes,
        row::Rows,
        story::{Story, story},
        text::{Style, TextReport},
    };

    /// The spans of these runs, as a report gets them.
    fn joined(runs: &[Story]) -> Vec<Span> {
        let mut joined = Runs::default();
        let mut spans = Vec::new();
        for (run, number) in runs.iter().zip(1..) {
            for mut span in run.spans() {
                // Stories count their ids from 1.
                let own = |id: SpanId| SpanId((u64::from_be_bytes(id.0) + number * 1000).to_be_bytes());
                (span.span_id, span.parent_id) = (own(span.span_id), span.parent_id.map(own));
                spans.extend(joined.take(span));
            }
        }
        spans.extend(joined.finish());
        spans
    }

    fn steps() -> [Story; 3] {
        [
            story("make", 0, 400).cpu(10).starts("cc", 10, 300, |cc| cc),
            story("test", 500, 300).exits(2).starts("sh", 510, 200, |sh| sh.exits(2)),
            story("deploy", 900, 100),
        ]
    }

    fn rendered(spans: &[Span], text: crate::formats::Text) -> String {
        let mut report = TextReport::new(text, usize::MAX);
        spans.iter().for_each(|span| report.add(&span.into()));
        report.render(&Style { width: 80, height: 50, is_coloured: false, is_unicode: true })
    }

    #[test]
    fn runs_of_one_trace_are_siblings() {
        let tree = rendered(&joined(&steps()), crate::formats::Text::Tree);
        let expected = "
   1.00 s  3 runs  1 of 3 runs failed
   400 ms  ├─ make
   300 ms  │  └─ cc
   300 ms  ├─ test  exit 2
   200 ms  │  └─ sh  exit 2
   100 ms  └─ deploy

where it failed
  3 runs › test › sh  exit 2
  (cd /src && sh)
";
        assert_eq!(format!("\n{tree}"), expected);
        let one = rendered(&joined(&steps()[..1]), crate::formats::Text::Tree);
        assert_eq!(one, "   400 ms  make\n   300 ms  └─ cc\n");
    }

    #[test]
    fn the_summary_has_the_verdict_of_each_run() {
        let mut spans = joined(&steps());
        let lost = spans.iter_mut().find(|span| span.name == "deploy").unwrap();
        lost.attributes.push(("process_tracer.lost.forks".to_owned(), Value::Int(5)));
        let text = rendered(&spans, crate::formats::Text::Summary);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(&lines[..2], ["3 runs", "  1 of 3 runs failed after 1.00 s: 5 processes (2 failed)"], "{text}");
        let at = lines.iter().position(|line| line.starts_with("runs ")).expect(&text);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(lines[at + 1]), ["make", "400", "ms", "2", "0"]);
        assert_eq!(words(lines[at + 2]), ["test", "300", "ms", "2", "2", "exit", "2"]);
        let deploy = lines[at + 3];
        assert!(deploy.trim().starts_with("deploy") && deploy.contains("incomplete: "), "{text}");
    }

    #[test]
    fn a_summary_of_runs_fits_the_terminal() {
        let runs = steps().map(|step| {
            (0..20).fold(step, |step, i| step.starts(&format!("a-tool-with-a-long-name-{i}"), i, 3 + i, |tool| tool))
        });
        let spans = joined(&runs);
        for (width, height) in [(80, 24), (100, 50)] {
            let mut report = TextReport::new(crate::formats::Text::Summary, usize::MAX);
            spans.iter().for_each(|span| report.add(&span.into()));
            let text = report.render(&Style { width, height, is_coloured: false, is_unicode: true });
            assert!(text.lines().count() < height, "{width}x{height}:\n{text}");
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}x{height}:\n{text}");
        }
    }

    #[test]
    fn the_first_failure_is_found_in_its_run() {
        let spans = joined(&steps());
        let mut rows = Rows::default();
        spans.iter().for_each(|span| rows.add(&span.into()));
        let tree = Tree::grow(&rows.rows).unwrap();
        let [cause] = &Causes::new(&rows, &tree).causes[..] else { panic!("one cause") };
        let names: Vec<_> = cause.chain.iter().map(|row| rows.text(rows.rows[*row].name).exact().to_owned()).collect();
        assert_eq!(names, ["3 runs", "test", "sh"]);
        assert!(rows.about.certificate.is_complete && rows.about.runs.len() == 3);
    }

    #[test]
    fn a_trace_is_complete_only_if_each_run_is() {
        let [make, test, _] = steps();
        let mut runs = Runs::default();
        for (story, number) in [(make, 1), (test, 2)] {
            for mut span in story.spans() {
                span.span_id.0[0] = number;
                span.attributes.push(("process_tracer.lost.forks".to_owned(), Value::Int(2)));
                runs.take(span);
            }
        }
        let spans = runs.finish();
        let trace = spans.last().unwrap();
        assert_eq!(trace.value("process_tracer.lost.forks"), Some(&Value::Int(4)));
        assert!(!span::Span::from(trace).certificate().unwrap().is_complete);
    }

    #[test]
    fn a_span_in_two_files_counts_once() {
        let twice = joined(&steps()[..1]).into_iter().chain(joined(&steps()[..1]));
        let mut runs = Runs::default();
        let mut spans: Vec<_> = twice.filter_map(|span| runs.take(span)).collect();
        spans.extend(runs.finish());
        assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["cc", "make"]);
    }

    #[test]
    fn a_run_within_a_run_stays_below_it() {
        let mut runs = Runs::default();
        for mut span in story("outer", 0, 100).starts("inner", 10, 50, |inner| inner).spans() {
            if span.name == "inner" {
                span.attributes.push((semconv::COMPLETE.to_owned(), Value::Bool(true)));
                span.attributes.push((semconv::VERSION.to_owned(), Value::String("1".to_owned())));
            }
            runs.take(span);
        }
        assert_eq!(runs.finish().iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["outer", "inner"]);
    }
}
