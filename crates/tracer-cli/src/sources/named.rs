//! A stream whose events have the names of users in other root folders, as far as the kernel shows them to us.

use std::{io, os::fd::BorrowedFd, sync::Arc};

use tracer_model::{
    Event, Ktime,
    event::RootFolder,
    source::{End, EventStream},
};
use tracer_ptrace::accounts::{Registry, Resident, own_namespaces};

/// Reads the names when an event comes out of the stream. The processes continue to run in the meantime.
pub(super) struct Named<S> {
    stream: S,
    registry: Registry,
    mount_namespace: u32,
}

impl<S> Named<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, registry: Registry::default(), mount_namespace: own_namespaces().mount }
    }
}

impl<S: EventStream> EventStream for Named<S> {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_fd()
    }

    fn drain(&mut self, now: Ktime, handle: &mut dyn FnMut(Event)) -> io::Result<usize> {
        let Self { stream, registry, mount_namespace } = self;
        stream.drain(now, &mut |event| handle(name(event, registry, *mount_namespace)))
    }

    fn finish(&mut self, now: Ktime, end: &End, handle: &mut dyn FnMut(Event)) {
        let Self { stream, registry, mount_namespace } = self;
        stream.finish(now, end, &mut |event| handle(name(event, registry, *mount_namespace)));
    }

    fn undecodable(&self) -> u64 {
        self.stream.undecodable()
    }
}

fn name(mut event: Event, registry: &mut Registry, own_mount_namespace: u32) -> Event {
    if let Event::Exec { process, parent, image, .. } = &mut event
        && (image.has_other_root || image.namespaces.mount != own_mount_namespace)
        // The root folder is not known if the user may not look at the process.
        && image.root_folder != RootFolder::default()
    {
        let names = registry.names(Resident {
            // The process may have ended. Often its parent has the same root folder.
            pids: vec![process.tgid, parent.tgid],
            namespaces: image.namespaces,
            root_folder: image.root_folder,
            ids: image.ids(),
        });
        Arc::make_mut(image).names = names;
    }
    event
}
