//! A connection's bytes on their way, in both directions, as slowly and as brokenly as the world wants.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(feature = "faults")]
use websocket_relay::shared_writer::Simulated;
use websocket_relay::{shared_writer::SharedWriter, stream::Transport};

/// Bytes in one direction.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Written and not carried yet.
    pub sent: VecDeque<u8>,
    /// Carried and not read yet.
    pub arrived: VecDeque<u8>,
    /// The writer has ended it; known to the reader when everything is carried.
    pub is_ended: bool,
}

impl Pipe {
    /// False when there was nothing.
    fn carry(&mut self, bytes: usize) -> bool {
        let bytes = bytes.min(self.sent.len());
        self.arrived.extend(self.sent.drain(..bytes));
        bytes > 0
    }

    /// Whether nothing more will arrive.
    pub fn is_over(&self) -> bool {
        self.is_ended && self.sent.is_empty()
    }
}

#[derive(Debug)]
pub struct Link {
    /// From the client.
    pub up: Pipe,
    /// To the client.
    pub down: Pipe,
    /// The server's side learns that the connection broke.
    pub is_reset: bool,
    /// The client has given it up: what comes down is nobody's.
    pub is_abandoned: bool,
    /// Nothing is carried for the time being.
    pub is_stalled: bool,
    /// What the server's socket buffers.
    capacity: usize,
    /// What the server wrote is flushed only when it is carried, as with TLS.
    flushes_late: bool,
    /// Others may write to the server's socket.
    pub has_hand: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub type Shared = Arc<Mutex<Link>>;

pub fn lock(link: &Shared) -> MutexGuard<'_, Link> {
    // When a run fails, the others who have it are dropped.
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub fn new(capacity: usize, flushes_late: bool, has_hand: bool) -> Self {
        Self {
            up: Pipe::default(),
            down: Pipe::default(),
            is_reset: false,
            is_abandoned: false,
            is_stalled: false,
            capacity,
            flushes_late: flushes_late && !has_hand,
            has_hand,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Carries bytes to the server.
    pub fn carry_up(&mut self, bytes: usize) {
        if self.is_reset {
            // Nothing comes behind what was lost.
            self.up.sent.clear();
        }
        if self.up.carry(bytes) {
            self.wake();
        }
    }

    /// Carries bytes to the client.
    pub fn carry_down(&mut self, bytes: usize) {
        let has_carried = self.down.carry(bytes);
        if self.is_abandoned {
            self.down.arrived.clear();
        }
        if has_carried {
            self.wake();
        }
    }

    /// Whether there is nothing to be carried.
    pub fn is_quiet(&self) -> bool {
        self.up.sent.is_empty() && self.down.sent.is_empty()
    }

    /// The server learns that the connection is broken; what has not arrived is lost.
    pub fn reset(&mut self) {
        self.is_reset = true;
        self.up.sent.clear();
        self.down.sent.clear();
        self.wake();
    }

    /// It is as a good connection is.
    pub fn heal(&mut self) {
        (self.is_stalled, self.capacity) = (false, 1 << 20);
        if self.is_abandoned {
            self.end_up();
        }
    }

    /// The client is gone without a word. What it wrote may still arrive.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
        self.down.arrived.clear();
    }

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

/// The server's end.
#[derive(Debug)]
pub struct ServerEnd(pub Shared);

impl Transport for ServerEnd {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        let hand = lock(&self.0).has_hand.then(|| hand(&self.0)).flatten();
        (self, hand)
    }
}

#[cfg(feature = "faults")]
fn hand(link: &Shared) -> Option<SharedWriter> {
    Some(SharedWriter::Simulated(Box::new(Writer(Arc::clone(link)))))
}

#[cfg(not(feature = "faults"))]
fn hand(_: &Shared) -> Option<SharedWriter> {
    None
}

#[cfg(feature = "faults")]
#[derive(Debug)]
struct Writer(Shared);

#[cfg(feature = "faults")]
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
            if link.up.is_over() {
                return Poll::Ready(Ok(()));
            }
            link.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = link.up.arrived.len().min(buffer.remaining());
        let arrived: Vec<u8> = link.up.arrived.drain(..bytes).collect();
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
            // As TCP does it: who closes with something unread resets the connection.
            link.down.sent.clear();
        }
    }
}

/// A frame of the server.
#[derive(Debug)]
pub enum Frame {
    Text(String),
    Close(u16),
    Ping,
}

/// Appends a text frame of a client; the mask is 0.
pub fn write_text(text: &str, out: &mut VecDeque<u8>) {
    write_frame(0x81, text.as_bytes(), out);
}

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

/// The next frame of the server, if it has arrived in full.
pub fn read_frame(input: &mut VecDeque<u8>) -> Option<Frame> {
    let byte = |at: usize| input.get(at).copied();
    let (first, short) = (byte(0)?, byte(1)?);
    let (header, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes([byte(2)?, byte(3)?]))),
        127 => panic!("no message is that long"),
        length => (2, usize::from(length)),
    };
    if input.len() < header + length {
        return None;
    }
    input.drain(..header);
    let payload: Vec<u8> = input.drain(..length).collect();
    Some(match first {
        0x81 => Frame::Text(String::from_utf8(payload).expect("text")),
        0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
        0x89 => Frame::Ping,
        first => panic!("a server sends no frame that begins with {first:#x}"),
    })
}
