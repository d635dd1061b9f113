//! A connection's write half, shared with the sessions that send to it.

use std::io::{self, IoSlice};

use tokio::net::tcp::OwnedWriteHalf;

/// The write half of a socket. Dropping it shuts that half down; [`SharedWriter::forget`] does not.
#[derive(Debug)]
pub enum SharedWriter {
    /// The write half of a TCP socket.
    Tcp(OwnedWriteHalf),
    /// A simulated socket.
    #[cfg(feature = "faults")]
    Simulated(Box<dyn Simulated>),
}

/// A socket that a test simulates.
#[cfg(feature = "faults")]
pub trait Simulated: std::fmt::Debug + Send {
    /// Writes bytes without waiting. Returns how many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket takes no bytes now, another error when it is broken.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl SharedWriter {
    /// Writes as many bytes as the socket takes without waiting. Returns how many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket takes no bytes now, another error when it is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(feature = "faults")]
            Self::Simulated(socket) => socket.try_write(bytes),
        }
    }

    /// Writes as many bytes of these pieces as the socket takes without waiting. Returns how many.
    ///
    /// # Errors
    /// Those of [`SharedWriter::try_write`].
    pub fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(pieces),
            #[cfg(feature = "faults")]
            Self::Simulated(socket) => {
                let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                socket.try_write(&bytes)
            }
        }
    }

    /// Drops the write half without shutting it down.
    pub fn forget(self) {
        match self {
            Self::Tcp(socket) => socket.forget(),
            #[cfg(feature = "faults")]
            Self::Simulated(_) => {}
        }
    }
}
