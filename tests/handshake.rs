//! The port speaks HTTP: it upgrades WebSockets, and answers every other request so that its client can read it.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{TestRelay, UPGRADE, authentication, masked, read_head, read_rest, relay, soon};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use websocket_relay::Limits;

async fn send(server: &TestRelay, bytes: &[u8]) -> TcpStream {
    let mut stream = server.tcp().await;
    soon(stream.write_all(bytes)).await.unwrap();
    stream
}

/// Everything that is answered to these bytes.
async fn answer(server: &TestRelay, bytes: &[u8]) -> String {
    String::from_utf8(read_rest(&mut send(server, bytes).await).await).unwrap()
}

/// An upgrade request whose head has so many bytes.
fn upgrade_of(size: usize) -> Vec<u8> {
    let padding = format!("X: {}\r\n\r\n", "x".repeat(size - UPGRADE.len() - "X: \r\n".len()));
    [&UPGRADE[..UPGRADE.len() - 2], padding.as_bytes()].concat()
}

#[tokio::test]
async fn who_asks_for_no_websocket_is_told_what_this_is() {
    let server = TestRelay::start(Limits::default()).await;
    let plain = answer(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = plain.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{plain}");
    for header in ["connection: upgrade, close", "upgrade: websocket", "sec-websocket-version: 13"] {
        assert!(head.contains(header), "{plain}");
    }
    assert!(head.contains(&format!("content-length: {}", body.len())) && !body.is_empty(), "{plain}");
    // The same, but for the body.
    assert_eq!(
        answer(&server, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await,
        plain.strip_suffix(body).unwrap()
    );
    // One request a connection: what is behind it is not read as another.
    assert_eq!(answer(&server, b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await, plain);
    assert_eq!(answer(&server, b"GET / HTTP/1.0\r\n\r\n").await, plain);
}

#[tokio::test]
async fn a_request_with_a_body_is_answered_though_nobody_reads_the_body() {
    let server = TestRelay::start(Limits::default()).await;
    let (head, body) = ("POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n", vec![b'x'; 4_000_000]);
    let answered = answer(&server, &[head.as_bytes(), &body].concat()).await;
    assert!(answered.starts_with("HTTP/1.1 426 "), "{answered}");
}

#[tokio::test]
async fn a_client_that_says_nothing_more_is_answered() {
    let server = TestRelay::start(Limits::default()).await;
    for (request, status) in
        [(&b"GET / HTTP/1.1\r\n\r\n"[..], "426"), (UPGRADE, "101"), (b"\x16\x03\x01", "400")]
    {
        let mut stream = send(&server, request).await;
        soon(stream.shutdown()).await.unwrap();
        let answered = String::from_utf8(read_rest(&mut stream).await).unwrap();
        assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{answered}");
    }
    // Not before it has asked.
    let mut stream = send(&server, &UPGRADE[..UPGRADE.len() - 1]).await;
    soon(stream.shutdown()).await.unwrap();
    assert!(read_rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn a_head_may_have_the_largest_size_and_no_more() {
    let server = TestRelay::start(Limits::default()).await;
    let mut stream = send(&server, &upgrade_of(Limits::MAX_HEAD_BYTES)).await;
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let refused = answer(&server, &upgrade_of(Limits::MAX_HEAD_BYTES + 1)).await;
    assert!(refused.starts_with("HTTP/1.1 431 ") && refused.contains("connection: close\r\n"), "{refused}");
}

#[tokio::test]
async fn what_comes_with_the_request_is_not_lost() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut two = server.client(&grace).await;
    let authentication = masked(0x81, authentication(&ada).as_bytes());
    let message = masked(0x81, relay(&grace, "early").as_bytes());
    let mut one = send(&server, &[UPGRADE, &authentication, &message].concat()).await;
    assert!(read_head(&mut one).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(two.message(&ada).await, "early");
}

#[tokio::test]
async fn closing_does_not_wait_for_a_handshake_or_a_farewell() {
    let limits = Limits {
        headers_timeout: Duration::from_secs(3600),
        close_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let mut server = TestRelay::start(limits).await;
    let _half_a_head = send(&server, b"GET / HT").await;
    // It has been answered, and does not close its side.
    let mut answered = send(&server, b"GET / HTTP/1.1\r\n\r\n").await;
    read_rest(&mut answered).await;
    server.relay.close();
    server.find(|event| matches!(event, websocket_relay::Event::Closed).then_some(())).await;
}
