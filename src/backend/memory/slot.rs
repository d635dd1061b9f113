//! A client as its lock guards it: the mailbox, the connection that reads it, and what that is to be told.

use std::io::IoSlice;
use std::mem;
use std::sync::Arc;
use std::task::Poll;

use super::expiry::write_expiry;
use super::flush::just_read;
use super::presence::Presence;
use crate::backend::{Bell, Outbox, Resume};
use crate::error::CloseReason;
use crate::hand::Hand;
use crate::ids::{ClientId, Seq, SessionId};
use crate::limits::Limits;
use crate::model::{ClientSet, Freed, Mailbox, Message, Notices, Receipts, Window};
use crate::protocol::encode::{self, Notice};
use crate::read_buffer::ReadSlice;

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub mailbox: Mailbox,
    /// The connection that reads this mailbox.
    pub outlet: Option<Outlet>,
    /// What there is to know of a client with reliable delivery. Boxed, for a plain one needs none of it.
    pub reliable: Option<Box<Reliable>>,
    /// Whether the client was unregistered. Somebody may still have it at hand.
    pub is_gone: bool,
    /// What others are told of its coming and going.
    pub presence: Presence,
}

/// A connection, as far as those who write to it see it.
#[derive(Debug)]
pub(super) struct Outlet {
    pub bell: Arc<Bell>,
    pub outbox: Outbox,
    /// Its socket, for those who write to it at once.
    pub socket: Option<Hand>,
    /// Whether its client acknowledges.
    pub is_reliable: bool,
    /// Bytes that the socket did not take at once. They count against the total bound, and until they are out whatever
    /// else comes waits in its lane.
    pub stuck: usize,
}

impl Outlet {
    /// Whether more may be written into the outbox.
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.stuck == 0 && self.outbox.len() < limits.max_write_ahead
    }
}

/// What is left of a connection that reads no more.
pub(super) struct Retired {
    pub bell: Arc<Bell>,
    pub outbox: Outbox,
    /// Messages that went back to the mailbox.
    pub messages: usize,
    /// Bytes of them, overhead included.
    pub bytes: usize,
    /// Bytes of the outbox that counted against the total bound.
    pub stuck: usize,
}

#[derive(Debug, Default)]
pub(super) struct Reliable {
    /// What the connection that reads, or read last, said of itself; none of a plain one.
    pub reader: Option<Resume>,
    pub notices: Notices,
    /// Whether the client stands in line to be told who came and left.
    pub is_listed: bool,
    /// What they count against the total bound, and whether they are so many that nothing is taken from the client.
    pub counted: (usize, bool),
    /// The sessions that were replaced, the newest last.
    replaced: Vec<SessionId>,
}

impl Slot {
    fn reader(&self) -> Option<Resume> {
        self.reliable.as_ref()?.reader
    }

    /// Whether a connection is of a session that was replaced, also when its successor is not connected: what one of them
    /// acknowledged the other would never hear. Or it is older than another of its own session: such a one was long on its
    /// way, and its client has given it up.
    pub fn is_outdated(&self, resume: Option<Resume>) -> bool {
        let (Some(new), Some(reliable)) = (resume, &self.reliable) else { return false };
        let is_earlier = |reader: Resume| new.session == reader.session && new.connection < reader.connection;
        reliable.reader.is_some_and(is_earlier) || reliable.replaced.contains(&new.session)
    }

    /// The connection that reads, if any, reads no more. What its client does not have waits again, but for what stays
    /// in the outbox: with `everything` all of it, else the rest of a frame that was begun.
    pub fn retire(&mut self, everything: bool) -> Option<Retired> {
        let Outlet { bell, mut outbox, socket, stuck, .. } = self.outlet.take()?;
        // Dropping it would close the connection.
        socket.into_iter().for_each(Hand::forget);
        outbox.settle();
        self.mailbox.rewind();
        let (mut messages, mut bytes) = (0, 0);
        if !everything {
            outbox.give_back(|sender, message| {
                if let Some(cost) = self.mailbox.put_back(sender, message) {
                    messages += 1;
                    bytes += cost;
                }
            });
            outbox.drop_untaken_frames();
        }
        Some(Retired { bell, outbox, messages, bytes, stuck })
    }

    /// Lets a message of a plain sender pass straight to the outbox of a recipient that acknowledges nothing, when it
    /// has room and nothing waits before it. `share` lends it, if it is where it was read.
    pub fn pass(
        &mut self,
        sender: ClientId,
        json: &[u8],
        limits: &Limits,
        share: impl FnOnce() -> Option<ReadSlice>,
    ) -> bool {
        let Some(outlet) = self.outlet.as_mut().filter(|outlet| outlet.has_room(limits)) else {
            return false;
        };
        if outlet.is_reliable || self.mailbox.has_unread() {
            return false;
        }
        let offset = self.mailbox.bypass();
        let message = Message { offset, seq: Seq::default(), json };
        match outlet.socket {
            Some(_) => outlet.outbox.relay_lent(sender, message, share),
            // Nobody but its own connection can write it.
            None => outlet.outbox.relay_only_copy(sender, message),
        }
        true
    }

    /// Moves what waits to the outbox while it has room. With `splice`, whose mailbox it is, long messages stay where they
    /// are, and are written from there before anything else happens.
    pub fn fill(&mut self, limits: &Limits, splice: Option<ClientId>) -> Freed {
        let Some(Outlet { outbox, is_reliable, .. }) =
            self.outlet.as_mut().filter(|outlet| outlet.has_room(limits))
        else {
            return Freed::default();
        };
        let max = limits.max_write_ahead;
        if let Some(reliable) = &mut self.reliable {
            while outbox.len() < max
                && let Some((number, expiry)) = reliable.notices.next_expired()
            {
                outbox.write(|frames| write_expiry(number, expiry, frames));
            }
            while outbox.len() < max
                && let Some((target, seq)) = reliable.notices.next_delivered()
            {
                outbox.write(|frames| encode::notice(&Notice::Delivered { target, seq }, frames));
            }
        }
        if !self.mailbox.has_unread() || outbox.len() >= max {
            return Freed::default();
        }
        if *is_reliable {
            let window =
                Window { messages: limits.max_in_flight_messages, bytes: limits.max_in_flight_bytes };
            self.mailbox.read(window, |sender, place, message| {
                match splice {
                    Some(id) => outbox.splice(sender, place, message, just_read(id, message.offset)),
                    None => outbox.relay(sender, message),
                }
                outbox.len() < max
            });
            return Freed::default();
        }
        // Its senders hear of it when the socket has taken it.
        self.mailbox.take(|sender, message| {
            outbox.relay_only_copy(sender, message);
            outbox.len() < max
        })
    }

    /// Writes to the socket what it takes without waiting. An error is left to the connection itself to find.
    pub fn write_now(&mut self) -> Poll<Result<(), CloseReason>> {
        let Some(Outlet { outbox, socket, .. }) = &mut self.outlet else { return Poll::Ready(Ok(())) };
        outbox.tell_accepted();
        if outbox.is_spliced() {
            let json = |sender, place| self.mailbox.json(sender, place);
            let write = |pieces: &[IoSlice<'_>]| {
                socket.as_ref().and_then(|socket| socket.try_write_vectored(pieces).ok()).unwrap_or(0)
            };
            outbox.write_spliced(json, write);
        }
        while let Some(socket) = &socket
            && !outbox.is_drained()
            && let Ok(bytes) = socket.try_write(outbox.untaken())
        {
            outbox.take(bytes);
        }
        // A stream of which only its own connection has a hand may have taken everything and not yet passed it on.
        let is_done = outbox.is_empty() || (socket.is_some() && outbox.is_drained());
        if is_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The socket has taken the whole outbox: whose messages a client has that acknowledges nothing.
    pub fn drained(&mut self) -> Receipts {
        let Some(Outlet { outbox, .. }) = &mut self.outlet else { return Receipts::new() };
        let mut delivered = Receipts::new();
        for (sender, offset, seq) in outbox.numbered() {
            let Some((session, seq)) = self.mailbox.receipt(sender, offset, seq) else { continue };
            match delivered.last_mut() {
                Some(last) if last.0 == sender => *last = (sender, session, seq),
                _ => delivered.push((sender, session, seq)),
            }
        }
        outbox.forget();
        delivered
    }

    /// Whether somebody is to write to the connection.
    pub fn is_writing(&self) -> bool {
        self.outlet.as_ref().is_some_and(|outlet| !outlet.outbox.is_empty() || self.mailbox.has_unread())
    }

    /// Whether there is something that could be moved to the outbox.
    pub fn has_waiting(&self) -> bool {
        let has_receipts = |reliable: &Reliable| reliable.notices.has_message_notices();
        self.mailbox.has_unread() || self.reliable.as_deref().is_some_and(has_receipts)
    }

    /// The clients of which the connection is to be told whether they are there; `None` when it does not want to know.
    pub fn presence_due(&mut self) -> Option<&mut ClientSet> {
        self.outlet.as_ref()?;
        let Reliable { reader, notices, .. } = self.reliable.as_deref_mut()?;
        reader.is_some_and(|reader| reader.presence).then(|| notices.presence_due())
    }

    /// Whether the client has to be put in line to be told who came and left. It is taken to be, then.
    pub fn list(&mut self) -> bool {
        let is_due = self.presence_due().is_some_and(|due| !due.is_empty());
        is_due
            && self
                .reliable
                .as_deref_mut()
                .is_some_and(|reliable| !mem::replace(&mut reliable.is_listed, true))
    }

    /// Lets these clients send; returns how many of them could not before. The client is to be told whether those are there,
    /// see [`Slot::list`].
    pub fn authorize_all(&mut self, senders: &ClientSet) -> usize {
        let mut new = self.presence_due().map(mem::take);
        let count = self.mailbox.authorize_all(senders, new.as_mut());
        if let (Some(due), Some(new)) = (self.presence_due(), new) {
            *due = new;
        }
        count
    }

    /// The bell of the connection, when it has to look again: messages were dropped that it may have waited for.
    pub fn bell_after(&self, dropped: &Freed) -> Option<Arc<Bell>> {
        self.outlet.as_ref().filter(|_| dropped.messages > 0).map(|outlet| Arc::clone(&outlet.bell))
    }

    /// Another connection reads from now on. True when it is of the same session.
    pub fn begin(&mut self, resume: Option<Resume>) -> bool {
        let session = resume.map(|resume| resume.session);
        let before = self.reader().map(|reader| reader.session);
        let is_same = session.is_some() && session == before;
        if !is_same {
            self.mailbox.begin_session();
        }
        if resume.is_none() && self.reliable.is_none() {
            return false;
        }
        let reliable = self.reliable.get_or_insert_default();
        reliable.reader = resume;
        if is_same {
            reliable.notices.resume();
            return true;
        }
        reliable.notices = Notices::default();
        reliable.replaced.extend(before);
        let excess = reliable.replaced.len().saturating_sub(Limits::MAX_REPLACED_SESSIONS);
        reliable.replaced.drain(..excess);
        false
    }
}
