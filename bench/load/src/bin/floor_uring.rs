//! The floor with io_uring in place of epoll: registered sockets, multishot receives into registered buffers, and one
//! system call for all sends of a turn. It shows what another system interface could save at most. All clients must
//! connect before the first message, and stay.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail, ensure};
use io_uring::types::{BufRingEntry, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use serde_json::json;

#[path = "../handshake.rs"]
mod handshake;

/// Operations submitted with one system call.
const OPERATIONS: u32 = 1024;
/// Size and number of the buffers.
const BUFFER: usize = 32 * 1024;
const BUFFERS: u16 = 1024;
const GROUP: u16 = 0;
/// Marks completions of sends.
const SENT: u64 = 1 << 32;

fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).context("how many clients?")?.parse()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (pid, port) = (std::process::id(), listener.local_addr()?.port());
    let tokens = vec![""; count];
    println!(
        "{}",
        json!({"pid": pid, "port": port, "tokens": tokens, "dialect": "verbatim", "collectsGarbage": false})
    );
    let mut clients = BTreeMap::new();
    for _ in 0..count {
        let (client, stream) = greet(listener.accept()?.0)?;
        clients.insert(client, stream);
    }
    let sockets: Vec<RawFd> = clients.values().map(AsRawFd::as_raw_fd).collect();
    ensure!(sockets.len() == count, "a client came twice");
    Floor::new(&sockets)?.run(count as u32)
}

/// Handles the upgrade, then the authentication.
fn greet(mut stream: TcpStream) -> Result<(usize, TcpStream)> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(handshake::UPGRADED.as_bytes())?;
    let mut header = [0; 6];
    stream.read_exact(&mut header)?;
    let mut text = vec![0; usize::from(header[1] & 0x7F)];
    stream.read_exact(&mut text)?;
    Ok((handshake::client(&header[2..], &text)?, stream))
}

/// The ring of free buffers for the system, aligned to a page.
#[repr(C, align(4096))]
struct Free([u8; BUFFERS as usize * size_of::<BufRingEntry>()]);

struct Floor {
    ring: IoUring,
    buffers: Vec<u8>,
    free: Box<Free>,
    /// Total number of buffers given to the system.
    given: u16,
}

impl Floor {
    fn new(sockets: &[RawFd]) -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(8 * OPERATIONS)
            .build(OPERATIONS)?;
        ring.submitter().register_files(sockets)?;
        let free = Box::new(Free([0; BUFFERS as usize * size_of::<BufRingEntry>()]));
        let mut floor = Self { ring, buffers: vec![0; BUFFER * usize::from(BUFFERS)], free, given: 0 };
        let entries = floor.free.0.as_ptr().addr() as u64;
        // SAFETY: the entries live as long as the ring and are not moved.
        unsafe { floor.ring.submitter().register_buf_ring_with_flags(entries, BUFFERS, GROUP, 0)? };
        (0..BUFFERS).for_each(|buffer| floor.give(buffer));
        Ok(floor)
    }

    /// Gives a buffer to the system to fill.
    fn give(&mut self, buffer: u16) {
        let start = self.address(buffer);
        let entries = self.free.0.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is within the entries, whose number is a power of two; the system reads an entry after the
        // tail has passed it.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.given % BUFFERS));
            entry.set_addr(start as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(buffer);
            self.given = self.given.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.given, Ordering::Release);
        }
    }

    fn address(&self, buffer: u16) -> *const u8 {
        self.buffers[usize::from(buffer) * BUFFER..].as_ptr()
    }

    fn ask(&mut self, operation: &squeue::Entry) -> Result<()> {
        // SAFETY: buffers and sockets live as long as the ring, and a buffer is reused only after it was sent.
        while unsafe { self.ring.submission().push(operation) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn receive(&mut self, client: u32) -> Result<()> {
        self.ask(&opcode::RecvMulti::new(Fixed(client), GROUP).build().user_data(client.into()))
    }

    fn run(mut self, count: u32) -> Result<()> {
        (0..count).try_for_each(|client| self.receive(client))?;
        loop {
            self.ring.submit_and_wait(1)?;
            loop {
                let Some(done) = self.ring.completion().next() else { break };
                let (of, result) = (done.user_data(), done.result());
                if of & SENT != 0 {
                    ensure!(result > 0, "a client does not take what it gets");
                    self.give(of as u16);
                    continue;
                }
                if result == 0 {
                    // Clients leave when the measurement ends.
                    return Ok(());
                }
                let Some(buffer) = cqueue::buffer_select(done.flags()) else {
                    bail!("nothing was received: {result}");
                };
                let (client, bytes) = (of as u32, self.address(buffer));
                let send =
                    opcode::Send::new(Fixed(client ^ 1), bytes, result as u32).flags(libc::MSG_WAITALL);
                self.ask(&send.build().user_data(SENT | u64::from(buffer)))?;
                if !cqueue::more(done.flags()) {
                    self.receive(client)?;
                }
            }
        }
    }
}
