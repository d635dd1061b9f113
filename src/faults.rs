//! Panics where tests want them, with the feature `faults`. Without it nothing of it is left.

/// A place where a panic can be had.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn point(_: &'static str) {}

#[cfg(feature = "faults")]
pub use armed::{arm, point};

#[cfg(feature = "faults")]
mod armed {
    use std::sync::{Mutex, PoisonError};

    static ARMED: Mutex<Option<&'static str>> = Mutex::new(None);

    /// Has the next who passes `point` panic.
    pub fn arm(point: &'static str) {
        *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(point);
    }

    /// A place where a panic can be had.
    ///
    /// # Panics
    /// When it is armed.
    pub fn point(name: &'static str) {
        let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).take_if(|armed| *armed == name);
        assert!(armed.is_none(), "a panic was wanted at {name}");
    }
}
