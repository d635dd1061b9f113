//! What a connection's bytes go over: the port's TCP sockets, sockets adopted from another server, and bridges to sockets
//! that JavaScript holds.
//!
//! A new transport implements [`Transport`]. TLS is in `listener/tls`, because its configuration is the port's.
//!
//! A connection that another server has accepted arrives in one of two ways. [`adopt_descriptor`] duplicates its socket's
//! descriptor; the other server then closes its own, and the connection is like one of the port's. Where there is no
//! descriptor to duplicate (TLS of the other server, HTTP/2, Windows), a [`bridge`] carries the bytes.

mod adopted;
pub mod bridge;
mod tcp;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::shared_writer::SharedWriter;

pub use adopted::{PendingConnection, adopt_descriptor};
pub use tcp::SharedTcpStream;

/// A connection that can be opened as a byte stream.
pub trait Transport {
    /// The byte stream.
    type Stream: AsyncRead + AsyncWrite + Unpin;
    /// Returns the stream and, if its socket allows it, a handle for other sessions to write to it directly.
    fn open(self) -> (Self::Stream, Option<SharedWriter>);
}
