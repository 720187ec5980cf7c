//! Name lookups: the pending ones, their spans, and the names that they gave to addresses.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashMap;

use crate::{
    dns::{Answer, Message},
    emit::{Draft, Emitter},
    event::{Direction, Identity, Transport},
    owner::Owner,
    recent::Recent,
    screen::Traffic,
    span::{LookupSpan, Reply, Subject},
    time::Ktime,
};

/// Pending lookups that are remembered. A process may ask and never read the answer.
const PENDING: usize = 4096;

/// Names that are remembered for all processes together. A name has at most 255 bytes.
const NAMES: usize = 16_384;

/// The facts that are the same in a question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    asker: Identity,
    transport: Transport,
    port: u16,
    id: u16,
    kind: String,
}

/// A lookup: pending, or over.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) asker: Identity,
    start: Ktime,
    end: Ktime,
    span: LookupSpan,
}

/// The pending lookups, and the names that the finished lookups found.
#[derive(Debug)]
pub(crate) struct Lookups {
    pending: HashMap<Key, Lookup>,
    /// The last name that resolved to an address for a process.
    of_processes: Recent<(Identity, IpAddr), Arc<str>>,
    /// The last name that resolved to an address for any process.
    of_all: Recent<IpAddr, Arc<str>>,
}

impl Lookups {
    pub(crate) fn new() -> Self {
        Self { pending: HashMap::new(), of_processes: Recent::new(NAMES), of_all: Recent::new(NAMES) }
    }

    /// Takes a message. Returns the lookup that is over because of it.
    pub(crate) fn handle(
        &mut self,
        at: Ktime,
        asker: Identity,
        transport: Transport,
        local: SocketAddr,
        server: SocketAddr,
        message: Option<Message>,
    ) -> Option<Lookup> {
        let Some(message) = message else {
            self.take_unread(at, asker, transport, local);
            return None;
        };
        let key = Key { asker, transport, port: local.port(), id: message.id, kind: message.kind.clone() };
        let Some(answer) = message.answer else {
            let known = self.pending.get_mut(&key).filter(|known| known.span.name == message.name);
            if let Some(known) = known {
                known.span.attempts += 1;
                known.span.reply = Reply::None;
                known.end = at;
                return None;
            }
            let (name, kind) = (message.name, message.kind);
            let span = LookupSpan { name, kind, transport, local, server, attempts: 1, reply: Reply::None };
            // An older lookup with the same key can get no answer any more.
            let former = self.pending.insert(key, Lookup { asker, start: at, end: at, span });
            return former.or_else(|| self.oldest());
        };
        // Anyone can send an answer without a question.
        if !self.pending.get(&key).is_some_and(|over| over.span.name.eq_ignore_ascii_case(&message.name)) {
            return None;
        }
        let over = self.pending.remove(&key)?;
        self.learn(asker, &message.name, &answer);
        Some(Lookup { end: at, span: LookupSpan { reply: Reply::Answer(answer), ..over.span }, ..over })
    }

    /// An unread answer can be for any question from that port. So each of these questions may have an answer.
    fn take_unread(&mut self, at: Ktime, asker: Identity, transport: Transport, local: SocketAddr) {
        for (key, over) in &mut self.pending {
            if (key.asker, key.transport, key.port) == (asker, transport, local.port()) {
                over.span.reply = Reply::Unread;
                over.end = at;
            }
        }
    }

    /// Removes the oldest entry if there are too many.
    fn oldest(&mut self) -> Option<Lookup> {
        if self.pending.len() <= PENDING {
            return None;
        }
        let oldest = self.pending.iter().min_by_key(|(_, over)| over.start).map(|(key, _)| key.clone())?;
        self.pending.remove(&oldest)
    }

    fn learn(&mut self, asker: Identity, name: &str, answer: &Answer) {
        let name: Arc<str> = name.into();
        for address in &answer.addresses {
            self.of_processes.insert((asker, *address), Arc::clone(&name));
            self.of_all.insert(*address, Arc::clone(&name));
        }
    }

    /// The last name that resolved to an address for this process, or else for any process.
    pub(crate) fn name_of(&self, process: Identity, address: IpAddr) -> Option<Arc<str>> {
        self.of_processes.get(&(process, address)).or_else(|| self.of_all.get(&address)).cloned()
    }

    /// A process is dead. Returns its pending lookups, because they can get no answer any more.
    pub(crate) fn forget(&mut self, process: Identity) -> Vec<Lookup> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut unanswered: Vec<_> =
            self.pending.extract_if(|key, _| key.asker == process).map(|(_, over)| over).collect();
        unanswered.sort_by_key(|over| over.start);
        unanswered
    }

    /// Returns all pending lookups.
    pub(crate) fn finish(&mut self) -> Vec<Lookup> {
        let mut unanswered: Vec<_> = self.pending.drain().map(|(_, over)| over).collect();
        unanswered.sort_by_key(|over| (over.start, over.asker));
        unanswered
    }
}

impl Lookup {
    /// Emits the span. The owner is the process that asked.
    pub(crate) fn end(self, emitter: &mut Emitter, owner: Owner) {
        let LookupSpan { name, transport, local, server, .. } = &self.span;
        let traffic = Traffic {
            transport: *transport,
            local: *local,
            peer: *server,
            host: Some(name),
            direction: Direction::Connect,
            process: owner.program(),
        };
        if emitter.drops(self.end, &traffic) {
            return;
        }
        let span_id = emitter.new_id();
        emitter.emit(Draft {
            span_id,
            parent_id: Some(owner.span_id),
            links: Vec::new(),
            start: self.start,
            end: self.end,
            is_unfinished: false,
            is_repaired: !owner.is_known,
            owner: Some(owner.process),
            attributes: owner.attributes,
            subject: Subject::Lookup(Box::new(self.span)),
        });
    }
}
