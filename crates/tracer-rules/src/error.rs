//! The reason why a rules file cannot be used, and its place.

use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use crate::located::Place;

/// The reason why a rules file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// The place of the mistake in the file, if it is known.
    pub place: Option<Place>,
    text: String,
}

impl Error {
    /// An error at a place.
    #[must_use]
    pub fn new(place: Option<Place>, text: impl Into<String>) -> Self {
        Self { place, text: text.into() }
    }
}

impl From<serde_saphyr::Error> for Error {
    fn from(error: serde_saphyr::Error) -> Self {
        let place = error.location().and_then(Place::new);
        let error = error.without_snippet();
        let text = match error {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                format!("unknown key '{field}'; the keys here are {}", expected.join(", "))
            }
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key '{key}' comes twice"),
            _ => UserMessageFormatter.format_message(error).into_owned(),
        };
        Self::new(place, text)
    }
}
