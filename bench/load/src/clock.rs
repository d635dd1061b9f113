//! What a process has used: CPU time and memory, as the kernel counts them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// User and system time of all threads of a process, ended ones included.
pub fn of_process(pid: i32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: writes one clockid_t to a place of that type.
    let failed = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    ensure!(failed == 0, "process {pid} is gone");
    read(clock).with_context(|| format!("the CPU clock of process {pid}"))
}

/// User and system time of this process.
pub fn own() -> Result<Duration> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to a place of that type.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    ensure!(failed == 0, std::io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// Resident bytes of a process.
pub fn resident(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// Asks a server that runs in Node to collect its garbage.
pub fn collect_garbage(pid: i32) {
    // SAFETY: sends a signal; the worst that can be is that nobody has that number.
    unsafe { libc::kill(pid, libc::SIGUSR2) };
}
