//! What one turn of a connection appends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use smallvec::SmallVec;

use super::Hub;
use super::client::Client;
use super::outbox::ReadSlices;
use crate::ids::ClientId;
use crate::sync::Ordering;

/// The messages of one turn, which are written to their recipients' sockets when this is dropped: once for many, and while
/// they are still in the processor's cache.
#[derive(Debug)]
pub struct Batch<'h> {
    hub: &'h Hub,
    /// The clients into whose idle outboxes this batch wrote.
    written_to: SmallVec<[(ClientId, Arc<Client>); 2]>,
    pub(super) slices: ReadSlices,
    /// Counted here and added up once: all threads share the totals.
    messages: u64,
    bytes: u64,
    /// How many of the messages were added to a lane.
    queued: usize,
}

impl<'h> Batch<'h> {
    pub(super) fn wrote_to(&mut self, id: ClientId, client: &Arc<Client>) {
        self.written_to.push((id, Arc::clone(client)));
    }

    pub(super) fn count(&mut self, bytes: usize, is_queued: bool) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.queued += usize::from(is_queued);
    }

    fn flush(&mut self) {
        if self.messages > 0 {
            self.hub.relayed_messages.fetch_add(self.messages, Ordering::Relaxed);
            self.hub.relayed_bytes.fetch_add(self.bytes, Ordering::Relaxed);
            self.hub.add_queued(self.queued);
        }
        while let Some((id, client)) = self.written_to.pop() {
            self.hub.write_or_ring(id, &client, Some(&mut self.slices));
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // Other clients' messages go out also when this connection's task panics. A second panic would abort.
            catch_unwind(AssertUnwindSafe(|| self.flush())).ok();
        } else {
            self.flush();
        }
    }
}

impl Hub {
    /// Begins a batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            hub: self,
            written_to: SmallVec::new(),
            slices: ReadSlices::default(),
            messages: 0,
            bytes: 0,
            queued: 0,
        }
    }
}
