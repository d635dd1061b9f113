//! Returns freed memory to the system where the allocator would keep it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes from which a buffer counts. The allocator reuses smaller ones.
const LARGE: usize = 64 * 1024;

static FREED: AtomicUsize = AtomicUsize::new(0);

/// Records that a buffer of `bytes` bytes is being freed.
pub fn count_freed(bytes: usize) {
    if bytes >= LARGE {
        FREED.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Returns the bytes of all large buffers that were ever freed in this process, which has one allocator.
pub fn freed() -> usize {
    FREED.load(Ordering::Relaxed)
}

/// Asks the allocator to return free memory to the system. To be called rarely, after much was freed: it walks the whole
/// heap.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    {
        #[expect(unsafe_code, reason = "a call of the C library")]
        // SAFETY: it has no preconditions. Its result, whether it returned something, is not needed.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
