//! Messages back to back, in chunks, with a mark between those that were read and the unread.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use crate::copy;
use crate::ids::{Offset, Seq};

/// What stands before each message: its offset, its number and its length.
const HEADER: usize = 8 + 8 + 4;

/// The largest chunk from the heap. The first is as big as its message, each other as what the queue holds already.
const LARGEST: usize = 16 * 1024;
/// Chunks of a long queue are pages of their own, which go back to the system when they have been read. From the heap
/// they would not: something small always lies behind them.
const MAPPED: usize = 64 * 1024;
/// Such chunks that are kept for the next queue that needs one, as long as queues do.
const SPARE_CHUNKS: usize = 256;

/// Messages from this length on are kept out of the caches: they are read again only when they could not be written at
/// once, or must be written once more.
pub const LONG: usize = 4096;

/// Messages in order.
#[derive(Debug, Default)]
pub struct Queue {
    chunks: VecDeque<Chunk>,
    /// Where the unread begin: in which chunk, at which byte of it.
    unread: (usize, usize),
    messages: usize,
    /// Bytes of all messages.
    bytes: usize,
    read: usize,
    /// Bytes of those.
    read_bytes: usize,
}

/// A message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its place in the mailbox.
    pub offset: Offset,
    /// Its number, 0 from a plain sender.
    pub seq: Seq,
    /// Its JSON string.
    pub json: &'a [u8],
}

/// Where a message stands, as long as none before it is forgotten or put back.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    chunk: usize,
    /// Where its JSON string begins.
    start: usize,
    /// Bytes of it.
    pub length: usize,
}

#[derive(Debug)]
struct Chunk {
    memory: Memory,
    start: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Mapped { pages: MmapMut, length: usize },
}

/// Chunks that nobody needs just now.
#[derive(Debug)]
struct Spare {
    chunks: Vec<MmapMut>,
    /// How many came back since one was needed.
    unneeded: usize,
    /// The fewest that there were since [`release_spare`] was called.
    least: usize,
}

static SPARE: Mutex<Spare> = Mutex::new(Spare { chunks: Vec::new(), unneeded: 0, least: 0 });

impl Spare {
    fn take(&mut self) -> Option<MmapMut> {
        self.unneeded = 0;
        let chunk = self.chunks.pop();
        self.least = self.least.min(self.chunks.len());
        chunk
    }
}

fn spare() -> MutexGuard<'static, Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives those chunks back to the system that nobody has needed since this was called last. To be called now and then.
pub fn release_spare() {
    let mut spare = spare();
    let unneeded = spare.least.min(spare.chunks.len());
    // Those that were needed last are the last ones.
    let surplus: Vec<_> = spare.chunks.drain(..unneeded).collect();
    spare.least = spare.chunks.len();
    // The system takes its time.
    drop(spare);
    drop(surplus);
}

impl Chunk {
    fn new(size: usize) -> Self {
        let memory = match size >= MAPPED {
            true => map(size).map(|pages| Memory::Mapped { pages, length: 0 }),
            false => None,
        };
        Self { memory: memory.unwrap_or_else(|| Memory::Heap(Vec::with_capacity(size))), start: 0 }
    }

    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(bytes) => bytes,
            Memory::Mapped { pages, length } => &pages[..*length],
        }
    }

    fn has_room(&self, size: usize) -> bool {
        match &self.memory {
            Memory::Heap(bytes) => bytes.capacity() - bytes.len() >= size,
            Memory::Mapped { pages, length } => pages.len() - length >= size,
        }
    }

    fn push(&mut self, Message { offset, seq, json }: Message<'_>) {
        let length = u32::try_from(json.len()).expect("no message is longer than 256 MiB");
        self.append(&offset.0.to_ne_bytes(), false);
        self.append(&seq.0.to_ne_bytes(), false);
        self.append(&length.to_ne_bytes(), false);
        self.append(json, json.len() >= LONG);
    }

    #[inline]
    fn append(&mut self, bytes: &[u8], aside: bool) {
        match &mut self.memory {
            Memory::Heap(all) if aside => copy::append_aside(bytes, all),
            Memory::Heap(all) => copy::append(bytes, all),
            Memory::Mapped { pages, length } => {
                let room = &mut pages[*length..*length + bytes.len()];
                if aside {
                    copy::fill_aside(bytes, room)
                } else {
                    copy::fill(bytes, room)
                }
                *length += bytes.len();
            }
        }
    }

    fn first(&self) -> Option<Message<'_>> {
        self.message(self.start)
    }

    /// The message that begins at this byte, if there is one.
    fn message(&self, at: usize) -> Option<Message<'_>> {
        let (offset, behind) = self.bytes()[at..].split_first_chunk()?;
        let (seq, behind) = behind.split_first_chunk()?;
        let (length, behind) = behind.split_first_chunk()?;
        let json = &behind[..u32::from_ne_bytes(*length) as usize];
        let (offset, seq) = (Offset(u64::from_ne_bytes(*offset)), Seq(u64::from_ne_bytes(*seq)));
        Some(Message { offset, seq, json })
    }

    /// Closes the gap where messages stood.
    fn cut(&mut self, from: usize, to: usize) {
        match &mut self.memory {
            Memory::Heap(bytes) => drop(bytes.drain(from..to)),
            Memory::Mapped { pages, length } => {
                pages.copy_within(to..*length, from);
                *length -= to - from;
            }
        }
    }

    /// Keeps its pages for the next of its size, unless so many come back and none is needed that nobody waits for them.
    fn recycle(self) {
        let Memory::Mapped { pages, .. } = self.memory else { return };
        if pages.len() != MAPPED {
            return;
        }
        let mut surplus = Vec::new();
        let mut spare = spare();
        spare.unneeded += 1;
        if spare.unneeded > SPARE_CHUNKS {
            surplus = std::mem::take(&mut spare.chunks);
        }
        if spare.unneeded <= SPARE_CHUNKS && spare.chunks.len() < SPARE_CHUNKS {
            spare.chunks.push(pages);
        } else {
            surplus.push(pages);
        }
        // The system takes its time.
        drop(spare);
        drop(surplus);
    }
}

/// Pages that are at least this many bytes, unless the system has none.
fn map(size: usize) -> Option<MmapMut> {
    let kept = if size == MAPPED { spare().take() } else { None };
    kept.or_else(|| MmapMut::map_anon(size).ok())
}

impl Queue {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of them were read.
    pub fn read_len(&self) -> usize {
        self.read
    }

    /// Bytes of those.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// Adds a message behind the others.
    pub fn push_back(&mut self, message: Message<'_>) {
        let size = HEADER + message.json.len();
        if self.chunks.back().is_none_or(|last| !last.has_room(size)) {
            let usual = match self.bytes.next_power_of_two() {
                long if long > LARGEST => MAPPED,
                short => short,
            };
            if self.chunks.is_empty() {
                // Most queues are empty again before they need a second.
                self.chunks.reserve_exact(1);
            }
            self.chunks.push_back(Chunk::new(usual.max(size)));
        }
        if let Some(last) = self.chunks.back_mut() {
            last.push(message);
        }
        self.messages += 1;
        self.bytes += message.json.len();
    }

    /// Adds a message before the others, all of which are unread.
    pub fn push_front(&mut self, message: Message<'_>) {
        debug_assert_eq!(self.read, 0, "what was read is before what is put back");
        let mut chunk = Chunk::new(HEADER + message.json.len());
        chunk.push(message);
        self.chunks.push_front(chunk);
        self.rewind();
        self.messages += 1;
        self.bytes += message.json.len();
    }

    /// The first message.
    pub fn front(&self) -> Option<Message<'_>> {
        self.chunks.front()?.first()
    }

    /// Forgets the first message.
    pub fn pop_front(&mut self) {
        let Some(length) = self.front().map(|message| message.json.len()) else { return };
        self.messages -= 1;
        self.bytes -= length;
        let first = &mut self.chunks[0];
        first.start += HEADER + length;
        if first.start == first.bytes().len() {
            self.chunks.pop_front().into_iter().for_each(Chunk::recycle);
            self.unread = match self.unread {
                (0, _) => (0, self.chunks.front().map_or(0, |next| next.start)),
                (chunk, at) => (chunk - 1, at),
            };
        }
        if self.messages == 0 {
            // An empty queue keeps nothing.
            *self = Self::default();
        } else if self.read == 0 {
            self.rewind();
        } else {
            self.read -= 1;
            self.read_bytes -= length;
        }
    }

    /// The first unread message.
    pub fn unread(&self) -> Option<Message<'_>> {
        let (chunk, at) = self.unread;
        // Behind the last byte of a chunk begins the next.
        self.chunks.get(chunk)?.message(at).or_else(|| self.chunks.get(chunk + 1)?.first())
    }

    /// Reads the first unread message.
    pub fn read(&mut self) -> Option<(Place, Message<'_>)> {
        let length = self.unread()?.json.len();
        if self.unread.1 == self.chunks[self.unread.0].bytes().len() {
            let next = self.unread.0 + 1;
            self.unread = (next, self.chunks[next].start);
        }
        let (chunk, at) = self.unread;
        self.unread.1 += HEADER + length;
        self.read += 1;
        self.read_bytes += length;
        let place = Place { chunk, start: at + HEADER, length };
        Some((place, self.chunks[chunk].message(at)?))
    }

    /// The JSON string of the message at this place.
    pub fn json(&self, Place { chunk, start, length }: Place) -> &[u8] {
        &self.chunks[chunk].bytes()[start..start + length]
    }

    /// Forgets the unread messages up to `upto`, each of which it shows to `see`.
    pub fn forget_unread(&mut self, upto: Offset, mut see: impl FnMut(Message<'_>)) {
        while self.read == 0
            && let Some(first) = self.front().filter(|first| first.offset <= upto)
        {
            see(first);
            self.pop_front();
        }
        // Behind what was read, of which some stands in the first of these chunks: that one stays.
        let (mut chunk, mut from) = self.unread;
        while let Some(found) = self.chunks.get_mut(chunk).filter(|_| self.read > 0) {
            let mut to = from;
            while let Some(message) = found.message(to).filter(|message| message.offset <= upto) {
                see(message);
                to += HEADER + message.json.len();
                self.messages -= 1;
                self.bytes -= message.json.len();
            }
            if to < found.bytes().len() {
                return found.cut(from, to);
            }
            found.cut(from, to);
            if found.start == found.bytes().len() {
                self.chunks.remove(chunk).into_iter().for_each(Chunk::recycle);
            } else {
                chunk += 1;
            }
            from = self.chunks.get(chunk).map_or(0, |next| next.start);
        }
    }

    /// Forgets all messages.
    pub fn clear(&mut self) {
        std::mem::take(self).chunks.into_iter().for_each(Chunk::recycle);
    }

    /// Makes all messages unread.
    pub fn rewind(&mut self) {
        (self.read, self.read_bytes) = (0, 0);
        self.unread = (0, self.chunks.front().map_or(0, |first| first.start));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        PutBack(usize),
        Read,
        Pop,
        Rewind,
        Forget(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![8 => 0..2000_usize, 1 => 16_000..70_000_usize];
        prop_oneof![
            8 => size.clone().prop_map(Step::Push),
            1 => size.prop_map(Step::PutBack),
            5 => Just(Step::Read),
            6 => Just(Step::Pop),
            1 => Just(Step::Rewind),
            1 => (0..40_u64).prop_map(Step::Forget),
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
                        queue.forget_unread(upto, |message| forgotten.push(seen(message)));
                        let kept = model.iter().skip(read).position(|message| message.0 > upto);
                        let dropped = model.drain(read..kept.map_or(model.len(), |kept| read + kept));
                        prop_assert_eq!(forgotten, dropped.collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(queue.unread().map(seen), model.get(read).map(view));
                let size = |messages: &mut dyn Iterator<Item = &(Offset, Seq, Vec<u8>)>| {
                    messages.map(|message| message.2.len()).sum::<usize>()
                };
                prop_assert_eq!((queue.len(), queue.bytes()), (model.len(), size(&mut model.iter())));
                prop_assert_eq!((queue.read_len(), queue.read_bytes()), (read, size(&mut model.iter().take(read))));
            }
        }
    }

    #[test]
    fn costs_little_beside_its_messages() {
        let mut queue = Queue::default();
        let json = [b'x'; 514];
        for _ in 0..5000 {
            queue.push_back(Message { offset: Offset(1), seq: Seq(1), json: &json });
        }
        let held: usize = queue
            .chunks
            .iter()
            .map(|chunk| match &chunk.memory {
                Memory::Heap(bytes) => bytes.capacity(),
                Memory::Mapped { pages, .. } => pages.len(),
            })
            .sum();
        assert!(held < 5000 * (512 + Limits::MESSAGE_OVERHEAD), "{held}");
    }
}
