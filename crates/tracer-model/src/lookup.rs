//! Name lookups: which are under way, and which names they have given to addresses.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashMap;

use crate::{
    dns::{Answer, Message},
    event::{Identity, Transport},
    recent::Recent,
    span::{LookupSpan, Reply},
    time::Ktime,
};

/// Lookups under way that are remembered. A process may ask and never listen.
const PENDING: usize = 4096;

/// Names that are remembered, for all processes together. A name has at most 255 bytes.
const NAMES: usize = 16_384;

/// What an answer has in common with its query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    asker: Identity,
    transport: Transport,
    port: u16,
    id: u16,
    kind: String,
}

/// A lookup that is over.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) asker: Identity,
    pub(crate) start: Ktime,
    pub(crate) end: Ktime,
    pub(crate) span: LookupSpan,
}

/// Those under way, and what the others have found.
#[derive(Debug)]
pub(crate) struct Lookups {
    pending: HashMap<Key, Over>,
    /// The name that a process last found an address by.
    of_processes: Recent<(Identity, IpAddr), Arc<str>>,
    /// The name that any process last found an address by.
    of_all: Recent<IpAddr, Arc<str>>,
}

impl Lookups {
    pub(crate) fn new() -> Self {
        Self { pending: HashMap::new(), of_processes: Recent::new(NAMES), of_all: Recent::new(NAMES) }
    }

    /// Takes in a message, and gives what has come to its end.
    pub(crate) fn handle(
        &mut self,
        at: Ktime,
        asker: Identity,
        transport: Transport,
        local: SocketAddr,
        server: SocketAddr,
        message: Option<Message>,
    ) -> Option<Over> {
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
            // Another one with the same key is not answered any more.
            let former = self.pending.insert(key, Over { asker, start: at, end: at, span });
            return former.or_else(|| self.oldest());
        };
        // Of two questions with the same number the first is given up. Anybody can send what answers no question.
        if !self.pending.get(&key).is_some_and(|over| over.span.name.eq_ignore_ascii_case(&message.name)) {
            return None;
        }
        let over = self.pending.remove(&key)?;
        self.learn(asker, &message.name, &answer);
        Some(Over { end: at, span: LookupSpan { reply: Reply::Answer(answer), ..over.span }, ..over })
    }

    /// Whichever of the questions from there it answers, of none it is known any more that nobody has answered.
    fn take_unread(&mut self, at: Ktime, asker: Identity, transport: Transport, local: SocketAddr) {
        for (key, over) in &mut self.pending {
            if (key.asker, key.transport, key.port) == (asker, transport, local.port()) {
                over.span.reply = Reply::Unread;
                over.end = at;
            }
        }
    }

    /// Takes out the oldest, if there are too many.
    fn oldest(&mut self) -> Option<Over> {
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

    /// The name that an address was last found by: by this process, else by any.
    pub(crate) fn name_of(&self, process: Identity, address: IpAddr) -> Option<Arc<str>> {
        self.of_processes.get(&(process, address)).or_else(|| self.of_all.get(&address)).cloned()
    }

    /// A process is dead: gives what it will get no answer to.
    pub(crate) fn forget(&mut self, process: Identity) -> Vec<Over> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut unanswered: Vec<_> =
            self.pending.extract_if(|key, _| key.asker == process).map(|(_, over)| over).collect();
        unanswered.sort_by_key(|over| over.start);
        unanswered
    }

    /// Gives all that is under way.
    pub(crate) fn finish(&mut self) -> Vec<Over> {
        let mut unanswered: Vec<_> = self.pending.drain().map(|(_, over)| over).collect();
        unanswered.sort_by_key(|over| (over.start, over.asker));
        unanswered
    }
}
