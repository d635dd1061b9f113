//! A queue of messages, of which the first ones may have been read.
//!
//! What is stored about a message (`Head`) is apart from its JSON string. The strings lie back to back in chunks, so that
//! an acknowledged message is removed without touching its string, which is no longer in any cache.

mod chunk;

use std::collections::VecDeque;

use crate::ids::{Offset, Seq, SessionId};
use crate::limits::Limits;

use chunk::Chunk;

/// The largest chunk of several messages, in bytes. The first chunk is as large as its message, each further one as large as
/// the messages that the queue holds already.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// The length from which a message is copied past the caches: it is read again only if it cannot be written at once, or has
/// to be written again.
pub const LONG_MESSAGE_BYTES: usize = 4096;

/// Bytes that the chunks of a queue may take up for each byte that its messages count. A queue that only grows stays below
/// three quarters of it, so it is never shrunk before something was removed.
const MAX_CHUNK_BYTES_PER_COST: usize = 8;
/// Capacity for messages that a queue keeps, however few there are.
const MIN_CAPACITY: usize = 64;
/// Capacity for chunks that a queue keeps, however few there are.
const MIN_CHUNK_CAPACITY: usize = 16;

/// Messages in order: first those that were read, then the unread.
///
/// The lane bounds their number and bytes. They count [`Queue::cost`]; [`Queue::shrink`] keeps the chunks below
/// `MAX_CHUNK_BYTES_PER_COST` times as much, and the capacity below four times the number of messages.
#[derive(Debug, Default)]
pub struct Queue {
    heads: VecDeque<Head>,
    chunks: VecDeque<Chunk>,
    /// Bytes that the chunks take up.
    chunk_bytes: usize,
    /// Where the strings of the unread messages begin: index of the chunk, byte in it.
    unread: (u32, u32),
    /// Bytes of all messages.
    bytes: usize,
    /// The number of messages that were read.
    read: u32,
    /// Bytes of the messages that were read.
    read_bytes: usize,
    /// Whether the message before the next one to be pushed was removed unread.
    follows_gap: bool,
}

/// A message without its JSON string.
#[derive(Clone, Copy, Debug)]
struct Head {
    offset: Offset,
    session: SessionId,
    seq: Seq,
    length: u32,
    /// Whether the message before it was removed unread.
    follows_gap: bool,
}

/// A message in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its position in the mailbox.
    pub offset: Offset,
    /// The session that sent it; no session for a plain sender.
    pub session: SessionId,
    /// Its sequence number in that session, 0 from a plain sender.
    pub seq: Seq,
    /// Its JSON string with the quotes, and so never empty.
    pub json: &'a [u8],
}

/// The position of a message's JSON string. Valid until a message before it is removed or put back.
#[derive(Clone, Copy, Debug)]
pub struct ChunkPosition {
    chunk: usize,
    /// The first byte of the string in the chunk.
    start: usize,
    /// Bytes of the string.
    pub length: usize,
}

impl Head {
    fn of(Message { offset, session, seq, json }: Message<'_>, follows_gap: bool) -> Self {
        debug_assert!(!json.is_empty(), "a JSON string has quotes");
        let length = u32::try_from(json.len()).expect("no message is longer than 256 MiB");
        Self { offset, session, seq, length, follows_gap }
    }

    fn length(self) -> usize {
        self.length as usize
    }

    fn with(self, json: &[u8]) -> Message<'_> {
        let Self { offset, session, seq, .. } = self;
        Message { offset, session, seq, json }
    }
}

impl Message<'_> {
    /// Returns the session and the number; `None` from a plain sender.
    pub fn number(&self) -> Option<(SessionId, Seq)> {
        (self.seq > Seq::default()).then_some((self.session, self.seq))
    }
}

impl Queue {
    /// Returns the number of messages.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Returns whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Returns the bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes that the messages count against the mailbox's and the total bound.
    pub fn cost(&self) -> usize {
        let lane = if self.is_empty() { 0 } else { Limits::LANE_OVERHEAD };
        self.bytes + self.len() * Limits::MESSAGE_OVERHEAD + lane
    }

    /// Returns the number of messages that were read.
    pub fn read_len(&self) -> usize {
        self.read as usize
    }

    /// Returns the bytes of the messages that were read.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// Adds a message at the end.
    pub fn push_back(&mut self, message: Message<'_>) {
        let size = message.json.len();
        if self.heads.is_empty() {
            // Most queues are empty again before a second message comes.
            self.heads.reserve_exact(1);
            self.chunks.reserve_exact(1);
        } else if self.heads.len() == self.heads.capacity() && self.heads.len() >= MIN_CAPACITY {
            // By half, not twofold: a head is half of what a message counts beside its bytes.
            self.heads.reserve_exact(self.heads.len() / 2);
        }
        if self.chunks.back().is_none_or(|last| !last.has_room(size)) {
            self.add_chunk(self.bytes.next_power_of_two().min(MAX_CHUNK_BYTES).max(size));
        }
        if let Some(last) = self.chunks.back_mut() {
            last.push(message.json);
        }
        self.heads.push_back(Head::of(message, std::mem::take(&mut self.follows_gap)));
        self.bytes += size;
    }

    #[inline]
    fn add_chunk(&mut self, size: usize) {
        let chunk = Chunk::new(size);
        self.chunk_bytes += chunk.size();
        self.chunks.push_back(chunk);
    }

    /// Adds a message at the front. No message may have been read.
    pub fn push_front(&mut self, message: Message<'_>) {
        debug_assert_eq!(self.read, 0, "no message was read");
        let mut chunk = Chunk::new(message.json.len());
        chunk.push(message.json);
        self.chunk_bytes += chunk.size();
        self.chunks.push_front(chunk);
        self.heads.push_front(Head::of(message, false));
        self.rewind();
        self.bytes += message.json.len();
    }

    /// Returns the first message.
    pub fn front(&self) -> Option<Message<'_>> {
        let (head, chunk) = (self.heads.front()?, self.chunks.front()?);
        Some(head.with(chunk.get(chunk.start, head.length())))
    }

    /// Removes the first message.
    pub fn pop_front(&mut self) {
        let Some(head) = self.heads.pop_front() else { return };
        if self.heads.is_empty() {
            // An empty queue keeps no memory.
            return self.clear();
        }
        self.bytes -= head.length();
        let first = &mut self.chunks[0];
        first.start += head.length();
        if first.is_empty() {
            if let Some(empty) = self.chunks.pop_front() {
                self.chunk_bytes -= empty.size();
            }
            self.unread = match self.unread {
                (0, _) => (0, self.first_start()),
                (chunk, at) => (chunk - 1, at),
            };
        }
        if self.read == 0 {
            self.rewind();
        } else {
            self.read -= 1;
            self.read_bytes -= head.length();
        }
    }

    /// Frees memory that the messages do not need. To be called once after some were removed.
    #[inline]
    pub fn shrink(&mut self) {
        if self.is_empty() {
            return;
        }
        let (messages, chunks) = (self.heads.len(), self.chunks.len());
        let is_too_large = self.heads.capacity() > MIN_CAPACITY.max(4 * messages)
            || self.chunks.capacity() > MIN_CHUNK_CAPACITY.max(4 * chunks)
            || self.chunk_bytes > MAX_CHUNK_BYTES_PER_COST * self.cost();
        if is_too_large {
            self.shrink_now();
        }
    }

    #[cold]
    fn shrink_now(&mut self) {
        self.heads.shrink_to(MIN_CAPACITY.max(2 * self.heads.len()));
        self.chunks.shrink_to(MIN_CHUNK_CAPACITY.max(2 * self.chunks.len()));
        if self.chunk_bytes > MAX_CHUNK_BYTES_PER_COST * self.cost() {
            self.compact();
        }
    }

    /// Moves all messages to one chunk of the size that they need.
    fn compact(&mut self) {
        let mut old = std::mem::take(self);
        self.heads.reserve_exact(old.len());
        self.add_chunk(old.bytes.next_power_of_two());
        let read = std::mem::take(&mut old.read);
        old.rewind();
        while let Some(follows_gap) = old.heads.get(old.read_len()).map(|head| head.follows_gap)
            && let Some((_, message)) = old.read()
        {
            self.follows_gap = follows_gap;
            self.push_back(message);
        }
        self.follows_gap = old.follows_gap;
        while self.read < read && self.read().is_some() {}
        old.clear();
    }

    fn first_start(&self) -> u32 {
        self.chunks.front().map_or(0, |first| first.start as u32)
    }

    fn unread_position(&self) -> (usize, usize) {
        (self.unread.0 as usize, self.unread.1 as usize)
    }

    /// Returns the first unread message and its position.
    fn next_unread(&self) -> Option<(ChunkPosition, Head)> {
        let head = *self.heads.get(self.read as usize)?;
        let (mut chunk, mut start) = self.unread_position();
        // At the end of a chunk, continue with the next one.
        if start == self.chunks[chunk].end() {
            chunk += 1;
            start = self.chunks[chunk].start;
        }
        Some((ChunkPosition { chunk, start, length: head.length() }, head))
    }

    /// Returns the messages behind an offset.
    pub fn after(&self, offset: Offset) -> impl Iterator<Item = Message<'_>> {
        let first = self.heads.partition_point(|head| head.offset <= offset);
        let (mut chunk, mut start, mut end) = (self.chunks.len(), 0, 0);
        let mut messages = Vec::with_capacity(self.heads.len() - first);
        // From the end, so that the messages before are not looked at.
        for head in self.heads.range(first..).rev() {
            while start == end {
                chunk -= 1;
                (start, end) = (self.chunks[chunk].start, self.chunks[chunk].end());
            }
            end -= head.length();
            messages.push(head.with(self.chunks[chunk].get(end, head.length())));
        }
        messages.into_iter().rev()
    }

    /// Returns how many messages are behind an offset, and their bytes.
    pub fn size_after(&self, offset: Offset) -> (usize, usize) {
        let first = self.heads.partition_point(|head| head.offset <= offset);
        let lengths = self.heads.range(first..).map(|head| head.length());
        (self.heads.len() - first, lengths.sum())
    }

    /// Returns the first unread message.
    pub fn unread(&self) -> Option<Message<'_>> {
        let (position, head) = self.next_unread()?;
        Some(head.with(self.json(position)))
    }

    /// Reads the first unread message, and returns it with its position.
    pub fn read(&mut self) -> Option<(ChunkPosition, Message<'_>)> {
        let (position, head) = self.next_unread()?;
        self.unread = (position.chunk as u32, (position.start + position.length) as u32);
        self.read += 1;
        self.read_bytes += position.length;
        Some((position, head.with(self.json(position))))
    }

    /// Returns the JSON string at this position.
    pub fn json(&self, ChunkPosition { chunk, start, length }: ChunkPosition) -> &[u8] {
        self.chunks[chunk].get(start, length)
    }

    /// Removes the unread messages up to `upto`, and closes the gap in the chunks. Calls `removed` with each message, and
    /// whether the one before it was removed unread at an earlier call. Returns whether the one after them was.
    pub fn forget_unread(&mut self, upto: Offset, mut removed: impl FnMut(Message<'_>, bool)) -> bool {
        // Read before: a queue that becomes empty forgets it.
        let (length, ends_in_gap) = (self.len(), self.follows_gap);
        while self.read == 0
            && let Some(first) = self.front().filter(|first| first.offset <= upto)
        {
            removed(first, self.heads[0].follows_gap);
            self.pop_front();
        }
        // Some message was read: the first of the chunks from here on holds some of its bytes, and stays.
        let ((mut chunk, mut from), mut forgotten) = (self.unread_position(), self.read_len());
        while let Some(found) = self.chunks.get_mut(chunk).filter(|_| self.read > 0) {
            let mut to = from;
            while to < found.end()
                && let Some(head) = self.heads.get(forgotten).filter(|head| head.offset <= upto)
            {
                removed(head.with(found.get(to, head.length())), head.follows_gap);
                to += head.length();
                forgotten += 1;
                self.bytes -= head.length();
            }
            let is_last = to < found.end();
            found.remove(from, to);
            if is_last {
                break;
            }
            if found.is_empty() {
                self.chunk_bytes -= found.size();
                self.chunks.remove(chunk);
            } else {
                chunk += 1;
            }
            from = self.chunks.get(chunk).map_or(0, |next| next.start);
        }
        self.heads.drain(self.read_len()..forgotten);
        if self.len() == length {
            return false;
        }
        match self.heads.get_mut(self.read as usize) {
            Some(next) => std::mem::replace(&mut next.follows_gap, true),
            None => {
                self.follows_gap = true;
                ends_in_gap
            }
        }
    }

    /// Removes all messages.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes all messages unread.
    pub fn rewind(&mut self) {
        (self.read, self.read_bytes) = (0, 0);
        self.unread = (0, self.first_start());
    }
}

#[cfg(test)]
mod tests;
