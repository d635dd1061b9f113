//! What a thread has read last: one buffer for all its connections.

use std::cell::{RefCell, UnsafeCell};
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes of the buffer.
pub const SIZE: usize = 176 * 1024;

thread_local! {
    static BUFFER: RefCell<Arc<Buffer>> = RefCell::new(Buffer::new());
}

struct Buffer(UnsafeCell<Box<[u8]>>);

#[expect(unsafe_code, reason = "what one thread has read and lent is written by another")]
// SAFETY: it is written only in `fill`, by the thread that reads into it, and what is lent is not written.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(vec![0; SIZE].into())))
    }
}

/// Bytes that were read, where they were read. As long as there are any, that buffer is not filled again.
pub struct Lent {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "the rest of the buffer may be written")]
        // SAFETY: whoever lent it has promised that these bytes are not, and the range is one of the buffer.
        unsafe {
            let start = (*self.buffer.0.get()).as_ptr().add(self.range.start);
            std::slice::from_raw_parts(start, self.range.len())
        }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.range).finish()
    }
}

/// Lets `read` fill the buffer.
pub fn fill<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    let buffer = BUFFER.with_borrow_mut(|buffer| {
        if Arc::get_mut(buffer).is_none() {
            *buffer = Buffer::new();
        }
        Arc::clone(buffer)
    });
    #[expect(unsafe_code, reason = "what is lent meanwhile is read at the same time")]
    // SAFETY: nobody else had it, and who fills on this thread meanwhile finds that somebody has. What is lent meanwhile
    // is not written.
    read(unsafe { &mut *buffer.0.get() })
}

/// Lends these bytes, if they are in this thread's buffer.
///
/// # Safety
/// Whoever fills the buffer, if somebody does, does not write to them any more.
#[expect(unsafe_code, reason = "the compiler does not see that they outlive what fills the buffer")]
pub unsafe fn lend(bytes: &[u8]) -> Option<Lent> {
    BUFFER.with_borrow(|buffer| {
        // SAFETY: only a pointer, which never changes, is read.
        let first = unsafe { (*buffer.0.get()).as_ptr() };
        let start = bytes.as_ptr().addr().checked_sub(first.addr())?;
        let end = start + bytes.len();
        (end <= SIZE).then(|| Lent { buffer: Arc::clone(buffer), range: start..end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "it is what is tested")]
    fn lend_hello() -> Lent {
        fill(|buffer| {
            buffer[7..12].copy_from_slice(b"hello");
            // SAFETY: it is not written again.
            unsafe { lend(&buffer[7..12]) }.expect("in the buffer")
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
        assert!(unsafe { lend(b"elsewhere") }.is_none());
    }
}
