//! TCP sockets.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::Transport;
use crate::shared_writer::SharedWriter;

/// A TCP stream whose write half is shared with other sessions.
#[derive(Debug)]
pub struct SharedTcpStream(OwnedReadHalf);

impl Transport for TcpStream {
    type Stream = SharedTcpStream;

    fn open(self) -> (SharedTcpStream, Option<SharedWriter>) {
        let (reader, writer) = self.into_split();
        (SharedTcpStream(reader), Some(SharedWriter::Tcp(writer)))
    }
}

impl AsyncRead for SharedTcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SharedTcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket: &TcpStream = self.0.as_ref();
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket: &TcpStream = self.0.as_ref();
        Poll::Ready(SockRef::from(socket).shutdown(Shutdown::Write))
    }
}
