//! The data that an exec adds to a process: its image as it is exported, and the user's attributes.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::{
    event::{Image, Names, Namespaces, Strings, Visibility},
    expression::{Attributes, Failure},
    redact::Policy,
    span::UserAttributes,
};

/// Names by user and group id.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Accounts {
    pub users: BTreeMap<u32, Arc<str>>,
    pub groups: BTreeMap<u32, Arc<str>>,
}

impl Accounts {
    /// From the contents of passwd(5) and group(5).
    #[must_use]
    pub fn new(users: &[u8], groups: &[u8]) -> Self {
        Self { users: names_by_id(users), groups: names_by_id(groups) }
    }

    /// The names of these ids: user, real user, group, real group.
    #[must_use]
    pub fn names(&self, [user, real_user, group, real_group]: [Option<u32>; 4]) -> Names {
        let Self { users, groups } = self;
        let name = |names: &BTreeMap<u32, Arc<str>>, id: Option<u32>| names.get(&id?).cloned();
        Names {
            user: name(users, user),
            real_user: name(users, real_user),
            group: name(groups, group),
            real_group: name(groups, real_group),
        }
    }
}

/// The lines of both passwd(5) and group(5) begin with NAME:PASSWORD:ID.
fn names_by_id(text: &[u8]) -> BTreeMap<u32, Arc<str>> {
    let mut names = BTreeMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            // The first one counts.
            names.entry(id).or_insert_with(|| name.into());
        }
    }
    names
}

/// Completes the images of a trace.
#[derive(Debug)]
pub(crate) struct Images {
    attributes: Attributes,
    arguments: Policy,
    accounts: Accounts,
    root_cgroup: Option<Arc<str>>,
    root_cgroup_v1: Option<Arc<str>>,
    root_namespaces: Option<Namespaces>,
}

/// An image after an exec, complete.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) image: Arc<Image>,
    /// The user's attributes.
    pub(crate) attributes: UserAttributes,
    pub(crate) cut: Cut,
}

/// Whether the arguments or the environment of an exec were too long to capture in full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) arguments: bool,
    pub(crate) environment: bool,
}

impl Images {
    pub(crate) fn new(attributes: Attributes, arguments: Policy, accounts: Accounts) -> Self {
        Self { attributes, arguments, accounts, root_cgroup: None, root_cgroup_v1: None, root_namespaces: None }
    }

    /// The user's attributes whose expressions failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.attributes.failures()
    }

    /// Whether connections, flows, lookups and calls have the user's attributes of their process too.
    pub(crate) fn attributes_are_on_all_spans(&self) -> bool {
        self.attributes.are_on_all_spans()
    }

    /// `at` is the time of the exec.
    pub(crate) fn complete(
        &mut self,
        at: SystemTime,
        image: Arc<Image>,
        environment: Option<&Strings>,
        is_root: bool,
    ) -> Executed {
        let (exported, is_redacted) = self.arguments.apply(&image.arguments);
        let mut image = match exported {
            Some(arguments) => Arc::new(Image { arguments, is_redacted, ..Arc::unwrap_or_clone(image) }),
            None => image,
        };
        let cut = Cut {
            arguments: image.arguments.is_truncated(),
            environment: environment.is_some_and(Strings::is_truncated),
        };
        let attributes = self.attributes.evaluate(&image.arguments, environment, at).into();
        self.place(&mut image);
        self.add_cgroup(&mut image, is_root);
        Executed { image, attributes, cut }
    }

    /// Compares the namespaces with those of the root, and names the users and groups. Another mount namespace and another
    /// root folder have an `/etc/passwd` of their own. The source may have read the names there.
    fn place(&mut self, image: &mut Arc<Image>) {
        // If the namespaces are unknown, they cannot be compared.
        if image.visibility != Visibility::All {
            return;
        }
        let root = *self.root_namespaces.get_or_insert(image.namespaces);
        let image = Arc::make_mut(image);
        let other = |own: u32, root: u32| if own == root { 0 } else { own };
        let own = image.namespaces;
        image.namespaces = Namespaces {
            mount: other(own.mount, root.mount),
            pid: other(own.pid, root.pid),
            network: other(own.network, root.network),
            user: other(own.user, root.user),
        };
        if image.has_root_of_tracer() {
            image.names = self.accounts.names(image.ids().map(Some));
        }
    }

    /// This network namespace, or 0 if the root began in it.
    pub(crate) fn foreign_network(&self, namespace: u32) -> u32 {
        let is_root = |root: Namespaces| root.network == namespace;
        if self.root_namespaces.is_none_or(is_root) { 0 } else { namespace }
    }

    /// An image without a control group is in the control group of the root.
    fn add_cgroup(&mut self, image: &mut Arc<Image>, is_root: bool) {
        let (cgroup, cgroup_v1) = (image.cgroup.as_ref(), image.cgroup_v1.as_ref());
        let cgroups = [cgroup.or(self.root_cgroup.as_ref()), cgroup_v1.or(self.root_cgroup_v1.as_ref())];
        let [cgroup, cgroup_v1] = cgroups.map(Option::<&Arc<str>>::cloned);
        if is_root {
            self.root_cgroup.clone_from(&cgroup);
            self.root_cgroup_v1.clone_from(&cgroup_v1);
        }
        if image.visibility != Visibility::Ids && (cgroup != image.cgroup || cgroup_v1 != image.cgroup_v1) {
            let image = Arc::make_mut(image);
            image.cgroup = cgroup;
            image.cgroup_v1 = cgroup_v1;
        }
    }
}
