//! Messages in order, with a mark between those that were read and the unread.

mod chunk;

use std::collections::VecDeque;

use crate::ids::{Offset, Seq};
use crate::limits::Limits;

use chunk::{Chunk, MAPPED};

pub use chunk::release_spare_chunks;

/// The largest chunk from the heap. The first is as big as its message, each other as what the queue holds already.
const LARGEST: usize = 16 * 1024;

/// Messages from this length on are kept out of the caches: they are read again only when they could not be written at
/// once, or must be written once more.
pub const LONG_MESSAGE_BYTES: usize = 4096;

/// Bytes that the chunks of a queue may take up for each byte that its messages count. A queue of few messages grows to
/// three quarters of that, so that whoever shrinks has forgotten something first.
const HELD: usize = 8;
/// Room for so many messages, and for so many chunks, is kept while there are few.
const ROOM: usize = 64;
const ROOM_FOR_CHUNKS: usize = 16;

/// Messages in order. What is known of them is kept apart from their JSON strings: forgetting a message does not touch its
/// string, which no cache has any more.
///
/// Its lane bounds it, by number and bytes. It counts [`Queue::cost`], and [`Queue::shrink`] keeps what it holds below
/// [`HELD`] times as much, and places for four times as many messages as there are.
#[derive(Debug, Default)]
pub struct Queue {
    heads: VecDeque<Head>,
    chunks: VecDeque<Chunk>,
    /// Bytes that the chunks take up.
    held: usize,
    /// Where the strings of the unread begin: in which chunk, at which byte of it.
    unread: (u32, u32),
    /// Bytes of all messages.
    bytes: usize,
    /// How many were read.
    read: u32,
    /// Whether the message before the one that comes next was forgotten unread.
    is_cut: bool,
    /// Bytes of those.
    read_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    offset: Offset,
    seq: Seq,
    length: u32,
    /// Whether the message before it was forgotten unread.
    is_cut: bool,
}

/// A message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its place in the mailbox.
    pub offset: Offset,
    /// Its number, 0 from a plain sender.
    pub seq: Seq,
    /// Its JSON string, which is never empty: it has its quotes.
    pub json: &'a [u8],
}

/// Where a message stands, as long as none before it is forgotten or put back.
#[derive(Clone, Copy, Debug)]
pub struct ChunkPosition {
    chunk: usize,
    /// Where its JSON string begins.
    start: usize,
    /// Bytes of it.
    pub length: usize,
}

impl Head {
    fn of(Message { offset, seq, json }: Message<'_>, is_cut: bool) -> Self {
        debug_assert!(!json.is_empty(), "it has its quotes");
        let length = u32::try_from(json.len()).expect("no message is longer than 256 MiB");
        Self { offset, seq, length, is_cut }
    }

    fn length(self) -> usize {
        self.length as usize
    }

    fn with(self, json: &[u8]) -> Message<'_> {
        let Self { offset, seq, .. } = self;
        Message { offset, seq, json }
    }
}

impl Queue {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What they count against the bounds of mailbox and relay, in bytes.
    pub fn cost(&self) -> usize {
        let lane = if self.is_empty() { 0 } else { Limits::LANE_OVERHEAD };
        self.bytes + self.len() * Limits::MESSAGE_OVERHEAD + lane
    }

    /// How many of them were read.
    pub fn read_len(&self) -> usize {
        self.read as usize
    }

    /// Bytes of those.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// Adds a message behind the others.
    pub fn push_back(&mut self, message: Message<'_>) {
        let size = message.json.len();
        if self.heads.is_empty() {
            // Most queues are empty again before they need a second.
            self.heads.reserve_exact(1);
            self.chunks.reserve_exact(1);
        }
        if self.chunks.back().is_none_or(|last| !last.has_room(size)) {
            let usual = match self.bytes.next_power_of_two() {
                long if long > LARGEST => MAPPED,
                short => short,
            };
            self.add_chunk(usual.max(size));
        }
        if let Some(last) = self.chunks.back_mut() {
            last.push(message.json);
        }
        self.heads.push_back(Head::of(message, std::mem::take(&mut self.is_cut)));
        self.bytes += size;
    }

    #[inline]
    fn add_chunk(&mut self, size: usize) {
        let chunk = Chunk::new(size);
        self.held += chunk.size();
        self.chunks.push_back(chunk);
    }

    /// Adds a message before the others, all of which are unread.
    pub fn push_front(&mut self, message: Message<'_>) {
        debug_assert_eq!(self.read, 0, "what was read is before what is put back");
        let mut chunk = Chunk::new(message.json.len());
        chunk.push(message.json);
        self.held += chunk.size();
        self.chunks.push_front(chunk);
        self.heads.push_front(Head::of(message, false));
        self.rewind();
        self.bytes += message.json.len();
    }

    /// The first message.
    pub fn front(&self) -> Option<Message<'_>> {
        let (head, chunk) = (self.heads.front()?, self.chunks.front()?);
        Some(head.with(chunk.get(chunk.begin(chunk.start, head.length()), head.length())))
    }

    /// Forgets the first message.
    pub fn pop_front(&mut self) {
        let Some(head) = self.heads.pop_front() else { return };
        if self.heads.is_empty() {
            // An empty queue keeps nothing.
            return self.clear();
        }
        self.bytes -= head.length();
        let first = &mut self.chunks[0];
        first.start = first.begin(first.start, head.length()) + head.length();
        if first.is_empty() {
            if let Some(empty) = self.chunks.pop_front() {
                self.held -= empty.size();
                empty.recycle();
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

    /// Gives back memory that its messages need no more. To be called when some were forgotten, and once for many.
    #[inline]
    pub fn shrink(&mut self) {
        if self.is_empty() {
            return;
        }
        let (messages, chunks) = (self.heads.len(), self.chunks.len());
        let is_too_large = self.heads.capacity() > ROOM.max(4 * messages)
            || self.chunks.capacity() > ROOM_FOR_CHUNKS.max(4 * chunks)
            || self.held > HELD * self.cost();
        if is_too_large {
            self.give_back();
        }
    }

    #[cold]
    fn give_back(&mut self) {
        self.heads.shrink_to(ROOM.max(2 * self.heads.len()));
        self.chunks.shrink_to(ROOM_FOR_CHUNKS.max(2 * self.chunks.len()));
        if self.held > HELD * self.cost() {
            self.compact();
        }
    }

    /// Moves all messages to a chunk that is as large as they need.
    fn compact(&mut self) {
        let mut old = std::mem::take(self);
        self.heads.reserve_exact(old.len());
        self.add_chunk(old.bytes.next_power_of_two());
        let read = std::mem::take(&mut old.read);
        old.rewind();
        while let Some(is_cut) = old.heads.get(old.read_len()).map(|head| head.is_cut)
            && let Some((_, message)) = old.read()
        {
            self.is_cut = is_cut;
            self.push_back(message);
        }
        self.is_cut = old.is_cut;
        while self.read < read && self.read().is_some() {}
        old.clear();
    }

    fn first_start(&self) -> u32 {
        self.chunks.front().map_or(0, |first| first.start as u32)
    }

    fn unread_place(&self) -> (usize, usize) {
        (self.unread.0 as usize, self.unread.1 as usize)
    }

    /// The first unread message, and where it stands.
    fn next(&self) -> Option<(ChunkPosition, Head)> {
        let head = *self.heads.get(self.read as usize)?;
        let (mut chunk, mut start) = self.unread_place();
        // Behind the last byte of a chunk begins the next.
        if start == self.chunks[chunk].end() {
            chunk += 1;
            start = self.chunks[chunk].start;
        }
        let start = self.chunks[chunk].begin(start, head.length());
        Some((ChunkPosition { chunk, start, length: head.length() }, head))
    }

    /// The first unread message.
    pub fn unread(&self) -> Option<Message<'_>> {
        let (place, head) = self.next()?;
        Some(head.with(self.json(place)))
    }

    /// Reads the first unread message.
    pub fn read(&mut self) -> Option<(ChunkPosition, Message<'_>)> {
        let (place, head) = self.next()?;
        self.unread = (place.chunk as u32, (place.start + place.length) as u32);
        self.read += 1;
        self.read_bytes += place.length;
        Some((place, head.with(self.json(place))))
    }

    /// The JSON string of the message at this place.
    pub fn json(&self, ChunkPosition { chunk, start, length }: ChunkPosition) -> &[u8] {
        self.chunks[chunk].get(start, length)
    }

    /// Forgets the unread messages up to `upto`, each of which it shows to `see`: the message, and whether the one before it
    /// was forgotten so already.
    pub fn forget_unread(&mut self, upto: Offset, mut see: impl FnMut(Message<'_>, bool)) {
        let length = self.len();
        while self.read == 0
            && let Some(first) = self.front().filter(|first| first.offset <= upto)
        {
            see(first, self.heads[0].is_cut);
            self.pop_front();
        }
        // Behind what was read, of which some stands in the first of these chunks: that one stays.
        let ((mut chunk, mut from), mut forgotten) = (self.unread_place(), self.read_len());
        while let Some(found) = self.chunks.get_mut(chunk).filter(|_| self.read > 0) {
            let mut to = from;
            while to < found.end()
                && let Some(head) = self.heads.get(forgotten).filter(|head| head.offset <= upto)
            {
                let start = found.begin(to, head.length());
                see(head.with(found.get(start, head.length())), head.is_cut);
                to = start + head.length();
                forgotten += 1;
                self.bytes -= head.length();
            }
            let is_last = to < found.end();
            found.cut(from, to, self.heads.range(forgotten..).map(|head| head.length()));
            if is_last {
                break;
            }
            if found.is_empty() {
                self.held -= found.size();
                self.chunks.remove(chunk).into_iter().for_each(Chunk::recycle);
            } else {
                chunk += 1;
            }
            from = self.chunks.get(chunk).map_or(0, |next| next.start);
        }
        self.heads.drain(self.read_len()..forgotten);
        if self.len() < length {
            match self.heads.get_mut(self.read as usize) {
                Some(next) => next.is_cut = true,
                None => self.is_cut = true,
            }
        }
    }

    /// Forgets all messages.
    pub fn clear(&mut self) {
        while let Some(chunk) = self.chunks.pop_front() {
            chunk.recycle();
        }
        *self = Self::default();
    }

    /// Makes all messages unread.
    pub fn rewind(&mut self) {
        (self.read, self.read_bytes) = (0, 0);
        self.unread = (0, self.first_start());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        PutBack(usize),
        Read,
        Pop,
        Rewind,
        Forget(u64),
        Shrink,
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![8 => 1..2000_usize, 1 => 16_000..70_000_usize];
        prop_oneof![
            8 => size.clone().prop_map(Step::Push),
            1 => size.prop_map(Step::PutBack),
            5 => Just(Step::Read),
            6 => Just(Step::Pop),
            1 => Just(Step::Rewind),
            1 => (0..40_u64).prop_map(Step::Forget),
            2 => Just(Step::Shrink),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_a_list_with_a_mark(steps in prop::collection::vec(step(), 0..200)) {
            let (mut queue, mut model, mut read) = (Queue::default(), VecDeque::new(), 0);
            for (number, step) in (1..).zip(&steps) {
                let message = |size: usize| (Offset(number), Seq(number / 2), vec![number as u8; size]);
                let view = |message: &(Offset, Seq, Vec<u8>)| (message.0, message.1, message.2.clone());
                let seen = |message: Message<'_>| (message.offset, message.seq, message.json.to_vec());
                match *step {
                    Step::Push(size) => {
                        let (offset, seq, json) = message(size);
                        queue.push_back(Message { offset, seq, json: &json });
                        model.push_back((offset, seq, json));
                    }
                    Step::PutBack(size) => {
                        let (offset, seq, json) = message(size);
                        queue.rewind();
                        queue.push_front(Message { offset, seq, json: &json });
                        model.push_front((offset, seq, json));
                        read = 0;
                    }
                    Step::Read => {
                        let place = queue.read().map(|(place, message)| (place, seen(message)));
                        let json = place.as_ref().map(|(place, _)| queue.json(*place));
                        prop_assert_eq!(json, model.get(read).map(|message| &message.2[..]));
                        prop_assert_eq!(place.map(|(_, message)| message), model.get(read).map(view));
                        read = (read + 1).min(model.len());
                    }
                    Step::Pop => {
                        prop_assert_eq!(queue.front().map(seen), model.pop_front());
                        queue.pop_front();
                        read = read.saturating_sub(1);
                    }
                    Step::Rewind => {
                        queue.rewind();
                        read = 0;
                    }
                    Step::Forget(back) => {
                        let upto = Offset(number.saturating_sub(back));
                        let mut forgotten = Vec::new();
                        queue.forget_unread(upto, |message, _| forgotten.push(seen(message)));
                        let kept = model.iter().skip(read).position(|message| message.0 > upto);
                        let dropped = model.drain(read..kept.map_or(model.len(), |kept| read + kept));
                        prop_assert_eq!(forgotten, dropped.collect::<Vec<_>>());
                    }
                    Step::Shrink => {
                        queue.shrink();
                        prop_assert!(queue.held <= HELD * queue.cost(), "{} of {}", queue.held, queue.cost());
                    }
                }
                prop_assert_eq!(queue.unread().map(seen), model.get(read).map(view));
                let size = |messages: &mut dyn Iterator<Item = &(Offset, Seq, Vec<u8>)>| {
                    messages.map(|message| message.2.len()).sum::<usize>()
                };
                prop_assert_eq!(queue.held, queue.chunks.iter().map(Chunk::size).sum::<usize>());
                prop_assert_eq!((queue.len(), queue.bytes()), (model.len(), size(&mut model.iter())));
                prop_assert_eq!((queue.read_len(), queue.read_bytes()), (read, size(&mut model.iter().take(read))));
            }
        }
    }

    #[test]
    fn what_is_left_of_a_long_queue_keeps_what_it_needs() {
        let room = |queue: &Queue| (queue.held, queue.heads.capacity(), queue.chunks.capacity());
        for read in [false, true] {
            let mut queue = Queue::default();
            let json = |number: u64| number.to_string().into_bytes();
            for number in 1..=10_000 {
                queue.push_back(Message { offset: Offset(number), seq: Seq(number), json: &json(number) });
            }
            while read && queue.read().is_some() {}
            for left in (0..10_000).rev() {
                queue.pop_front();
                queue.shrink();
                let ((held, heads, chunks), few) = (room(&queue), |count: usize| 4 * count + 3);
                assert!(held <= HELD * queue.cost(), "{held} bytes for {left} messages");
                assert!(heads <= ROOM.max(few(queue.len())), "{heads} places for {left} messages");
                assert!(chunks <= ROOM_FOR_CHUNKS.max(few(queue.chunks.len())), "{chunks} places for chunks");
                let last = queue.front().map(|first| (first.offset, first.json.to_vec()));
                assert_eq!(last, (left > 0).then(|| (Offset(10_001 - left), json(10_001 - left))));
            }
            assert_eq!(room(&queue), (0, 0, 0));
        }
    }

    #[test]
    fn a_queue_that_grows_is_not_shrunk() {
        let (mut queue, json) = (Queue::default(), [b'x'; 100]);
        for number in 1..=5000 {
            queue.push_back(Message { offset: Offset(number), seq: Seq(1), json: &json });
            assert!(queue.held <= HELD * queue.cost(), "{} bytes for {number} messages", queue.held);
        }
    }

    #[test]
    fn costs_little_beside_its_messages() {
        let mut queue = Queue::default();
        let json = [b'x'; 514];
        for _ in 0..5000 {
            queue.push_back(Message { offset: Offset(1), seq: Seq(1), json: &json });
        }
        let chunks: usize = queue.chunks.iter().map(Chunk::size).sum();
        let held = chunks + queue.heads.capacity() * size_of::<Head>();
        assert!(held < 5000 * (512 + Limits::MESSAGE_OVERHEAD), "{held}");
    }
}
