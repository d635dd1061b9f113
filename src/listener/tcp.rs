//! Opens the port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the system keeps until they are accepted; Node's default.
const BACKLOG: i32 = 511;

/// Listens on `port` (0: a free one) of `ip`; without one on all addresses, of IPv6 and IPv4 where the system has
/// both, as Node does. Must be called on a tokio runtime.
///
/// # Errors
/// The system's own.
pub fn bind(ip: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let Some(ip) = ip else {
        return listen((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // No IPv6 here.
            _ => listen((Ipv4Addr::UNSPECIFIED, port).into()),
        });
    };
    listen((ip, port).into())
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
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_do_not_hold_small_writes_back() {
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (connected, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        connected.expect("a connection");
        assert!(accepted.expect("a connection").0.nodelay().expect("the option"));
    }
}
