//! A simulated connection that carries bytes only when the test says so, and that can stall or break.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use websocket_relay::shared_writer::{SharedWriter, Simulated};
use websocket_relay::stream::Transport;

/// The bytes of one direction.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Bytes that were written and have not arrived.
    pub sent: VecDeque<u8>,
    /// Bytes that have arrived and were not read.
    pub arrived: VecDeque<u8>,
    /// The number of bytes that were read.
    pub read: u64,
    /// Whether the writer has closed its side. The reader learns of it after the last byte.
    pub is_ended: bool,
}

impl Pipe {
    /// Carries up to `bytes` bytes. Returns whether there were any.
    fn carry(&mut self, bytes: usize) -> bool {
        let bytes = bytes.min(self.sent.len());
        self.arrived.extend(self.sent.drain(..bytes));
        bytes > 0
    }

    /// Whether no more bytes will arrive.
    pub fn is_at_end(&self) -> bool {
        self.is_ended && self.sent.is_empty()
    }
}

/// A connection between a page and the server.
#[derive(Debug)]
pub struct Link {
    /// The bytes from the client to the server.
    pub up: Pipe,
    /// The bytes from the server to the client.
    pub down: Pipe,
    /// Whether the server has learnt that the connection is broken.
    pub is_reset: bool,
    /// Whether the client has given the connection up. Bytes to it are dropped.
    pub is_abandoned: bool,
    /// Whether no bytes are carried for now.
    pub is_stalled: bool,
    /// The size of the server's send buffer.
    capacity: usize,
    /// Whether a flush completes only when all bytes are carried, as with TLS.
    flushes_late: bool,
    /// Whether other sessions may write to the server's socket.
    has_writer: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub type SharedLink = Arc<Mutex<Link>>;

pub fn lock(link: &SharedLink) -> MutexGuard<'_, Link> {
    // A failed run drops the other owners while it panics.
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub fn new(capacity: usize, flushes_late: bool, has_writer: bool) -> Self {
        Self {
            up: Pipe::default(),
            down: Pipe::default(),
            is_reset: false,
            is_abandoned: false,
            is_stalled: false,
            capacity,
            flushes_late: flushes_late && !has_writer,
            has_writer,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Carries up to `bytes` bytes to the server.
    pub fn carry_up(&mut self, bytes: usize) {
        if self.is_reset {
            // Nothing arrives after bytes that were lost.
            self.up.sent.clear();
        }
        if self.up.carry(bytes) {
            self.wake();
        }
    }

    /// Carries up to `bytes` bytes to the client.
    pub fn carry_down(&mut self, bytes: usize) {
        let has_carried = self.down.carry(bytes);
        if self.is_abandoned {
            self.down.arrived.clear();
        }
        if has_carried {
            self.wake();
        }
    }

    /// Whether there are no bytes to carry.
    pub fn is_idle(&self) -> bool {
        self.up.sent.is_empty() && self.down.sent.is_empty()
    }

    /// Tells the server that the connection is broken. Bytes that have not arrived are lost.
    pub fn reset(&mut self) {
        self.is_reset = true;
        self.up.sent.clear();
        self.down.sent.clear();
        self.wake();
    }

    /// Removes the faults of the connection, and ends it if its client has given it up.
    pub fn repair(&mut self) {
        (self.is_stalled, self.capacity) = (false, 1 << 20);
        if self.is_abandoned {
            self.end_up();
        }
    }

    /// The client gives the connection up without closing it. What it wrote may still arrive.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
        self.down.arrived.clear();
    }

    /// The client closes its side.
    pub fn end_up(&mut self) {
        self.up.is_ended = true;
        self.wake();
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.capacity.saturating_sub(self.down.sent.len()));
        self.down.sent.extend(&bytes[..taken]);
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

/// The server's end of a link.
#[derive(Debug)]
pub struct ServerEnd(pub SharedLink);

impl Transport for ServerEnd {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        let has_writer = lock(&self.0).has_writer;
        let writer = has_writer.then(|| SharedWriter::Simulated(Box::new(Writer(Arc::clone(&self.0)))));
        (self, writer)
    }
}

/// The server's write half, for other sessions.
#[derive(Debug)]
struct Writer(SharedLink);

impl Simulated for Writer {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(bytes)
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut link = lock(&self.0);
        if link.up.arrived.is_empty() {
            if link.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if link.up.is_at_end() {
                return Poll::Ready(Ok(()));
            }
            link.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = link.up.arrived.len().min(buffer.remaining());
        let arrived: Vec<u8> = link.up.arrived.drain(..bytes).collect();
        link.up.read += bytes as u64;
        buffer.put_slice(&arrived);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut link = lock(&self.0);
        match link.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = lock(&self.0);
        if link.flushes_late && !link.is_reset && !link.down.sent.is_empty() {
            link.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).down.is_ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        let mut link = lock(&self.0);
        link.down.is_ended = true;
        if !link.up.arrived.is_empty() {
            // Like TCP: closing a socket with unread bytes resets the connection.
            link.down.sent.clear();
        }
    }
}

/// A frame from the server.
#[derive(Debug)]
pub enum Frame {
    Text(String),
    Close(u16),
    Ping,
}

/// Appends a client's text frame.
pub fn write_text(text: &str, out: &mut VecDeque<u8>) {
    write_frame(0x81, text.as_bytes(), out);
}

/// Appends a client's frame that begins with the byte `first`. Its mask is 0.
pub fn write_frame(first: u8, payload: &[u8], out: &mut VecDeque<u8>) {
    out.push_back(first);
    match payload.len() {
        length @ 0..=125 => out.push_back(0x80 | length as u8),
        length => {
            out.push_back(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
}

/// Takes the server's next frame if it has arrived completely.
pub fn read_frame(input: &mut VecDeque<u8>) -> Option<Frame> {
    let byte = |at: usize| input.get(at).copied();
    let (first, short) = (byte(0)?, byte(1)?);
    let (header, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes([byte(2)?, byte(3)?]))),
        127 => panic!("a frame of more than 65,535 bytes"),
        length => (2, usize::from(length)),
    };
    if input.len() < header + length {
        return None;
    }
    input.drain(..header);
    let payload: Vec<u8> = input.drain(..length).collect();
    Some(match first {
        0x81 => Frame::Text(String::from_utf8(payload).expect("UTF-8")),
        0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
        0x89 => Frame::Ping,
        first => panic!("unexpected first byte of a frame: {first:#x}"),
    })
}
