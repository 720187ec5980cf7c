//! The summary as Markdown, for the page of a CI job.

use std::fmt::Write;

use super::{
    failures, network,
    style::{Style, bytes, duration},
    summary::{Summary, left_out},
};
use crate::row::Rows;

/// Writes the summary as Markdown, for the page of a CI job.
pub(crate) fn markdown(rows: &Rows, text: &mut String) {
    let style = Style { width: 160, height: 50, is_coloured: false, is_unicode: true };
    let Some(summary) = Summary::new(rows) else { return };
    let command = style.cut_end(&style.show(&summary.command(&style)), 100);
    let _ = writeln!(text, "### {}\n", code(&command));
    let outcome = summary.outcome().map(|outcome| code(&style.show(outcome)));
    let mark = if outcome.is_some() { "❌ " } else { "" };
    let complete = if rows.about.certificate.is_complete { "; the trace is complete" } else { "" };
    let (verdict, parallelism) = (summary.verdict(outcome, &style), summary.parallelism(&style));
    let _ = writeln!(text, "{mark}{verdict}; {parallelism}{complete}\n");
    if let Some(shortage) = summary.shortage(&style) {
        let _ = writeln!(text, "⚠ {shortage}\n");
    }
    if let Some(what_if) = summary.what_if_text(&style) {
        let _ = writeln!(text, "What if: {what_if}\n");
    }
    let incomplete = failures::incomplete(rows, &style).map(|line| (true, line));
    for (is_bad, line) in incomplete.into_iter().chain(summary.notices(&style)) {
        let _ = writeln!(text, "{}{}\n", if is_bad { "⚠ " } else { "" }, code(&line));
    }
    failures(&summary, &style, text);
    let _ = writeln!(text, "| critical path | time | share |\n| --- | ---: | ---: |");
    for [chain, time, share] in summary.critical.lines(&summary.names, &style, 8) {
        let _ = writeln!(text, "| {} | {time} | {share} |", cell(&chain));
    }
    if !summary.slowest.is_empty() {
        let _ = writeln!(text, "\n| slowest processes | own time | CPU | took |\n| --- | ---: | ---: | ---: |");
        for row in summary.slowest.iter().take(5) {
            let name = cell(&summary.names.whole(*row, &style, 120));
            let times = [summary.own[*row], rows.rows[*row].cpu, rows.rows[*row].duration()];
            let _ = writeln!(text, "| {name} | {} |", times.map(|time| duration(time, &style)).join(" | "));
        }
    }
    let _ = writeln!(text, "\n| costliest | count | own time | CPU | p50 | p95 | max | failed |");
    let _ = writeln!(text, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, group) in summary.costliest.iter().take(10) {
        let _ = write!(text, "| {} | {} |", cell(&style.show(rows.text(*name))), group.count());
        for time in [group.own, group.cpu, group.quantile(0.5), group.quantile(0.95), group.quantile(1.0)] {
            let _ = write!(text, " {} |", duration(time, &style));
        }
        let _ = writeln!(text, " {} |", group.failed);
    }
    if !summary.peers.is_empty() {
        let _ =
            writeln!(text, "\n| connections | count | time | bytes | failed |\n| --- | ---: | ---: | ---: | ---: |");
        for (peer, group) in summary.peers.iter().take(5) {
            let (peer, time) = (cell(&style.show(rows.text(*peer))), duration(group.total, &style));
            let _ =
                writeln!(text, "| {peer} | {} | {time} | {} | {} |", group.count(), bytes(group.bytes), group.failed);
        }
    }
    network::markdown(rows, &style, cell, text);
    text.push('\n');
    left_out(rows, text);
}

/// The causes, each with a command line to paste.
fn failures(summary: &Summary<'_>, style: &Style, text: &mut String) {
    let shown = failures::shown_causes(style);
    if let Some(hidden) = failures::hidden(&summary.causes, shown) {
        let _ = writeln!(text, "Where it failed: {hidden}, and:\n");
    }
    let causes = &summary.causes.causes;
    for cause in &causes[causes.len().saturating_sub(shown)..] {
        let chains = [("Where it failed", &cause.chain, cause.times), ("The last failure before it", &cause.before, 1)];
        for (lead, chain, times) in chains {
            let Some(failed) = failures::described(&summary.names, chain, style, style.width) else { continue };
            let _ = writeln!(
                text,
                "{lead}: {} {}{}\n",
                code(&failed.chain),
                code(&failed.reason),
                failures::repeated(times)
            );
            if let Some(line) = failed.line {
                let _ = writeln!(text, "{}\n", code(&line));
            }
            if let Some(note) = failed.note {
                let _ = writeln!(text, "{note}\n");
            }
        }
    }
}

/// The text as a code span. Markdown finds no links, tags or mentions in it.
pub(crate) fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let is_bare = |c: Option<char>| c.is_some_and(|c| c != '`' && c != ' ');
    let space = if is_bare(text.chars().next()) && is_bare(text.chars().next_back()) { "" } else { " " };
    format!("{fence}{space}{text}{space}{fence}")
}

/// The text as a code span in a table. A bar ends the cell even within code, so it is escaped.
pub(crate) fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::{super::summary::tests::build, *};
    use crate::story::story;

    #[test]
    fn markdown_is_a_verdict_and_tables() {
        let story = build().starts("a|b`c<i>", 0, 9_999, |evil| evil);
        let mut text = String::new();
        markdown(&story.rows(), &mut text);
        assert!(text.starts_with("### `make -j2 'CC=gcc 12'`\n\n❌ `exit 2` after 10.0 s"), "{text}");
        assert!(text.contains("| ``a\\|b`c<i>`` | 1 |"), "{text}");
        assert!(text.contains("Where it failed: `make › sh › link` `exit 1`"), "{text}");
    }

    #[test]
    fn text_of_a_trace_is_never_markup() {
        for evil in [
            "evil<b>@evil [evil](http://evil) ![evil](x) *evil* https://evil",
            "`evil` <b>``evil`",
            "``<b>evil",
            "<b>evil`",
            "evil|<b>evil\\|`evil\\\\|evil\\",
            " evil ",
            "`",
            "",
            "|",
            "evil\n\n# evil\u{202e}",
        ] {
            let story =
                story(evil, 0, 1000)
                    .exits(1)
                    .arguments(&[evil, evil])
                    .dies_by(evil)
                    .starts(evil, 1, 900, |it| it.dies_by(evil).arguments(&[evil, evil]).connects(evil, 443, 1, 2, 3));
            let mut text = String::new();
            markdown(&story.rows(), &mut text);
            let (mut cells, mut codes) = (0, 0);
            for event in pulldown_cmark::Parser::new_ext(&text, pulldown_cmark::Options::ENABLE_TABLES) {
                use pulldown_cmark::{Event, Tag};
                match event {
                    Event::Code(_) => codes += 1,
                    Event::Text(text) => assert!(!text.contains("evil"), "{text}"),
                    Event::Start(Tag::TableCell) => cells += 1,
                    Event::Start(
                        Tag::Heading { .. } | Tag::Paragraph | Tag::Table(_) | Tag::TableHead | Tag::TableRow,
                    )
                    | Event::End(_) => {}
                    other => panic!("{other:?} in {text}"),
                }
            }
            // The heading has one code span, the verdict one, the failure three, and each row of the four tables one.
            assert!(codes >= 8 && cells > 0, "{codes} {cells}: {text}");
        }
    }
}
