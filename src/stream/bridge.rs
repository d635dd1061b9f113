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
pub struct BridgeSocket(Arc<Shared>);

/// What is to be done with the socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SocketCommand {
    /// To be written to it.
    pub bytes: Vec<u8>,
    /// To be read from again, after [`BridgeSocket::push`] said that there is enough.
    pub resume: bool,
    /// Nothing more will come to be written: its writing side is to be closed.
    pub end: bool,
    /// The engine has left: it is to be closed.
    pub close: bool,
}

struct Shared {
    buffers: Mutex<BridgeBuffers>,
    /// Tells who holds the socket that there is a command; called with no lock held.
    ring: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct BridgeBuffers {
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
    /// A command was told of and not yet fetched.
    rung: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both ends. `ring` is called when there is a [`SocketCommand`] to fetch, and then not again before it was fetched.
pub fn bridge(ring: impl Fn() + Send + Sync + 'static) -> (Bridge, BridgeSocket) {
    let shared = Arc::new(Shared { buffers: Mutex::default(), ring: Box::new(ring) });
    (Bridge(Arc::clone(&shared)), BridgeSocket(shared))
}

impl Shared {
    fn buffers(&self) -> MutexGuard<'_, BridgeBuffers> {
        // Whoever panicked did so between two whole states: nothing here is changed in several steps that may fail.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, mut buffers: MutexGuard<'_, BridgeBuffers>) {
        let was_rung = std::mem::replace(&mut buffers.rung, true);
        drop(buffers);
        if !was_rung {
            (self.ring)();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("buffers", &self.buffers).finish_non_exhaustive()
    }
}

impl BridgeSocket {
    /// Bytes that the socket brought. False when it is not to be read from until a command says so.
    pub fn push(&self, bytes: &[u8]) -> bool {
        let mut buffers = self.0.buffers();
        if buffers.read > buffers.input.len() / 2 {
            // Who never reads quite all of it would else have it grow for ever.
            let read = std::mem::take(&mut buffers.read);
            buffers.input.drain(..read);
        }
        copy::append(bytes, &mut buffers.input);
        buffers.paused |= buffers.input.len() - buffers.read >= Limits::BRIDGE_BYTES;
        let (goes_on, reader) = (!buffers.paused, buffers.reader.take());
        drop(buffers);
        wake(reader);
        goes_on
    }

    /// The socket brings nothing more.
    pub fn end(&self) {
        let mut buffers = self.0.buffers();
        buffers.ended = true;
        let reader = buffers.reader.take();
        drop(buffers);
        wake(reader);
    }

    /// The socket is gone.
    pub fn close(&self) {
        let mut buffers = self.0.buffers();
        buffers.broken = true;
        buffers.output = Vec::new();
        let wakers = [buffers.reader.take(), buffers.writer.take()];
        drop(buffers);
        wakers.into_iter().for_each(wake);
    }

    /// What is to be done. To be called when rung, and when the socket has written all that it was given; the engine
    /// writes no more than [`Limits::BRIDGE_BYTES`] ahead of it. While it is not `is_writable` it gets no bytes, unless the
    /// engine has left and they are the last.
    pub fn fetch(&self, is_writable: bool) -> SocketCommand {
        let mut buffers = self.0.buffers();
        buffers.rung = false;
        let unread = buffers.input.len() - buffers.read;
        let resume = buffers.paused && unread == 0;
        buffers.paused &= !resume;
        let (bytes, writer) = match is_writable || buffers.left {
            true => (std::mem::take(&mut buffers.output), buffers.writer.take()),
            false => (Vec::new(), None),
        };
        let end = buffers.shut && buffers.output.is_empty();
        let command = SocketCommand { bytes, resume, end, close: buffers.left };
        drop(buffers);
        wake(writer);
        command
    }
}

impl Drop for BridgeSocket {
    fn drop(&mut self) {
        self.close();
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
        let mut buffers = self.0.buffers();
        let unread = &buffers.input[buffers.read..];
        if unread.is_empty() {
            if buffers.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if buffers.ended {
                return Poll::Ready(Ok(()));
            }
            buffers.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..size]);
        buffers.read += size;
        if buffers.read == buffers.input.len() {
            // An idle connection keeps no buffer.
            (buffers.input, buffers.read) = (Vec::new(), 0);
            if buffers.paused {
                self.0.ring(buffers);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut buffers = self.0.buffers();
        if buffers.broken || buffers.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = bytes.len().min(Limits::BRIDGE_BYTES - buffers.output.len());
        if size == 0 && !bytes.is_empty() {
            buffers.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        copy::append(&bytes[..size], &mut buffers.output);
        self.0.ring(buffers);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.0.buffers();
        buffers.shut = true;
        self.0.ring(buffers);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let mut buffers = self.0.buffers();
        buffers.left = true;
        self.0.ring(buffers);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Both ends, and how often it rang.
    fn rung() -> (Bridge, BridgeSocket, Arc<AtomicUsize>) {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rings);
        let ring = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let (bridge, socket) = bridge(ring);
        (bridge, socket, rings)
    }

    #[tokio::test]
    async fn a_reader_that_stops_stops_the_socket_until_it_has_read_everything() {
        let (mut bridge, socket, rings) = rung();
        let half = vec![b'x'; Limits::BRIDGE_BYTES / 2];
        assert!(socket.push(&half));
        assert!(!socket.push(&half));
        let mut read = vec![0; Limits::BRIDGE_BYTES - 1];
        bridge.read_exact(&mut read).await.expect("bytes");
        assert_eq!(rings.load(Ordering::Relaxed), 0);
        assert!(!socket.fetch(true).resume);
        bridge.read_exact(&mut read[..1]).await.expect("the last byte");
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        assert_eq!(socket.fetch(true), SocketCommand { resume: true, ..SocketCommand::default() });
        assert_eq!(socket.fetch(true), SocketCommand::default());
        socket.end();
        assert_eq!(bridge.read(&mut read).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn what_was_read_is_not_kept_though_something_is_always_unread() {
        let (mut bridge, socket, _) = rung();
        let (bytes, mut read) = (vec![b'x'; 1000], vec![0; 1000]);
        assert!(socket.push(&bytes));
        for _ in 0..10_000 {
            assert!(socket.push(&bytes));
            bridge.read_exact(&mut read).await.expect("bytes");
        }
        let kept = bridge.0.buffers().input.capacity();
        assert!(kept <= 2 * Limits::BRIDGE_BYTES, "{kept} bytes");
    }

    #[tokio::test]
    async fn a_writer_gets_no_further_ahead_than_the_bound() {
        let (mut bridge, socket, rings) = rung();
        let bytes = vec![b'x'; Limits::BRIDGE_BYTES + 1];
        assert_eq!(bridge.write(&bytes).await.expect("room"), Limits::BRIDGE_BYTES);
        let mut more = Box::pin(bridge.write(b"y"));
        assert!(futures_util::poll!(&mut more).is_pending());
        assert_eq!(socket.fetch(false), SocketCommand::default());
        assert_eq!(socket.fetch(true).bytes.len(), Limits::BRIDGE_BYTES);
        assert_eq!(more.await.expect("room again"), 1);
        assert_eq!(rings.load(Ordering::Relaxed), 2);
        bridge.shutdown().await.expect("no error");
        assert_eq!(
            socket.fetch(true),
            SocketCommand { bytes: b"y".into(), end: true, ..SocketCommand::default() }
        );
        drop(bridge);
        assert_eq!(socket.fetch(true), SocketCommand { end: true, close: true, ..SocketCommand::default() });
    }

    #[tokio::test]
    async fn a_socket_that_is_gone_is_an_error_behind_what_it_brought() {
        let (mut bridge, socket, _) = rung();
        assert!(socket.push(b"last"));
        drop(socket);
        let mut read = [0; 4];
        bridge.read_exact(&mut read).await.expect("what it brought");
        assert_eq!(&read, b"last");
        bridge.read(&mut read).await.expect_err("no end, but a break");
        bridge.write(b"x").await.expect_err("nobody takes it");
    }
}
