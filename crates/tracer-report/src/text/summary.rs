//! The summary of times and failures, on at most one screen. Also as Markdown.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{
    critical::Critical,
    failures,
    names::Names,
    network, runs, slowest,
    style::{Style, align, bytes, counted, duration, fitting, pad},
    tree,
};
use crate::{
    analysis::{Group, Tree, costliest, peers, sum},
    causes::Causes,
    command_line::command_line,
    row::{Kind, Label, Rows},
    untrusted::Untrusted,
    whatif::WhatIf,
};

/// A trace of at most this many spans is shown as a tree.
const SMALL: usize = 12;

/// A shortage is shown if it took more than one NOTABLEth of the time.
const NOTABLE: u64 = 20;

/// The unit in which the kernel counts steal time, nanoseconds. A difference of two counts can be too large by one unit.
const TICK: u64 = 10_000_000;

/// The content of a summary.
pub(super) struct Summary<'a> {
    pub(super) rows: &'a Rows,
    pub(super) names: Names<'a>,
    tree: Tree,
    /// Nanoseconds.
    wall: u64,
    cpu: u64,
    processes: usize,
    connections: usize,
    failed: usize,
    pub(super) critical: Critical,
    /// For each row, its own time.
    pub(super) own: Vec<u64>,
    pub(super) slowest: Vec<usize>,
    pub(super) costliest: Vec<(Label, Group)>,
    pub(super) peers: Vec<(Label, Group)>,
    pub(super) causes: Causes,
}

impl<'a> Summary<'a> {
    pub(super) fn new(rows: &'a Rows) -> Option<Self> {
        let tree = Tree::grow(&rows.rows)?;
        let own = tree.own_time(&rows.rows);
        let places = tree.places(&rows.rows);
        let names = Names::new(rows);
        let of_kind = |kind| rows.rows.iter().filter(move |row| row.kind == kind);
        Some(Self {
            rows,
            wall: rows.rows[tree.root].duration(),
            cpu: sum(of_kind(Kind::Process).flat_map(|row| [row.cpu, row.folded.cpu])),
            processes: usize::try_from(sum(of_kind(Kind::Process).map(|row| row.folded.processes.saturating_add(1))))
                .unwrap_or(usize::MAX),
            connections: of_kind(Kind::Connection).count(),
            failed: of_kind(Kind::Process).filter(|row| row.failure.is_some()).count(),
            critical: Critical::new(&names, &tree, &places),
            slowest: slowest::slowest(&names, tree.root, &own),
            costliest: costliest(rows, &own),
            peers: peers(rows, &own),
            causes: Causes::new(rows, &tree),
            own,
            names,
            tree,
        })
    }

    pub(super) fn command(&self, style: &Style) -> Untrusted {
        command_line(None, &self.rows.about.arguments, style.is_unicode)
            .unwrap_or_else(|| self.rows.text(self.rows.rows[self.tree.root].name).clone())
    }

    /// The reason, if the root failed.
    pub(super) fn outcome(&self) -> Option<&Untrusted> {
        self.rows.rows[self.tree.root].failure.map(|failure| self.rows.text(failure))
    }

    /// The outcome, the duration and the counts.
    pub(super) fn verdict(&self, outcome: Option<String>, style: &Style) -> String {
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
    pub(super) fn parallelism(&self, style: &Style) -> String {
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
    pub(super) fn shortage(&self, style: &Style) -> Option<String> {
        let certificate = &self.rows.about.certificate;
        let shortage = &certificate.shortage;
        let mut parts = Vec::new();
        // If several processors wait at the same time, the run loses this time only once.
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
        if shortage.steal.saturating_sub(TICK) > available / NOTABLE {
            parts.push(format!("the hypervisor gave {} of CPU time to others", duration(shortage.steal, style)));
        }
        if shortage.oom_kills > 0 {
            let processes = counted(usize::try_from(shortage.oom_kills).unwrap_or(usize::MAX), "process", "processes");
            parts.push(format!("the out-of-memory killer killed {processes} of the control group"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Lines about other numbers of processors, in a width. Empty if the trace does not allow an estimate.
    fn what_if(&self, width: usize, style: &Style) -> Vec<String> {
        WhatIf::of(self.rows, &self.tree).map_or(Vec::new(), |what_if| what_if.lines(width, style))
    }

    /// The same as one sentence.
    pub(super) fn what_if_text(&self, style: &Style) -> Option<String> {
        Some(WhatIf::of(self.rows, &self.tree)?.text(style))
    }

    /// Lines about processes that crashed or still run, if there are any. `true`: it is bad.
    pub(super) fn notices(&self, style: &Style) -> Vec<(bool, String)> {
        failures::notices(&self.names, self.tree.root, &self.causes, style)
    }
}

/// Writes the summary for a terminal.
pub(crate) fn render(rows: &Rows, style: &Style, text: &mut String) {
    let Some(summary) = Summary::new(rows) else { return };
    let verdict = summary.verdict(summary.outcome().map(|outcome| style.show(outcome)), style);
    let verdict = if summary.outcome().is_some() { style.red(&verdict) } else { verdict };
    let room = style.width.saturating_sub(4);
    let headline = style.show(&summary.command(style));
    let _ = writeln!(text, "{}", style.bold(&style.cut_end(&headline, room)));
    let _ = writeln!(text, "  {verdict}");
    // A small trace shows them in the tree.
    let mut notices = if rows.rows.len() > SMALL { summary.notices(style) } else { Vec::new() };
    notices.extend(summary.shortage(style).map(|line| (true, line)));
    for (is_bad, line) in &notices {
        let line = style.cut_end(line, room);
        let _ = writeln!(text, "  {}", if *is_bad { style.red(&line) } else { line });
    }
    let runs = runs::render(rows, &summary.tree, (style.height / 8).clamp(2, 12), style);
    text.push_str(&runs);
    let failure = if summary.causes.is_only(summary.tree.root) && headline.width() <= room {
        // The headline shows the whole command line of the only cause.
        String::new()
    } else {
        failures::causes(&summary.names, &summary.causes, style, failures::shown_causes(style))
    };
    if rows.rows.len() <= SMALL {
        tree::render(&summary.names, &summary.tree, tree::LINES, style, text);
        text.push_str(&failure);
    } else {
        let _ = writeln!(text, "  {}", summary.parallelism(style));
        let what_if = summary.what_if(room, style);
        what_if.iter().for_each(|line| text.push_str(&format!("  {}\n", style.cut_end(line, room))));
        let network = network::render(rows, (style.height / 16).clamp(1, 4), style);
        // Lines for the command, the verdict, the processors, for our last line and for the prompt.
        let others = network.lines().count() + runs.lines().count();
        let fixed = 5 + notices.len() + what_if.len() + others + failures::height(&failure, style);
        // The most important table first.
        let [critical, slowest, costliest, peers] = shares(
            style.height.saturating_sub(fixed),
            [
                Table { rows: summary.critical.len(), least: 4, most: 8 },
                Table { rows: summary.slowest.len(), least: 3, most: 5 },
                Table { rows: summary.costliest.len(), least: 2, most: 10 },
                Table { rows: summary.peers.len(), least: 1, most: 5 },
            ],
        );
        summary.critical.render(&summary.names, style, critical, text);
        let slow = &summary.slowest[..if slowest == 0 { 0 } else { fitting(summary.slowest.len(), slowest) }];
        slowest::render(&summary.names, slow, &summary.own, style, text);
        costs(&summary, style, costliest, text);
        connections(&summary, style, peers, text);
        text.push_str(&network);
        text.push_str(&failure);
    }
    left_out(rows, text);
}

/// A table of the summary. It shows from `least` to `most` of its `rows`, and one more line for the hidden rows.
#[derive(Clone, Copy)]
struct Table {
    rows: usize,
    least: usize,
    most: usize,
}

/// Shares lines among tables. The result is the limit of each, 0 if there is no room. The first table always has room.
fn shares<const N: usize>(mut lines: usize, tables: [Table; N]) -> [usize; N] {
    let mut limits = [0; N];
    for (index, Table { rows, least, .. }) in tables.into_iter().enumerate() {
        // An empty line, the heading, the rows, and one for the rest.
        let needed = 2 + rows.min(least + 1);
        if rows > 0 && (lines >= needed || index == 0) {
            limits[index] = least;
            lines = lines.saturating_sub(needed);
        }
    }
    while lines > 0 {
        let before = lines;
        for (limit, Table { rows, most, .. }) in limits.iter_mut().zip(tables) {
            if lines > 0 && (1..most).contains(limit) && rows > *limit + 1 {
                *limit += 1;
                lines -= 1;
            }
        }
        if lines == before {
            break;
        }
    }
    limits
}

/// Reports how many spans were beyond the limit.
pub(super) fn left_out(rows: &Rows, text: &mut String) {
    if rows.left_out > 0 {
        let _ = writeln!(
            text,
            "this report counts {}; {} beyond its limit",
            counted(rows.rows.len(), "span", "spans"),
            counted(usize::try_from(rows.left_out).unwrap_or(usize::MAX), "more was", "more were")
        );
    }
}

fn costs(summary: &Summary<'_>, style: &Style, limit: usize, text: &mut String) {
    if limit == 0 {
        return;
    }
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
    if limit == 0 {
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

#[cfg(test)]
pub(super) mod tests {
    use super::{super::style::PLAIN, *};
    use crate::{
        span::Shortage,
        story::{Story, story},
    };

    pub(in crate::text) fn build() -> Story {
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
  make › sh › cc ×30 (longest: a b.c, 270 ms)                  8.10 s     81 %
  make                                                         1.20 s     12 %
  make › sh ×31                                                400 ms      4 %
  make › sh › link                                             300 ms      3 %

slowest processes                      own time      CPU     took
  link                                   300 ms     0 µs   300 ms  exit 1
  cc a b.c                               270 ms   250 ms   270 ms
  cc a b.c                               270 ms   250 ms   270 ms
  cc a b.c                               270 ms   250 ms   270 ms
  cc a b.c                               270 ms   250 ms   270 ms

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
            super::super::markdown::markdown(&rows, &mut markdown);
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
        assert!(markdown.contains(&format!("⚠ {line}")), "{markdown:?}");
        let (text, _) = rendered(Shortage { throttled_periods: 4, ..throttled });
        assert!(text.iter().all(|line| !line.contains("throttled")), "{text:?}");
        let (text, _) = rendered(Shortage { steal: 5_000_000_000, oom_kills: 1, ..Shortage::default() });
        let line = "the hypervisor gave 5.00 s of CPU time to others; the out-of-memory killer killed 1 process of the control group";
        assert_eq!(text[2], line);
    }

    #[test]
    fn one_clock_tick_is_no_shortage() {
        let rendered = |steal| {
            let mut rows = story("true", 0, 9).rows();
            rows.about.certificate.shortage.steal = steal;
            let mut text = String::new();
            render(&rows, &PLAIN, &mut text);
            text
        };
        assert!(!rendered(TICK).contains("hypervisor"));
        assert!(rendered(2 * TICK).contains("the hypervisor gave 20.0 ms of CPU time to others"));
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
    fn a_small_terminal_shows_most_of_the_critical_path() {
        let mut make = story("make", 0, 20_000).exits(2);
        for i in 0..40 {
            let name = format!("src/file{i}.c");
            make = make.starts(&format!("dir{}", i % 16), i * 490, 480, |sh| {
                sh.starts("cc", i * 490 + 1, 470, |cc| {
                    let cc = cc.arguments(&["cc", "-c", &name]).connects("cache.example", 443, i * 490, 10, 1);
                    if i == 39 { cc.exits(1) } else { cc }
                })
            });
        }
        let text = rendered(&make, &Style { width: 80, height: 24, ..PLAIN });
        let lines: Vec<_> = text.lines().skip_while(|line| !line.starts_with("critical path")).collect();
        assert!(
            lines[1].starts_with("  cc ×40 (longest: src/file0.c, 470 ms) ") && lines[1].ends_with(" 94 %"),
            "{text}"
        );
        assert!(text.contains("\nslowest processes") && text.contains("\n  cc src/file0.c "), "{text}");
        assert!(text.lines().count() < 24, "{text}");
    }

    #[test]
    fn terminals_without_unicode_get_ascii() {
        let text = rendered(&build(), &Style { is_unicode: false, ..PLAIN });
        assert!(text.is_ascii(), "{text}");
        let text = rendered(&build(), &Style { is_coloured: true, ..PLAIN });
        assert!(text.contains("\x1b[31m"), "{text}");
    }
}
