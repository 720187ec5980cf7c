//! Runs within runs: an inner run does not export its processes again if an outer run exports them into the same trace.
//!
//! A run that exports says so with the name of an abstract unix socket. The name has its trace id and its pid. The kernel
//! frees the name when the process ends, however it ends. An inner run looks for the names of its ancestors.

use std::{
    fs, io, iter,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
};

use tracer_model::TraceId;

/// The announcement of this run. Dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Announcement {
    _socket: UnixDatagram,
}

/// Announces that this run exports all processes below it. `None` if the machine has no sockets for us: then an inner run exports
/// its processes too.
pub(crate) fn announce(trace_id: TraceId) -> Option<Announcement> {
    let socket = UnixDatagram::bind_addr(&name(trace_id, process::id()).ok()?).ok()?;
    Some(Announcement { _socket: socket })
}

/// The pid of the run that exports our processes into this trace.
///
/// We look only at our ancestors in this pid namespace. A daemon has lost its ancestors. So below a daemon, and in
/// another pid namespace, we find no outer run. Then this run exports its processes, too.
pub(crate) fn outer_run(trace_id: TraceId) -> Option<u32> {
    let socket = UnixDatagram::unbound().ok()?;
    let is_announced = |pid: &u32| name(trace_id, *pid).and_then(|name| socket.connect_addr(&name)).is_ok();
    ancestors().find(is_announced)
}

fn name(trace_id: TraceId, pid: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("process-tracer/runs/{trace_id}/{pid}"))
}

/// The processes above this one, nearest first. Those of another pid namespace are not known.
pub(crate) fn ancestors() -> impl Iterator<Item = u32> {
    iter::successors(parent_of(process::id()), |pid| parent_of(*pid))
}

fn parent_of(pid: u32) -> Option<u32> {
    parent_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The parent in the text of proc_pid_status(5). The first process has none.
fn parent_in(status: &str) -> Option<u32> {
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    (parent != 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_the_first_process_is_nobody() {
        assert_eq!(parent_in("Name:\tsh\nPid:\t7\nPPid:\t3\n"), Some(3));
        assert_eq!(parent_in("Name:\tinit\nPid:\t1\nPPid:\t0\n"), None);
        assert_eq!(parent_of(process::id()), Some(std::os::unix::process::parent_id()));
    }
}
