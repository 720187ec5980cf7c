//! Cuts the data of a TCP connection to a name server into messages: RFC 1035, 4.2.2.

use hashbrown::HashMap;
use tracer_model::{Ktime, dns::Message};

use crate::wire;

/// The length before each message, bytes.
const LENGTH: usize = 2;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Direction {
    pub(crate) socket: u64,
    pub(crate) local_port: u16,
    pub(crate) is_answer: bool,
}

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Streams(HashMap<Direction, Stream>);

/// An open stream. Pieces of it may be missing.
#[derive(Debug, Default)]
struct Stream {
    /// The offset of the incomplete message, or of the next one. A message begins with its length.
    start: u64,
    /// The beginning of this message, up to the first missing byte.
    bytes: Vec<u8>,
    /// The time of the last piece.
    at: Ktime,
}

/// A piece of the data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// The offset of its first byte.
    pub(crate) offset: u64,
    /// Its number of bytes.
    pub(crate) size: u64,
    /// Its captured beginning.
    pub(crate) bytes: &'a [u8],
}

impl Streams {
    /// Adds a piece, and passes on the messages that it completes.
    pub(crate) fn handle(&mut self, direction: Direction, piece: Piece<'_>, at: Ktime, handle: impl FnMut(Message)) {
        if piece.offset == 0 {
            // This is another connection, whose socket has the same number.
            self.0.remove(&direction);
        }
        if self.0.len() >= wire::DNS_STREAMS as usize && !self.0.contains_key(&direction) {
            let oldest = self.0.iter().min_by_key(|(_, stream)| stream.at).map(|(direction, _)| *direction);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let stream = self.0.entry(direction).or_default();
        stream.at = at;
        stream.handle(piece, handle);
    }
}

impl Stream {
    fn handle(&mut self, piece: Piece<'_>, mut handle: impl FnMut(Message)) {
        self.resume(piece);
        loop {
            self.take(piece, LENGTH);
            // Without the length, the offset of the next message is unknown too.
            let [high, low, ..] = self.bytes[..] else { return };
            let size = LENGTH + usize::from(u16::from_be_bytes([high, low]));
            self.take(piece, size);
            let end = self.start + size as u64;
            if piece.offset.saturating_add(piece.size) < end {
                return;
            }
            // If the end is missing, the names before it are still there.
            Message::parse(&self.bytes[LENGTH..]).map(&mut handle);
            *self = Self { start: end, bytes: Vec::new(), ..*self };
        }
    }

    /// If the length is missing, starts again at a suitable piece: a message with its length, a message without it, or
    /// a length alone.
    fn resume(&mut self, piece: Piece<'_>) {
        if !self.bytes.is_empty() || piece.offset <= self.start {
            return;
        }
        let is_framed = piece.bytes.first_chunk().is_some_and(|length| {
            usize::from(u16::from_be_bytes(*length)) + LENGTH == piece.bytes.len()
                && Message::parse(&piece.bytes[LENGTH..]).is_some()
        });
        if is_framed || piece.size == LENGTH as u64 {
            self.start = piece.offset;
        } else if piece.offset == self.start + LENGTH as u64 && Message::parse(piece.bytes).is_some() {
            self.bytes.extend((piece.bytes.len() as u16).to_be_bytes());
        }
    }

    /// Appends the continuation of the message, up to `size` bytes.
    fn take(&mut self, piece: Piece<'_>, size: usize) {
        let known = self.bytes.len();
        let skipped = (self.start + known as u64).checked_sub(piece.offset);
        let fresh = skipped.and_then(|skipped| piece.bytes.get(skipped as usize..)).unwrap_or_default();
        self.bytes.extend_from_slice(&fresh[..fresh.len().min(size.saturating_sub(known))]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const DIRECTION: Direction = Direction { socket: 7, local_port: 40000, is_answer: true };

    /// Questions for `a.`, `b.` and so on, each with its length.
    fn stream(count: u8) -> Vec<u8> {
        let question = |name| [b"\0\x13\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01", &[name][..], b"\0\0\x01\0\x01"].concat();
        (b'a'..b'a' + count).flat_map(question).collect()
    }

    fn names(pieces: &[Piece<'_>]) -> Vec<String> {
        let (mut streams, mut names) = (Streams::default(), Vec::new());
        for piece in pieces {
            streams.handle(DIRECTION, *piece, Ktime(0), |message| names.push(message.name));
        }
        names
    }

    fn piece(bytes: &[u8], offset: usize) -> Piece<'_> {
        Piece { offset: offset as u64, size: bytes.len() as u64, bytes }
    }

    #[test]
    fn a_missing_piece_loses_its_own_message_only() {
        let all = stream(3);
        // Only the length of the second message is there.
        assert_eq!(names(&[piece(&all[..23], 0), piece(&all[42..], 42)]), ["a", "c"]);
        // Its length is missing, or a part of it.
        assert_eq!(names(&[piece(&all[..21], 0), piece(&all[43..], 43)]), ["a"]);
        assert_eq!(names(&[piece(&all[..22], 0), piece(&all[42..], 42)]), ["a"]);
        assert_eq!(names(&[piece(&all[..21], 0), piece(&all[42..], 42)]), ["a", "c"]);
        assert_eq!(names(&[piece(&all[..21], 0), piece(&all[23..42], 23), piece(&all[42..], 42)]), ["a", "b", "c"]);
        // More bytes have passed than were captured.
        assert_eq!(names(&[Piece { size: 63, ..piece(&all[..23], 0) }]), ["a"]);
        assert_eq!(names(&[Piece { size: 63, ..piece(&all[..42], 0) }]), ["a", "b"]);
    }

    #[test]
    fn streams_that_have_ended_are_forgotten() {
        let mut streams = Streams::default();
        for socket in 0..3000 {
            streams.handle(Direction { socket, ..DIRECTION }, piece(b"\0", 0), Ktime(socket), |_| {});
        }
        assert_eq!(streams.0.len(), wire::DNS_STREAMS as usize);
        assert!(streams.0.keys().all(|direction| direction.socket >= 3000 - u64::from(wire::DNS_STREAMS)));
        let all = stream(2);
        assert_eq!(names(&[piece(&all[..30], 0), piece(&all, 0)]), ["a", "a", "b"]);
    }

    proptest! {
        #[test]
        fn the_messages_do_not_depend_on_the_pieces(mut cuts in vec(0..=63_usize, 0..20)) {
            let all = stream(3);
            cuts.extend([0, 63]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).filter(|cut| cut[0] < cut[1]).map(|cut| piece(&all[cut[0]..cut[1]], cut[0])).collect();
            prop_assert_eq!(names(&pieces), ["a", "b", "c"]);
        }

        #[test]
        fn arbitrary_pieces_do_not_panic(pieces in vec((0..100_000_u64, any::<u64>(), vec(any::<u8>(), 0..70)), 0..20)) {
            let pieces: Vec<_> =
                pieces.iter().map(|(offset, size, bytes)| Piece { offset: *offset, size: *size, bytes }).collect();
            let _ = names(&pieces);
        }
    }
}
