//! System calls that have their own spans. A call has no duration. It becomes a span at once.
//!
//! This is the only list of their kinds. A kind is a row of the table and a file beside this one. Three things follow
//! from the row: its event, its count on the root span, and its name in lists of unobserved kinds. The rest of the
//! model, the sources and the sinks do not name single kinds.

mod unix_connects;

pub use unix_connects::UnixConnectSpan;

/// The facts that the span of any call has.
trait CallSpan {
    /// The name of the span.
    fn name(&self) -> String;

    /// The errno, if the call failed.
    fn errno(&self) -> Option<i32>;

    /// The other end, if the call is for one.
    fn peer(&self) -> Option<Peer<'_>> {
        None
    }

    /// Bytes of its texts that have no fixed limit. A text counts as often as the span has it.
    fn text_bytes(&self) -> usize;
}

/// The other end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// The name of the transport, as `network.transport` has it.
    pub transport: &'static str,
    /// Its address.
    pub address: &'a str,
}

/// The number of spans of a kind, as an attribute of the root span.
#[derive(Clone, Copy, Debug)]
pub struct CallCount {
    /// The key of the attribute.
    pub key: &'static str,
    /// A count.
    pub example: &'static str,
    /// The documentation.
    pub meaning: &'static str,
    /// The count.
    pub count: fn(&CallCounts) -> u64,
}

macro_rules! calls {
    ($($(#[doc = $doc:literal])* $kind:ident($span:ty), $counts:ident, $noun:literal;)*) => {
        /// A call that has its own span.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Call {
            $($(#[doc = $doc])* $kind(Box<$span>),)*
        }

        impl Call {
            /// The name of each kind, as [`Description::unobserved_kinds`](crate::source::Description) has it.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($counts),)*];

            fn facts(&self) -> &dyn CallSpan {
                match self {
                    $(Self::$kind(span) => &**span,)*
                }
            }
        }

        $(impl From<$span> for Call {
            fn from(span: $span) -> Self {
                Self::$kind(Box::new(span))
            }
        })*

        /// How many calls of each kind the trace has.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CallCounts {
            $(#[doc = concat!("Number of ", $noun, " spans in the trace.")] pub $counts: u64,)*
        }

        impl CallCounts {
            pub(crate) fn add(&mut self, call: &Call) {
                match call {
                    $(Call::$kind(_) => self.$counts += 1,)*
                }
            }

            /// The number of calls of all kinds.
            #[must_use]
            pub fn total(&self) -> u64 {
                CALL_COUNTS.iter().map(|row| (row.count)(self)).sum()
            }
        }

        /// The counts of all kinds.
        pub const CALL_COUNTS: &[CallCount] = &[$(CallCount {
            key: concat!("process_tracer.", stringify!($counts)),
            example: "2",
            meaning: concat!("number of ", $noun, " spans in the trace, if there are any"),
            count: |counts| counts.$counts,
        },)*];
    };
}

// Kind(span), name in the plural, noun.
calls! {
    /// A call of connect for a unix socket.
    UnixConnect(UnixConnectSpan), unix_connects, "unix connect";
}

impl Call {
    /// The name of the span.
    #[must_use]
    pub fn name(&self) -> String {
        self.facts().name()
    }

    /// The errno, if the call failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.facts().errno()
    }

    /// The other end, if the call is for one.
    #[must_use]
    pub fn peer(&self) -> Option<Peer<'_>> {
        self.facts().peer()
    }

    /// Bytes of its texts that have no fixed limit. A text counts as often as the span has it.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.facts().text_bytes()
    }
}
