//! The store of a simulated server, and the crashes that the server and its pages go through with it.

use std::path::Path;
use std::sync::Arc;

use websocket_relay::hub::{Hub, Pending};
use websocket_relay::store::{Commit, Queue, Record};
use websocket_relay::{EventReceiver, Limits, events, session};

use super::World;
use crate::disk::Disk;
use crate::link;
use crate::page;

/// Starts a server, with what the disk has kept if there is one.
pub(super) fn serve(
    limits: Limits,
    authorizes_all: bool,
    disk: Option<&mut Disk>,
) -> (Arc<session::Shared>, EventReceiver) {
    let (sink, events) = events::channel(limits.max_queued_events);
    let hub = match disk {
        None => Hub::new(limits.clone(), authorizes_all),
        Some(disk) => {
            let open = |load: &mut dyn FnMut(_) -> _| Ok(((), disk.open(load)?));
            Hub::restored(limits.clone(), authorizes_all, Path::new("simulated"), open).map(|(hub, ())| hub)
        }
    };
    let hub = hub.expect("a hub");
    hub.store_queue().into_iter().for_each(Queue::leave_unattended);
    (Arc::new(session::Shared::new(limits, hub, sink)), events)
}

impl World {
    /// Takes what waits for the store: with `is_all` every message, otherwise those for clients that are away.
    pub(super) fn take_for_store(&mut self, is_all: bool) {
        let hub = &self.context.hub;
        let Some(queue) = hub.store_queue() else { return };
        if self.pending.is_empty() {
            self.pending.add(queue.next(Some(self.start)));
            hub.fill(&mut self.pending, self.start, is_all);
        }
    }

    /// Writes what was taken. Returns whether there was anything.
    pub(super) fn write_to_store(&mut self) -> bool {
        let Some(disk) = self.disk.as_mut().filter(|_| !self.pending.is_empty()) else { return false };
        disk.write(self.pending.records()).expect("the disk has room");
        for record in self.pending.records() {
            if let Record::Message(message) = record {
                let json = std::str::from_utf8(&message.json).expect("JSON");
                let (from, seq) = page::parse(json.trim_matches('"'));
                self.ledger.committed(from, message.recipient.get(), seq);
            }
        }
        self.context.hub.finish_commit(std::mem::take(&mut self.pending));
        true
    }

    /// Commits everything. Returns whether there was anything.
    pub(super) fn commit(&mut self) -> bool {
        let had_some = self.write_to_store();
        self.take_for_store(true);
        self.write_to_store() || had_some
    }

    /// Commits registrations and channels, as the call that makes them does before it returns.
    pub(super) fn commit_records(&mut self) {
        self.write_to_store();
        if let Some(queue) = self.context.hub.store_queue() {
            self.pending.add(queue.next(Some(self.start)));
        }
        self.write_to_store();
    }

    /// The server's process dies, perhaps with the power, and another begins with what the disk has kept.
    pub(super) fn crash(&mut self, loses_power: bool) {
        let Some(disk) = &mut self.disk else { return };
        self.crashes += 1;
        self.ledger.crashed();
        let (epoch, losses) = (self.context.hub.epoch(), self.ledger.losses);
        if loses_power && disk.lose_power(|states| self.random.below(states)) {
            self.ledger.lost();
            // A channel may be as it was before.
            let channels = self.pairs.len();
            self.clients.iter_mut().for_each(|client| client.closed_channels += channels);
        }
        self.pending = Pending::default();
        let (context, events) = serve(self.context.limits.clone(), self.authorizes_all, Some(disk));
        for task in &mut self.tasks {
            task.future = None;
            if self.random.one_in(2) {
                link::lock(&task.link).reset();
            }
        }
        (self.context, self.events) = (context, events);
        let is_told = self.context.hub.epoch() != epoch;
        assert_eq!(is_told, self.ledger.losses > losses, "another epoch says that messages may be lost");
        for page in self.clients.iter_mut().flat_map(|client| &mut client.pages) {
            // Others notice later.
            if self.random.one_in(2) {
                page.abandon(self.now);
            }
        }
    }
}
