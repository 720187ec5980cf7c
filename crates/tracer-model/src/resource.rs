//! The resource of a trace: its service, its machine and its CI job.

use std::borrow::Cow;

use crate::{Value, semconv::KeyValues};

/// Attributes of the producer of a trace, in the order in which their keys first came.
///
/// ```
/// use tracer_model::{Resource, Value};
///
/// let resource = Resource::from_iter([("a", Value::Int(1)), ("b", Value::Int(2)), ("a", Value::Int(3))]);
/// assert_eq!(resource.iter().collect::<Vec<_>>(), [("a", &Value::Int(3)), ("b", &Value::Int(2))]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource(KeyValues);

impl Resource {
    /// The attributes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
}

/// If a key has several values, the last counts.
impl<K: Into<Cow<'static, str>>> FromIterator<(K, Value)> for Resource {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(attributes: I) -> Self {
        let mut list = KeyValues::new();
        for (key, value) in attributes {
            let key = key.into();
            match list.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => list.push((key, value)),
            }
        }
        Self(list)
    }
}
