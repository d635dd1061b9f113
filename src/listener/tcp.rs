//! Opens the port.
//!
//! On Linux the listener sets `TCP_DEFER_ACCEPT`: the kernel holds a connection back until its first bytes arrive, so the
//! server wakes once for a connection and its request. A silent connection is accepted after a second. When 511 silent
//! connections fill the [`BACKLOG`], the kernel falls back to SYN cookies and accepts at once, so they never delay a client
//! that sends its request.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::access::HostAddress;

/// Connections that the kernel queues until they are accepted; Node's default.
const BACKLOG: i32 = 511;

/// Listens on `port` (0 for a free one) of `host`. Without a host it listens on all addresses, of IPv6 and IPv4 if the
/// system has both, as Node does. Must be called on a tokio runtime.
///
/// # Errors
/// Those of the system.
pub fn bind(host: Option<HostAddress>, port: u16) -> io::Result<TcpListener> {
    let Some(host) = host else {
        return listen((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // The system has no IPv6.
            _ => listen((Ipv4Addr::UNSPECIFIED, port).into()),
        });
    };
    listen(host.with_port(port))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    // On Windows this would let two servers share a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // A message must not wait for the next one. Accepted connections inherit the option.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    let _ = wait_for_bytes(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets `TCP_DEFER_ACCEPT`; see the module documentation.
///
/// # Errors
/// Those of the system. Without the option the server is only slower.
#[cfg(target_os = "linux")]
fn wait_for_bytes(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let seconds: libc::c_int = 1;
    #[expect(unsafe_code, reason = "no dependency has a safe wrapper")]
    // SAFETY: the descriptor is the socket's, and the value has the given size.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    #[cfg_attr(miri, ignore = "needs a socket")]
    async fn accepted_connections_send_small_writes_at_once() {
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
        client.write_all(b"hello").await.expect("it is connected");
        let (accepted, _) = listener.accept().await.expect("a connection");
        assert!(accepted.nodelay().expect("the option"));
    }

    #[tokio::test]
    #[cfg_attr(miri, ignore = "needs a socket")]
    #[cfg(target_os = "linux")]
    async fn accepts_clients_that_send_before_silent_ones() {
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).expect("a port");
        let address = listener.local_addr().expect("its address");
        let silent = TcpStream::connect(address).await.expect("a connection");
        let mut other = TcpStream::connect(address).await.expect("a connection");
        other.write_all(b"hello").await.expect("it is connected");
        for client in [other, silent] {
            let (_, peer) = listener.accept().await.expect("a connection");
            assert_eq!(peer, client.local_addr().expect("its address"));
        }
    }
}
