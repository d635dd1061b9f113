//! A connection that delivers a fixed input.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use websocket_relay::shared_writer::SharedWriter;
use websocket_relay::stream::Transport;

/// A stream that delivers its bytes in pieces of `size` and then ends. It records what is written to it.
#[derive(Debug)]
pub struct Feed {
    bytes: Vec<u8>,
    size: usize,
    read: Arc<AtomicUsize>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Feed {
    /// Creates a stream with these bytes.
    pub fn new(bytes: &[u8], size: usize) -> Self {
        Self { bytes: bytes.to_vec(), size, read: Arc::default(), written: Arc::default() }
    }

    /// Returns the bytes written to it.
    pub fn written(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.written)
    }

    /// Returns the number of bytes read so far.
    pub fn progress(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.read)
    }
}

impl AsyncRead for Feed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.bytes[self.read.load(Ordering::Relaxed)..];
        let size = rest.len().min(self.size).min(buffer.remaining());
        buffer.put_slice(&rest[..size]);
        self.read.fetch_add(size, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().expect("no panic before").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Feed {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        (self, None)
    }
}
