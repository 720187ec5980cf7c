//! The known losses of a trace, and the certificate that lists them.

use crate::{
    captured::Captured,
    emit::Counts,
    event::Usage,
    image::Cut,
    losses::Losses,
    source::Description,
    span::{Certificate, Gap, Shortage},
    time::{Anchor, Ktime},
};

/// The most gaps that the certificate lists. Later gaps add to the last one.
const GAPS: usize = 100;

#[derive(Debug)]
pub(crate) struct Audit {
    gaps: Vec<Gap>,
    /// Argument vectors that were too long to capture in full.
    cut_arguments: u64,
    cut_environments: u64,
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
            cut_arguments: 0,
            cut_environments: 0,
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

    /// Counts the texts of an exec that were not captured as a whole.
    pub(crate) fn count_cut(&mut self, cut: Cut) {
        self.cut_arguments += u64::from(cut.arguments);
        self.cut_environments += u64::from(cut.environment);
    }

    pub(crate) fn set_shortage(&mut self, shortage: Shortage) {
        *self.shortage = shortage;
    }

    /// Adds a gap: a full buffer has lost this number of records since the last call.
    pub(crate) fn lose(&mut self, anchor: &Anchor, at: Ktime, records: u64) {
        let is_full = self.gaps.len() >= GAPS;
        match self.gaps.last_mut() {
            Some(last) if is_full => last.records += records,
            _ => self.gaps.push(Gap { at: anchor.wall_time(at), records }),
        }
    }

    /// The certificate, still without the failure. `counts` lacks the root itself. `has_root`: some event was about the root.
    pub(crate) fn certify(
        &mut self,
        counts: Counts,
        losses: Losses,
        failed_expressions: u64,
        has_root: bool,
    ) -> Certificate {
        let losses = Losses { cut_arguments: self.cut_arguments, cut_environments: self.cut_environments, ..losses };
        Certificate {
            is_complete: losses.is_none() && has_root,
            is_cut_off: false,
            processes: counts.processes + 1,
            connections: counts.connections,
            flows: counts.flows,
            lookups: counts.lookups,
            calls: counts.calls,
            failed_expressions,
            losses,
            gaps: std::mem::take(&mut self.gaps),
            tree: self.tree.take(),
            cpus: self.cpus,
            shortage: std::mem::take(&mut self.shortage),
            version: self.version.clone(),
            trace_id_source: self.trace_id_source.clone(),
            source: self.source.take(),
            failure: None,
        }
    }

    /// The certificate if process-tracer is killed now.
    pub(crate) fn cut_off(&self) -> Certificate {
        Certificate {
            is_cut_off: true,
            cpus: self.cpus,
            version: self.version.clone(),
            trace_id_source: self.trace_id_source.clone(),
            ..Certificate::default()
        }
    }
}
