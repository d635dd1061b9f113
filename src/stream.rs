//! What a connection's bytes come over: a socket of its own, one that was taken over, or a bridge to whoever has one.

pub mod bridge;

use std::io::{self, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::hand::Hand;
use crate::limits::Limits;

/// Something that becomes a byte stream.
pub trait Transport {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Unpin;
    /// The stream, and a hand on its socket for others who write to it when it can take something, where it can be had.
    fn open(self) -> (Self::Stream, Option<Hand>);
}

/// A TCP connection of which somebody else has the descriptor, under a descriptor of its own. Who has the other must
/// close it, and read nothing from it any more. It is non-blocking, as tokio wants it.
///
/// # Errors
/// When it is no connected TCP socket, or there is no descriptor to be had.
#[cfg(unix)]
pub fn adopt_descriptor(descriptor: std::os::fd::RawFd) -> io::Result<std::net::TcpStream> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor comes from JavaScript as a number, and the standard library has no safe way"
    )]
    // SAFETY: it is not -1, and is borrowed only here. Its owner is further up this thread's stack and waits. If it
    // were closed all the same, or of something else, copying fails or the checks below do.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    let socket = socket2::Socket::from(borrowed.try_clone_to_owned()?);
    if socket.r#type()? != socket2::Type::STREAM || socket.peer_addr()?.as_socket().is_none() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    socket.set_nonblocking(true)?;
    // As for those that come by the port.
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// There is nothing of the kind here.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn adopt_descriptor(_: i32) -> io::Result<std::net::TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A connection that was taken over and whose request is not answered yet.
#[derive(Debug)]
pub struct PendingConnection {
    socket: std::net::TcpStream,
    /// What it has brought behind its request.
    early: Vec<u8>,
}

impl PendingConnection {
    /// A connection that [`adopt_descriptor`] returned.
    pub fn new(socket: std::net::TcpStream) -> Self {
        Self { socket, early: Vec::new() }
    }

    /// Whether its client has closed its side, or sent more than [`Limits::MAX_EARLY_BYTES`], so far.
    pub fn has_left(&mut self) -> bool {
        let mut bytes = [0; 4096];
        while self.early.len() <= Limits::MAX_EARLY_BYTES {
            match self.socket.read(&mut bytes) {
                Ok(0) => return true,
                Ok(length) => self.early.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// The connection, and what it has brought behind `first`.
    pub fn into_parts(self, first: &[u8]) -> (std::net::TcpStream, Vec<u8>) {
        (self.socket, [first, &self.early].concat())
    }
}

/// A TCP socket that others may write to as well.
#[derive(Debug)]
pub struct Tcp(OwnedReadHalf);

impl Transport for TcpStream {
    type Stream = Tcp;

    fn open(self) -> (Tcp, Option<Hand>) {
        let (reader, writer) = self.into_split();
        (Tcp(reader), Some(Hand::Tcp(writer)))
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

#[cfg(all(test, unix))]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    #[cfg_attr(miri, ignore = "needs a socket")]
    async fn what_is_taken_over_lives_on_when_its_first_owner_closes_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (first, _) = listener.accept().expect("a connection");
        let taken = adopt_descriptor(first.as_raw_fd()).expect("the connection");
        assert_ne!(taken.as_raw_fd(), first.as_raw_fd());
        drop(first);
        let mut taken = tokio::net::TcpStream::from_std(taken).expect("a socket");
        taken.write_all(b"hello").await.expect("still open");
        other.set_nonblocking(true).expect("an option");
        let mut other = tokio::net::TcpStream::from_std(other).expect("a socket");
        drop(taken);
        let mut read = String::new();
        other.read_to_string(&mut read).await.expect("what was written, and the end");
        assert_eq!(read, "hello");
    }

    #[tokio::test]
    #[cfg_attr(miri, ignore = "needs a socket")]
    async fn what_is_no_connection_is_left_as_it_was() {
        let (listener, pipe) =
            (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), std::os::unix::net::UnixStream::pair());
        let (listener, (pipe, _other)) = (listener.expect("a port"), pipe.expect("two sockets"));
        let file = std::fs::File::open("/").expect("a folder");
        let datagrams = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let others =
            [listener.as_raw_fd(), pipe.as_raw_fd(), file.as_raw_fd(), datagrams.as_raw_fd(), -1, i32::MAX];
        for descriptor in others {
            adopt_descriptor(descriptor).expect_err("no connection");
        }
        listener.local_addr().expect("still open");
        pipe.peer_addr().expect("still open");
    }
}
