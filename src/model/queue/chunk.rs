//! Chunks: the memory that a queue's JSON strings lie in, and spare ones for the next queue.

use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::LONG_MESSAGE_BYTES;
use crate::copy;

/// Bytes of a chunk of a long queue. Such chunks are mapped pages, which return to the system when the chunk is freed. Heap
/// memory would not: something small always lies behind it.
pub const MAPPED_CHUNK_BYTES: usize = 64 * 1024;
/// Mapped chunks that are kept for the next queue, while queues need them.
const SPARE_CHUNKS: usize = 256;

/// JSON strings back to back.
#[derive(Debug)]
pub struct Chunk {
    memory: Memory,
    /// Where the first string that was not removed begins.
    pub start: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Mapped { pages: MmapMut, length: usize },
}

/// Mapped chunks that are not in use.
#[derive(Debug)]
struct Spare {
    chunks: Vec<MmapMut>,
    /// Chunks that were recycled since one was last taken.
    recycled: usize,
    /// The lowest number of chunks since the last call of [`release_spare_chunks`].
    least: usize,
}

static SPARE: Mutex<Spare> = Mutex::new(Spare { chunks: Vec::new(), recycled: 0, least: 0 });

impl Spare {
    fn take(&mut self) -> Option<MmapMut> {
        self.recycled = 0;
        let chunk = self.chunks.pop();
        self.least = self.least.min(self.chunks.len());
        chunk
    }
}

fn spare() -> MutexGuard<'static, Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the spare chunks to the system that were not needed since the last call. To be called periodically.
pub fn release_spare_chunks() {
    let mut spare = spare();
    let unused = spare.least.min(spare.chunks.len());
    // The chunks at the end were used last.
    let surplus: Vec<_> = spare.chunks.drain(..unused).collect();
    spare.least = spare.chunks.len();
    // Unmapping takes long: not under the lock.
    drop(spare);
    drop(surplus);
}

impl Chunk {
    /// Returns an empty chunk with room for a string of `size` bytes.
    pub fn new(size: usize) -> Self {
        let size = if size >= MAPPED_CHUNK_BYTES { size.next_multiple_of(copy::CACHE_LINE) } else { size };
        let memory = match size >= MAPPED_CHUNK_BYTES {
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

    /// Returns where the last string ends.
    pub fn end(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.len(),
            Memory::Mapped { length, .. } => *length,
        }
    }

    /// Returns the bytes that the chunk takes up.
    pub fn size(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.capacity(),
            Memory::Mapped { pages, .. } => pages.len(),
        }
    }

    /// Returns whether there is room for another string of `length` bytes.
    pub fn has_room(&self, length: usize) -> bool {
        self.begin(self.end(), length) + self.span(length) <= self.size()
    }

    /// Returns where the next string from `at` on begins if it has `length` bytes. In mapped pages a long string begins at a
    /// cache line, so that the processor does not have to read the lines it is written to.
    pub fn begin(&self, at: usize, length: usize) -> usize {
        if self.is_line_aligned(length) { at.next_multiple_of(copy::CACHE_LINE) } else { at }
    }

    /// Returns the bytes that a string of `length` bytes takes from its beginning on.
    fn span(&self, length: usize) -> usize {
        if self.is_line_aligned(length) { length.next_multiple_of(copy::CACHE_LINE) } else { length }
    }

    fn is_line_aligned(&self, length: usize) -> bool {
        length >= LONG_MESSAGE_BYTES && matches!(self.memory, Memory::Mapped { .. })
    }

    /// Returns whether all strings were removed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end()
    }

    /// Returns `length` bytes from `start` on.
    pub fn get(&self, start: usize, length: usize) -> &[u8] {
        &self.bytes()[start..start + length]
    }

    /// Adds a string. There must be room for it.
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

    /// Removes the strings between `from` and `to`, and moves the ones after them, which have these `lengths`, there.
    pub fn remove(&mut self, from: usize, to: usize, lengths: impl Iterator<Item = usize>) {
        let (mut old, mut new) = (to, from);
        for length in lengths {
            if old == self.end() {
                break;
            }
            let (start, target) = (self.begin(old, length), self.begin(new, length));
            let bytes = match &mut self.memory {
                Memory::Heap(bytes) => bytes,
                Memory::Mapped { pages, .. } => &mut pages[..],
            };
            bytes.copy_within(start..start + length, target);
            (old, new) = (start + length, target + length);
        }
        match &mut self.memory {
            Memory::Heap(bytes) => bytes.truncate(new),
            Memory::Mapped { length, .. } => *length = new,
        }
    }

    /// Keeps the pages for another chunk, unless many were recycled since one was last needed.
    pub fn recycle(self) {
        let Memory::Mapped { pages, .. } = self.memory else { return };
        if pages.len() != MAPPED_CHUNK_BYTES {
            return;
        }
        let mut surplus = Vec::new();
        let mut spare = spare();
        spare.recycled += 1;
        if spare.recycled > SPARE_CHUNKS {
            surplus = std::mem::take(&mut spare.chunks);
        }
        if spare.recycled <= SPARE_CHUNKS && spare.chunks.len() < SPARE_CHUNKS {
            spare.chunks.push(pages);
        } else {
            surplus.push(pages);
        }
        // Unmapping takes long: not under the lock.
        drop(spare);
        drop(surplus);
    }
}

/// Returns pages of at least `size` bytes, or `None` if the system has none.
fn map(size: usize) -> Option<MmapMut> {
    let kept = if size == MAPPED_CHUNK_BYTES { spare().take() } else { None };
    kept.or_else(|| MmapMut::map_anon(size).ok())
}
