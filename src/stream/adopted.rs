//! TCP connections adopted from another server by their descriptors.

use std::io::{self, Read};

use crate::limits::Limits;

/// Duplicates the descriptor of a TCP connection that another owner holds. That owner must not read from the connection any
/// more, and closes its descriptor. The returned socket is non-blocking, as tokio requires.
///
/// # Errors
/// If `descriptor` is not a connected TCP socket, or the system has no more descriptors.
#[cfg(unix)]
pub fn adopt_descriptor(descriptor: std::os::fd::RawFd) -> io::Result<std::net::TcpStream> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor comes from JavaScript as a number, and the standard library has no safe way"
    )]
    // SAFETY: the descriptor is not -1 and is borrowed only here. Its owner waits further up this thread's stack. If it is
    // closed all the same, or not a socket, duplicating it or the checks below fail.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    let socket = socket2::Socket::from(borrowed.try_clone_to_owned()?);
    if socket.r#type()? != socket2::Type::STREAM || socket.peer_addr()?.as_socket().is_none() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    socket.set_nonblocking(true)?;
    // As on the port's own connections.
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Not supported on this platform.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn adopt_descriptor(_: i32) -> io::Result<std::net::TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An adopted connection whose request is not answered yet.
#[derive(Debug)]
pub struct PendingConnection {
    socket: std::net::TcpStream,
    /// Bytes received after the request.
    early: Vec<u8>,
}

impl PendingConnection {
    /// A connection whose socket [`adopt_descriptor`] returned.
    pub fn new(socket: std::net::TcpStream) -> Self {
        Self { socket, early: Vec::new() }
    }

    /// Reads what has arrived. Returns whether the client has closed its side, or sent more than
    /// [`Limits::MAX_EARLY_BYTES`].
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

    /// Returns the socket, and `first` followed by the bytes received since.
    pub fn into_parts(self, first: &[u8]) -> (std::net::TcpStream, Vec<u8>) {
        (self.socket, [first, &self.early].concat())
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
    async fn an_adopted_connection_outlives_its_first_owner() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (first, _) = listener.accept().expect("a connection");
        let adopted = adopt_descriptor(first.as_raw_fd()).expect("the connection");
        assert_ne!(adopted.as_raw_fd(), first.as_raw_fd());
        drop(first);
        let mut adopted = tokio::net::TcpStream::from_std(adopted).expect("a socket");
        adopted.write_all(b"hello").await.expect("still open");
        other.set_nonblocking(true).expect("an option");
        let mut other = tokio::net::TcpStream::from_std(other).expect("a socket");
        drop(adopted);
        let mut read = String::new();
        other.read_to_string(&mut read).await.expect("what was written, and the end");
        assert_eq!(read, "hello");
    }

    #[tokio::test]
    #[cfg_attr(miri, ignore = "needs a socket")]
    async fn rejects_other_descriptors_and_leaves_them_open() {
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
