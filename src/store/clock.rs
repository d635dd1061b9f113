//! Two clocks, read together.

use std::time::{Duration, Instant, SystemTime};

use super::UnixMillis;

/// Converts times between this process's clock and the system's, as of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Instant,
    /// The same moment since 1970.
    unix: Duration,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { now: Instant::now(), unix }
    }

    /// Returns a time of this process's clock as one of the system's; now, if it is in the past.
    pub fn to_unix(self, time: Instant) -> UnixMillis {
        (self.unix + time.saturating_duration_since(self.now)).as_millis() as u64
    }

    /// Returns a time of the system's clock as one of this process's; now, if it is in the past.
    pub fn from_unix(self, time: UnixMillis) -> Instant {
        self.now + Duration::from_millis(time).saturating_sub(self.unix)
    }
}
