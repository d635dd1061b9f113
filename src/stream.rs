//! What a connection's bytes come over.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Something that becomes a byte stream.
pub trait Connection {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Unpin;
    /// The stream, and a hand on its socket for others who write to it when it can take something, where it can be had.
    fn open(self) -> (Self::Stream, Option<OwnedWriteHalf>);
}

/// A TCP socket that others may write to as well.
#[derive(Debug)]
pub struct Tcp(OwnedReadHalf);

impl Connection for TcpStream {
    type Stream = Tcp;

    fn open(self) -> (Tcp, Option<OwnedWriteHalf>) {
        let (reader, writer) = self.into_split();
        (Tcp(reader), Some(writer))
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tcp {
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
