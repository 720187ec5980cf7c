//! The keys of a rules file. docs/rules.md describes them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use crate::located::Located;

/// A rules file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What happens to a process that no rule matches.
    #[serde(default, skip_serializing_if = "is_default")]
    pub default: Default,
    /// The rules for processes, in order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rules: Vec<Located<Rule>>,
    /// The rules for connections, flows and lookups, in order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connections: Vec<Located<ConnectionRule>>,
    /// The command that prints tags of processes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub tags: Option<Located<Tags>>,
}

/// What happens without a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Default {
    /// The process has a span.
    #[default]
    Accept,
    /// The process has none, unless it fails.
    Drop,
}

/// A rule for processes. It matches a process if all of its selectors match. A rule without selectors matches all
/// processes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Selector: the kernel's name of the process is one of these.
    #[serde(default, deserialize_with = "filled", skip_serializing_if = "is_default")]
    pub comm: Vec<Located<String>>,
    /// Selector: the name of the program is one of these.
    #[serde(default, deserialize_with = "filled", skip_serializing_if = "is_default")]
    pub exe: Vec<Located<String>>,
    /// Selector: all of these regular expressions match the arguments.
    #[serde(default, deserialize_with = "filled", skip_serializing_if = "is_default")]
    pub cmdline: Vec<Located<String>>,
    /// Selector: a regular expression over the name of the process.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub process: Option<Located<String>>,
    /// Selector: a regular expression over the name of some process above it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub parent: Option<Located<String>>,
    /// Selector: the user is one of these. Names or ids.
    #[serde(default, deserialize_with = "filled", skip_serializing_if = "is_default")]
    pub user: Vec<Located<String>>,
    /// Selector: a regular expression over the path of the control group.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub cgroup: Option<Located<String>>,
    /// Selector: whether the process runs in a container.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub container: Option<bool>,
    /// Selector: the environment has one of these variables. `NAME`, or `NAME=GLOB` for its value.
    #[serde(default, deserialize_with = "filled", skip_serializing_if = "is_default")]
    pub env: Vec<Located<String>>,
    /// Selector: a regular expression over `KEY:VALUE` of the attributes and tags.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub attribute: Option<Located<String>>,
    /// Selector: an expression that is true.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub when: Option<Located<String>>,

    /// Action: the name of the span.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub name: Option<Located<String>>,
    /// Action: the text that replaces the matches of `process` in the name. Without `process`, it replaces those of the
    /// first `cmdline` expression in the command line. The result is the new name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub rewrite: Option<Located<String>>,
    /// Action: the group of the process.
    ///
    /// Without a text, it is `{{.ExeBase}}`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub group: Option<Located<Option<String>>>,
    /// Whether children without a group of their own inherit this one. They do unless this is `false`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub children: Option<bool>,
    /// Action: attributes of the span.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Entries,
    /// Action: whether the process has a span. See [`Drop`].
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub drop: Option<Located<Drop>>,
    /// `drop` affects only processes that live shorter than this and have no exported spans below them.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub shorter_than: Option<Located<Span>>,
    /// Action: the process has a span.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub accept: Option<bool>,
    /// Later rules can match, too.
    #[serde(default, rename = "continue", deserialize_with = "given", skip_serializing_if = "is_default")]
    pub continues: Option<bool>,
    /// The process has a span only if it has a tag or fails.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub tagged_only: Option<bool>,
}

/// A rule for connections, flows and lookups.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRule {
    /// Selector: an expression that is true. Without it, the rule matches all.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub when: Option<Located<String>>,
    /// Action: it has no span.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub drop: Option<bool>,
    /// Action: it has a span.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub accept: Option<bool>,
}

/// The command that prints tags.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// The command and its arguments.
    #[serde(deserialize_with = "filled")]
    pub command: Vec<Located<String>>,
    /// Time from the start of a run to the start of the next run.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub interval: Option<Located<Span>>,
    /// The user who runs it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub user: Option<Located<String>>,
}

/// Whether a key can be left out.
fn is_default<T: core::default::Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A key without a value is a mistake, not an absent key.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A selector with an empty list could not match.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Located<String>>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() { Err(de::Error::custom("the list is empty")) } else { Ok(list) }
}

/// `drop: true`, `false` or `always`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// `false`.
    No,
    /// `true`: the process has no span, unless it fails.
    Yes,
    /// `always`: the process has no span, even if it fails.
    Always,
}

impl<'de> Deserialize<'de> for Drop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Bool(true) => Ok(Self::Yes),
            Scalar::Bool(false) => Ok(Self::No),
            Scalar::Text(text) if text == "always" => Ok(Self::Always),
            _ => Err(de::Error::custom("drop must be true, false or always")),
        }
    }
}

impl Serialize for Drop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::Yes => serializer.serialize_bool(true),
            Self::Always => serializer.serialize_str("always"),
        }
    }
}

/// A span of time: `5ms`, `10s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Reads a duration.
///
/// # Errors
///
/// The text is no duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("'{text}' is no duration; for example: 5ms, 10s, 1m 30s"))
}

impl From<Duration> for Located<Span> {
    fn from(duration: Duration) -> Self {
        Span(duration).into()
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A value without members.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                i64::try_from(value).map(Scalar::Int).map_err(|_| E::custom("the number is too large"))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

/// The members of `attributes:`, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries(pub Vec<(String, Located<Scalar>)>);

impl Entries {
    /// The names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Located<Scalar>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and values")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
