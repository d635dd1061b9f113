//! Chunks: the memory that a queue's JSON strings lie in.

use super::LONG_MESSAGE_BYTES;
use crate::copy;

/// JSON strings back to back.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// Where the first string that was not removed begins.
    pub start: usize,
}

impl Chunk {
    /// Returns an empty chunk with room for a string of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { bytes: Vec::with_capacity(size), start: 0 }
    }

    /// Returns where the last string ends.
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes that the chunk takes up.
    pub fn size(&self) -> usize {
        self.bytes.capacity()
    }

    /// Returns whether there is room for another string of `length` bytes.
    pub fn has_room(&self, length: usize) -> bool {
        self.end() + length <= self.size()
    }

    /// Returns whether all strings were removed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end()
    }

    /// Returns `length` bytes from `start` on.
    pub fn get(&self, start: usize, length: usize) -> &[u8] {
        &self.bytes[start..start + length]
    }

    /// Adds a string. There must be room for it.
    #[inline]
    pub fn push(&mut self, json: &[u8]) {
        if json.len() >= LONG_MESSAGE_BYTES {
            copy::append_nontemporal(json, &mut self.bytes);
        } else {
            copy::append(json, &mut self.bytes);
        }
    }

    /// Removes the strings between `from` and `to`, and closes the gap.
    pub fn remove(&mut self, from: usize, to: usize) {
        self.bytes.drain(from..to);
    }
}
