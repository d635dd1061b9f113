//! A timer with a finer resolution than the milliseconds of `poll`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Result, ensure};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

pub struct Timer(OwnedFd);

impl Timer {
    pub const TOKEN: Token = Token(usize::MAX);

    pub fn new(registry: &Registry) -> Result<Self> {
        // SAFETY: creates a descriptor that only this timer owns.
        let fd =
            unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        ensure!(fd >= 0, io::Error::last_os_error());
        // SAFETY: as above.
        let timer = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        registry.register(&mut SourceFd(&fd), Self::TOKEN, Interest::READABLE)?;
        Ok(timer)
    }

    /// Ends a wait once, after a time.
    pub fn set(&self, wait: Duration) -> Result<()> {
        let it_value = libc::timespec {
            tv_sec: wait.as_secs().try_into()?,
            // Zero would disarm it.
            tv_nsec: wait.subsec_nanos().max(1).into(),
        };
        let it_interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let time = libc::itimerspec { it_interval, it_value };
        // SAFETY: reads one itimerspec and writes nothing.
        let failed =
            unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const time, std::ptr::null_mut()) };
        ensure!(failed == 0, io::Error::last_os_error());
        Ok(())
    }
}
