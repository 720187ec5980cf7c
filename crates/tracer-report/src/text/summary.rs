//! The summary: where the time went and what failed, on at most one screen. The same as Markdown.

use std::{cmp::Reverse, collections::HashMap, fmt::Write};

use super::{
    network, runs,
    style::{Style, align, bytes, duration, pad, share},
    tree,
};
use crate::{
    analysis::{Group, Places, Tree, costliest, peers, sum},
    command_line::command_line,
    row::{Kind, Label, Rows},
    span::Call,
    untrusted::Untrusted,
    whatif::WhatIf,
};

/// A trace of at most this many spans is shown as a tree.
const SMALL: usize = 12;

/// A shortage is shown if it took more than this part of the time.
const NOTABLE: u64 = 20;

/// The content of a summary.
struct Summary<'a> {
    rows: &'a Rows,
    tree: Tree,
    /// Nanoseconds.
    wall: u64,
    cpu: u64,
    processes: usize,
    connections: usize,
    failed: usize,
    /// The time of each chain of names on the critical path.
    critical: Vec<(u32, u64)>,
    places: Places,
    costliest: Vec<(Label, Group)>,
    peers: Vec<(Label, Group)>,
    /// The processes from the root to the one that failed first.
    cause: Vec<usize>,
}

impl<'a> Summary<'a> {
    fn new(rows: &'a Rows) -> Option<Self> {
        let tree = Tree::grow(&rows.rows)?;
        let own = tree.own_time(&rows.rows);
        let places = tree.places(&rows.rows);
        let mut on_path: HashMap<u32, u64> = HashMap::new();
        for stretch in tree.critical_path(&rows.rows) {
            *on_path.entry(places.of_row[stretch.row]).or_default() += stretch.end - stretch.start;
        }
        let mut critical: Vec<_> = on_path.into_iter().collect();
        critical.sort_by_key(|(place, time)| (Reverse(*time), *place));
        let of_kind = |kind| rows.rows.iter().filter(move |row| row.kind == kind);
        Some(Self {
            rows,
            wall: rows.rows[tree.root].duration(),
            cpu: sum(of_kind(Kind::Process).flat_map(|row| [row.cpu, row.folded.cpu])),
            processes: usize::try_from(sum(of_kind(Kind::Process).map(|row| row.folded.processes.saturating_add(1))))
                .unwrap_or(usize::MAX),
            connections: of_kind(Kind::Connection).count(),
            failed: of_kind(Kind::Process).filter(|row| row.failure.is_some()).count(),
            critical,
            places,
            costliest: costliest(rows, &own),
            peers: peers(rows, &own),
            cause: tree.cause(&rows.rows),
            tree,
        })
    }

    fn command(&self, style: &Style) -> Untrusted {
        command_line(None, &self.rows.about.arguments, style.is_unicode)
            .unwrap_or_else(|| self.rows.text(self.rows.rows[self.tree.root].name).clone())
    }

    /// The reason, if the root failed.
    fn outcome(&self) -> Option<&Untrusted> {
        self.rows.rows[self.tree.root].failure.map(|failure| self.rows.text(failure))
    }

    /// The outcome, the duration and the counts.
    fn verdict(&self, outcome: Option<String>, style: &Style) -> String {
        let outcome = outcome.map_or(String::new(), |outcome| format!("{outcome} after "));
        let connections = match self.connections {
            0 => String::new(),
            connections => format!(", {}", counted(connections, "connection", "connections")),
        };
        let failed = if self.failed > 0 { format!(" ({} failed)", self.failed) } else { String::new() };
        let processes = counted(self.processes, "process", "processes");
        format!("{outcome}{}: {processes}{failed}{connections}", duration(self.wall, style))
    }

    /// The use of the processors.
    fn parallelism(&self, style: &Style) -> String {
        let (cpus, wall) = (self.rows.about.certificate.cpus, self.wall.max(1));
        let (used, busy) = (duration(self.cpu, style), self.cpu as f64 / wall as f64);
        if cpus == 0 {
            return format!("CPU time {used}: {busy:.2} processors busy on average");
        }
        let idle = duration(wall.saturating_mul(cpus).saturating_sub(self.cpu), style);
        let cpus = counted(usize::try_from(cpus).unwrap_or(usize::MAX), "processor", "processors");
        format!("CPU time {used}: {busy:.2} of {cpus} busy on average, {idle} unused")
    }

    /// How the machine slowed the command down, if that matters.
    fn shortage(&self, style: &Style) -> Option<String> {
        let certificate = &self.rows.about.certificate;
        let shortage = &certificate.shortage;
        let mut parts = Vec::new();
        // A processor more that waits at the same time makes the run no longer.
        let in_periods = shortage.throttled_periods.saturating_mul(shortage.period);
        let throttled = shortage.throttled.min(in_periods).min(self.wall);
        if throttled > self.wall / NOTABLE && shortage.cpu_limit > 0.0 {
            parts.push(format!(
                "throttled by the CPU limit for {} of {}: the limit is {:.1} processors",
                duration(throttled, style),
                duration(self.wall, style),
                shortage.cpu_limit
            ));
        }
        let available = self.wall.saturating_mul(certificate.cpus.max(1));
        if shortage.steal > available / NOTABLE {
            parts.push(format!("the hypervisor gave {} of CPU time to others", duration(shortage.steal, style)));
        }
        if shortage.oom_kills > 0 {
            let processes = counted(usize::try_from(shortage.oom_kills).unwrap_or(usize::MAX), "process", "processes");
            parts.push(format!("the out-of-memory killer killed {processes} of the control group"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// The chain of failures, the reason of the last one, and its call.
    fn failure(&self) -> Option<(Vec<Label>, Label, Option<&Call>)> {
        let last = *self.cause.last()?;
        let names = self.cause.iter().map(|row| self.rows.rows[*row].name).collect();
        Some((names, self.rows.rows[last].failure?, self.rows.call(last)))
    }

    fn chain(&self, names: &[Label], style: &Style) -> String {
        let names: Vec<_> = names.iter().map(|name| style.show(self.rows.text(*name))).collect();
        names.join(style.step())
    }
}

/// Writes the summary for a terminal.
pub(crate) fn render(rows: &Rows, style: &Style, text: &mut String) {
    let Some(summary) = Summary::new(rows) else { return };
    let verdict = summary.verdict(summary.outcome().map(|outcome| style.show(outcome)), style);
    let verdict = if summary.outcome().is_some() { style.red(&verdict) } else { verdict };
    let room = style.width.saturating_sub(4);
    let _ = writeln!(text, "{}", style.bold(&style.cut_end(&style.show(&summary.command(style)), room)));
    let _ = writeln!(text, "  {verdict}");
    let shortage = summary.shortage(style);
    if let Some(shortage) = &shortage {
        let _ = writeln!(text, "  {}", style.red(&style.cut_end(shortage, room)));
    }
    let runs = runs::render(rows, &summary.tree, (style.height / 6).clamp(2, 12), style);
    text.push_str(&runs);
    if rows.rows.len() <= SMALL {
        tree::render(rows, &summary.tree, tree::LINES, style, text);
    } else {
        let _ = writeln!(text, "  {}", summary.parallelism(style));
        let what_if = WhatIf::of(rows, &summary.tree).map_or(Vec::new(), |what_if| what_if.lines(room, style));
        what_if.iter().for_each(|line| text.push_str(&format!("  {}\n", style.cut_end(line, room))));
        let failure = failure(&summary, style);
        // Lines for the verdict, around each table, for our last line and for the prompt.
        let tables = if summary.peers.is_empty() { 2 } else { 3 };
        let network = network::render(rows, (style.height / 16).clamp(1, 4), style);
        let others = what_if.len() + network.lines().count() + runs.lines().count() + failure.lines().count();
        let lines = style.height.saturating_sub(3 + usize::from(shortage.is_some()) + 3 * tables + others + 2);
        let peers = if summary.peers.is_empty() { 0 } else { (lines / 5).clamp(1, 5) };
        let stretches = (lines.saturating_sub(peers) * 2 / 5).clamp(1, 8);
        critical(&summary, style, stretches, text);
        costs(&summary, style, lines.saturating_sub(peers + stretches).clamp(1, 10), text);
        connections(&summary, style, peers, text);
        text.push_str(&network);
        text.push_str(&failure);
    }
    left_out(rows, text);
}

/// Reports how many spans were beyond the limit.
pub(crate) fn left_out(rows: &Rows, text: &mut String) {
    if rows.left_out > 0 {
        let _ = writeln!(
            text,
            "this report counts {}; {} beyond its limit",
            counted(rows.rows.len(), "span", "spans"),
            counted(usize::try_from(rows.left_out).unwrap_or(usize::MAX), "more was", "more were")
        );
    }
}

fn critical(summary: &Summary<'_>, style: &Style, limit: usize, text: &mut String) {
    // Numbers that are far from their names are hard to read.
    let room = style.width.saturating_sub(23).min(100);
    let title = pad("critical path: sets the total time", room + 2);
    let _ = writeln!(text, "\n{}", style.dim(&format!("{title} {:>9} {:>8}", "time", "share")));
    let shown = fitting(summary.critical.len(), limit);
    for (place, time) in &summary.critical[..shown] {
        let names = summary.places.names(*place);
        let chain = pad(&style.cut_start(&summary.chain(&names, style), room), room);
        let _ = writeln!(text, "  {chain} {} {:>8}", align(&duration(*time, style), 9), share(*time, summary.wall));
    }
    let rest = &summary.critical[shown..];
    if !rest.is_empty() {
        let time = rest.iter().map(|(_, time)| time).sum();
        let more = pad(&format!("{} {} more", style.dots(), rest.len()), room);
        let _ = writeln!(text, "  {more} {} {:>8}", align(&duration(time, style), 9), share(time, summary.wall));
    }
}

fn costs(summary: &Summary<'_>, style: &Style, limit: usize, text: &mut String) {
    let room = style.width.saturating_sub(66).clamp(10, 40);
    let heading = format!(
        "{} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        pad("costliest", room + 2),
        "count",
        "own time",
        "CPU",
        "p50",
        "p95",
        "max"
    );
    let _ = writeln!(text, "\n{}", style.dim(&heading));
    let shown = fitting(summary.costliest.len(), limit);
    for (name, group) in &summary.costliest[..shown] {
        let name = pad(&style.cut_end(&style.show(summary.rows.text(*name)), room), room);
        let _ = write!(text, "  {name} {:>6}", group.count());
        for time in [group.own, group.cpu, group.quantile(0.5), group.quantile(0.95), group.quantile(1.0)] {
            let _ = write!(text, " {}", align(&duration(time, style), 8));
        }
        if group.failed > 0 {
            let _ = write!(text, "  {}", style.red(&format!("{} failed", group.failed)));
        }
        text.push('\n');
    }
    if let Some(rest) = summary.costliest.get(shown..).filter(|rest| !rest.is_empty()) {
        let count: usize = rest.iter().map(|(_, group)| group.count()).sum();
        let more = pad(&format!("{} {} more names", style.dots(), rest.len()), room);
        let (own, cpu) = (sum(rest.iter().map(|(_, group)| group.own)), sum(rest.iter().map(|(_, group)| group.cpu)));
        let (own, cpu) = (duration(own, style), duration(cpu, style));
        let _ = writeln!(text, "  {more} {count:>6} {} {}", align(&own, 9), align(&cpu, 8));
    }
}

fn connections(summary: &Summary<'_>, style: &Style, limit: usize, text: &mut String) {
    if summary.peers.is_empty() {
        return;
    }
    let room = style.width.saturating_sub(46).clamp(10, 60);
    let heading = format!("{} {:>6} {:>9} {:>9} {:>9}", pad("connections", room + 2), "count", "time", "max", "bytes");
    let _ = writeln!(text, "\n{}", style.dim(&heading));
    let shown = fitting(summary.peers.len(), limit);
    for (peer, group) in &summary.peers[..shown] {
        let peer = pad(&style.cut_end(&style.show(summary.rows.text(*peer)), room), room);
        let (time, max) = (duration(group.total, style), duration(group.quantile(1.0), style));
        let _ = write!(
            text,
            "  {peer} {:>6} {} {} {}",
            group.count(),
            align(&time, 9),
            align(&max, 9),
            align(&bytes(group.bytes), 9)
        );
        if group.failed > 0 {
            let _ = write!(text, "  {}", style.red(&format!("{} failed", group.failed)));
        }
        text.push('\n');
    }
    let rest = &summary.peers[shown..];
    if !rest.is_empty() {
        let count: usize = rest.iter().map(|(_, group)| group.count()).sum();
        let size = sum(rest.iter().map(|(_, group)| group.bytes));
        let more = pad(&format!("{} {} more", style.dots(), rest.len()), room);
        let _ = writeln!(text, "  {more} {count:>6} {:>9} {:>9} {}", "", "", align(&bytes(size), 9));
    }
}

fn failure(summary: &Summary<'_>, style: &Style) -> String {
    let mut text = String::new();
    let Some((names, reason, call)) = summary.failure() else { return text };
    let reason = style.show(summary.rows.text(reason));
    let chain = style.cut_start(&summary.chain(&names, style), style.width.saturating_sub(reason.len() + 4));
    let _ = writeln!(text, "\n{}", style.dim("where it failed"));
    let _ = writeln!(text, "  {chain}  {}", style.red(&reason));
    // It is never cut, because a part of it cannot be pasted.
    if let Some(line) = call.and_then(|call| to_paste(call, style)) {
        let _ = writeln!(text, "  {}", style.show(&line));
    }
    text
}

/// The call as a command line that can be pasted into a shell.
fn to_paste(call: &Call, style: &Style) -> Option<Untrusted> {
    command_line(call.directory.as_ref(), &call.arguments, style.is_unicode)
}

/// How many entries to show. If only one entry would be hidden, it is shown, because the note needs a line too.
fn fitting(count: usize, limit: usize) -> usize {
    if count <= limit + 1 { count } else { limit }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Writes the summary as Markdown, for the page of a CI job.
pub(crate) fn markdown(rows: &Rows, text: &mut String) {
    let style = Style { width: 160, height: 50, is_coloured: false, is_unicode: true };
    let Some(summary) = Summary::new(rows) else { return };
    let command = style.cut_end(&style.show(&summary.command(&style)), 100);
    let _ = writeln!(text, "### {}\n", code(&command));
    let outcome = summary.outcome().map(|outcome| code(&style.show(outcome)));
    let mark = if outcome.is_some() { "❌ " } else { "" };
    let _ = writeln!(text, "{mark}{}; {}\n", summary.verdict(outcome, &style), summary.parallelism(&style));
    if let Some(shortage) = summary.shortage(&style) {
        let _ = writeln!(text, "⚠️ {shortage}\n");
    }
    if let Some(what_if) = WhatIf::of(rows, &summary.tree) {
        let _ = writeln!(text, "What if: {}\n", what_if.text(&style));
    }
    if let Some((names, reason, call)) = summary.failure() {
        let chain = summary.chain(&names, &style);
        let _ = writeln!(text, "Where it failed: {} {}\n", code(&chain), code(&style.show(rows.text(reason))));
        if let Some(line) = call.and_then(|call| to_paste(call, &style)) {
            let _ = writeln!(text, "{}\n", code(&style.show(&line)));
        }
    }
    let _ = writeln!(text, "| critical path | time | share |\n| --- | ---: | ---: |");
    for (place, time) in summary.critical.iter().take(8) {
        let names = summary.places.names(*place);
        let chain = cell(&style.cut_start(&summary.chain(&names, &style), 120));
        let _ = writeln!(text, "| {chain} | {} | {} |", duration(*time, &style), share(*time, summary.wall));
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
    use super::{super::style::PLAIN, *};
    use crate::{
        span::Shortage,
        story::{Story, story},
    };

    fn build() -> Story {
        let mut make = story("make", 0, 10_000).cpu(20).arguments(&["make", "-j2", "CC=gcc 12"]).exits(2);
        for i in 0..30 {
            let start = 100 + i * 300;
            make = make.starts("sh", start, 280, |sh| {
                sh.starts("cc", start + 5, 270, |cc| {
                    let cc = cc.cpu(250).arguments(&["cc", "-c", "a b.c"]);
                    let cc = cc.connects("cache.example", 443, start + 10, 100, 2048);
                    if i == 29 { cc.exits(1) } else { cc }
                })
            });
        }
        make.starts("sh", 9500, 400, |sh| sh.exits(1).starts("link", 9510, 300, |ld| ld.exits(1)))
    }

    fn rendered(story: &Story, style: &Style) -> String {
        let mut text = String::new();
        render(&story.rows(), style, &mut text);
        text
    }

    #[test]
    fn a_summary_shows_the_time_and_the_failures() {
        let expected = "\
make -j2 'CC=gcc 12'
  exit 2 after 10.0 s: 63 processes (4 failed), 30 connections
  CPU time 7.52 s: 0.75 of 2 processors busy on average, 12.5 s unused

critical path: sets the total time                               time    share
  make › sh › cc                                               8.10 s     81 %
  make                                                         1.20 s     12 %
  make › sh                                                    400 ms      4 %
  make › sh › link                                             300 ms      3 %

costliest         count own time      CPU      p50      p95      max
  cc                 30   8.10 s   7.50 s   270 ms   270 ms   270 ms  1 failed
  make                1   1.20 s  20.0 ms   10.0 s   10.0 s   10.0 s  1 failed
  sh                 31   400 ms     0 µs   280 ms   280 ms   400 ms  1 failed
  link                1   300 ms     0 µs   300 ms   300 ms   300 ms  1 failed

connections                           count      time       max     bytes
  cache.example:443                      30    3.00 s    100 ms  60.0 KiB

where it failed
  make › sh › link  exit 1
  (cd /src && link)
";
        assert_eq!(rendered(&build(), &PLAIN), expected);
    }

    #[test]
    fn a_shortage_is_a_line_of_the_summary_if_it_matters() {
        let rendered = |shortage: Shortage| {
            let mut rows = build().rows();
            rows.about.certificate.shortage = shortage;
            let (mut text, mut markdown) = (String::new(), String::new());
            render(&rows, &Style { width: 120, height: 40, is_coloured: false, is_unicode: true }, &mut text);
            super::markdown(&rows, &mut markdown);
            let lines = |text: &str| text.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>();
            (lines(&text), lines(&markdown))
        };
        // 40 periods of 100 ms in which several processors waited at once.
        let throttled = Shortage {
            cpu_limit: 2.0,
            throttled_periods: 40,
            period: 100_000_000,
            throttled: 9_000_000_000,
            ..Shortage::default()
        };
        let line = "throttled by the CPU limit for 4.00 s of 10.0 s: the limit is 2.0 processors";
        let (text, markdown) = rendered(throttled);
        assert_eq!(text[2], line);
        assert!(markdown.contains(&format!("⚠️ {line}")), "{markdown:?}");
        let (text, _) = rendered(Shortage { throttled_periods: 4, ..throttled });
        assert!(text.iter().all(|line| !line.contains("throttled")), "{text:?}");
        let (text, _) = rendered(Shortage { steal: 5_000_000_000, oom_kills: 1, ..Shortage::default() });
        let line = "the hypervisor gave 5.00 s of CPU time to others; the out-of-memory killer killed 1 process of the control group";
        assert_eq!(text[2], line);
    }

    #[test]
    fn a_summary_fits_the_terminal() {
        let mut story = build();
        for i in 0..200 {
            let name = format!("a-tool-with-a-rather-long-name-{i}");
            story = story.starts(&name, i, 5 + i, |tool| {
                let host = format!("host-{i}.with.a.very.long.name.of.example");
                tool.cpu(i).connects(&host, 443, i, 2, 1).starts(&name, i + 1, 3, |inner| inner)
            });
        }
        for (width, height) in [(80, 24), (100, 50), (200, 60), (40, 24)] {
            let text = rendered(&story, &Style { width, height, ..PLAIN });
            assert!(text.lines().count() < height, "{width}x{height}:\n{text}");
            if width >= 80 {
                assert!(text.lines().all(|line| line.chars().count() <= width), "{width}x{height}:\n{text}");
            }
        }
    }

    #[test]
    fn terminals_without_unicode_get_ascii() {
        let text = rendered(&build(), &Style { is_unicode: false, ..PLAIN });
        assert!(text.is_ascii(), "{text}");
        let text = rendered(&build(), &Style { is_coloured: true, ..PLAIN });
        assert!(text.contains("\x1b[31m"), "{text}");
    }

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
            // The heading has one code span, the verdict one, the failure three, and each row of the three tables one.
            assert!(codes >= 8 && cells > 0, "{codes} {cells}: {text}");
        }
    }
}
