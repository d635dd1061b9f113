//! A byte stream in this process: its other end is moved by whoever holds the real socket.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;
use crate::copy;
use crate::hand::Hand;
use crate::limits::Limits;

/// The engine's end. Dropping it ends the connection.
#[derive(Debug)]
pub struct Bridge(Arc<Shared>);

/// The end of who holds the socket. Dropping it breaks the connection.
#[derive(Debug)]
pub struct SocketEnd(Arc<Shared>);

/// What is to be done with the socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SocketCommand {
    /// To be written to it.
    pub bytes: Vec<u8>,
    /// To be read from again, after [`SocketEnd::push`] said that there is enough.
    pub resume: bool,
    /// Nothing more will come to be written: its writing side is to be closed.
    pub end: bool,
    /// The engine has left: it is to be closed.
    pub close: bool,
}

struct Shared {
    pipe: Mutex<Pipe>,
    /// Tells who holds the socket that there is an errand; called with no lock held.
    ring: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Pipe {
    /// Unread, less than [`Limits::BRIDGE_BYTES`] and what came last; read, no more than that. Given back when all is read.
    input: Vec<u8>,
    /// How much of the input was read.
    read: usize,
    /// Nothing more comes behind the input.
    ended: bool,
    /// The socket is gone.
    broken: bool,
    /// The holder of the socket does not read from it until it is told to.
    paused: bool,
    output: Vec<u8>,
    /// Nothing more comes behind the output.
    shut: bool,
    /// The engine's end is gone.
    left: bool,
    /// An errand was told of and not yet fetched.
    rung: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both ends. `ring` is called when there is an [`SocketCommand`] to fetch, and then not again before it was fetched.
pub fn pair(ring: impl Fn() + Send + Sync + 'static) -> (Bridge, SocketEnd) {
    let shared = Arc::new(Shared { pipe: Mutex::default(), ring: Box::new(ring) });
    (Bridge(Arc::clone(&shared)), SocketEnd(shared))
}

impl Shared {
    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        // Whoever panicked did so between two whole states: nothing here is changed in several steps that may fail.
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, mut pipe: MutexGuard<'_, Pipe>) {
        let was_rung = std::mem::replace(&mut pipe.rung, true);
        drop(pipe);
        if !was_rung {
            (self.ring)();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("pipe", &self.pipe).finish_non_exhaustive()
    }
}

impl SocketEnd {
    /// Bytes that the socket brought. False when it is not to be read from until an errand says so.
    pub fn push(&self, bytes: &[u8]) -> bool {
        let mut pipe = self.0.pipe();
        if pipe.read > pipe.input.len() / 2 {
            // Who never reads quite all of it would else have it grow for ever.
            let read = std::mem::take(&mut pipe.read);
            pipe.input.drain(..read);
        }
        copy::append(bytes, &mut pipe.input);
        pipe.paused |= pipe.input.len() - pipe.read >= Limits::BRIDGE_BYTES;
        let (goes_on, reader) = (!pipe.paused, pipe.reader.take());
        drop(pipe);
        wake(reader);
        goes_on
    }

    /// The socket brings nothing more.
    pub fn end(&self) {
        let mut pipe = self.0.pipe();
        pipe.ended = true;
        let reader = pipe.reader.take();
        drop(pipe);
        wake(reader);
    }

    /// The socket is gone.
    pub fn break_off(&self) {
        let mut pipe = self.0.pipe();
        pipe.broken = true;
        pipe.output = Vec::new();
        let wakers = [pipe.reader.take(), pipe.writer.take()];
        drop(pipe);
        wakers.into_iter().for_each(wake);
    }

    /// What is to be done. To be called when rung, and when the socket has written all that it was given; the engine
    /// writes no more than [`Limits::BRIDGE_BYTES`] ahead of it. While it is not `is_writable` it gets no bytes, unless the
    /// engine has left and they are the last.
    pub fn fetch(&self, is_writable: bool) -> SocketCommand {
        let mut pipe = self.0.pipe();
        pipe.rung = false;
        let unread = pipe.input.len() - pipe.read;
        let resume = pipe.paused && unread == 0;
        pipe.paused &= !resume;
        let (bytes, writer) = match is_writable || pipe.left {
            true => (std::mem::take(&mut pipe.output), pipe.writer.take()),
            false => (Vec::new(), None),
        };
        let end = pipe.shut && pipe.output.is_empty();
        let errand = SocketCommand { bytes, resume, end, close: pipe.left };
        drop(pipe);
        wake(writer);
        errand
    }
}

impl Drop for SocketEnd {
    fn drop(&mut self) {
        self.break_off();
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Connection for Bridge {
    type Stream = Self;

    fn open(self) -> (Self, Option<Hand>) {
        (self, None)
    }
}

impl AsyncRead for Bridge {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.0.pipe();
        let unread = &pipe.input[pipe.read..];
        if unread.is_empty() {
            if pipe.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if pipe.ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..size]);
        pipe.read += size;
        if pipe.read == pipe.input.len() {
            // An idle connection keeps no buffer.
            (pipe.input, pipe.read) = (Vec::new(), 0);
            if pipe.paused {
                self.0.ring(pipe);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.pipe();
        if pipe.broken || pipe.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = bytes.len().min(Limits::BRIDGE_BYTES - pipe.output.len());
        if size == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        copy::append(&bytes[..size], &mut pipe.output);
        self.0.ring(pipe);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.pipe();
        pipe.shut = true;
        self.0.ring(pipe);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let mut pipe = self.0.pipe();
        pipe.left = true;
        self.0.ring(pipe);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Both ends, and how often it rang.
    fn rung() -> (Bridge, SocketEnd, Arc<AtomicUsize>) {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rings);
        let ring = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let (bridge, bank) = pair(ring);
        (bridge, bank, rings)
    }

    #[tokio::test]
    async fn a_reader_that_stops_stops_the_socket_until_it_has_read_everything() {
        let (mut bridge, bank, rings) = rung();
        let half = vec![b'x'; Limits::BRIDGE_BYTES / 2];
        assert!(bank.push(&half));
        assert!(!bank.push(&half));
        let mut read = vec![0; Limits::BRIDGE_BYTES - 1];
        bridge.read_exact(&mut read).await.expect("bytes");
        assert_eq!(rings.load(Ordering::Relaxed), 0);
        assert!(!bank.fetch(true).resume);
        bridge.read_exact(&mut read[..1]).await.expect("the last byte");
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        assert_eq!(bank.fetch(true), SocketCommand { resume: true, ..SocketCommand::default() });
        assert_eq!(bank.fetch(true), SocketCommand::default());
        bank.end();
        assert_eq!(bridge.read(&mut read).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn what_was_read_is_not_kept_though_something_is_always_unread() {
        let (mut bridge, bank, _) = rung();
        let (bytes, mut read) = (vec![b'x'; 1000], vec![0; 1000]);
        assert!(bank.push(&bytes));
        for _ in 0..10_000 {
            assert!(bank.push(&bytes));
            bridge.read_exact(&mut read).await.expect("bytes");
        }
        let kept = bridge.0.pipe().input.capacity();
        assert!(kept <= 2 * Limits::BRIDGE_BYTES, "{kept} bytes");
    }

    #[tokio::test]
    async fn a_writer_gets_no_further_ahead_than_the_bound() {
        let (mut bridge, bank, rings) = rung();
        let bytes = vec![b'x'; Limits::BRIDGE_BYTES + 1];
        assert_eq!(bridge.write(&bytes).await.expect("room"), Limits::BRIDGE_BYTES);
        let mut more = Box::pin(bridge.write(b"y"));
        assert!(futures_util::poll!(&mut more).is_pending());
        assert_eq!(bank.fetch(false), SocketCommand::default());
        assert_eq!(bank.fetch(true).bytes.len(), Limits::BRIDGE_BYTES);
        assert_eq!(more.await.expect("room again"), 1);
        assert_eq!(rings.load(Ordering::Relaxed), 2);
        bridge.shutdown().await.expect("no error");
        assert_eq!(
            bank.fetch(true),
            SocketCommand { bytes: b"y".into(), end: true, ..SocketCommand::default() }
        );
        drop(bridge);
        assert_eq!(bank.fetch(true), SocketCommand { end: true, close: true, ..SocketCommand::default() });
    }

    #[tokio::test]
    async fn a_socket_that_is_gone_is_an_error_behind_what_it_brought() {
        let (mut bridge, bank, _) = rung();
        assert!(bank.push(b"last"));
        drop(bank);
        let mut read = [0; 4];
        bridge.read_exact(&mut read).await.expect("what it brought");
        assert_eq!(&read, b"last");
        bridge.read(&mut read).await.expect_err("no end, but a break");
        bridge.write(b"x").await.expect_err("nobody takes it");
    }
}
