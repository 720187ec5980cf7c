//! Trace and span ids: their hexadecimal form, and new ids from a seed.

use std::{fmt, str::FromStr};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Too many or too few digits.
    #[error("{found} {}, expected {expected} hexadecimal digits", if *found == 1 { "character" } else { "characters" })]
    Length {
        /// Number of digits that such an id has.
        expected: usize,
        /// Number of characters in the text.
        found: usize,
    },
    /// Not hexadecimal.
    #[error("'{0}' is not a hexadecimal digit")]
    Digit(char),
    /// W3C Trace Context reserves the all-zero id for "none".
    #[error("all zeros, which means \"no id\" in W3C Trace Context")]
    Zero,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if let Some(other) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
                    return Err(ParseIdError::Digit(other));
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseIdError::Length { expected: 2 * $bytes, found: text.len() })?;
                if bytes == [0; $bytes] {
                    return Err(ParseIdError::Zero);
                }
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// 16 bytes. They are shown as 32 lower-case hexadecimal digits. Upper case is accepted.
    ///
    /// ```
    /// use tracer_model::TraceId;
    ///
    /// let id: TraceId = "0AF7651916CD43DD8448EB211C80319C".parse()?;
    /// assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    /// # Ok::<(), tracer_model::ParseIdError>(())
    /// ```
    TraceId,
    16
);
id!(
    /// 8 bytes. They are shown as 16 lower-case hexadecimal digits. Upper case is accepted.
    SpanId,
    8
);

/// A stream of ids, as random as its seed. The same seed gives the same ids.
#[derive(Debug)]
pub struct IdGenerator(StdRng);

impl IdGenerator {
    /// A generator of ids.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(StdRng::from_seed(seed))
    }

    /// The next trace id. It is never all zeros.
    pub fn trace_id(&mut self) -> TraceId {
        TraceId(self.bytes())
    }

    /// The next span id. It is never all zeros.
    pub fn span_id(&mut self) -> SpanId {
        SpanId(self.bytes())
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        while bytes == [0; N] {
            self.0.fill_bytes(&mut bytes);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_either_case_and_shown_in_lower_case() {
        let id: SpanId = "00F067AA0BA902B7".parse().unwrap();
        assert_eq!(id.to_string(), "00f067aa0ba902b7");
    }

    #[test]
    fn a_malformed_id_names_its_mistake() {
        let parse = |text: &str| text.parse::<TraceId>().unwrap_err();
        assert_eq!(parse(&"a".repeat(31)), ParseIdError::Length { expected: 32, found: 31 });
        assert_eq!(parse(&"a".repeat(33)), ParseIdError::Length { expected: 32, found: 33 });
        assert_eq!(parse(""), ParseIdError::Length { expected: 32, found: 0 });
        assert_eq!(parse(&"0".repeat(32)), ParseIdError::Zero);
        assert_eq!(parse(&"g".repeat(32)), ParseIdError::Digit('g'));
        assert_eq!(parse("äää"), ParseIdError::Digit('ä'));
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let ids = |seed| {
            let mut ids = IdGenerator::new([seed; 32]);
            (ids.trace_id(), ids.span_id(), ids.span_id())
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        assert_ne!(ids(1).1, ids(1).2);
    }
}
