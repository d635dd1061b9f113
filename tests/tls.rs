//! TLS delivers like plain TCP, certificates can be replaced, and invalid ones are reported.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::sync::Arc;

use common::{TestRelay, authentication, read_to_end, relay, soon};
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use websocket_relay::{Credentials, Error, Limits, Options, Registration, Relay, TlsError};

/// Returns a new self-signed certificate and its key.
fn credentials() -> Credentials {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (certs, keys) = (vec![cert.pem().into_bytes()], vec![key.serialize_pem().into_bytes()]);
    Credentials { certs, keys, ..Credentials::default() }
}

async fn start(credentials: &Credentials, limits: Limits) -> TestRelay {
    let credentials = Some(credentials.clone());
    TestRelay::with(Options { limits, credentials, ..Options::default() }).await
}

type Socket = TlsStream<tokio::net::TcpStream>;

/// Connects to a server, trusting this certificate only.
async fn connect(server: &TestRelay, trusted: &Credentials) -> std::io::Result<Socket> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&trusted.certs[0]).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, server.tcp().await)).await
}

/// Connects and authenticates a plain client.
async fn client(
    server: &TestRelay,
    trusted: &Credentials,
    registration: &Registration,
) -> WebSocketStream<Socket> {
    let stream = connect(server, trusted).await.unwrap();
    let (mut socket, _) = soon(client_async("ws://localhost/", stream)).await.unwrap();
    soon(socket.send(Message::text(authentication(registration)))).await.unwrap();
    socket
}

#[tokio::test]
async fn delivers_everything_in_order_to_a_slow_reader() {
    let credentials = credentials();
    let server = start(&credentials, Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut from = client(&server, &credentials, &ada).await;
    let mut to = client(&server, &credentials, &grace).await;
    // More than the sockets take before the recipient reads.
    let message = |n: usize| format!("{n} {}", "x".repeat(n * 997 % 100_000));
    let send = async {
        for n in 0..500 {
            from.send(Message::text(relay(&grace, &message(n)))).await.unwrap();
        }
        from
    };
    let receive = async {
        tokio::task::yield_now().await;
        for n in 0..500 {
            let text = to.next().await.unwrap().unwrap().into_text().unwrap();
            let expected = format!(r#"{{"relay":{{"senderId":{},"message":"{}"}}}}"#, ada.id, message(n));
            assert!(*text == *expected, "message {n}");
        }
    };
    soon(async { tokio::join!(send, receive) }).await;
}

#[tokio::test]
async fn replaces_the_certificate_for_new_connections_only() {
    let (before, after) = (credentials(), credentials());
    let server = start(&before, Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = client(&server, &before, &ada).await;
    server.relay.set_credentials(&after).unwrap();
    let mut grace_client = client(&server, &after, &grace).await;
    connect(&server, &before).await.expect_err("the old certificate is no longer used");
    soon(ada_client.send(Message::text(relay(&grace, "hello")))).await.unwrap();
    assert!(soon(grace_client.next()).await.unwrap().unwrap().into_text().unwrap().contains("hello"));
}

#[tokio::test]
async fn cuts_off_plain_connections() {
    let server = start(&credentials(), Limits::default()).await;
    let mut plain = server.send(common::UPGRADE).await;
    assert!(!read_to_end(&mut plain).await.starts_with(b"HTTP"));
}

#[tokio::test]
async fn rejects_invalid_credentials_and_keeps_the_old_ones() {
    let (good, other) = (credentials(), credentials());
    let server = start(&good, Limits::default()).await;
    let mixed = Credentials { keys: other.keys, ..good.clone() };
    let invalid = [
        (Credentials::default(), TlsError::Certificate("there is none".to_owned())),
        (Credentials { keys: Vec::new(), ..good.clone() }, TlsError::Key("there is none".to_owned())),
        (mixed, TlsError::Mismatch),
    ];
    for (credentials, expected) in invalid {
        let Err(Error::Tls(error)) = server.relay.set_credentials(&credentials) else { panic!("{expected}") };
        assert_eq!(error, expected);
        let options = Options { credentials: Some(credentials), ..Options::default() };
        let Err(Error::Tls(error)) = Relay::new(options) else { panic!("{expected}") };
        assert_eq!(error, expected);
        connect(&server, &good).await.expect("as before");
    }
    let plain = TestRelay::start(Limits::default()).await;
    let Err(Error::Tls(TlsError::NotSecure)) = plain.relay.set_credentials(&good) else {
        panic!("a relay without TLS")
    };
}

#[test]
fn never_prints_keys() {
    let printed = format!("{:?}", Credentials { passphrase: Some(b"sesame".to_vec()), ..credentials() });
    assert_eq!(printed, "Credentials { request_cert: false, .. }");
}
