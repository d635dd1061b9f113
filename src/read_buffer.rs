//! What a thread has read last: one buffer for all its connections.

use std::cell::{Cell, RefCell};
use std::ops::Range;

/// Bytes of the buffer.
pub const SIZE: usize = 176 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into());
    /// How often it was filled, and where it begins while it is in use.
    static FILLED: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// Where something stands in the buffer until the next read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    filled: u64,
    start: usize,
    end: usize,
}

impl Place {
    /// The place of these bytes, if they are in this thread's buffer.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (filled, buffer) = FILLED.get();
        let start = bytes.as_ptr().addr().checked_sub(buffer)?;
        let end = start + bytes.len();
        (end <= SIZE).then_some(Self { filled, start, end })
    }

    /// Where to find it in what [`look`] shows; `None` after another read, or on another thread.
    pub fn range(self) -> Option<Range<usize>> {
        (self.filled == FILLED.get().0).then_some(self.start..self.end)
    }
}

/// Lets `read` fill the buffer.
pub fn fill<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        FILLED.set((FILLED.get().0 + 1, buffer.as_ptr().addr()));
        read(buffer)
    })
}

/// Shows what was read last.
pub fn look<T>(see: impl FnOnce(&[u8]) -> T) -> T {
    BUFFER.with_borrow(|buffer| see(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_good_until_the_next_read() {
        let place = fill(|buffer| {
            buffer[7..12].copy_from_slice(b"hello");
            Place::of(&buffer[7..12]).expect("in the buffer")
        });
        assert_eq!(look(|bytes| bytes[place.range().expect("still there")].to_vec()), b"hello");
        fill(|_| {});
        assert_eq!(place.range(), None);
        assert_eq!(Place::of(b"elsewhere").and_then(Place::range), None);
    }
}
