//! Gives memory that is free back to the system, where its allocator would keep it.

/// To be called when much was freed, and rarely: it looks at all that is allocated.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the allocator's own call; it has no conditions")]
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // Whether there was something to give back.
        let _ = malloc_trim(0);
    }
}
