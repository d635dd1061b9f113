//! What this thread has appended and not yet written nor counted, until it flushes.

use std::cell::{Cell, RefCell};

use super::*;
use crate::sync::thread_local;

thread_local! {
    /// Those of whose outboxes this thread has written the first frame, and who have to be told.
    pub(super) static WRITTEN_TO: RefCell<Vec<(ClientId, Arc<Client>)>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    /// The long messages that this thread has appended from what it read last: for whom, with which offset, and as they
    /// stand there. They are better written from there than from memory that no cache has.
    pub(super) static JUST_READ: RefCell<Vec<(ClientId, Offset, ReadSlice)>> = const { RefCell::new(Vec::new()) };
}

/// What this thread has appended and not yet counted: counting is dear where all threads do it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub messages: u64,
    pub bytes: u64,
    /// How many of the messages were queued.
    pub queued: usize,
}

thread_local! {
    pub(super) static TALLY: Cell<Tally> = const { Cell::new(Tally { messages: 0, bytes: 0, queued: 0 }) };
}

/// A message of this recipient as it was read last, if it was.
pub(super) fn just_read(recipient: ClientId, offset: Offset) -> Option<ReadSlice> {
    JUST_READ.with(|all| {
        let mut all = all.borrow_mut();
        let at = all.iter().position(|(of, at, _)| (*of, *at) == (recipient, offset))?;
        Some(all.swap_remove(at).2)
    })
}

impl Memory {
    pub(in crate::backend) fn flush(&self) {
        self.count();
        while let Some((id, client)) = WRITTEN_TO.with(|all| all.borrow_mut().pop()) {
            self.write_now(id, &client);
        }
        JUST_READ.with(|all| all.borrow_mut().clear());
    }

    /// Writes what waits for a client, or rings its bell when its socket cannot take all of it; true then.
    pub(super) fn write_now(&self, id: ClientId, client: &Client) -> bool {
        let is_left = self.write(id, client, None, true, Slot::write_now).is_pending();
        if is_left {
            let bell = client.slot().outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell));
            ring(bell);
        }
        is_left
    }

    /// Counts what this thread has appended.
    fn count(&self) {
        let Tally { messages, bytes, queued } = TALLY.with(Cell::get);
        if messages == 0 {
            return;
        }
        TALLY.with(Cell::take);
        self.relayed_messages.fetch_add(messages, Ordering::Relaxed);
        self.relayed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.requeued(queued);
    }
}
