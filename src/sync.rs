//! Where threads meet, and what each has for itself. A file of its own, for tests put what explores the order of threads in
//! their place: loom in that of the bell's, and with the feature `shuttle` shuttle in that of the hub's.

pub use std::sync::atomic::Ordering;
#[cfg(not(feature = "shuttle"))]
pub use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard},
    thread_local,
};

#[cfg(feature = "shuttle")]
pub use shuttle::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard},
    thread_local,
};

pub use futures_util::task::AtomicWaker;
