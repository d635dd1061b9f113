//! Opens the port.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::access::HostAddress;

/// Connections that the system keeps until they are accepted; Node's default.
const BACKLOG: i32 = 511;

/// Listens on `port` (0: a free one) of `host`; without one on all addresses, of IPv6 and IPv4 where the system has
/// both, as Node does. Must be called on a tokio runtime.
///
/// # Errors
/// The system's own.
pub fn bind(host: Option<HostAddress>, port: u16) -> io::Result<TcpListener> {
    let Some(host) = host else {
        return listen((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // No IPv6 here.
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
    // On Windows it would let two servers share a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // A message must not wait for the next one. Accepted connections have it from here.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    let _ = wait_for_bytes(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Has the system keep connections to itself until something comes on them: this program is woken once for a connection
/// and its request. Who says nothing is accepted after a second, and who comes when 511 others say nothing (see
/// [`BACKLOG`]) at once, as the system then makes connections without keeping them (`tcp_syncookies`).
///
/// # Errors
/// The system's own. It is only slower without.
#[cfg(target_os = "linux")]
fn wait_for_bytes(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let seconds: libc::c_int = 1;
    #[expect(unsafe_code, reason = "no crate that is here has a safe way")]
    // SAFETY: the descriptor is the socket's, and the value is as large as is said.
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
    async fn accepted_connections_do_not_hold_small_writes_back() {
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
    async fn who_speaks_is_accepted_before_who_does_not_and_both_are() {
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
