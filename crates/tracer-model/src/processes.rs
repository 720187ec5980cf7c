//! All processes of the tree: the live ones, the parent of each, and their spans.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    context::SpanContext,
    emit::{Draft, Emitter},
    event::{ExitStatus, Identity, Image, Strings},
    expression::Failure,
    failures::FailedChild,
    id::SpanId,
    image::Executed,
    judge::{Judge, Lineage, Rules},
    process::{Death, Process},
    span::{Certificate, Span, Subject},
    table::Table,
    tags::Snapshot,
    time::Ktime,
    verdict::Verdict,
};

#[derive(Debug)]
pub(crate) struct Processes {
    table: Table<Identity, Process>,
    /// The latest incarnation of each live pid. It shows when a pid is used again.
    incarnations: HashMap<u32, Identity>,
    root: Option<Identity>,
    root_span_id: SpanId,
    root_parent_id: Option<SpanId>,
    root_name: String,
    root_label: Option<String>,
    own_name: String,
    /// `false`: only the root has a span, and all other spans belong to it.
    have_spans: bool,
    judge: Option<Box<dyn Judge>>,
    /// The processes above the root.
    above: Lineage,
    has_foreign_tags: bool,
}

impl Processes {
    pub(crate) fn new(
        root_span_id: SpanId,
        root_parent_id: Option<SpanId>,
        root_name: String,
        root_label: Option<String>,
        own_name: String,
        have_spans: bool,
        rules: Rules,
    ) -> Self {
        let above = rules.judge.as_deref().map(|judge| judge.lineage_of(&rules.above)).unwrap_or_default();
        Self {
            table: Table::new(),
            incarnations: HashMap::new(),
            root: None,
            root_span_id,
            root_parent_id,
            root_name,
            root_label,
            own_name,
            have_spans,
            judge: rules.judge,
            above,
            has_foreign_tags: false,
        }
    }

    pub(crate) fn get(&self, identity: Identity) -> Option<&Process> {
        self.table.get(identity)
    }

    /// The rules whose expressions failed.
    pub(crate) fn failures(&self) -> Vec<Failure<'_>> {
        self.judge.as_deref().map(Judge::failures).unwrap_or_default()
    }

    pub(crate) fn is_root(&self, identity: Identity) -> bool {
        self.root == Some(identity)
    }

    /// Whether tags name processes by the pids of another namespace.
    pub(crate) fn has_foreign_tags(&self) -> bool {
        self.has_foreign_tags
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The span of a process. If the process is not known, it is the root's span and `false`.
    pub(crate) fn span_of(&self, identity: Identity) -> (SpanId, bool) {
        match self.table.span_of(identity) {
            Some(_) if !self.have_spans => (self.root_span_id, true),
            Some(span_id) => (span_id, true),
            None => (self.root_span_id, false),
        }
    }

    /// The span of a parent. No process has a younger parent, even if the events say so. So the tree has no circle.
    fn parent_span(&self, child: Identity, parent: Identity) -> (SpanId, bool) {
        if parent.start < child.start { self.span_of(parent) } else { (self.root_span_id, false) }
    }

    pub(crate) fn fork(&mut self, emitter: &mut Emitter, identity: Identity, parent: Identity, is_root: bool) {
        if self.table.has_ended(identity) || self.get(identity).is_some_and(|known| known.is_forked) {
            return;
        }
        let inherited = self.get(parent).map(Process::inheritance);
        let lineage = self.lineage_below(parent, is_root);
        let (parent_id, is_known) = self.parent_span(identity, parent);
        if is_root && self.root.is_none() {
            self.root = Some(identity);
        }
        let is_the_root = self.is_root(identity);
        if self.get(identity).is_none() {
            let span_id = if is_the_root { self.root_span_id } else { emitter.new_id() };
            self.insert(emitter, identity, Process::new(identity, span_id, self.root_parent_id));
        }
        let Some(process) = self.table.get_mut(identity) else { return };
        process.is_forked = true;
        process.parent = parent;
        if is_the_root {
            process.is_repaired = !is_root;
        } else {
            process.parent_id = Some(parent_id);
            process.is_repaired = !is_known;
            if let Some(inherited) = inherited {
                process.inherit(inherited);
            }
            emitter.put(process.span_id, process.start, Some(parent_id));
        }
        process.lineage = lineage;
        if let Some(judge) = self.judge.as_deref_mut().filter(|judge| judge.judges_forks() && !is_the_root)
            && !process.has_executed()
        {
            process.judge(judge, identity, identity.start, &emitter.anchor, None);
        }
        emitter.decide(process.span_id, process.fate());
    }

    /// The processes above a child of this process.
    fn lineage_below(&self, parent: Identity, is_root: bool) -> Lineage {
        match (&self.judge, self.get(parent)) {
            (Some(judge), Some(parent)) if !is_root => parent.lineage_below(judge.as_ref()),
            _ => self.above.clone(),
        }
    }

    /// Gives an image the script that it runs. The policy for arguments may remove the path of the script, so this comes first.
    pub(crate) fn follow_script(&mut self, identity: Identity, image: &mut Arc<Image>) {
        let Some(process) = self.table.get_mut(identity) else { return };
        if let Some(script) = process.scripts.follow(image).map(str::to_owned) {
            let image = Arc::make_mut(image);
            (image.file, image.is_script) = (script, true);
        }
    }

    /// `false`: the process has a newer image already.
    pub(crate) fn exec(
        &mut self,
        emitter: &mut Emitter,
        at: Ktime,
        identity: Identity,
        executed: Executed,
        environment: Option<&Strings>,
        context: Option<SpanContext>,
    ) -> bool {
        let is_root = self.is_root(identity);
        let Some(process) = self.table.get_mut(identity) else { return false };
        if process.is_copy_of(&self.own_name) && context.is_some_and(|context| context.trace_id == emitter.trace_id) {
            // This process is the command of another process-tracer. Its environment names the root span of that run.
            // In this trace, the process itself has that place. So this context does not count.
            process.inherited_context = context;
        }
        if !process.exec(at, &emitter.anchor, executed, context) {
            return false;
        }
        if let Some(judge) = self.judge.as_deref_mut() {
            process.judge(judge, identity, at, &emitter.anchor, environment);
            emitter.decide(process.span_id, process.fate());
        }
        if is_root && process.label.is_none() {
            // The root is named after the program that the user typed, not after a later program.
            let name = process.known_name().map(str::to_owned);
            process.label = self.root_label.clone().or(name).filter(|label| !label.is_empty());
        }
        true
    }

    pub(crate) fn fail_to_exec(&mut self, emitter: &Emitter, at: Ktime, identity: Identity, file: String, errno: i32) {
        if let Some(process) = self.table.get_mut(identity) {
            process.fail_to_exec(at, &emitter.anchor, file, errno);
        }
    }

    /// A process ends. If it gets no span, returns the id that its span would have, and the id of the nearest span above it.
    pub(crate) fn exit(
        &mut self,
        emitter: &mut Emitter,
        at: Ktime,
        identity: Identity,
        death: Death,
    ) -> Option<(SpanId, SpanId)> {
        let judge = self.judge.as_deref_mut().filter(|judge| judge.judges_tags());
        if let (Some(judge), Some(process)) = (judge, self.table.get_mut(identity)) {
            process.judge_at_end(judge, identity, &emitter.anchor);
            emitter.decide(process.span_id, process.fate());
        }
        if self.is_root(identity) {
            // Its span has the certificate of the whole trace, so it comes last.
            if let Some(root) = self.table.get_mut(identity) {
                emitter.end(root.span_id, root.verdict(death.status), None);
                root.ended = Some((at, death));
            }
        } else if let Some(process) = self.remove(identity) {
            // The place of a repaired process may be wrong.
            let above = process.parent_id.filter(|_| !process.is_repaired);
            let status = death.status;
            emitter.end(process.span_id, process.verdict(status), above);
            // A failure can only begin in a process that has a span. Without a span, only the failures below it count.
            if !emitter.leaves_out(process.span_id, at, status) || process.has_reason(status) {
                self.add_failure(at, identity, &process, status);
            }
            let span_id = process.span_id;
            let draft = process.draft(identity.tgid, at, Some(death), emitter.trace_id);
            let home = emitter.emit_process(draft, Some(status))?;
            return Some((span_id, home));
        }
        None
    }

    /// Records the failure of a process for its parent, which may fail because of it.
    fn add_failure(&mut self, at: Ktime, identity: Identity, process: &Process, status: ExitStatus) {
        let Some(failed) = process.failed(status) else { return };
        if let Some(parent) = self.table.get_mut(process.parent).filter(|parent| parent.ended.is_none()) {
            if parent.runs_in_trap(process) {
                return;
            }
            let origin = process.origin(identity.tgid, failed);
            parent.failed_children.add(FailedChild { span_id: process.span_id, status, end: at, origin });
        }
    }

    /// Gives processes the tags that a command of the user has printed. Tags of a process that has ended are ignored.
    pub(crate) fn tag(&mut self, snapshot: Snapshot) {
        if self.root.is_some_and(|root| root.tgid != snapshot.root_pid) {
            self.has_foreign_tags = true;
            return;
        }
        for tagged in snapshot.processes {
            let identity = self.incarnations.get(&tagged.pid).filter(|known| known.start <= snapshot.at);
            if let Some(process) = identity.and_then(|identity| self.table.get_mut(*identity)) {
                process.tags.set(tagged.tags);
            }
        }
        // A process is younger than its parent, so the parents come first.
        let mut alive: Vec<_> = self.table.iter().map(|(identity, _)| identity).collect();
        alive.sort_unstable_by_key(|identity| (identity.start, identity.tgid));
        for identity in alive {
            let parent = self.get(identity).and_then(|process| self.get(process.parent));
            let Some(inherited) = parent.map(|parent| Arc::clone(parent.tags.attributes())) else { continue };
            if let Some(process) = self.table.get_mut(identity) {
                process.tags.inherit(&inherited);
            }
        }
    }

    /// Makes sure that this process is known. If its fork was lost, its span goes below `parent` if `parent` is known
    /// and older, otherwise below the root.
    ///
    /// `false`: the process has already ended. So the event is late, or it came twice.
    pub(crate) fn ensure(&mut self, emitter: &mut Emitter, identity: Identity, parent: Identity) -> bool {
        if let Some(known) = self.get(identity) {
            return known.ended.is_none();
        }
        if self.table.has_ended(identity) {
            return false;
        }
        let mut process = if self.root.is_none() {
            // The first process of all is the root, even if its fork was lost.
            self.root = Some(identity);
            Process::new(identity, self.root_span_id, self.root_parent_id)
        } else {
            Process::new(identity, emitter.new_id(), Some(self.parent_span(identity, parent).0))
        };
        process.is_repaired = true;
        process.parent = parent;
        if let Some(parent) = self.get(parent) {
            process.tags.inherit(parent.tags.attributes());
        }
        process.lineage = self.lineage_below(parent, false);
        emitter.put(process.span_id, process.start, process.parent_id);
        self.insert(emitter, identity, process);
        true
    }

    fn insert(&mut self, emitter: &mut Emitter, identity: Identity, process: Process) {
        let former = self.incarnations.get(&identity.tgid).copied();
        if former.is_none_or(|former| former.start < identity.start) {
            self.incarnations.insert(identity.tgid, identity);
            // The pid is in use again. So its former process is dead, and its exit was lost.
            if let Some(former) = former
                && !self.is_root(former)
                && let Some(mut dead) = self.table.end(former)
            {
                dead.is_repaired = true;
                emitter.end(dead.span_id, Verdict::Unknown, None);
                let draft = dead.draft(former.tgid, identity.start, None, emitter.trace_id);
                emitter.emit_process(Draft { is_unfinished: false, ..draft }, None);
            }
        }
        emitter.begin(process.span_id);
        self.table.insert(identity, process);
    }

    fn remove(&mut self, identity: Identity) -> Option<Process> {
        if self.incarnations.get(&identity.tgid) == Some(&identity) {
            self.incarnations.remove(&identity.tgid);
        }
        self.table.end(identity)
    }

    /// The processes that run now, as unfinished spans. The root's span lacks the certificate.
    pub(crate) fn running(&self, emitter: &Emitter, at: Ktime) -> impl Iterator<Item = Span> {
        let alive = self.table.iter().filter(|(_, process)| process.ended.is_none());
        let alive = alive.filter(|(identity, _)| self.have_spans || self.is_root(*identity));
        alive.filter_map(move |(identity, process)| {
            let process = process.clone();
            emitter.running(if self.is_root(identity) {
                process.root_draft(identity.tgid, at, None, None)
            } else {
                process.draft(identity.tgid, at, None, emitter.trace_id)
            })
        })
    }

    /// Ends all processes except the root, because the trace ends. `may_be_dead`: some exits may be missing.
    ///
    /// Returns the root, if any event was about it.
    pub(crate) fn finish(
        &mut self,
        emitter: &mut Emitter,
        at: Ktime,
        may_be_dead: bool,
    ) -> Option<(Identity, Process)> {
        let mut root = None;
        for (identity, mut process) in self.table.drain() {
            process.is_repaired |= may_be_dead && process.ended.is_none();
            let judge = self.judge.as_deref_mut().filter(|judge| judge.judges_tags() && process.ended.is_none());
            if let Some(judge) = judge {
                process.judge_at_end(judge, identity, &emitter.anchor);
                emitter.decide(process.span_id, process.fate());
            }
            if self.root == Some(identity) {
                self.name_root(&mut process);
                root = Some((identity, process));
            } else {
                emitter.emit_process(process.draft(identity.tgid, at, None, emitter.trace_id), None);
            }
        }
        root
    }

    /// Emits the span of the root. Every trace has a root span, because every parent must exist.
    pub(crate) fn end_root(
        &self,
        emitter: &mut Emitter,
        root: Option<(Identity, Process)>,
        at: Ktime,
        certificate: Certificate,
    ) {
        let (identity, process) = root.unwrap_or_else(|| {
            let identity = Identity { tgid: 0, start: at };
            let mut process = Process::new(identity, self.root_span_id, self.root_parent_id);
            process.is_repaired = true;
            (identity, process)
        });
        emitter.emit(self.root_draft(emitter, identity, process, at, certificate));
    }

    /// The span of the root as it is now, if any event was about the root.
    pub(crate) fn root_span(&self, emitter: &Emitter, at: Ktime, certificate: Certificate) -> Option<Span> {
        let root = self.root?;
        let process = self.get(root)?.clone();
        Some(emitter.span(self.root_draft(emitter, root, process, at, certificate)))
    }

    fn root_draft(
        &self,
        emitter: &Emitter,
        identity: Identity,
        mut process: Process,
        at: Ktime,
        certificate: Certificate,
    ) -> Draft {
        self.name_root(&mut process);
        let (end, death) = match process.ended.take() {
            Some((end, death)) => (end, Some(death)),
            None => (at, None),
        };
        let origin = certificate.failure.as_ref().map(|failure| failure.span_id);
        let links = emitter.links_to(origin.filter(|origin| *origin != process.span_id));
        let mut draft = Draft { links, ..process.root_draft(identity.tgid, end, death, Some(certificate)) };
        if let Subject::Process(process) = &mut draft.subject {
            process.folded = emitter.folded_of(self.root_span_id);
        }
        draft
    }

    /// Names the root if it has no name yet, because its execs or their texts are missing.
    fn name_root(&self, root: &mut Process) {
        if root.label.is_none() {
            let has_name = root.known_name().is_some();
            root.label = self.root_label.clone().or_else(|| (!has_name).then(|| self.root_name.clone()));
        }
    }
}
