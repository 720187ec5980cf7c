//! The UDP flows that are alive. The programs count their datagrams in slots. This module reads the slots and gives
//! them back.
//!
//! When a flow is over, a program may still be counting in its slot. So the slot is not read at once, but at a later look.

use std::{
    io,
    mem::{self, offset_of},
    os::fd::AsFd,
    sync::atomic::Ordering,
};

use hashbrown::HashMap;
use tracer_model::{
    Event, Identity, Ktime,
    event::{Flow, FlowId},
};

use crate::{read::mapping::Mapping, wire};

/// After this time without a datagram, a flow is over. The kernel does not report the end of a flow.
const IDLE_NS: u64 = 60 * 1_000_000_000;

/// The time between two searches for idle flows.
const LOOK_NS: u64 = 1_000_000_000;

/// The slots of one processor.
const REGION: usize = wire::FLOW_SLOTS as usize;

/// The live flows, by owner, and the flows that are over but not reported yet.
#[derive(Debug)]
pub(crate) struct Flows {
    slots: Slots,
    live: HashMap<Identity, HashMap<FlowId, Flow>>,
    /// Released since the last look.
    released: Vec<(Identity, FlowId, Flow)>,
    /// Released before the last look.
    settled: Vec<(Identity, FlowId, Flow)>,
    looked: Ktime,
}

impl Flows {
    pub(crate) fn new(slots: Slots) -> Self {
        Self { slots, live: HashMap::new(), released: Vec::new(), settled: Vec::new(), looked: Ktime(0) }
    }

    /// Notes the flows that an event begins or ends.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Flow { id, owner, flow, .. } if self.slots.has(id.slot) => {
                self.live.entry(*owner).or_default().insert(*id, *flow);
            }
            Event::Exit { process, .. } => {
                for (id, flow) in self.live.remove(process).into_iter().flatten() {
                    self.release(*process, id, flow);
                }
            }
            _ => {}
        }
    }

    /// Reports the flows that are over.
    pub(crate) fn look(&mut self, now: Ktime, mut handle: impl FnMut(Event)) {
        for (owner, id, flow) in mem::take(&mut self.settled) {
            handle(self.slots.event(owner, id, flow, true));
            self.slots.give_back(id.slot);
        }
        if now.0.saturating_sub(self.looked.0) >= LOOK_NS {
            self.looked = now;
            self.release_idle(now);
        }
        self.settled = mem::take(&mut self.released);
    }

    fn release_idle(&mut self, now: Ktime) {
        let mut idle = Vec::new();
        self.live.retain(|owner, flows| {
            let is_idle = |id: &FlowId| now.0.saturating_sub(self.slots.last(id.slot).0) >= IDLE_NS;
            idle.extend(flows.extract_if(|id, _| is_idle(id)).map(|(id, flow)| (*owner, id, flow)));
            !flows.is_empty()
        });
        for (owner, id, flow) in idle {
            self.release(owner, id, flow);
        }
    }

    /// Reports all flows. A live flow is reported with its current counts.
    pub(crate) fn finish(&mut self, mut handle: impl FnMut(Event)) {
        for (owner, id, flow) in self.settled.drain(..).chain(self.released.drain(..)) {
            handle(self.slots.event(owner, id, flow, true));
        }
        for (owner, flows) in self.live.drain() {
            for (id, flow) in flows {
                handle(self.slots.event(owner, id, flow, false));
            }
        }
    }

    fn release(&mut self, owner: Identity, id: FlowId, flow: Flow) {
        self.slots.let_go(id.slot);
        self.released.push((owner, id, flow));
    }
}

/// The mapped slots.
#[derive(Debug)]
pub(crate) struct Slots {
    mapping: Mapping,
    /// The end of the queue of free slots, for each processor.
    ends: Vec<usize>,
}

impl Slots {
    /// Maps this number of slots.
    pub(crate) fn map(fd: impl AsFd, slots: u32) -> io::Result<Self> {
        let slots = slots as usize;
        let mapping = Mapping::new(fd, slots * size_of::<wire::FlowSlot>())?;
        Ok(Self { mapping, ends: vec![0; slots / REGION] })
    }

    fn has(&self, slot: u32) -> bool {
        (slot as usize) < self.ends.len() * REGION
    }

    fn offset(slot: u32, field: usize) -> usize {
        slot as usize * size_of::<wire::FlowSlot>() + field
    }

    fn count(&self, slot: u32, field: usize) -> u64 {
        self.mapping.u64_at(Self::offset(slot, field)).load(Ordering::Relaxed)
    }

    fn last(&self, slot: u32) -> Ktime {
        Ktime(self.count(slot, offset_of!(wire::FlowSlot, last_ns)))
    }

    fn event(&self, owner: Identity, id: FlowId, flow: Flow, is_over: bool) -> Event {
        let count = |field| self.count(id.slot, field);
        let flow = Flow {
            datagrams_sent: count(offset_of!(wire::FlowSlot, datagrams_sent)),
            datagrams_received: count(offset_of!(wire::FlowSlot, datagrams_received)),
            bytes_sent: count(offset_of!(wire::FlowSlot, bytes_sent)),
            bytes_received: count(offset_of!(wire::FlowSlot, bytes_received)),
            ..flow
        };
        Event::Flow { at: self.last(id.slot), id, owner, is_over, flow }
    }

    /// From now on no program counts there.
    fn let_go(&self, slot: u32) {
        let offset = Self::offset(slot, offset_of!(wire::FlowSlot, generation));
        self.mapping.u32_at(offset).fetch_add(1, Ordering::SeqCst);
    }

    /// From now on, another flow can get the slot. There are as many places in the queue as there are slots.
    fn give_back(&mut self, slot: u32) {
        let region = slot as usize / REGION;
        let Some(end) = self.ends.get_mut(region) else { return };
        let place = (region * REGION + *end) as u32;
        *end = (*end + 1) % REGION;
        let offset = Self::offset(place, offset_of!(wire::FlowSlot, freed));
        self.mapping.u32_at(offset).store(slot + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Identity = Identity { tgid: 7, start: Ktime(1) };

    fn flows() -> Flows {
        let file = tempfile::tempfile().unwrap();
        file.set_len((2 * REGION * size_of::<wire::FlowSlot>()) as u64).unwrap();
        Flows::new(Slots::map(file, 2 * wire::FLOW_SLOTS).unwrap())
    }

    fn id(slot: u32, generation: u32) -> FlowId {
        FlowId { slot, generation }
    }

    fn opened(id: FlowId) -> Event {
        let flow = Flow {
            opened: Ktime(100),
            local: "127.0.0.1:1".parse().unwrap(),
            peer: "127.0.0.1:2".parse().unwrap(),
            network_namespace: 1,
            datagrams_sent: 0,
            datagrams_received: 0,
            bytes_sent: 0,
            bytes_received: 0,
        };
        Event::Flow { at: Ktime(100), id, owner: OWNER, is_over: false, flow }
    }

    fn exit() -> Event {
        let (status, parent) = (tracer_model::ExitStatus::Code(0), OWNER);
        Event::Exit { at: Ktime(500), process: OWNER, parent, status, is_oom_victim: false, usage: None }
    }

    /// This is what a program does.
    fn send(flows: &Flows, slot: u32, at: u64, bytes: u64) {
        let slots = &flows.slots;
        let add = |field, number| {
            slots.mapping.u64_at(Slots::offset(slot, field)).fetch_add(number, Ordering::Relaxed);
        };
        add(offset_of!(wire::FlowSlot, datagrams_sent), 1);
        add(offset_of!(wire::FlowSlot, bytes_sent), bytes);
        slots.mapping.u64_at(Slots::offset(slot, offset_of!(wire::FlowSlot, last_ns))).store(at, Ordering::Relaxed);
    }

    fn freed(flows: &Flows, place: u32) -> u32 {
        let offset = Slots::offset(place, offset_of!(wire::FlowSlot, freed));
        flows.slots.mapping.u32_at(offset).load(Ordering::Relaxed)
    }

    /// The reported flows: slot, bytes sent, last datagram, and whether it is over.
    fn reported(report: impl FnOnce(&mut dyn FnMut(Event))) -> Vec<(u32, u64, u64, bool)> {
        let mut flows = Vec::new();
        report(&mut |event| {
            let Event::Flow { at, id, is_over, flow, .. } = event else { panic!("{event:?}") };
            flows.push((id.slot, flow.bytes_sent, at.0, is_over));
        });
        flows.sort_unstable();
        flows
    }

    #[test]
    fn a_flow_ends_and_frees_its_slot_when_its_owner_is_dead() {
        let mut flows = flows();
        flows.note(&opened(id(1030, 0)));
        send(&flows, 1030, 200, 10);
        assert_eq!(reported(|handle| flows.look(Ktime(300), handle)), []);
        flows.note(&exit());
        assert_eq!(reported(|handle| flows.look(Ktime(600), handle)), []);
        // A program was still counting.
        send(&flows, 1030, 450, 20);
        assert_eq!(freed(&flows, 1024), 0);
        assert_eq!(reported(|handle| flows.look(Ktime(700), handle)), [(1030, 30, 450, true)]);
        assert_eq!((freed(&flows, 1024), freed(&flows, 1025), freed(&flows, 0)), (1031, 0, 0));
        assert_eq!(reported(|handle| flows.finish(handle)), []);
    }

    #[test]
    fn a_flow_ends_after_a_long_silence() {
        let mut flows = flows();
        flows.note(&opened(id(0, 3)));
        flows.note(&opened(id(1, 0)));
        send(&flows, 0, 200, 10);
        send(&flows, 1, IDLE_NS, 10);
        let now = IDLE_NS + 1000;
        for at in [now, now + 1, now + 2] {
            let expected = if at == now + 1 { vec![(0, 10, 200, true)] } else { Vec::new() };
            assert_eq!(reported(|handle| flows.look(Ktime(at), handle)), expected);
        }
        assert_eq!(reported(|handle| flows.finish(handle)), [(1, 10, IDLE_NS, false)]);
    }

    #[test]
    fn all_flows_are_reported_at_the_end() {
        let mut flows = flows();
        flows.note(&opened(id(0, 0)));
        flows.note(&exit());
        flows.note(&opened(id(2047, 0)));
        flows.note(&opened(id(u32::MAX, 0)));
        let reported = reported(|handle| flows.finish(handle));
        assert_eq!(reported, [(0, 0, 0, true), (2047, 0, 0, false)]);
    }
}
