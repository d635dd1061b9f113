//! TLS on the port: certificate and key, which may be replaced at any time, and the handshake.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use crate::hand::Hand;
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::SecretDocument;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::error::TlsError;
use crate::limits::Limits;
use crate::stream::Transport;
use crate::wire::turn;

/// What a server proves with who it is, everything in PEM.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Certificate chains, each with the server's own certificate first. One for each key.
    pub certs: Vec<Vec<u8>>,
    /// Private keys, in any order.
    pub keys: Vec<Vec<u8>>,
    /// What keys that are encrypted are encrypted with.
    pub passphrase: Option<Vec<u8>>,
    /// Authorities: they complete a chain that misses some, and say whose clients are let in.
    pub ca: Vec<Vec<u8>>,
    /// Whether clients have to have a certificate of one of these authorities.
    pub request_cert: bool,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and passphrases never print.
        f.debug_struct("Credentials").field("request_cert", &self.request_cert).finish_non_exhaustive()
    }
}

/// What TLS puts into one record at most.
const RECORD: usize = 16 * 1024;

/// Bytes that are read at one time of a connection that brings little in many records.
const WASTEFUL_READ: usize = 4 * 1024;
/// And of one that does not.
const READ: usize = 32 * 1024;
/// Bytes on the wire that each byte of content may take, beside [`WASTEFUL_READ`].
const EXPANSION: usize = 2;
/// What a byte that brings nothing counts for in a turn: each record is decrypted, and may change keys.
const WASTE_WEIGHT: usize = 16;

/// A TCP connection of which no more is read at one time than was allowed.
#[derive(Debug)]
struct Metered {
    stream: TcpStream,
    /// Bytes that may still be read.
    allowed: usize,
    /// Bytes that were read.
    taken: usize,
    /// Whether there may be more to read than was allowed.
    is_short: bool,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_short = self.taken >= self.allowed;
        if self.is_short {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.taken += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
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

/// A connection that speaks TLS. It is written to a record at a time: of several, of which the first went out and the last
/// failed, rustls tells only the failure, and what had gone out would be sent again on the next connection. Records that
/// bring little or nothing count for their reader's turn as what they cost.
#[derive(Debug)]
pub struct Records {
    /// Boxed, for it is large and moves.
    tls: Box<TlsStream<Metered>>,
    /// Whether the last read brought little for what it took.
    is_wasteful: bool,
}

impl Transport for Records {
    type Stream = Self;

    fn open(self) -> (Self, Option<Hand>) {
        (self, None)
    }
}

impl AsyncRead for Records {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let allowed = if self.is_wasteful { WASTEFUL_READ } else { READ };
        let metered = self.tls.get_mut().0;
        (metered.allowed, metered.taken, metered.is_short) = (allowed, 0, false);
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tls).poll_read(cx, buffer);
        let brought = buffer.filled().len() - before;
        let &mut Metered { taken, is_short, .. } = self.tls.get_mut().0;
        let waste = taken.saturating_sub(EXPANSION * brought);
        if taken > 0 {
            self.is_wasteful = waste > 0;
        }
        turn::charge(WASTE_WEIGHT * waste);
        if read.is_pending() && is_short {
            // Nobody else would wake it for what was not allowed.
            cx.waker().wake_by_ref();
        }
        read
    }
}

impl AsyncWrite for Records {
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

/// What connections from now on are greeted with.
#[derive(Debug)]
pub struct TlsAcceptor(RwLock<Arc<ServerConfig>>);

thread_local! {
    /// Who computes signatures: one of a thread's connections at a time, so that the others come to their turn between
    /// two of those who all connect at once.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

impl TlsAcceptor {
    /// # Errors
    /// What is wrong with the credentials.
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        config(credentials).map(|config| Self(RwLock::new(Arc::new(config))))
    }

    /// Greets new connections with other credentials. Those that there are stay as they are.
    ///
    /// # Errors
    /// What is wrong with them; nothing has changed then.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let config = Arc::new(config(credentials)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// The handshake. It fails without a word: nobody knows who it was. Boxed, so that a task has no room for it, which
    /// is much, for ever.
    pub fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> Pin<Box<impl Future<Output = Option<Records>> + use<>>> {
        Box::pin(Arc::clone(self).shake_hands(stream))
    }

    async fn shake_hands(self: Arc<Self>, stream: TcpStream) -> Option<Records> {
        // What a handshake takes is bounded by rustls.
        let stream = Metered { stream, allowed: usize::MAX, taken: 0, is_short: false };
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        let turn = TURN.with(Arc::clone).acquire_owned().await.ok()?;
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        // Here it is that the signature is computed.
        let handshake = hello.into_stream_with(config, |connection| {
            connection.set_buffer_limit(Some(Limits::TLS_WRITE_AHEAD));
        });
        yield_now().await;
        drop(turn);
        let tls = handshake.await.ok().map(Box::new)?;
        Some(Records { tls, is_wasteful: true })
    }
}

fn config(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let ca = all_certificates(&credentials.ca, TlsError::Authority)?;
    let pairs = pairs(credentials, &ca, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(internal)?;
    let builder = match credentials.request_cert {
        true => builder.with_client_cert_verifier(verifier(ca, provider)?),
        false => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Pairs(pairs)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who comes back after an outage, with everybody else, needs no signature.
    config.ticketer = ring::Ticketer::new().map_err(internal)?;
    Ok(config)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn internal(error: RustlsError) -> TlsError {
    TlsError::Internal(error.to_string())
}

fn verifier(
    ca: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Authority(
            "clients are to have a certificate, and nobody may give it".to_owned(),
        ));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Authority(error.to_string()))
}

/// Certificates with their keys. Who connects gets the first that it can check.
#[derive(Debug)]
struct Pairs(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Pairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).map(Arc::clone)
    }
}

/// Finds the key of each certificate.
fn pairs(
    Credentials { certs, keys, passphrase, .. }: &Credentials,
    ca: &[CertificateDer<'static>],
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    if certs.is_empty() {
        return Err(TlsError::Certificate("there is none".to_owned()));
    }
    let passphrase = passphrase.as_deref();
    let mut keys = keys.iter().map(|pem| key(pem, passphrase)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(TlsError::Key("there is none".to_owned()));
    }
    let mut pairs = Vec::new();
    for pem in certs {
        let mut chain = certificates(pem, TlsError::Certificate)?;
        complete(&mut chain, ca)?;
        let mut found = None;
        for (number, key) in keys.iter().enumerate() {
            match CertifiedKey::from_der(chain.clone(), key.clone_key(), provider) {
                Ok(pair) => {
                    found = Some((number, pair));
                    break;
                }
                Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {}
                Err(RustlsError::InvalidCertificate(error)) => {
                    return Err(TlsError::Certificate(error.to_string()));
                }
                Err(error) => return Err(TlsError::Key(error.to_string())),
            }
        }
        let (number, pair) = found.ok_or(TlsError::Mismatch)?;
        keys.remove(number);
        pairs.push(Arc::new(pair));
    }
    if keys.is_empty() { Ok(pairs) } else { Err(TlsError::Mismatch) }
}

fn all_certificates(
    pems: &[Vec<u8>],
    wrong: fn(String) -> TlsError,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let lists: Result<Vec<_>, _> = pems.iter().map(|pem| certificates(pem, wrong)).collect();
    Ok(lists?.concat())
}

fn certificates(pem: &[u8], wrong: fn(String) -> TlsError) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("no certificate in PEM format was found".to_owned()));
    }
    for certificate in &found {
        webpki::EndEntityCert::try_from(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(found)
}

/// Adds those that are between a chain and its root, as OpenSSL does. Who connects has the root.
fn complete(
    chain: &mut Vec<CertificateDer<'static>>,
    ca: &[CertificateDer<'static>],
) -> Result<(), TlsError> {
    // Each authority once, however they have signed each other.
    for _ in ca {
        let Some(last) = chain.last() else { return Ok(()) };
        let issuer = parsed(last)?.issuer().to_vec();
        let mut next = None;
        for authority in ca {
            let authority_names = parsed(authority)?;
            if authority_names.subject() == issuer && authority_names.issuer() != issuer {
                next = Some(authority.clone());
                break;
            }
        }
        match next {
            Some(next) if !chain.contains(&next) => chain.push(next),
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<webpki::EndEntityCert<'a>, TlsError> {
    webpki::EndEntityCert::try_from(certificate).map_err(|error| TlsError::Certificate(error.to_string()))
}

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// What OpenSSL wrote before there was PKCS#8.
const ENCRYPTED_OF_OLD: &str = "Proc-Type: 4,ENCRYPTED";

fn key(pem: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = String::from_utf8_lossy(pem);
    if text.contains(ENCRYPTED_OF_OLD) {
        return Err(TlsError::OldEncryption);
    }
    if let Some(start) = text.find(ENCRYPTED) {
        let passphrase = passphrase.ok_or(TlsError::PassphraseMissing)?;
        let end = text.find(ENCRYPTED_END).unwrap_or(text.len()) + ENCRYPTED_END.len();
        let block = text.get(start..end).ok_or_else(|| TlsError::Key("its PEM has no end".to_owned()))?;
        return decrypt(&block.replace('\r', ""), passphrase);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::Key("no private key in PEM format was found".to_owned()),
        error => TlsError::Key(error.to_string()),
    })
}

fn decrypt(block: &str, passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |error: &dyn fmt::Display| TlsError::Key(error.to_string());
    let (_, document) = SecretDocument::from_pem(block).map_err(|error| wrong(&error))?;
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|error| wrong(&error))?;
    if info.encryption_algorithm.pbes2().is_none() {
        return Err(TlsError::OldEncryption);
    }
    let key = info.decrypt(passphrase).map_err(|_| TlsError::PassphraseWrong)?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::ClientConfig;
    use tokio_rustls::rustls::pki_types::ServerName;

    use super::*;
    use crate::wire::Turn;

    #[tokio::test]
    async fn records_of_a_byte_end_the_turn_that_they_are_read_in() {
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
        let mut brought = 0;
        // Until it is the turn of others.
        poll_fn(|cx| {
            while turn.poll(cx).is_ready() {
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut server).poll_read(cx, &mut buffer)).expect("bytes");
                turn.read(buffer.filled().len());
                brought += buffer.filled().len();
            }
            Poll::Ready(())
        })
        .await;
        assert!((1..1000).contains(&brought), "{brought} records were read in one turn");
    }
}
