//! The connection of a client, as those who send to the client see it.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::Poll;

use super::bell::Bell;
use super::outbox::Outbox;
use crate::limits::Limits;
use crate::model::Mailbox;
use crate::shared_writer::SharedWriter;

/// A connection that reads a mailbox.
#[derive(Debug)]
pub(super) struct Connection {
    pub bell: Arc<Bell>,
    pub outbox: Outbox,
    /// The write half of its socket, with which senders write to it. `None` if only its session can.
    pub writer: Option<SharedWriter>,
    /// Whether its client acknowledges messages.
    pub is_reliable: bool,
    /// Bytes that the socket did not take at once. They count against the total bound; until they are written, new messages
    /// wait in their lanes.
    pub blocked_bytes: usize,
}

impl Connection {
    /// Whether more may be written into the outbox.
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.blocked_bytes == 0 && self.outbox.len() < limits.max_write_ahead
    }

    /// Writes what the socket takes without waiting, long messages from their place in `mailbox`. Returns whether everything
    /// was written. An error is left for the connection's session to find.
    pub fn try_write(&mut self, mailbox: &Mailbox) -> bool {
        let Self { outbox, writer, .. } = self;
        outbox.write_accepted();
        if outbox.is_spliced() {
            let json = |sender, position| mailbox.json(sender, position);
            outbox.write_spliced(json, |pieces: &[IoSlice<'_>]| {
                writer.as_ref().and_then(|writer| writer.try_write_vectored(pieces).ok()).unwrap_or(0)
            });
        }
        if let Some(writer) = writer {
            let is_written = outbox.write_to(|bytes| {
                writer.try_write(bytes).map_or(Poll::Pending, |bytes| Poll::Ready(Ok(bytes)))
            });
            return is_written.is_ready() && outbox.is_written();
        }
        // Only the session can write, and it may have handed everything to a stream that has not passed it on yet.
        outbox.is_empty()
    }
}
