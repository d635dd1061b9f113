//! Which clients may talk: channels that the application opens and closes. A channel that a message opens is opened where
//! the message is appended.

use std::sync::Arc;

use super::Hub;
use super::client::{Client, StateGuard, ring};
use crate::error::Error;
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::model::ClientSet;
use crate::store::{ChannelRecord, Record};
use crate::sync::Ordering;

/// Clients on either side whose channels are opened under their locks in one step.
const BLOCK: usize = 64;

/// A client and its id.
type Member = (ClientId, Arc<Client>);

/// Channels that were opened by one call.
struct OpenedChannels {
    count: usize,
    /// The ends of those that a store on disk has yet to keep.
    to_keep: Option<Vec<(ClientId, ClientId)>>,
}

impl Hub {
    fn member(&self, id: ClientId, argument: &'static str) -> Result<Member, Error> {
        Ok((id, self.client(id).ok_or(Error::ClientNotFound { argument })?))
    }

    /// Returns the clients with these ids, each once and in ascending order: clients that were registered together are often
    /// in channels together.
    fn members(&self, ids: &[ClientId]) -> Result<Vec<Member>, Error> {
        let members: Result<Vec<_>, _> = ids.iter().map(|id| self.member(*id, "each of clientIds")).collect();
        let mut members = members?;
        members.sort_unstable_by_key(|(id, _)| *id);
        members.dedup_by_key(|(id, _)| *id);
        Ok(members)
    }

    /// Opens a channel between two clients, or from a client to itself.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelExists`], [`Error::Store`].
    pub fn open_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let find = || Ok::<_, Error>((self.member(first, "clientId1")?, self.member(second, "clientId2")?));
        let (one, two) = find()?;
        let mut opened = self.opened_channels();
        if first == second {
            self.open_own(&one, &mut opened);
        } else {
            self.open(&[one], &[two], &mut opened);
        }
        if self.keep_channels(&mut opened)? == 0 {
            // One of them may have been unregistered meanwhile.
            find()?;
            return Err(Error::ChannelExists);
        }
        Ok(())
    }

    /// Opens a channel between each two of these clients. Returns how many channels that opened.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`]; nothing has changed then.
    pub fn open_channels_among(&self, clients: &[ClientId]) -> Result<usize, Error> {
        let members = self.members(clients)?;
        let blocks: Vec<_> = members.chunks(BLOCK).collect();
        let pairs = blocks
            .iter()
            .enumerate()
            .flat_map(|(place, one)| blocks[..=place].iter().map(move |two| (*one, *two)));
        self.open_and_keep(pairs)
    }

    /// Opens a channel between a client and each of the others, but not to itself. Returns how many channels that opened.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`]; nothing has changed then.
    pub fn open_channels_with(&self, client: ClientId, others: &[ClientId]) -> Result<usize, Error> {
        let one = [self.member(client, "clientId")?];
        let others = self.members(others)?;
        self.open_and_keep(others.chunks(BLOCK).map(|others| (&one[..], others)))
    }

    /// Closes the channel of two clients and drops the messages that wait in it.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelNotFound`], [`Error::Store`].
    pub fn close_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        self.store.check()?;
        self.remove_channel(first, second)?;
        if let Some(queue) = self.store.queue() {
            queue.push(vec![Record::ChannelRemoved(first, second)], false);
        }
        self.store.flush()
    }

    /// Closes the channel of two clients in memory.
    fn remove_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let ((_, one), (_, two)) = (self.member(first, "clientId1")?, self.member(second, "clientId2")?);
        let mut states = StateGuard::all(vec![(first, &*one), (second, &*two)]);
        for (argument, id) in [("clientId1", first), ("clientId2", second)] {
            if states.iter().any(|(of, state)| *of == id && state.is_unregistered) {
                return Err(Error::ClientNotFound { argument });
            }
        }
        let other_of = |id| if id == first { second } else { first };
        if !states.iter().all(|(id, state)| state.mailbox.is_authorized(other_of(*id))) {
            return Err(Error::ChannelNotFound);
        }
        let mut ends = Vec::new();
        for (id, state) in &mut states {
            let other = other_of(*id);
            let freed = state.mailbox.revoke(other);
            let is_queued = state.presence_changed(other);
            ends.push((*id, is_queued, state.bell_after(&freed), freed));
        }
        self.channels.fetch_sub(1, Ordering::Relaxed);
        drop(states);
        for (id, is_queued, bell, freed) in ends {
            self.queue_presence(is_queued.then_some(id));
            ring(bell);
            self.release_freed(id, freed);
        }
        Ok(())
    }

    fn opened_channels(&self) -> OpenedChannels {
        let are_kept = !self.store.commits_at_once();
        OpenedChannels { count: 0, to_keep: are_kept.then(Vec::new) }
    }

    /// Opens channels between the clients of each two sides, and has the store keep them in commits of a bounded size. Returns
    /// how many that opened.
    fn open_and_keep<'a>(
        &self,
        sides: impl Iterator<Item = (&'a [Member], &'a [Member])>,
    ) -> Result<usize, Error> {
        let mut opened = self.opened_channels();
        for (one, two) in sides {
            self.open(one, two, &mut opened);
            if opened.to_keep.as_ref().is_some_and(|pairs| pairs.len() > Limits::MAX_COMMIT_CHANNELS) {
                self.keep_channels(&mut opened)?;
            }
        }
        self.keep_channels(&mut opened)
    }

    /// Has the store keep the channels that were opened since the last call. Returns how many were opened in all. Closes them
    /// again if the store cannot keep them.
    fn keep_channels(&self, opened: &mut OpenedChannels) -> Result<usize, Error> {
        let pairs = opened.to_keep.as_mut().map(std::mem::take).unwrap_or_default();
        let Some(queue) = self.store.queue().filter(|_| !pairs.is_empty()) else { return Ok(opened.count) };
        let record = |&(first, second): &_| Record::Channel(ChannelRecord { first, second, opened_by: None });
        let ticket = queue.push(pairs.iter().map(record).collect(), true);
        if let Err(error) = queue.wait(ticket) {
            // An end that is gone has closed its channels itself.
            pairs.into_iter().for_each(|(first, second)| drop(self.remove_channel(first, second)));
            return Err(error.into());
        }
        Ok(opened.count)
    }

    /// Opens a channel between each client of one side and each other client of the other side, and adds those that were
    /// opened to `opened`. Both ends of all of them change at once, under the locks of all these clients. Clients that were
    /// unregistered meanwhile get none.
    fn open(&self, one: &[Member], other: &[Member], opened: &mut OpenedChannels) {
        let clients = one.iter().chain(other).map(|(id, client)| (*id, &**client));
        let mut states = StateGuard::all(clients.collect());
        let gone: Vec<_> =
            states.iter().filter(|(_, state)| state.is_unregistered).map(|(id, _)| *id).collect();
        let registered = |side: &[Member]| {
            let ids = side.iter().map(|(id, _)| *id).filter(|id| !gone.contains(id));
            ids.collect::<ClientSet>()
        };
        let mut sides = [registered(one), registered(other)];
        let (mut ends, mut queued) = (0, Vec::new());
        for (id, state) in &mut states {
            let is_on = [sides[0].contains(*id), sides[1].contains(*id)];
            for (peers, _) in sides.iter_mut().rev().zip(is_on).filter(|(_, is_on)| *is_on) {
                // No client gets a channel to itself.
                let was_there = peers.remove(*id);
                let new = state.authorize_all(peers);
                ends += new.len();
                if let Some(pairs) = &mut opened.to_keep {
                    pairs.extend(new.iter().filter(|peer| *id < *peer).map(|peer| (*id, peer)));
                }
                if was_there {
                    peers.insert(*id);
                }
            }
            if state.queue_presence() {
                queued.push(*id);
            }
        }
        opened.count += ends / 2;
        self.channels.fetch_add(ends / 2, Ordering::Relaxed);
        drop(states);
        self.queue_presence(queued);
    }

    /// Opens a channel from a client to itself, and adds it to `opened`. Not if it had one, or is unregistered.
    fn open_own(&self, (id, client): &Member, opened: &mut OpenedChannels) {
        let mut state = client.lock();
        let is_new = !state.is_unregistered && state.mailbox.authorize(*id);
        self.channels.fetch_add(usize::from(is_new), Ordering::Relaxed);
        opened.count += usize::from(is_new);
        opened.to_keep.iter_mut().for_each(|pairs| pairs.extend(is_new.then_some((*id, *id))));
        let is_queued = is_new && state.presence_changed(*id);
        drop(state);
        self.queue_presence(is_queued.then_some(*id));
    }
}
