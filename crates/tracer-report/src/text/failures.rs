//! The failures: the causes, the crashes, and the processes that still run at the end.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{
    names::Names,
    style::{Style, counted},
};
use crate::{
    causes::{Cause, Causes},
    command_line::{command_line, inexact},
    row::{Kind, Row, Rows},
    span::{Call, Crash},
    untrusted::Untrusted,
};

/// Draws the causes, at most `limit`. If there are more, the last are shown.
pub(super) fn causes(names: &Names<'_>, causes: &Causes, style: &Style, limit: usize) -> String {
    let mut text = String::new();
    let hidden = causes.causes.len().saturating_sub(limit);
    if causes.causes.is_empty() {
        return text;
    }
    let count = causes.causes.len() + causes.earlier;
    let title = if count == 1 { "where it failed".to_owned() } else { format!("where it failed: {count} causes") };
    let _ = writeln!(text, "\n{}", style.dim(&title));
    if hidden + causes.earlier > 0 {
        let _ = writeln!(text, "  {} {} earlier", style.dots(), hidden + causes.earlier);
    }
    for Cause { chain, before, times } in &causes.causes[hidden..] {
        line(names, "", chain, *times, style, &mut text);
        if !before.is_empty() {
            line(names, "the last failure before it: ", before, 1, style, &mut text);
        }
    }
    text
}

/// A chain, the reason, and a command line to paste.
fn line(names: &Names<'_>, lead: &str, chain: &[usize], times: usize, style: &Style, text: &mut String) {
    let times = repeated(times);
    let room = style.width.saturating_sub(4 + lead.len() + times.len());
    let Some(Failed { chain, reason, line, note }) = described(names, chain, style, room) else { return };
    let _ = writeln!(text, "  {lead}{chain}  {}{times}", style.red(&reason));
    // The command line is never cut, because a part of it cannot be pasted.
    for line in line.iter().chain(&note) {
        let _ = writeln!(text, "  {line}");
    }
}

/// A note about a cause that happened several times.
pub(super) fn repeated(times: usize) -> String {
    if times > 1 { format!(" ({times} times)") } else { String::new() }
}

/// A failed process for people.
pub(super) struct Failed {
    /// The names from the root to it, and its argument.
    pub(super) chain: String,
    pub(super) reason: String,
    /// Its command line to paste.
    pub(super) line: Option<String>,
    /// How the line differs from the real one.
    pub(super) note: Option<String>,
}

/// The last process of a chain.
pub(super) fn described(names: &Names<'_>, chain: &[usize], style: &Style, room: usize) -> Option<Failed> {
    let rows = names.rows;
    let (last, above) = chain.split_last()?;
    let reason = style.show(rows.text(rows.rows[*last].failure?));
    let room = room.saturating_sub(reason.width());
    let labels: Vec<_> = above.iter().map(|row| rows.rows[*row].name).collect();
    let mut shown = names.whole(*last, style, room);
    if !labels.is_empty() {
        shown = names.chain(&labels, style) + style.step() + &shown;
    }
    let call = rows.call(*last);
    Some(Failed {
        chain: style.cut_start(&shown, room),
        reason,
        line: call.and_then(|call| to_paste(call, style)).map(|line| style.show(&line)),
        note: call.and_then(|call| inexact(call, style.is_unicode)),
    })
}

/// Lines about processes that crashed or still run, even if the command succeeded.
pub(super) fn notices(names: &Names<'_>, root: usize, causes: &Causes, style: &Style) -> Vec<(bool, String)> {
    let rows = &names.rows.rows;
    let list = |title: &str, is_wanted: &dyn Fn(&Row) -> bool| {
        let found = || (0..rows.len()).filter(|row| *row != root && !causes.contain(*row) && is_wanted(&rows[*row]));
        let shown: Vec<_> = found()
            .take(NAMED)
            .map(|row| {
                let signal = rows[row].failure.filter(|_| matches!(rows[row].crash, Some(Crash::Signal(_))));
                let signal = signal.map(|signal| format!(" {}", style.show(names.rows.text(signal))));
                names.whole(row, style, 40) + &signal.unwrap_or_default()
            })
            .collect();
        let more = match found().count().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!shown.is_empty()).then(|| format!("{title}: {}{more}", shown.join(", ")))
    };
    let killed = list("killed by the out-of-memory killer", &|row| row.crash == Some(Crash::OutOfMemory));
    let crashed = list("crashed", &|row| matches!(row.crash, Some(Crash::Signal(_))));
    let running = list("still running at the end", &|row| row.kind == Kind::Process && row.is_unfinished);
    let bad = killed.into_iter().chain(crashed).map(|line| (true, line));
    bad.chain(running.map(|line| (false, line))).collect()
}

/// The most processes to name in a line.
const NAMED: usize = 3;

/// What is missing from the trace. `None`: nothing is missing, or nothing is known about it.
pub(super) fn incomplete(rows: &Rows, style: &Style) -> Option<String> {
    let certificate = &rows.about.certificate;
    let problems = rows.problems();
    if rows.root_is_missing {
        return Some(
            "the root span is missing: the outcome of the command, and what else is missing, are not known".to_owned(),
        );
    }
    let is_known = certificate.version.is_some() || certificate.is_complete || !problems.is_empty();
    (is_known && !certificate.is_complete).then(|| match problems.is_empty() {
        true => "incomplete".to_owned(),
        false => format!("incomplete: {}", style.show(&problems.join(", ").into())),
    })
}

/// The terminal lines that a text takes.
pub(super) fn height(text: &str, style: &Style) -> usize {
    text.lines().map(|line| line.width().div_ceil(style.width).max(1)).sum()
}

/// How many causes to show.
pub(super) fn shown_causes(style: &Style) -> usize {
    (style.height / 8).clamp(2, 10)
}

/// The number of causes that a text does not show.
pub(super) fn hidden(causes: &Causes, shown: usize) -> Option<String> {
    let count = causes.earlier + causes.causes.len().saturating_sub(shown);
    (count > 0).then(|| counted(count, "earlier cause", "earlier causes"))
}

/// The call as a command line that can be pasted into a shell.
fn to_paste(call: &Call, style: &Style) -> Option<Untrusted> {
    command_line(call.directory.as_ref(), &call.arguments, style.is_unicode)
}

#[cfg(test)]
mod tests {
    use tracer_model::{Value, semconv};

    use super::{super::style::PLAIN, *};
    use crate::{
        analysis::Tree,
        formats::Text,
        span::Span,
        story::{Story, story},
        text::TextReport,
    };

    fn rendered(story: &Story, text: Text, leave_out: &str) -> String {
        let mut report = TextReport::new(text, usize::MAX);
        for span in story.spans().iter().filter(|span| span.name != leave_out) {
            report.add(&Span::from(span));
        }
        report.render(&PLAIN)
    }

    fn build(options: &[&str]) -> Story {
        let cc = |name: &'static str| move |cc: Story| cc.exits(1).arguments(&["cc", "-c", name]);
        let make = story("make", 0, 900).exits(2).arguments(&[&["make"], options].concat());
        (0..20).fold(make, |make, i| make.starts("true", i, 1, |it| it)).starts("cc", 30, 9, cc("a.c")).starts(
            "cc",
            50,
            9,
            cc("b.c"),
        )
    }

    #[test]
    fn all_causes_are_shown_with_their_command_lines() {
        let text = rendered(&build(&["-k"]), Text::Summary, "");
        let expected = "\nwhere it failed: 2 causes
  make › cc a.c  exit 1
  (cd /src && cc -c a.c)
  make › cc b.c  exit 1
  (cd /src && cc -c b.c)
";
        assert!(text.ends_with(expected), "{text}");
        let text = rendered(&build(&[]), Text::Summary, "");
        assert!(text.ends_with("\nwhere it failed\n  make › cc b.c  exit 1\n  (cd /src && cc -c b.c)\n"), "{text}");
        let markdown = rendered(&build(&["-k"]), Text::Markdown, "");
        assert!(
            markdown.contains("Where it failed: `make › cc a.c` `exit 1`\n\n`(cd /src && cc -c a.c)`"),
            "{markdown}"
        );
    }

    #[test]
    fn a_cause_that_happened_several_times_is_shown_once() {
        let story = build(&["-k"]).starts("cc", 60, 9, |cc| cc.exits(1).arguments(&["cc", "-c", "a.c"]));
        let text = rendered(&story, Text::Summary, "");
        assert!(
            text.contains("where it failed: 2 causes\n") && text.contains("  make › cc a.c  exit 1 (2 times)\n"),
            "{text}"
        );
        assert!(rendered(&story, Text::Markdown, "").contains("`make › cc a.c` `exit 1` (2 times)\n"));
    }

    #[test]
    fn a_long_command_line_is_not_cut() {
        let objects: Vec<_> = (0..1000).map(|number| format!("object_{number}.o")).collect();
        let arguments: Vec<_> = ["ld", "-o", "server"].into_iter().chain(objects.iter().map(String::as_str)).collect();
        let story = story("make", 0, 900).exits(2).starts("ld", 1, 5, |ld| ld.exits(1).arguments(&arguments));
        for text in [Text::Summary, Text::Markdown, Text::Tree] {
            let text = rendered(&story, text, "");
            assert!(text.contains(&format!("(cd /src && ld -o server {})", objects.join(" "))), "{text}");
        }
    }

    #[test]
    fn a_command_without_children_has_its_command_line_too() {
        let long = "a".repeat(300);
        let story = story("cc", 0, 9).exits(1).arguments(&["cc", &long, "a b"]);
        for text in [Text::Summary, Text::Markdown, Text::Tree] {
            let text = rendered(&story, text, "");
            assert!(text.contains(&format!("(cd /src && cc {long} 'a b')")), "{text}");
        }
    }

    #[test]
    fn a_command_line_says_that_bytes_of_it_are_unknown() {
        let story =
            |argument| story("sh", 0, 9).exits(1).starts("cc", 1, 5, |cc| cc.exits(1).arguments(&["cc", argument]));
        for text in [Text::Summary, Text::Markdown, Text::Tree] {
            let inexact = rendered(&story("b\u{fffd}c"), text, "");
            assert!(inexact.contains("not exact: \u{fffd} replaces bytes that are not UTF-8"), "{inexact}");
            assert!(!rendered(&story("bc"), text, "").contains("not exact"));
        }
    }

    #[test]
    fn more_causes_than_lines_are_counted() {
        let many = (0..30).fold(build(&["-k"]), |make, i| {
            make.starts("ld", 100 + i, 1, |ld| ld.exits(1).arguments(&["ld", &format!("{i}.o")]))
        });
        let (text, markdown) = (rendered(&many, Text::Summary, ""), rendered(&many, Text::Markdown, ""));
        assert!(text.contains("where it failed: 32 causes\n  … 27 earlier\n  make › ld 25.o  exit 1\n"), "{text}");
        assert!(markdown.contains("Where it failed: 26 earlier causes, and:"), "{markdown}");
    }

    #[test]
    fn a_shell_with_its_own_exit_code_is_the_cause_and_the_failure_before_it_is_shown() {
        let story = story("bash", 0, 100).exits(3).starts("make", 5, 50, |make| make.exits(2));
        let text = rendered(&story, Text::Summary, "");
        assert!(text.starts_with("bash\n  exit 3 after 100 ms"), "{text}");
        let above =
            (0..20).fold(self::story("sh", 0, 200).exits(3).above(story), |sh, i| sh.starts("true", i, 1, |it| it));
        let text = rendered(&above, Text::Summary, "");
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        let expected = [
            "  (cd /src && make)",
            "  the last failure before it: make  exit 2",
            "  (cd /src && bash)",
            "  sh › bash  exit 3",
            "where it failed",
        ];
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn a_crash_and_a_process_that_still_runs_are_shown_although_the_command_succeeded() {
        let mut spans = (0..20)
            .fold(story("make", 0, 900), |make, i| make.starts("true", i, 1, |it| it))
            .starts("conftest", 40, 1, |it| it.dies_by("SIGSEGV"))
            .starts("cc", 50, 1, |cc| cc.dies_by("SIGKILL").arguments(&["cc", "big.c"]))
            .starts("sleep", 60, 800, |sleep| sleep.arguments(&["sleep", "99"]))
            .spans();
        for span in &mut spans {
            match span.name.as_str() {
                "cc" => span.attributes.push((semconv::EXIT_OOM.to_owned(), Value::Bool(true))),
                "sleep" => span.attributes.push((semconv::UNFINISHED.to_owned(), Value::Bool(true))),
                _ => {}
            }
        }
        let mut rows = Rows::default();
        spans.iter().for_each(|span| rows.add(&Span::from(span)));
        let tree = Tree::grow(&rows.rows).unwrap();
        let lines = notices(&Names::new(&rows), tree.root, &Causes::new(&rows, &tree), &PLAIN);
        let expected = [
            (true, "killed by the out-of-memory killer: cc big.c"),
            (true, "crashed: conftest SIGSEGV"),
            (false, "still running at the end: sleep 99"),
        ];
        assert_eq!(lines, expected.map(|(is_bad, line)| (is_bad, line.to_owned())));
    }

    #[test]
    fn a_summary_repeats_whether_the_trace_is_complete() {
        let markdown = rendered(&build(&[]), Text::Markdown, "");
        assert!(
            markdown.contains("23 processes (3 failed); ") && markdown.contains("; the trace is complete\n"),
            "{markdown}"
        );
        let mut rows = build(&[]).rows();
        rows.about.certificate.is_complete = false;
        rows.about.certificate.losses = vec![("process_tracer.lost.forks".to_owned(), 5)];
        rows.about.certificate.unobserved = Some("no \u{202e}rights".into());
        let incomplete = incomplete(&rows, &PLAIN).unwrap();
        assert_eq!(incomplete, "incomplete: 5 forks lost to a full buffer, no \\u202erights");
        rows.about.certificate = Default::default();
        assert_eq!(self::incomplete(&rows, &PLAIN), None, "a trace of another program");
    }

    #[test]
    fn a_file_without_a_root_says_so() {
        for text in [Text::Summary, Text::Markdown, Text::Tree] {
            let text = rendered(&build(&[]), text, "make");
            assert!(text.contains("the root span is missing"), "{text}");
            assert!(!text.contains("complete\n") && !text.contains("make"), "{text}");
        }
        let text = rendered(&build(&[]), Text::Summary, "make");
        assert!(
            text.starts_with("'(the root span is missing)'\n") || text.starts_with("(the root span is missing)\n"),
            "{text}"
        );
    }
}
