//! `--sudo`: a helper that sudo runs attaches the programs for an ordinary user. The helper sends their descriptors and
//! ends. The command has nothing to do with sudo.

use std::{
    io::{IoSlice, IoSliceMut, Read},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    cmsg_space,
    sys::{
        prctl,
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
    },
    unistd::geteuid,
};
use tracer_bpf::{
    Attached, Options, Viewer,
    probe::{self, HANDING_OVER_FLOOR},
};

use crate::{
    child::user::{Invoker, invoker},
    cli::args::HELPER,
    sources::load::load,
};

/// The first byte of the helper's message, if the descriptors come with it.
const ATTACHED: u8 = b'+';
/// The first byte of the helper's message, if the reason of a failure follows.
const REFUSED: u8 = b'-';

/// Lets the helper load and attach the programs. If sudo needs a password, it asks on the terminal.
pub(crate) fn attach(options: &Options) -> Result<Attached> {
    let facts = probe::Facts::gather();
    if !facts.is_at_least(HANDING_OVER_FLOOR) {
        bail!(
            "--sudo needs Linux 5.19, and this is {}; instead, run process-tracer with sudo: sudo process-tracer -- COMMAND",
            facts.release
        );
    }
    // Only this process may have the descriptors. Otherwise other processes of the user, also the command, could take
    // them.
    prctl::set_dumpable(false).context("cannot hide our descriptors")?;
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
    let mut helper = Command::new("sudo")
        .arg("--")
        .args([facts.executable.as_os_str(), HELPER.as_ref()])
        .args([options.ring_bytes, options.max_processes, options.asked.bits()].map(|number| number.to_string()))
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run sudo")?;
    let answer = receive(&ours);
    let status = helper.wait().context("cannot wait for sudo")?;
    match answer? {
        Some(attached) => Ok(attached),
        None => bail!("sudo did not run the helper: {status}"),
    }
}

/// `None` if there was no answer.
fn receive(mut socket: &UnixStream) -> Result<Option<Attached>> {
    let mut first = [0];
    let mut room = cmsg_space!([RawFd; Attached::DESCRIPTORS]);
    let mut vectors = [IoSliceMut::new(&mut first)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let size = message.bytes;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel has just opened them for this process, and no other code has them.
            descriptors.extend(received.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }));
        }
    }
    match (size, first[0]) {
        (0, _) => Ok(None),
        (_, ATTACHED) => Ok(Some(Attached::from_descriptors(descriptors).context("the helper has another version")?)),
        _ => {
            let mut reason = String::new();
            socket.read_to_string(&mut reason).context("cannot read from the helper")?;
            bail!(reason)
        }
    }
}

/// The helper: attaches the programs for the user who has called sudo. They report only processes of this user.
pub(crate) fn help(options: Options) -> Result<()> {
    if invoker().is_none() || !geteuid().is_root() {
        bail!("only process-tracer --sudo can run this command");
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)?;
    let viewer = Invoker::of_root().map(|invoker| Viewer {
        user_id: invoker.uid.as_raw(),
        group_id: invoker.gid.as_raw(),
        hides_processes: probe::hides_processes(&invoker.groups),
    });
    let attached = probe::check()
        .map_err(|obstacle| format!("{obstacle}; {}", obstacle.remedy()))
        .and_then(|()| load(Options { viewer, ..options }).map_err(|error| format!("{error:#}")));
    let send = |bytes: &[u8], parts: &[ControlMessage<'_>]| {
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], parts, MsgFlags::empty(), None)
    };
    match attached {
        Ok(attached) => {
            let descriptors = attached.into_descriptors();
            let descriptors: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
            send(&[ATTACHED], &[ControlMessage::ScmRights(&descriptors)])
        }
        Err(reason) => send(&[&[REFUSED], reason.as_bytes()].concat(), &[]),
    }
    .context("cannot answer on stdin")?;
    Ok(())
}
