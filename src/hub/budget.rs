//! The bytes that all mailboxes and blocked outboxes together may hold.

use crate::limits::Limits;
use crate::sync::{AtomicUsize, Ordering};

/// Counts bytes against `maxTotalBytes`.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    used: AtomicUsize,
}

/// Bytes that are given back when this is dropped.
pub(super) struct Reservation<'a> {
    budget: &'a Budget,
    pub bytes: usize,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.adjust(self.bytes, 0);
    }
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0) }
    }

    /// Returns the bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the bound has not been reached.
    pub fn has_room(&self) -> bool {
        self.used() < self.max
    }

    /// Counts `now` bytes in place of `before`.
    pub fn adjust(&self, before: usize, now: usize) {
        if before != now {
            self.used.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// An empty reservation, to be filled once its bytes are known.
    pub fn reservation(&self) -> Reservation<'_> {
        Reservation { budget: self, bytes: 0 }
    }

    /// Counts `bytes` if there is room for them. The last part of the budget is kept for recipients that are reading:
    /// mailboxes of clients that are away must not fill it for everyone.
    pub fn reserve(&self, bytes: usize, is_reading: bool) -> bool {
        let bound = if is_reading { self.max } else { self.max - self.max / Limits::READERS_SHARE };
        let fits = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= bound;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Counts the bytes that a closing connection has left to write, if there is room for them or they are few.
    pub fn reserve_for_close(&self, bytes: usize) -> Option<Reservation<'_>> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation { budget: self, bytes };
        let fits = bytes <= Limits::MAX_UNCOUNTED_CLOSE_BYTES || before + bytes <= self.max;
        fits.then_some(reservation)
    }
}
