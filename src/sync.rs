//! Locks, atomics and thread-locals, in one place so that tests can replace them with ones that explore the order of
//! threads: `tests/no_lost_wakeup.rs` with loom's, the feature `shuttle` with shuttle's.

pub use std::sync::atomic::Ordering;
#[cfg(not(feature = "shuttle"))]
pub use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread_local,
};

#[cfg(feature = "shuttle")]
pub use shuttle::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread_local,
};

pub use futures_util::task::AtomicWaker;
