//! CPU time and memory of a process, as counted by the kernel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Returns the user and system time of all threads of a process, including ended ones.
pub fn of_process(pid: i32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: writes one clockid_t to a variable of that type.
    let failed = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    ensure!(failed == 0, "process {pid} is gone");
    read(clock).with_context(|| format!("the CPU clock of process {pid}"))
}

/// Returns the user and system time of this process.
pub fn own() -> Result<Duration> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to a variable of that type.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    ensure!(failed == 0, std::io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// Returns the resident memory of a process in bytes.
pub fn resident(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// Returns the bytes that a process has had written to disks, or rather to the system's cache of them.
pub fn written(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// Makes a server in Node collect its garbage.
pub fn collect_garbage(pid: i32) {
    // SAFETY: sends a signal; at worst there is no process of that number.
    unsafe { libc::kill(pid, libc::SIGUSR2) };
}
