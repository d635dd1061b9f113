//! TLS on the port: the handshake, with credentials that may be replaced at any time.
//!
//! Only its own session can write to a TLS connection, so other sessions wake it by its bell. A record of at most 16 KiB is
//! encrypted ahead of what the socket has taken, and counts as taken; an outbox is done once that record is flushed.
//! Signatures, which take 0.3 ms of CPU time with ECDSA and 1 ms with RSA, are computed for one connection at a time per
//! thread, and other connections are served in between.

mod credentials;
mod key;
mod stream;

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as RustlsError, RootCertStore, ServerConfig};

use crate::error::TlsError;
use crate::limits::Limits;

pub use credentials::Credentials;
use stream::{MeteredTcp, TlsConnection};

/// Performs TLS handshakes with the current credentials.
#[derive(Debug)]
pub struct TlsAcceptor(RwLock<Arc<ServerConfig>>);

thread_local! {
    /// Held while a signature is computed: one at a time per thread, so that other connections are served between two
    /// handshakes when many clients connect at once.
    static HANDSHAKE_PERMIT: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

impl TlsAcceptor {
    /// An acceptor with these credentials.
    ///
    /// # Errors
    /// If the credentials are invalid.
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        server_config(credentials).map(|config| Self(RwLock::new(Arc::new(config))))
    }

    /// Replaces the credentials for new connections.
    ///
    /// # Errors
    /// If the new credentials are invalid; the old ones stay in use.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let config = Arc::new(server_config(credentials)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Performs a handshake. A failed one is not reported, because the client is unknown. Boxed because the future is large,
    /// and an open connection needs no room for it.
    pub fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> Pin<Box<impl Future<Output = Option<TlsConnection>> + use<>>> {
        Box::pin(Arc::clone(self).handshake(stream))
    }

    async fn handshake(self: Arc<Self>, stream: TcpStream) -> Option<TlsConnection> {
        let stream = MeteredTcp::new(stream);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        let permit = HANDSHAKE_PERMIT.with(Arc::clone).acquire_owned().await.ok()?;
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        // This computes the signature.
        let handshake = hello.into_stream_with(config, |connection| {
            connection.set_buffer_limit(Some(Limits::TLS_WRITE_AHEAD));
        });
        yield_now().await;
        drop(permit);
        handshake.await.ok().map(TlsConnection::new)
    }
}

fn server_config(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let ca = credentials.authorities()?;
    let keys = credentials.certified_keys(&ca, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(internal)?;
    let builder = match credentials.request_cert {
        true => builder.with_client_cert_verifier(client_verifier(ca, provider)?),
        false => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(CertResolver(keys)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // After an outage all clients reconnect at once. Resumption needs no signature.
    config.ticketer = ring::Ticketer::new().map_err(internal)?;
    Ok(config)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn internal(error: RustlsError) -> TlsError {
    TlsError::Internal(error.to_string())
}

/// Verifies client certificates against `ca`.
fn client_verifier(
    ca: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Authority("requestCert needs at least one".to_owned()));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Authority(error.to_string()))
}

/// Certificates with their keys. A client gets the first one whose signature scheme it supports.
#[derive(Debug)]
struct CertResolver(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).map(Arc::clone)
    }
}
