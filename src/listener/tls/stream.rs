//! The byte stream of a TLS connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::shared_writer::SharedWriter;
use crate::stream::Transport;
use crate::wire::turn;

/// The largest content of a record, in bytes.
const RECORD: usize = 16 * 1024;

/// Size of a read from a connection whose last read was wasteful, in bytes.
const WASTEFUL_READ: usize = 4 * 1024;
/// Size of a read from any other connection, in bytes.
const READ: usize = 32 * 1024;
/// Bytes on the wire per byte of content that are not waste.
const EXPANSION: usize = 2;
/// What a wasted byte counts in its connection's turn: each record is decrypted, and may change keys.
const WASTE_WEIGHT: usize = 16;

/// A TCP connection that limits how much one read takes from it.
#[derive(Debug)]
pub struct MeteredTcp {
    stream: TcpStream,
    /// Bytes that may be read.
    limit: usize,
    /// Bytes that were read.
    read_bytes: usize,
    /// Whether a read was refused because of the limit.
    is_exhausted: bool,
}

impl MeteredTcp {
    /// Wraps a connection for its handshake, which rustls bounds.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, limit: usize::MAX, read_bytes: 0, is_exhausted: false }
    }
}

impl AsyncRead for MeteredTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_exhausted = self.read_bytes >= self.limit;
        if self.is_exhausted {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.read_bytes += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeteredTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A TLS connection.
///
/// It writes one record at a time: if the first of several records was sent and the last one failed, rustls reports only the
/// failure, and the sent ones would be sent again on the next connection. Records with little content are charged to their
/// connection's turn at what they cost.
#[derive(Debug)]
pub struct TlsConnection {
    /// Boxed because it is large and moves.
    tls: Box<TlsStream<MeteredTcp>>,
    /// Whether the last read took more bytes than its content justifies.
    is_wasteful: bool,
}

impl TlsConnection {
    /// A connection after its handshake.
    pub fn new(tls: TlsStream<MeteredTcp>) -> Self {
        Self { tls: Box::new(tls), is_wasteful: true }
    }
}

impl Transport for TlsConnection {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        (self, None)
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = if self.is_wasteful { WASTEFUL_READ } else { READ };
        let metered = self.tls.get_mut().0;
        (metered.limit, metered.read_bytes, metered.is_exhausted) = (limit, 0, false);
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tls).poll_read(cx, buffer);
        let content = buffer.filled().len() - before;
        let &mut MeteredTcp { read_bytes, is_exhausted, .. } = self.tls.get_mut().0;
        let waste = read_bytes.saturating_sub(EXPANSION * content);
        if read_bytes > 0 {
            self.is_wasteful = waste > 0;
        }
        turn::charge(WASTE_WEIGHT * waste);
        if read.is_pending() && is_exhausted {
            // The socket does not wake the task: it is still readable.
            cx.waker().wake_by_ref();
        }
        read
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, &bytes[..bytes.len().min(RECORD)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;
    use crate::listener::{Credentials, TlsAcceptor};
    use crate::wire::Turn;

    #[tokio::test]
    async fn tiny_records_use_up_a_turn() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let cert = params.self_signed(&key).expect("a certificate");
        let (certs, keys) = (vec![cert.pem().into_bytes()], vec![key.serialize_pem().into_bytes()]);
        let tls =
            Arc::new(TlsAcceptor::new(&Credentials { certs, keys, ..Credentials::default() }).expect("TLS"));
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let name = ServerName::try_from("localhost").expect("a name");
        let connecting = async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let mut client = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
            for _ in 0..4000 {
                client.write_all(b"x").await.expect("there is room");
            }
            client
        };
        let accepting = async { tls.accept(listener.accept().await.expect("a connection").0).await };
        let (_client, server) = tokio::join!(connecting, accepting);
        let (mut server, mut turn, mut bytes) = (server.expect("TLS"), Turn::default(), vec![0; 4096]);
        let mut content = 0;
        // Until the turn ends.
        poll_fn(|cx| {
            while turn.poll_ready(cx).is_ready() {
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut server).poll_read(cx, &mut buffer)).expect("bytes");
                turn.record_read(buffer.filled().len());
                content += buffer.filled().len();
            }
            Poll::Ready(())
        })
        .await;
        assert!((1..1000).contains(&content), "{content} records were read in one turn");
    }
}
