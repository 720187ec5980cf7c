//! The attributes of spans and events, from all tables.

use super::{
    any::ANY,
    event::EventRef,
    network::NETWORK,
    process::{ARGS_RAW, OWNER, PROCESS, PROCESS_COMMAND_ARGS, PROCESS_WORKING_DIRECTORY, WORKING_DIRECTORY_RAW},
    root::{ROOT, calls, losses},
    row::{Attribute, Row},
    value::ValueRef,
};
use crate::{
    calls::{CALL_COUNTS, CallCount},
    losses::{LOSSES, Loss},
    span::{Span, Subject},
};

/// All attributes, except those of the user.
pub const ATTRIBUTES: &[Attribute] = &{
    const TABLES: [&[Row]; 5] = [OWNER, PROCESS, NETWORK, ROOT, ANY];
    const ROWS: usize = OWNER.len() + PROCESS.len() + NETWORK.len() + ROOT.len() + ANY.len();
    const COUNT: usize = ROWS + CALL_COUNTS.len() + LOSSES.len();
    let mut all = [PROCESS[0].attribute; COUNT];
    let (mut index, mut table) = (0, 0);
    while table < TABLES.len() {
        let mut row = 0;
        while row < TABLES[table].len() {
            all[index] = TABLES[table][row].attribute;
            (index, row) = (index + 1, row + 1);
        }
        table += 1;
    }
    let mut call = 0;
    while call < CALL_COUNTS.len() {
        all[index] = of_calls(&CALL_COUNTS[call]);
        (index, call) = (index + 1, call + 1);
    }
    while index < COUNT {
        all[index] = of_loss(&LOSSES[index + LOSSES.len() - COUNT]);
        index += 1;
    }
    all
};

const fn of_calls(row: &CallCount) -> Attribute {
    let CallCount { key, example, meaning, .. } = *row;
    Attribute { key, on: "root", kind: "int", unit: "", source: "the model", example, meaning }
}

const fn of_loss(loss: &Loss) -> Attribute {
    let Loss { key, source, example, meaning, .. } = *loss;
    Attribute { key, on: "root", kind: "int", unit: "", source, example, meaning }
}

/// The attributes of a span. The user's own attributes come last. On the span of a process, they replace ours with the
/// same key. On all other spans, they replace only ours that describe the process. Our other attributes stay, because
/// reports read from them what kind of span it is.
///
/// Each attribute borrows from the span, so that an encoder can write it to its place in one pass.
///
/// ```
/// use std::time::SystemTime;
/// use tracer_model::{
///     Span, SpanId, TraceId, Value,
///     calls::UnixConnectSpan,
///     semconv::{NETWORK_PEER_ADDRESS, attributes},
///     span::Subject,
/// };
///
/// let span = Span {
///     trace_id: TraceId([1; 16]),
///     span_id: SpanId([2; 8]),
///     parent_id: None,
///     links: Vec::new(),
///     start: SystemTime::UNIX_EPOCH,
///     end: SystemTime::UNIX_EPOCH,
///     is_unfinished: false,
///     is_repaired: false,
///     owner: None,
///     is_handled: false,
///     attributes: [].into(),
///     subject: Subject::Call(UnixConnectSpan { path: "/run/bus".to_owned(), error: None }.into()),
/// };
/// let peer = attributes(&span).find(|(key, _)| *key == NETWORK_PEER_ADDRESS);
/// assert_eq!(peer.map(|(_, value)| value.into_owned()), Some(Value::String("/run/bus".to_owned())));
/// ```
pub fn attributes(span: &Span) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
    let (rows, root, fixed): (_, &[Row], [&[Row]; 2]) = match &span.subject {
        Subject::Process(process) if process.certificate.is_some() => (PROCESS, ROOT, [&[], &[]]),
        Subject::Process(_) => (PROCESS, &[], [&[], &[]]),
        _ => (NETWORK, &[], [NETWORK, ANY]),
    };
    let is_fixed = move |key: &str| fixed.iter().any(|rows| rows.iter().any(|row| row.attribute.key == key));
    let own = move || span.attributes.iter().filter(move |(key, _)| !is_fixed(key));
    let of_rows = |rows: &'static [Row]| rows.iter().filter_map(|row| Some((row.attribute.key, row.of_span?(span)?)));
    let int = |count: u64| ValueRef::Int(count.try_into().unwrap_or(i64::MAX));
    let calls = calls(span).map(move |(row, count)| (row.key, int(count)));
    let losses = losses(span).map(move |(loss, count)| (loss.key, int(count)));
    let ours = of_rows(OWNER).chain(of_rows(rows)).chain(of_rows(root)).chain(calls).chain(losses).chain(of_rows(ANY));
    ours.filter(move |(key, _)| own().all(|(name, _)| !replaces(name, key)))
        .chain(own().map(|(name, value)| (name.as_str(), value.into())))
}

/// Attributes whose text may lack bytes that are not UTF-8, each with the attribute that has all bytes.
pub const RAW: [(&str, &str); 2] =
    [(PROCESS_COMMAND_ARGS, ARGS_RAW), (PROCESS_WORKING_DIRECTORY, WORKING_DIRECTORY_RAW)];

/// Whether the user's attribute `own` replaces our attribute `key`. It replaces the bytes of a text too, because it may hide
/// a secret.
#[must_use]
pub fn replaces(own: &str, key: &str) -> bool {
    own == key || RAW.contains(&(own, key))
}

impl<'a> EventRef<'a> {
    /// The attributes of the event.
    pub fn attributes(self) -> impl Iterator<Item = (&'a str, ValueRef<'a>)> {
        let rows = if self.is_exec() { PROCESS } else { ANY };
        rows.iter().filter_map(move |row| Some((row.attribute.key, row.of_event?(self)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_one_row() {
        for (index, attribute) in ATTRIBUTES.iter().enumerate() {
            let next = &ATTRIBUTES[index + 1..];
            assert!(next.iter().all(|other| other.key != attribute.key), "{} has two rows", attribute.key);
            assert!(!attribute.meaning.is_empty(), "{} has no meaning", attribute.key);
        }
    }
}
