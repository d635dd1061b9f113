//! The memory that messages stand in, and what of it is kept for the next queue.

use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::LONG_MESSAGE_BYTES;
use crate::copy;

/// Chunks of a long queue are pages of their own, which go back to the system when they have been read. From the heap
/// they would not: something small always lies behind them.
pub const MAPPED: usize = 64 * 1024;
/// Such chunks that are kept for the next queue that needs one, as long as queues do.
const SPARE_CHUNKS: usize = 256;

/// JSON strings back to back.
#[derive(Debug)]
pub struct Chunk {
    memory: Memory,
    /// Where the first begins that was not forgotten.
    pub start: usize,
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
    /// The fewest that there were since [`release_spare_chunks`] was called.
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
pub fn release_spare_chunks() {
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
    /// One with room for at least a string of so many bytes.
    pub fn new(size: usize) -> Self {
        let size = if size >= MAPPED { size.next_multiple_of(copy::CACHE_LINE) } else { size };
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

    /// Where the last string ends.
    pub fn end(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.len(),
            Memory::Mapped { length, .. } => *length,
        }
    }

    /// How many bytes it takes up.
    pub fn size(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.capacity(),
            Memory::Mapped { pages, .. } => pages.len(),
        }
    }

    /// Whether another string of so many bytes has room.
    pub fn has_room(&self, length: usize) -> bool {
        self.begin(self.end(), length) + self.span(length) <= self.size()
    }

    /// Where a string of so many bytes begins that is the next from `at` on. In pages of its own, a long one begins with
    /// a line of the caches, so that the processor need not read the lines that it is written to.
    pub fn begin(&self, at: usize, length: usize) -> usize {
        if self.is_in_lines(length) { at.next_multiple_of(copy::CACHE_LINE) } else { at }
    }

    /// What is written from there on.
    fn span(&self, length: usize) -> usize {
        if self.is_in_lines(length) { length.next_multiple_of(copy::CACHE_LINE) } else { length }
    }

    fn is_in_lines(&self, length: usize) -> bool {
        length >= LONG_MESSAGE_BYTES && matches!(self.memory, Memory::Mapped { .. })
    }

    /// Whether all strings were forgotten.
    pub fn is_empty(&self) -> bool {
        self.start == self.end()
    }

    /// The bytes at this place.
    pub fn get(&self, start: usize, length: usize) -> &[u8] {
        &self.bytes()[start..start + length]
    }

    /// Adds a string, for which there is room.
    #[inline]
    pub fn push(&mut self, json: &[u8]) {
        let start = self.begin(self.end(), json.len());
        let room = start..start + self.span(json.len());
        let is_long = json.len() >= LONG_MESSAGE_BYTES;
        match &mut self.memory {
            Memory::Heap(all) if is_long => copy::append_nontemporal(json, all),
            Memory::Heap(all) => copy::append(json, all),
            Memory::Mapped { pages, length } => {
                if is_long {
                    copy::fill_lines_nontemporal(json, &mut pages[room]);
                } else {
                    copy::fill(json, &mut pages[room]);
                }
                *length = start + json.len();
            }
        }
    }

    /// Closes the gap where strings stood, behind which those of these `lengths` stand.
    pub fn cut(&mut self, from: usize, to: usize, lengths: impl Iterator<Item = usize>) {
        let (mut old, mut new) = (to, from);
        for length in lengths {
            if old == self.end() {
                break;
            }
            let (start, place) = (self.begin(old, length), self.begin(new, length));
            let bytes = match &mut self.memory {
                Memory::Heap(bytes) => bytes,
                Memory::Mapped { pages, .. } => &mut pages[..],
            };
            bytes.copy_within(start..start + length, place);
            (old, new) = (start + length, place + length);
        }
        match &mut self.memory {
            Memory::Heap(bytes) => bytes.truncate(new),
            Memory::Mapped { length, .. } => *length = new,
        }
    }

    /// Keeps its pages for the next of its size, unless so many come back and none is needed that nobody waits for them.
    pub fn recycle(self) {
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
