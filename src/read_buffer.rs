//! The buffer that a thread's connections read into, and slices of it that are shared.
//!
//! All connections of a thread read into one buffer, so an idle connection has none. A long message is not copied to
//! the recipient's outbox: the outbox keeps a [`ReadSlice`] and writes the message from where it was read. While slices
//! of a buffer are shared it is not filled again; its thread takes a new one.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of the buffer: one read of [`Limits::TURN_BYTES`](crate::limits::Limits::TURN_BYTES), and the beginning of a
/// frame before it.
pub const SIZE: usize = 176 * 1024;

thread_local! {
    static BUFFER: RefCell<Arc<Buffer>> = RefCell::new(Buffer::new());
}

/// The owner of a buffer's bytes. Not a `Box`, which claims exclusive access to all of them: while [`fill`] writes some,
/// shared ones are read, through this same pointer.
struct Buffer(NonNull<[u8]>);

#[expect(unsafe_code, reason = "a slice that one thread has read and shared is read by another")]
// SAFETY: it owns its bytes, so any thread may free them.
unsafe impl Send for Buffer {}

#[expect(unsafe_code, reason = "a slice that one thread has read and shared is read by another")]
// SAFETY: only `fill` writes the bytes, on the thread that reads into them, and it does not write shared ones.
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
        #[expect(unsafe_code, reason = "it owns its bytes through a raw pointer")]
        // SAFETY: the pointer came from a box in `new`, and every reader and writer of the bytes holds an `Arc` of this.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A shared slice of a read buffer. While it exists, the buffer is not filled again.
pub struct ReadSlice {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Deref for ReadSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "the rest of the buffer may be written meanwhile")]
        // SAFETY: the caller of `share` promised that these bytes are not written, and the range is within the buffer.
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

/// Calls `read` with this thread's buffer to fill. `read` gets a reference to the slice so that it can split shared
/// pieces off: a slice that contains shared bytes must not be used any more, nor be an argument of a function that is
/// still running.
pub fn fill<T>(read: impl FnOnce(&mut &mut [u8]) -> T) -> T {
    let buffer = BUFFER.with_borrow_mut(|buffer| {
        if Arc::get_mut(buffer).is_none() {
            *buffer = Buffer::new();
        }
        Arc::clone(buffer)
    });
    #[expect(unsafe_code, reason = "bytes that are shared meanwhile are read at the same time")]
    // SAFETY: this was the only owner of the buffer, and a nested `fill` finds that it is not. Bytes that are shared
    // meanwhile are read through the buffer's own pointer, and this slice is then used for the others only.
    let mut bytes = unsafe { &mut *buffer.0.as_ptr() };
    read(&mut bytes)
}

/// Shares these bytes, or returns `None` when they are not in this thread's buffer.
///
/// # Safety
/// If the buffer is being filled, these bytes are not written any more, and no exclusive slice that contains them is used
/// any more or is an argument of a function that is still running.
#[expect(unsafe_code, reason = "the compiler cannot see that the bytes outlive the call of `fill`")]
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

    #[expect(unsafe_code, reason = "the tested function is unsafe")]
    fn share_hello() -> ReadSlice {
        fill(|buffer| {
            buffer[7..12].copy_from_slice(b"hello");
            // SAFETY: the bytes are not written again.
            unsafe { share(&buffer[7..12]) }.expect("in the buffer")
        })
    }

    #[test]
    fn shared_slices_outlive_the_next_read_and_cross_threads() {
        let (first, second) = (share_hello(), share_hello());
        fill(|buffer| buffer.fill(0));
        assert_eq!(*second, *b"hello");
        std::thread::spawn(move || assert_eq!(*first, *b"hello")).join().expect("the same bytes");
    }

    #[test]
    #[expect(unsafe_code, reason = "the tested function is unsafe")]
    fn shared_slices_are_read_while_the_rest_is_written() {
        fill(|buffer| {
            let hello = buffer.split_off_mut(..5).expect("five bytes");
            hello.copy_from_slice(b"hello");
            let hello: &[u8] = hello;
            // SAFETY: the bytes are split off, and not written again.
            let shared = unsafe { share(hello) }.expect("in the buffer");
            assert_eq!(*shared, *b"hello");
            let reader = std::thread::spawn(move || assert_eq!(*shared, *b"hello"));
            buffer.fill(0);
            assert_eq!(*hello, *b"hello");
            reader.join().expect("the same bytes");
        });
    }

    #[test]
    fn reuses_the_buffer_when_nothing_is_shared() {
        let first = fill(|buffer| buffer.as_ptr().addr());
        let shared = share_hello();
        assert_eq!(shared.as_ptr().addr(), first + 7);
        drop(shared);
        assert_eq!(fill(|buffer| buffer.as_ptr().addr()), first);
    }

    #[test]
    #[expect(unsafe_code, reason = "the tested function is unsafe")]
    fn does_not_share_bytes_outside_the_buffer() {
        // SAFETY: the bytes are constant.
        assert!(unsafe { share(b"elsewhere") }.is_none());
    }
}
