//! What a trace is known to lack, and the certificate that follows from it.

use crate::{
    captured::Captured,
    emit::Counts,
    event::Usage,
    losses::Losses,
    source::Description,
    span::{Certificate, Gap, Shortage},
    time::{Anchor, Ktime},
};

/// Gaps that the certificate lists. Later ones add to the last of these.
const GAPS: usize = 100;

#[derive(Debug)]
pub(crate) struct Audit {
    gaps: Vec<Gap>,
    /// Execs whose arguments or environment were too long to capture all of it.
    truncated: u64,
    /// The usage of the command and its descendants.
    tree: Option<Box<Usage>>,
    /// The source of the events.
    source: Option<Description>,
    cpus: u32,
    shortage: Box<Shortage>,
    version: String,
    trace_id_source: String,
    captured: Captured,
}

impl Audit {
    pub(crate) fn new(cpus: u32, version: String, trace_id_source: String, captured: Captured) -> Self {
        Self {
            gaps: Vec::new(),
            truncated: 0,
            tree: None,
            source: None,
            cpus,
            shortage: Box::default(),
            version,
            trace_id_source,
            captured,
        }
    }

    pub(crate) fn set_tree_usage(&mut self, usage: Usage) {
        self.tree = Some(Box::new(usage));
    }

    /// Adds the kinds that the user has left out to those that the source cannot see.
    pub(crate) fn set_source(&mut self, mut source: Description) {
        for kind in self.captured.left_out() {
            if !source.unobserved_kinds.contains(&kind) {
                source.unobserved_kinds.push(kind);
            }
        }
        self.source = Some(source);
    }

    pub(crate) fn set_shortage(&mut self, shortage: Shortage) {
        *self.shortage = shortage;
    }

    /// Counts an exec whose text was not captured as a whole.
    pub(crate) fn truncate(&mut self) {
        self.truncated += 1;
    }

    /// Records that were lost since the last call.
    pub(crate) fn lose(&mut self, anchor: &Anchor, at: Ktime, records: u64) {
        let is_full = self.gaps.len() >= GAPS;
        match self.gaps.last_mut() {
            Some(last) if is_full => last.records += records,
            _ => self.gaps.push(Gap { at: anchor.wall_time(at), records }),
        }
    }

    /// The certificate. `counts` lacks the root itself. `has_root`: some event was about the root.
    pub(crate) fn certify(
        &mut self,
        counts: Counts,
        losses: Losses,
        failed_expressions: u64,
        has_root: bool,
    ) -> Certificate {
        Certificate {
            is_complete: losses.is_none() && self.truncated == 0 && has_root,
            processes: counts.processes + 1,
            connections: counts.connections,
            flows: counts.flows,
            lookups: counts.lookups,
            calls: counts.calls,
            truncated: self.truncated,
            failed_expressions,
            losses,
            gaps: std::mem::take(&mut self.gaps),
            tree: self.tree.take(),
            cpus: self.cpus,
            shortage: std::mem::take(&mut self.shortage),
            version: self.version.clone(),
            trace_id_source: self.trace_id_source.clone(),
            source: self.source.take(),
        }
    }
}
