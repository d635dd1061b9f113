//! Which clients may talk: channels that whoever made the relay registers and takes away. Those that a message opens are
//! opened where it is appended.

use super::*;
use crate::model::ClientSet;

/// Clients on either side whose channels are opened under their locks at one time.
const BLOCK: usize = 64;

/// A client and its id.
type Member = (ClientId, Arc<Client>);

impl Memory {
    fn member(&self, id: ClientId, argument: &'static str) -> Result<Member, Error> {
        Ok((id, self.client(id).ok_or(Error::ClientNotFound { argument })?))
    }

    /// Those with these ids, each once and in the order of their ids: clients that were registered together are together.
    fn members(&self, ids: &[ClientId]) -> Result<Vec<Member>, Error> {
        let members: Result<Vec<_>, _> = ids.iter().map(|id| self.member(*id, "each of clientIds")).collect();
        let mut members = members?;
        members.sort_unstable_by_key(|(id, _)| *id);
        members.dedup_by_key(|(id, _)| *id);
        Ok(members)
    }

    pub(in crate::backend) fn authorize_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let find = || Ok::<_, Error>((self.member(first, "clientId1")?, self.member(second, "clientId2")?));
        let (one, two) = find()?;
        let is_new = if first == second { self.open_own(&one) } else { self.open(&[one], &[two]) == 1 };
        if !is_new {
            // One may have gone meanwhile.
            find()?;
            return Err(Error::ChannelExists);
        }
        Ok(())
    }

    pub(in crate::backend) fn authorize_all(&self, ids: &[ClientId]) -> Result<usize, Error> {
        let members = self.members(ids)?;
        let blocks: Vec<_> = members.chunks(BLOCK).collect();
        let pairs = blocks
            .iter()
            .enumerate()
            .flat_map(|(place, one)| blocks[..=place].iter().map(move |two| (one, two)));
        Ok(pairs.map(|(one, two)| self.open(one, two)).sum())
    }

    pub(in crate::backend) fn authorize_with(
        &self,
        id: ClientId,
        others: &[ClientId],
    ) -> Result<usize, Error> {
        let one = [self.member(id, "clientId")?];
        let others = self.members(others)?;
        Ok(others.chunks(BLOCK).map(|others| self.open(&one, others)).sum())
    }

    pub(in crate::backend) fn revoke_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let ((_, one), (_, two)) = (self.member(first, "clientId1")?, self.member(second, "clientId2")?);
        let mut slots = Locked::all(vec![(first, &*one), (second, &*two)]);
        for (argument, id) in [("clientId1", first), ("clientId2", second)] {
            if slots.iter().any(|(of, slot)| *of == id && slot.is_gone) {
                return Err(Error::ClientNotFound { argument });
            }
        }
        let other_of = |id| if id == first { second } else { first };
        if !slots.iter().all(|(id, slot)| slot.mailbox.is_authorized(other_of(*id))) {
            return Err(Error::ChannelNotFound);
        }
        let mut ends = Vec::new();
        for (id, slot) in &mut slots {
            let other = other_of(*id);
            let freed = slot.mailbox.revoke(other);
            let is_listed = introduce(slot, other);
            ends.push((*id, is_listed, slot.bell_after(&freed), freed));
        }
        self.channels.fetch_sub(1, Ordering::Relaxed);
        drop(slots);
        for (id, is_listed, bell, freed) in ends {
            self.list(is_listed.then_some(id));
            ring(bell);
            self.free(id, freed);
        }
        Ok(())
    }

    /// Lets each client of one side talk to each other one of the other side; returns how many channels that made. Both
    /// ends of all of them are changed at once, under the locks of all these clients. Those that have gone get none.
    fn open(&self, one: &[Member], other: &[Member]) -> usize {
        let clients = one.iter().chain(other).map(|(id, client)| (*id, &**client));
        let mut slots = Locked::all(clients.collect());
        let gone: Vec<_> = slots.iter().filter(|(_, slot)| slot.is_gone).map(|(id, _)| *id).collect();
        let living = |side: &[Member]| {
            let ids = side.iter().map(|(id, _)| *id).filter(|id| !gone.contains(id));
            ids.collect::<ClientSet>()
        };
        let mut sides = [living(one), living(other)];
        let (mut ends, mut listed) = (0, Vec::new());
        for (id, slot) in &mut slots {
            let is_on = [sides[0].contains(*id), sides[1].contains(*id)];
            for (peers, _) in sides.iter_mut().rev().zip(is_on).filter(|(_, is_on)| *is_on) {
                // None gets a channel to itself.
                let was_there = peers.remove(*id);
                ends += slot.authorize_all(peers);
                if was_there {
                    peers.insert(*id);
                }
            }
            if slot.list() {
                listed.push(*id);
            }
        }
        let opened = ends / 2;
        self.channels.fetch_add(opened, Ordering::Relaxed);
        drop(slots);
        self.list(listed);
        opened
    }

    /// Lets a client talk to itself; false when it could already, or is gone.
    fn open_own(&self, (id, client): &Member) -> bool {
        let mut slot = client.slot();
        let is_new = !slot.is_gone && slot.mailbox.authorize(*id);
        self.channels.fetch_add(usize::from(is_new), Ordering::Relaxed);
        let is_listed = is_new && introduce(&mut slot, *id);
        drop(slot);
        self.list(is_listed.then_some(*id));
        is_new
    }
}
