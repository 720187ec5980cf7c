//! Containers and pods in the path of a control group.

/// A container id has this many hexadecimal digits.
const ID_LENGTH: usize = 64;

/// A UUID has this many characters.
const UID_LENGTH: usize = 36;

/// The container whose processes are in that group. If containers are nested, it is the innermost one.
///
/// docker, containerd, podman and CRI-O name the group `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`,
/// `crio-ID.scope` or just `ID`.
///
/// ```
/// use tracer_model::cgroup::container_id;
///
/// let id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904a1b2c3d4e5f60718293a4b5c";
/// assert_eq!(container_id(&format!("/system.slice/docker-{id}.scope")), Some(id));
/// ```
#[must_use]
pub fn container_id(path: &str) -> Option<&str> {
    components(path, ID_LENGTH).find_map(|component| {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        let id = name.rsplit('-').next()?;
        (id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    })
}

/// The Kubernetes pod whose processes are in that group.
///
/// The group is `podUID`, or `kubepods-QOS-podUID.slice`. In the second form, systemd writes underscores in the UID.
#[must_use]
pub fn pod_uid(path: &str) -> Option<String> {
    components(path, UID_LENGTH).find_map(|component| {
        let name = component.strip_suffix(".slice").unwrap_or(component);
        let uid = name.rsplit_once("pod")?.1.replace('_', "-");
        let is_uid = uid.len() == UID_LENGTH
            && uid.bytes().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        is_uid.then_some(uid)
    })
}

/// The components that are long enough, from the last to the first. Most paths have none, and need no further check.
fn components(path: &str, length: usize) -> impl Iterator<Item = &str> {
    let path = if path.len() < length { "" } else { path };
    path.rsplit('/').filter(move |component| component.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const POD: &str = "b7d7b6a1-3c1f-4c2d-9f5b-0a1b2c3d4e5f";

    #[test]
    fn containers_are_known_by_their_names() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/system.slice/docker-{ID}.scope/init"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods/besteffort/pod{POD}/{ID}"),
            format!("/kubepods.slice/crio-{ID}.scope"),
        ] {
            assert_eq!(container_id(&path), Some(ID), "{path}");
        }
        for path in
            ["/", "/user.slice/user-1000.slice/session-3.scope", "/docker/short", "/system.slice/docker.service"]
        {
            assert_eq!(container_id(path), None, "{path}");
        }
        let inner = "f".repeat(64);
        assert_eq!(container_id(&format!("/docker/{ID}/kubelet/cri-containerd-{inner}.scope")), Some(inner.as_str()));
    }

    #[test]
    fn pods_are_known_by_their_names() {
        let systemd = POD.replace('-', "_");
        let slice = format!("/kubepods.slice/kubepods-burstable-pod{systemd}.slice/cri-containerd-{ID}.scope");
        assert_eq!(pod_uid(&slice).as_deref(), Some(POD));
        assert_eq!(pod_uid(&format!("/kubepods/besteffort/pod{POD}/{ID}")).as_deref(), Some(POD));
        assert_eq!(pod_uid("/machine.slice/libpod-conmon.scope"), None);
    }
}
