//! The allocator of the addon: mimalloc, which returns memory to the system as soon as a page is free.
//!
//! The C library keeps it: something small that stays always lies behind what was freed. A relay whose traffic has ended, or
//! whose queues have drained, would go on taking the memory of its busiest time.

use std::ffi::{c_int, c_long};

use libmimalloc_sys::mi_option_set;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2: milliseconds after which free pages are returned to the system.
const PURGE_DELAY: c_int = 15;

/// Makes the allocator return free pages at once. With its default of 10 ms it returns them at a later allocation, of which
/// an idle relay makes none.
#[napi_derive::module_init]
fn return_memory_at_once() {
    #[expect(unsafe_code, reason = "an option of the allocator")]
    // SAFETY: the option exists, and may be set at any time.
    unsafe {
        mi_option_set(PURGE_DELAY, c_long::from(0));
    }
}
