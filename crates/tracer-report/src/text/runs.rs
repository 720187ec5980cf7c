//! The runs of a trace that has several, each with its verdict.

use std::fmt::Write;

use tracer_model::losses::in_words;

use super::style::{Style, align, duration, fitting, pad};
use crate::{
    analysis::Tree,
    command_line::command_line,
    row::{Kind, Rows, Run},
    untrusted::Untrusted,
};

/// A table of the runs, in order of their start. Empty if there is only one.
pub(super) fn render(rows: &Rows, tree: &Tree, limit: usize, style: &Style) -> String {
    let mut runs: Vec<&Run> = rows.about.runs.iter().collect();
    if runs.is_empty() {
        return String::new();
    }
    runs.sort_by_key(|run| rows.rows[run.row].start);
    let room = style.width.saturating_sub(50).clamp(10, 60);
    let heading = format!("{} {:>9} {:>9} {:>8}", pad("runs", room + 2), "time", "processes", "failed");
    let mut text = format!("\n{}\n", style.dim(&heading));
    let shown = fitting(runs.len(), limit);
    for run in &runs[..shown] {
        let row = &rows.rows[run.row];
        let command = command_line(None, &run.arguments, style.is_unicode);
        let command = command.map_or_else(|| style.show(rows.text(row.name)), |command| style.show(&command));
        let (processes, failed) = processes(rows, tree, run.row);
        let command = pad(&style.cut_end(&command, room), room);
        let time = align(&duration(row.duration(), style), 9);
        let _ = write!(text, "  {command} {time} {processes:>9} {failed:>8}");
        let failure = row.failure.map(|failure| style.show(rows.text(failure)));
        let verdict: Vec<_> = failure.into_iter().chain(missing(run).map(|missing| style.show(&missing))).collect();
        if !verdict.is_empty() {
            let verdict = style.cut_end(&verdict.join(", "), style.width.saturating_sub(room + 35).max(20));
            let _ = write!(text, "  {}", style.red(&verdict));
        }
        text.push('\n');
    }
    if shown < runs.len() {
        let _ = writeln!(text, "  {} {} more", style.dots(), runs.len() - shown);
    }
    text
}

/// How many processes a run has, and how many of them failed.
fn processes(rows: &Rows, tree: &Tree, root: usize) -> (u64, u64) {
    let (mut count, mut failed) = (0_u64, 0);
    let mut open = vec![root];
    while let Some(row) = open.pop() {
        if rows.rows[row].kind == Kind::Process {
            count = count.saturating_add(1).saturating_add(rows.rows[row].folded.processes);
            failed += u64::from(rows.rows[row].failure.is_some());
        }
        open.extend(tree.children(row).iter().map(|child| *child as usize));
    }
    (count, failed)
}

/// The missing parts of a run, in words.
pub(crate) fn missing(run: &Run) -> Option<Untrusted> {
    let certificate = &run.certificate;
    if certificate.is_complete {
        return None;
    }
    let losses = certificate.losses.iter().map(|(key, count)| in_words(key, (*count).try_into().unwrap_or_default()));
    let parts: Vec<_> = losses.chain(certificate.unobserved.as_ref().map(|reason| reason.exact().to_owned())).collect();
    Some(if parts.is_empty() { "incomplete".into() } else { format!("incomplete: {}", parts.join(", ")).into() })
}
