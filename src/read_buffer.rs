//! What a thread has read last: one buffer for all its connections.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of the buffer.
pub const SIZE: usize = 176 * 1024;

thread_local! {
    static BUFFER: RefCell<Arc<Buffer>> = RefCell::new(Buffer::new());
}

/// Owns its bytes as a `Box` would, but claims no exclusive access to them: while [`fill`] writes to some of them, others
/// that are lent are read, through this same pointer.
struct Buffer(NonNull<[u8]>);

#[expect(unsafe_code, reason = "bytes that one thread has read and lent are read by another")]
// SAFETY: it owns its bytes, so any thread may free them.
unsafe impl Send for Buffer {}

#[expect(unsafe_code, reason = "bytes that one thread has read and lent are read by another")]
// SAFETY: the bytes are written only in `fill`, by the thread that reads into them, and lent bytes are not written.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new() -> Arc<Self> {
        Arc::new(Self(NonNull::from(Box::leak(vec![0; SIZE].into_boxed_slice()))))
    }

    fn start(&self) -> *const u8 {
        self.0.cast().as_ptr()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "it owns its bytes by a pointer")]
        // SAFETY: the pointer came from a box in `new`, and whoever reads or writes the bytes has an `Arc` of this.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Bytes that were read, where they were read. As long as there are any, that buffer is not filled again.
pub struct ReadSlice {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Deref for ReadSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "the rest of the buffer may be written")]
        // SAFETY: whoever lent it has promised that these bytes are not, and the range is one of the buffer.
        unsafe {
            std::slice::from_raw_parts(self.buffer.start().add(self.range.start), self.range.len())
        }
    }
}

impl fmt::Debug for ReadSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadSlice").field(&self.range).finish()
    }
}

/// Lets `read` fill the buffer. It is given a reference to the slice so that it can cut pieces off: a slice that contains
/// lent bytes must not be used any more, nor be an argument of a function that is still running.
pub fn fill<T>(read: impl FnOnce(&mut &mut [u8]) -> T) -> T {
    let buffer = BUFFER.with_borrow_mut(|buffer| {
        if Arc::get_mut(buffer).is_none() {
            *buffer = Buffer::new();
        }
        Arc::clone(buffer)
    });
    #[expect(unsafe_code, reason = "bytes that are lent meanwhile are read at the same time")]
    // SAFETY: nobody else had the buffer, and a `fill` inside this one finds that somebody has. Bytes that are lent
    // meanwhile are read through the buffer's own pointer, and this slice is then used for the others only.
    let mut bytes = unsafe { &mut *buffer.0.as_ptr() };
    read(&mut bytes)
}

/// Lends these bytes, if they are in this thread's buffer.
///
/// # Safety
/// If the buffer is being filled, these bytes are not written any more, and no exclusive slice that contains them is used
/// any more or is an argument of a function that is still running.
#[expect(unsafe_code, reason = "the compiler does not see that they outlive what fills the buffer")]
pub unsafe fn share(bytes: &[u8]) -> Option<ReadSlice> {
    BUFFER.with_borrow(|buffer| {
        let start = bytes.as_ptr().addr().checked_sub(buffer.start().addr())?;
        let end = start + bytes.len();
        (end <= SIZE).then(|| ReadSlice { buffer: Arc::clone(buffer), range: start..end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "it is what is tested")]
    fn lend_hello() -> ReadSlice {
        fill(|buffer| {
            buffer[7..12].copy_from_slice(b"hello");
            // SAFETY: it is not written again.
            unsafe { share(&buffer[7..12]) }.expect("in the buffer")
        })
    }

    #[test]
    fn what_is_lent_outlives_the_next_read_and_goes_to_other_threads() {
        let (lent, again) = (lend_hello(), lend_hello());
        fill(|buffer| buffer.fill(0));
        assert_eq!(*again, *b"hello");
        std::thread::spawn(move || assert_eq!(*lent, *b"hello")).join().expect("the same there");
    }

    #[test]
    #[expect(unsafe_code, reason = "it is what is tested")]
    fn what_is_lent_is_read_while_the_rest_is_written() {
        fill(|buffer| {
            let hello = buffer.split_off_mut(..5).expect("so many");
            hello.copy_from_slice(b"hello");
            let hello: &[u8] = hello;
            // SAFETY: it is cut off, and not written again.
            let lent = unsafe { share(hello) }.expect("in the buffer");
            assert_eq!(*lent, *b"hello");
            let there = std::thread::spawn(move || assert_eq!(*lent, *b"hello"));
            buffer.fill(0);
            assert_eq!(*hello, *b"hello");
            there.join().expect("the same there");
        });
    }

    #[test]
    fn the_buffer_is_filled_again_when_nothing_is_lent() {
        let first = fill(|buffer| buffer.as_ptr().addr());
        let lent = lend_hello();
        assert_eq!(lent.as_ptr().addr(), first + 7);
        drop(lent);
        assert_eq!(fill(|buffer| buffer.as_ptr().addr()), first);
    }

    #[test]
    #[expect(unsafe_code, reason = "it is what is tested")]
    fn what_stands_elsewhere_is_not_lent() {
        // SAFETY: nobody writes to it.
        assert!(unsafe { share(b"elsewhere") }.is_none());
    }
}
