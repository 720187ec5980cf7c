//! The Kubernetes pod that process-tracer runs in.

use std::fs;

const K8S_POD_NAME: &str = "k8s.pod.name";
const K8S_NAMESPACE_NAME: &str = "k8s.namespace.name";
const K8S_NODE_NAME: &str = "k8s.node.name";

/// Kubernetes sets it in every container.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// The attributes, and the names that manifests usually give to the variables of the downward API.
const VARIABLES: &[(&str, &[&str])] = &[
    (K8S_POD_NAME, &["K8S_POD_NAME", "POD_NAME", "MY_POD_NAME", "KUBERNETES_POD_NAME"]),
    (K8S_NAMESPACE_NAME, &["K8S_NAMESPACE_NAME", "POD_NAMESPACE", "MY_POD_NAMESPACE", "KUBERNETES_NAMESPACE"]),
    (K8S_NODE_NAME, &["K8S_NODE_NAME", "NODE_NAME", "MY_NODE_NAME", "KUBERNETES_NODE_NAME"]),
];

/// The namespace of the pod, next to the token of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The attributes of the pod. Outside of Kubernetes there are none: there, `NODE_NAME` can be something else.
pub(crate) fn attributes(variable: impl Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
    attributes_with(variable, || fs::read_to_string(NAMESPACE_FILE).ok())
}

fn attributes_with(
    variable: impl Fn(&str) -> Option<String>,
    namespace: impl FnOnce() -> Option<String>,
) -> Vec<(&'static str, String)> {
    if variable(KUBERNETES).is_none() {
        return Vec::new();
    }
    let of_variables =
        |(key, names): &(&'static str, &[&str])| Some((*key, names.iter().find_map(|name| variable(name))?));
    let mut attributes: Vec<_> = VARIABLES.iter().filter_map(of_variables).collect();
    if !attributes.iter().any(|(key, _)| *key == K8S_NAMESPACE_NAME) {
        let namespace = namespace().map(|text| text.trim().to_owned()).filter(|name| !name.is_empty());
        attributes.extend(namespace.map(|name| (K8S_NAMESPACE_NAME, name)));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes_of(variables: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let variable =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        attributes_with(variable, || Some("of-the-file\n".to_owned()))
    }

    #[test]
    fn the_downward_api_names_the_pod() {
        let kubernetes = ("KUBERNETES_SERVICE_HOST", "192.0.2.1");
        let all = [kubernetes, ("POD_NAME", "build-7"), ("POD_NAMESPACE", "ci"), ("NODE_NAME", "node-3")];
        let expected = [(K8S_POD_NAME, "build-7"), (K8S_NAMESPACE_NAME, "ci"), (K8S_NODE_NAME, "node-3")];
        assert_eq!(attributes_of(&all), expected.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(attributes_of(&[kubernetes]), [(K8S_NAMESPACE_NAME, "of-the-file".to_owned())]);
        assert_eq!(attributes_of(&all[1..]), []);
    }
}
