//! Gives memory that is free back to the system, where its allocator would keep it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Smaller buffers are found again, and few of them lie behind something that stays.
const LARGE: usize = 64 * 1024;

static FREED: AtomicUsize = AtomicUsize::new(0);

/// A buffer of so many bytes is freed.
pub fn count_freed(bytes: usize) {
    if bytes >= LARGE {
        FREED.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bytes of large buffers that were ever freed, in the whole process, as its allocator is one.
pub fn freed() -> usize {
    FREED.load(Ordering::Relaxed)
}

/// To be called when much was freed, and rarely: it looks at all that is allocated.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    {
        #[expect(unsafe_code, reason = "the allocator's own call")]
        // SAFETY: it has no conditions. It says whether there was something to give back.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
