//! How a hub gets what an earlier life of the store has kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Hub;
use super::client::Client;
use super::state::{ClientState, SessionInfo};
use crate::error::StoreError;
use crate::ids::{ClientId, Offset};
use crate::model::Message;
use crate::store::{ChannelRecord, Clock, Life, MessageRecord, Record, SessionRecord};
use crate::sync::Ordering;

/// What is read of a store, in the order of its records.
pub(super) struct Restoring<'h> {
    hub: &'h Hub,
    path: String,
    /// When messages expire, by recipient.
    ends: Ends,
    clock: Clock,
}

/// When messages expire, by recipient.
pub type Ends = HashMap<ClientId, Vec<(Offset, Instant)>>;

impl<'h> Restoring<'h> {
    pub fn new(hub: &'h Hub, path: &Path) -> Self {
        Self { hub, path: path.display().to_string(), ends: HashMap::new(), clock: Clock::now() }
    }

    pub fn into_ends(self) -> Ends {
        self.ends
    }

    /// Adds what a record says.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it does not agree with those before, [`StoreError::TooLarge`].
    pub fn add(&mut self, record: Record) -> Result<(), StoreError> {
        match record {
            Record::Client(client) => {
                self.hub.store.restore(client, Arc::new(Client::for_store(Offset::default())));
                Ok(())
            }
            Record::Channel(channel) => self.add_channel(channel),
            Record::Session(session) => self.add_session(session),
            Record::Message(message) => self.add_message(message),
            Record::ClientRemoved(_) | Record::ChannelRemoved(..) | Record::MessagesRemoved { .. } => Ok(()),
        }
    }

    fn client(&self, id: ClientId) -> Result<Arc<Client>, StoreError> {
        self.hub.client(id).ok_or_else(|| StoreError::Damaged {
            path: self.path.clone(),
            detail: format!("it names client {id}, which is not registered"),
        })
    }

    fn add_channel(
        &self,
        ChannelRecord { first, second, opened_by }: ChannelRecord,
    ) -> Result<(), StoreError> {
        for (end, other) in [(first, second), (second, first)] {
            let client = self.client(end)?;
            let mut state = client.lock();
            if opened_by == Some(end) {
                state.mailbox.open_channel(other);
            } else {
                state.mailbox.authorize(other);
            }
        }
        self.hub.channels.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn add_session(
        &self,
        SessionRecord { client, session, connection }: SessionRecord,
    ) -> Result<(), StoreError> {
        let client = self.client(client)?;
        let mut state = client.lock();
        // Until it comes back and says what it wants, its receipts are kept for it.
        let (knows_epoch, receipts, presence) = (false, true, false);
        let session = session.map(|id| SessionInfo { id, connection, knows_epoch, receipts, presence });
        state.note_session(session);
        state.attach_session(session);
        Ok(())
    }

    fn add_message(&mut self, message: MessageRecord) -> Result<(), StoreError> {
        let MessageRecord { recipient, sender, offset, session, seq, ends_at, json } = message;
        let client = self.client(recipient)?;
        let mut state = client.lock();
        let cost = state.mailbox.restore(sender, Message { offset, session, seq, json: &json });
        drop(state);
        if !self.hub.budget.reserve(cost, true) {
            let limit = self.hub.limits.max_total_bytes;
            return Err(StoreError::TooLarge { path: self.path.clone(), limit });
        }
        self.hub.add_queued(1);
        if let Some(end) = ends_at.filter(|_| !self.hub.limits.message_ttl.is_zero()) {
            self.ends.entry(recipient).or_default().push((offset, self.clock.from_unix(end)));
        }
        Ok(())
    }
}

impl Hub {
    /// Goes on where an earlier life of the store has ended.
    pub(super) fn begin_life(&mut self, life: &Life, ends: Ends) {
        let era = Offset(life.starts << 32);
        self.store.begin_life(life.epoch, era, life.next_id, life.unregistered);
        for id in self.ids() {
            let Some(client) = self.client(id) else { continue };
            let ClientState { mailbox, .. } = &mut *client.lock();
            mailbox.begin_era(era);
        }
        for (id, ends) in ends {
            let Some(client) = self.client(id) else { continue };
            let visit = client.lock().mailbox.restore_ages(ends);
            self.visit_at(id, visit);
        }
    }
}
