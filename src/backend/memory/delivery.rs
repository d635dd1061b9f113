//! How what waits goes out, and who hears of it.

use super::*;

impl Memory {
    pub(in crate::backend) fn deliver(
        &self,
        claim: &Claim,
        mut write: impl FnMut(&mut Outbox) -> Poll<Result<(), CloseReason>>,
    ) -> Poll<Result<(), CloseReason>> {
        self.write(claim.id, &claim.client, Some(claim.number), false, |slot| {
            slot.outlet.as_mut().map_or(Poll::Ready(Ok(())), |outlet| {
                outlet.outbox.settle();
                write(&mut outlet.outbox)
            })
        })
    }

    /// Has `write` write what waits for a client, unless its connection is not the one with this number.
    pub(super) fn write(
        &self,
        id: ClientId,
        client: &Client,
        number: Option<ClaimNumber>,
        splice: bool,
        mut write: impl FnMut(&mut Slot) -> Poll<Result<(), CloseReason>>,
    ) -> Poll<Result<(), CloseReason>> {
        self.expire_waiting(id, client);
        loop {
            let mut slot = client.slot();
            let holder = ClaimNumber(client.claim.load(Ordering::Acquire));
            if number.is_some_and(|number| number != holder) {
                return Poll::Ready(Ok(()));
            }
            let mut freed = slot.fill(&self.limits, splice.then_some(id));
            self.count_notices(client, &mut slot);
            self.uncount(&freed);
            crate::faults::point(if number.is_some() { "deliver" } else { "flush" });
            let written = write(&mut slot);
            let Some(outlet) = &mut slot.outlet else { return Poll::Ready(Ok(())) };
            let is_drained = matches!(written, Poll::Ready(Ok(())));
            if !is_drained {
                outlet.outbox.shrink();
            }
            let stuck = if is_drained { 0 } else { outlet.outbox.len() };
            self.recount(std::mem::replace(&mut outlet.stuck, stuck), stuck);
            if is_drained {
                freed.delivered = slot.drained();
            }
            let is_done = !is_drained || !slot.has_waiting();
            let is_listed = is_drained && slot.list();
            drop(slot);
            self.list(is_listed.then_some(id));
            self.tell_freed(id, freed);
            if is_done {
                return written;
            }
        }
    }

    pub(in crate::backend) fn has_waiting(&self, claim: &Claim) -> bool {
        let mut slot = claim.client.slot();
        claim.is_current() && (slot.is_writing() || slot.mailbox.has_waiting())
    }

    pub(in crate::backend) fn with_outbox<T>(
        &self,
        claim: &Claim,
        write: impl FnOnce(&mut Outbox) -> T,
    ) -> Option<T> {
        let mut slot = claim.client.slot();
        let outlet = slot.outlet.as_mut().filter(|_| claim.is_current());
        outlet.map(|outlet| write(&mut outlet.outbox))
    }

    pub(in crate::backend) fn received(
        &self,
        claim: &Claim,
        sender: ClientId,
        upto: Offset,
    ) -> Result<(), InvalidAck> {
        let mut slot = claim.client.slot();
        if !claim.is_current() {
            return Ok(());
        }
        let Limits { max_in_flight_messages: messages, max_in_flight_bytes: bytes, .. } = self.limits;
        let received = slot.mailbox.received(sender, upto, Window { messages, bytes });
        drop(slot);
        match received {
            Ok(freed) => self.free(claim.id, freed),
            // It had the message before the sender was unregistered.
            Err(InvalidAck) if self.is_former(sender) => {}
            Err(InvalidAck) => return Err(InvalidAck),
        }
        Ok(())
    }

    /// What became free in `recipient`'s mailbox can be taken, and its senders hear of it.
    pub(super) fn free(&self, recipient: ClientId, freed: Freed) {
        self.uncount(&freed);
        self.tell_freed(recipient, freed);
    }

    /// What became free can be taken. At once where something else may panic before its senders hear of it.
    pub(super) fn uncount(&self, freed: &Freed) {
        self.recount(freed.bytes, 0);
        if freed.messages > 0 {
            self.queued_messages.fetch_sub(freed.messages, Ordering::Relaxed);
        }
    }

    /// The senders hear of what became free.
    pub(super) fn tell_freed(&self, recipient: ClientId, freed: Freed) {
        if !freed.held_senders.is_empty() {
            self.ring(&freed.held_senders);
        }
        for (sender, session, seq) in freed.delivered {
            let Some(sender) = self.client(sender) else { continue };
            sender.notify(
                |reader| reader.receipts && reader.session == session,
                |notices| notices.record_delivered(recipient, seq),
            );
        }
    }

    pub(super) fn ring(&self, clients: &[ClientId]) {
        for client in clients.iter().filter_map(|id| self.client(*id)) {
            let bell = client.slot().outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell));
            ring(bell);
        }
    }
}
