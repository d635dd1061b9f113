//! Bytes on their way to a socket.

use std::io::IoSlice;

use crate::copy;
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::model::{ChunkPosition, LONG_MESSAGE_BYTES};
use crate::protocol::frame;
use crate::read_buffer::ReadSlice;

/// The most splices between two writes: as many long messages as are read in one turn.
pub(super) const MAX_SPLICES: usize = Limits::TURN_BYTES / LONG_MESSAGE_BYTES;

/// Frames back to back, of which the socket has taken a part. Long messages may be spliced in: they belong between these
/// bytes, but lie elsewhere.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    pub frames: Vec<u8>,
    splices: Vec<Splice>,
    /// How many of the bytes the socket has taken.
    written: u32,
    /// The low bits of the number of bytes that the socket has ever taken.
    pub bytes_written: u32,
}

/// A message that is not copied into the buffer.
#[derive(Debug)]
struct Splice {
    /// Where in the frames it belongs.
    at: usize,
    piece: Piece,
    /// Bytes of all spliced messages up to this one.
    total: usize,
}

/// Where a message is written from.
#[derive(Debug)]
pub(super) enum Piece {
    /// The buffer that it was read into, until the end of that turn.
    ReadBuffer(ReadSlice),
    /// Its sender's lane. Only between filling the outbox and writing it, under one lock.
    Lane(ClientId, ChunkPosition),
}

impl Piece {
    pub fn len(&self) -> usize {
        match self {
            Self::ReadBuffer(slice) => slice.len(),
            Self::Lane(_, position) => position.length,
        }
    }
}

impl SendBuffer {
    pub fn written(&self) -> usize {
        self.written as usize
    }

    /// Whether the socket has taken everything. Spliced messages are taken with the frames around them, or copied.
    pub fn is_written(&self) -> bool {
        self.written() == self.frames.len()
    }

    /// Returns the bytes of all frames, spliced messages included.
    pub fn len(&self) -> usize {
        self.frames.len() + self.spliced_bytes()
    }

    fn spliced_bytes(&self) -> usize {
        self.splices.last().map_or(0, |splice| splice.total)
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// Returns how many messages are spliced in.
    pub fn splices(&self) -> usize {
        self.splices.len()
    }

    /// Splices a message in at this place of the frames, behind all others.
    pub fn splice(&mut self, at: usize, piece: Piece) {
        let total = self.spliced_bytes() + piece.len();
        self.splices.push(Splice { at, piece, total });
    }

    /// Passes all pieces to `write` at once. Copies what it does not take.
    pub fn write_spliced<'a>(
        &mut self,
        json: impl Fn(ClientId, ChunkPosition) -> &'a [u8],
        write: impl FnOnce(&[IoSlice<'_>]) -> usize,
    ) {
        let length = self.len();
        let mut all = [IoSlice::new(&[]); 2 * MAX_SPLICES + 1];
        let mut start = self.written();
        for (Splice { at, piece, .. }, pair) in self.splices.iter().zip(all.chunks_exact_mut(2)) {
            let piece = match *piece {
                Piece::ReadBuffer(ref slice) => slice,
                Piece::Lane(sender, position) => json(sender, position),
            };
            pair.copy_from_slice(&[IoSlice::new(&self.frames[start..*at]), IoSlice::new(piece)]);
            start = *at;
        }
        let last = 2 * self.splices.len();
        all[last] = IoSlice::new(&self.frames[start..]);
        let pieces = &all[..=last];
        let bytes = write(pieces);
        let written = self.written() + bytes;
        self.bytes_written = self.bytes_written.wrapping_add(bytes as u32);
        if written < length {
            let before = &self.frames[..self.written()];
            let all = std::iter::once(before).chain(pieces.iter().map(|piece| &**piece));
            let mut frames = Vec::with_capacity(length);
            all.for_each(|piece| copy::append(piece, &mut frames));
            self.frames = frames;
            self.written = written as u32;
        } else {
            self.written = self.frames.len() as u32;
        }
        self.splices.clear();
    }

    /// Returns the bytes that the socket has not taken.
    pub fn unwritten(&self) -> &[u8] {
        debug_assert!(self.splices.is_empty(), "spliced messages were copied");
        &self.frames[self.written()..]
    }

    /// Notes that the socket has taken more bytes.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes as u32;
        self.bytes_written = self.bytes_written.wrapping_add(bytes as u32);
    }

    /// Gives memory back beyond `enough` bytes.
    pub fn shrink(&mut self, enough: usize) {
        if self.frames.capacity() > enough {
            self.frames.shrink_to_fit();
        }
    }

    pub fn clear(&mut self) {
        self.frames.clear();
        self.splices.clear();
        self.written = 0;
    }

    /// Drops the frames of which the socket has not taken a byte.
    pub fn drop_unwritten_frames(&mut self) {
        let mut end = 0;
        while end < self.written() {
            end += frame::length(&self.frames[end..]);
        }
        self.frames.truncate(end);
    }
}
