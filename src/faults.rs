//! Points at which tests can make the engine panic. They exist only with the feature `faults`.

/// A point at which a test can cause a panic.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn point(_: &'static str) {}

#[cfg(feature = "faults")]
pub use armed::{arm, point};

#[cfg(feature = "faults")]
mod armed {
    use std::sync::{Mutex, PoisonError};

    static ARMED: Mutex<Option<&'static str>> = Mutex::new(None);

    /// Makes the next thread that passes `point` panic.
    pub fn arm(point: &'static str) {
        *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(point);
    }

    /// A point at which a test can cause a panic.
    ///
    /// # Panics
    /// If the point is armed.
    pub fn point(name: &'static str) {
        let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).take_if(|armed| *armed == name);
        assert!(armed.is_none(), "the fault point {name} is armed");
    }
}
