//! Tags that a command of the user gives to processes while they run.
//!
//! A tag belongs to a process and to its descendants. A descendant's own value has priority. A tag arrives after the exec. A
//! process that ends earlier gets no tag of its own.

use std::sync::Arc;

use crate::{
    span::{UserAttributes, Value},
    time::Ktime,
};

/// The beginning of the keys of attributes that tags become.
pub const PREFIX: &str = "process_tracer.tag.";

/// The tags of processes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When the command that prints tags started. A listed pid is ignored if its process began later, because the command may
    /// have meant an earlier process with that pid.
    pub at: Ktime,
    /// The root's pid, as the command that prints tags sees it. The pid is different in another pid namespace.
    pub root_pid: u32,
    /// The processes.
    pub processes: Vec<Tagged>,
}

/// A process and its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// Its thread group id.
    pub pid: u32,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}

/// The tags of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags {
    /// Those that the command gave to the process itself.
    own: UserAttributes,
    /// Those of the processes above it.
    inherited: UserAttributes,
    /// Both. They are the attributes of its span.
    all: UserAttributes,
}

impl Tags {
    /// The attributes that they become.
    pub(crate) fn attributes(&self) -> &UserAttributes {
        &self.all
    }

    /// The process has these tags itself.
    pub(crate) fn set(&mut self, tags: Vec<(String, String)>) {
        let mut own: Vec<(String, Value)> = Vec::with_capacity(tags.len());
        for (key, value) in tags {
            let (key, value) = (format!("{PREFIX}{key}"), Value::String(value));
            // The last value of a key counts.
            match own.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => own.push((key, value)),
            }
        }
        self.own = own.into();
        self.join();
    }

    /// The processes above have these tags.
    pub(crate) fn inherit(&mut self, inherited: &UserAttributes) {
        if !Arc::ptr_eq(&self.inherited, inherited) {
            self.inherited = Arc::clone(inherited);
            self.join();
        }
    }

    fn join(&mut self) {
        self.all = match (&self.own[..], &self.inherited[..]) {
            ([], _) => Arc::clone(&self.inherited),
            (_, []) => Arc::clone(&self.own),
            (own, inherited) => {
                let is_own = |key: &str| own.iter().any(|(known, _)| known == key);
                own.iter().chain(inherited.iter().filter(|(key, _)| !is_own(key))).cloned().collect()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(of: &Tags) -> Vec<String> {
        let text = |value: &Value| if let Value::String(text) = value { text.clone() } else { format!("{value:?}") };
        of.attributes()
            .iter()
            .map(|(key, value)| format!("{}={}", key.strip_prefix(PREFIX).unwrap(), text(value)))
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_own_value_of_a_process_wins() {
        let (mut above, mut below) = (Tags::default(), Tags::default());
        above.set(pairs(&[("app", "shop"), ("team", "a"), ("team", "b")]));
        assert_eq!(tags(&above), ["app=shop", "team=b"]);
        below.inherit(above.attributes());
        assert_eq!(tags(&below), ["app=shop", "team=b"]);
        below.set(pairs(&[("app", "cart")]));
        assert_eq!(tags(&below), ["app=cart", "team=b"]);
        above.set(pairs(&[("app", "shop"), ("zone", "x")]));
        below.inherit(above.attributes());
        assert_eq!(tags(&below), ["app=cart", "zone=x"]);
        below.set(Vec::new());
        assert_eq!(tags(&below), ["app=shop", "zone=x"]);
    }
}
