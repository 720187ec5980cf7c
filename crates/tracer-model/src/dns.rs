//! DNS messages: which name has which addresses.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use domain::rdata::AllRecordData;

/// A question, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number that is the same in a question and its answer.
    pub id: u16,
    /// The name in the question, without the last dot.
    pub name: String,
    /// The type of the records in the question. It is usually `A` or `AAAA`.
    pub kind: String,
    /// `None`: it is a question.
    pub answer: Option<Answer>,
}

/// The answer of a name server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The response code. It is usually `NOERROR` or `NXDOMAIN`.
    pub code: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The names that the name is an alias for, in order, without their last dots.
    pub aliases: Vec<String>,
    /// The answer was too large for a datagram. The whole answer comes over TCP.
    pub is_truncated: bool,
}

impl Message {
    /// Reads a message. `None` if it is malformed or has no question.
    ///
    /// Anyone can send a message. So a panic of the parser must not end the trace.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        catch_unwind(AssertUnwindSafe(|| Self::read(bytes))).ok()?
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let message = domain::base::Message::from_octets(bytes).ok()?;
        let header = message.header();
        let question = message.sole_question().ok()?;
        let mut answer = Answer { code: header.rcode().to_string(), is_truncated: header.tc(), ..Answer::default() };
        // A malformed record ends the answer.
        for record in message.answer().ok()?.limit_to_in::<AllRecordData<_, _>>().map_while(Result::ok) {
            match record.data() {
                AllRecordData::A(address) => answer.addresses.push(IpAddr::V4(address.addr())),
                AllRecordData::Aaaa(address) => answer.addresses.push(IpAddr::V6(address.addr())),
                AllRecordData::Cname(name) => answer.aliases.push(name.cname().to_string()),
                _ => {}
            }
        }
        Some(Self {
            id: header.id(),
            name: question.qname().to_string(),
            kind: question.qtype().to_string(),
            answer: header.qr().then_some(answer),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// An answer to `www.example.org A`: an alias for `example.org`, which has an address.
    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\
        \x03www\x07example\x03org\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x10\
        \xc0\x10\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x07";

    #[test]
    fn an_answer_has_addresses_and_aliases() {
        let message = Message::parse(ANSWER).unwrap();
        assert_eq!((message.id, message.name.as_str(), message.kind.as_str()), (0x1234, "www.example.org", "A"));
        let expected = Answer {
            code: "NOERROR".to_owned(),
            addresses: vec!["10.0.0.7".parse().unwrap()],
            aliases: vec!["example.org".to_owned()],
            is_truncated: false,
        };
        assert_eq!(message.answer, Some(expected));
    }

    #[test]
    fn a_question_has_no_answer_and_nxdomain_is_an_answer() {
        let mut query = ANSWER[..33].to_vec();
        query[2..8].copy_from_slice(&[1, 0, 0, 1, 0, 0]);
        let message = Message::parse(&query).unwrap();
        assert_eq!((message.name.as_str(), message.answer), ("www.example.org", None));
        query[2..4].copy_from_slice(&[0x83, 0x83]);
        let answer = Message::parse(&query).unwrap().answer.unwrap();
        assert_eq!((answer.code.as_str(), answer.is_truncated, answer.addresses.len()), ("NXDOMAIN", true, 0));
        assert_eq!(Message::parse(b""), None);
        assert_eq!(Message::parse(&[0; 12]), None);
    }

    #[test]
    fn a_name_that_refers_to_itself_is_refused() {
        for pointer in [b"\xc0\x0c", b"\xc0\x0e", b"\xc0\xff"] {
            let message = [&ANSWER[..4], b"\0\x01\0\0\0\0\0\0", pointer, b"\0\x01\0\x01"].concat();
            assert_eq!(Message::parse(&message), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..600)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn broken_answers_do_not_panic(changes in vec((0..ANSWER.len(), any::<u8>()), 0..6), length in 0..=ANSWER.len()) {
            let mut bytes = ANSWER.to_vec();
            for (index, byte) in changes {
                bytes[index] = byte;
            }
            let _ = Message::parse(&bytes[..length]);
        }
    }
}
