//! What one sender has waiting for one recipient, in order.

use std::collections::VecDeque;

/// One sender's messages for one recipient: first those that were read but not yet received, then the unread.
#[derive(Debug, Default)]
pub struct Lane {
    messages: VecDeque<Box<str>>,
    /// How many, from the front, have been read.
    read: usize,
    bytes: usize,
    /// Whether the lane stands in the mailbox's turns.
    pub in_turn: bool,
    /// Whether the sender is held back until there is room.
    pub sender_waits: bool,
}

impl Lane {
    /// Whether a message of `size` bytes fits. An empty lane takes one of any size.
    pub fn has_room(&self, size: usize, max_messages: usize, max_bytes: usize) -> bool {
        self.messages.is_empty() || (self.messages.len() < max_messages && self.bytes + size <= max_bytes)
    }

    /// Adds a message behind the others.
    pub fn append(&mut self, message: &str) {
        self.bytes += message.len();
        self.messages.push_back(message.into());
    }

    /// The next unread message, which from now on is read.
    pub fn read(&mut self) -> Option<&str> {
        let message = self.messages.get(self.read)?;
        self.read += 1;
        Some(message)
    }

    /// Whether something is unread.
    pub fn has_unread(&self) -> bool {
        self.read < self.messages.len()
    }

    /// Makes everything unread again.
    pub fn rewind(&mut self) {
        self.read = 0;
    }

    /// Forgets all that was read; returns how many messages and bytes that were.
    pub fn received(&mut self) -> (usize, usize) {
        let (messages, before) = (self.read, self.bytes);
        for message in self.messages.drain(..self.read) {
            self.bytes -= message.len();
        }
        self.read = 0;
        if self.messages.is_empty() && self.messages.capacity() > KEPT {
            self.messages = VecDeque::new();
        }
        (messages, before - self.bytes)
    }
}

/// Places that an empty lane keeps, so that one message at a time does not allocate for each.
const KEPT: usize = 4;
