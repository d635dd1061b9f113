//! A hand on a connection's socket, for others than its own session to write with.

use std::io::{self, IoSlice};

use tokio::net::tcp::OwnedWriteHalf;

/// The writing half of a socket. Dropping it closes that; [`SharedWriter::forget`] does not.
#[derive(Debug)]
pub enum SharedWriter {
    /// Of a TCP connection.
    Tcp(OwnedWriteHalf),
    /// Of what a test has in its place.
    #[cfg(feature = "faults")]
    Simulated(Box<dyn Simulated>),
}

/// What a test has in place of a socket.
#[cfg(feature = "faults")]
pub trait Simulated: std::fmt::Debug + Send {
    /// Takes bytes without waiting, and says how many.
    ///
    /// # Errors
    /// When it takes none, now or ever.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl SharedWriter {
    /// Writes what the socket takes without waiting.
    ///
    /// # Errors
    /// When it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(feature = "faults")]
            Self::Simulated(socket) => socket.try_write(bytes),
        }
    }

    /// Writes what the socket takes of these pieces without waiting.
    ///
    /// # Errors
    /// When it takes nothing.
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

    /// Lets the socket go without closing it.
    pub fn forget(self) {
        match self {
            Self::Tcp(socket) => socket.forget(),
            #[cfg(feature = "faults")]
            Self::Simulated(_) => {}
        }
    }
}
