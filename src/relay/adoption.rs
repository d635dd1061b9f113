//! Adopted connections: another server has read their WebSocket request.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::Relay;
use crate::access::HostAddress;
use crate::listener::{ConnectionSlot, Handover, RemoteClient};
use crate::stream::Transport;

/// A WebSocket request that another server has read and the relay has accepted.
#[derive(Debug)]
pub struct AcceptedUpgrade {
    response: Vec<u8>,
    guest: RemoteClient,
    admission: ConnectionSlot,
    thread: Handle,
}

impl AcceptedUpgrade {
    /// Takes the HTTP response, for the owner of the socket to write. The relay then does not write it.
    pub fn take_response(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.response)
    }
}

impl Relay {
    /// Accepts or rejects a WebSocket request that another server has read from `peer`. `head` is its HTTP head.
    ///
    /// # Errors
    /// The HTTP response with which to reject it before closing the connection. If it is empty, close without a response.
    pub fn accept_upgrade(&self, head: &[u8], peer: Option<HostAddress>) -> Result<AcceptedUpgrade, Vec<u8>> {
        let (response, guest, admission) = self.acceptor.accept_request(head, peer)?;
        // Without threads the relay has been disposed of, and has rejected the request already.
        let thread = self.acceptor.least_busy_thread().ok_or_else(Vec::new)?.clone();
        Ok(AcceptedUpgrade { response, guest, admission, thread })
    }

    /// Writes the response, unless it was taken, and serves the connection like one accepted on the port.
    ///
    /// `early` holds the bytes that came after the request. `kept` is dropped when the connection has ended.
    pub fn adopt<C, K>(&self, upgrade: AcceptedUpgrade, connection: C, early: Vec<u8>, kept: K)
    where
        C: Transport<Stream: Send> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
        K: Send + 'static,
    {
        let AcceptedUpgrade { response: answer, guest, admission, thread } = upgrade;
        self.acceptor.adopt(
            &thread,
            Handover { connection, response: answer, early, client: guest },
            admission,
            kept,
        );
    }

    /// Adopts a connection by its socket; see [`Relay::adopt`] and [`crate::stream::adopt_descriptor`].
    ///
    /// # Errors
    /// An error of the system, if the socket cannot be registered with the thread. The connection is closed.
    pub fn adopt_socket<K>(
        &self,
        upgrade: AcceptedUpgrade,
        socket: std::net::TcpStream,
        early: Vec<u8>,
        kept: K,
    ) -> io::Result<()>
    where
        K: Send + 'static,
    {
        let stream = register(socket, &upgrade.thread)?;
        self.adopt(upgrade, stream, early, kept);
        Ok(())
    }

    /// Writes an HTTP response to a socket and closes it. `kept` is dropped when that is done.
    ///
    /// # Errors
    /// An error of the system, if the socket cannot be registered with a thread. The connection is closed.
    pub fn respond_and_close<K>(
        &self,
        socket: std::net::TcpStream,
        response: Vec<u8>,
        kept: K,
    ) -> io::Result<()>
    where
        K: Send + 'static,
    {
        // Without threads the relay has been disposed of; dropping the socket closes it.
        let Some(thread) = self.acceptor.least_busy_thread() else { return Ok(()) };
        let stream = register(socket, thread)?;
        self.acceptor.respond_and_close(thread, stream, response, kept);
        Ok(())
    }

    /// Returns whether any adopted connection is open. [`Event::AdoptedConnectionsEnded`](crate::Event::AdoptedConnectionsEnded) follows when the last
    /// one has ended.
    pub fn has_adopted(&self) -> bool {
        self.acceptor.has_adopted()
    }
}

/// Registers a socket with the event loop of `thread`.
fn register(socket: std::net::TcpStream, thread: &Handle) -> io::Result<TcpStream> {
    let _entered = thread.enter();
    TcpStream::from_std(socket)
}
