//! The port speaks HTTP: it upgrades WebSockets, and responds to every other request.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{
    TestRelay, UPGRADE, authentication, close_code, masked_text, read_head, read_to_end, relay, soon,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use websocket_relay::{Limits, Options, Script, Site};

/// Sends these bytes, and returns all that the server sends until it closes the connection.
async fn response_to(server: &TestRelay, bytes: &[u8]) -> String {
    String::from_utf8(read_to_end(&mut server.send(bytes).await).await).unwrap()
}

/// Returns an upgrade request whose head has `size` bytes.
fn upgrade_of(size: usize) -> Vec<u8> {
    let padding = format!("X: {}\r\n\r\n", "x".repeat(size - UPGRADE.len() - "X: \r\n".len()));
    [&UPGRADE[..UPGRADE.len() - 2], padding.as_bytes()].concat()
}

#[tokio::test]
async fn answers_plain_requests_with_426() {
    let server = TestRelay::start(Limits::default()).await;
    let plain = response_to(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = plain.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{plain}");
    for header in ["Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13"] {
        assert!(head.contains(header), "{plain}");
    }
    assert!(head.contains(&format!("Content-Length: {}", body.len())) && !body.is_empty(), "{plain}");
    // The same without the body.
    assert_eq!(
        response_to(&server, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await,
        plain.strip_suffix(body).unwrap()
    );
    // One request per connection: a second one is ignored.
    assert_eq!(response_to(&server, b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await, plain);
    assert_eq!(response_to(&server, b"GET / HTTP/1.0\r\n\r\n").await, plain);
}

#[tokio::test]
async fn answers_requests_with_an_unread_body() {
    let server = TestRelay::start(Limits::default()).await;
    let (head, body) = ("POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n", vec![b'x'; 4_000_000]);
    let answered = response_to(&server, &[head.as_bytes(), &body].concat()).await;
    assert!(answered.starts_with("HTTP/1.1 426 "), "{answered}");
}

#[tokio::test]
async fn answers_half_closed_connections() {
    let server = TestRelay::start(Limits::default()).await;
    for (request, status) in
        [(&b"GET / HTTP/1.1\r\n\r\n"[..], "426"), (UPGRADE, "101"), (b"\x16\x03\x01", "400")]
    {
        let mut stream = server.send(request).await;
        soon(stream.shutdown()).await.unwrap();
        let answered = String::from_utf8(read_to_end(&mut stream).await).unwrap();
        assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{answered}");
    }
    // Nothing before the request is complete.
    let mut stream = server.send(&UPGRADE[..UPGRADE.len() - 1]).await;
    soon(stream.shutdown()).await.unwrap();
    assert!(read_to_end(&mut stream).await.is_empty());
}

#[tokio::test]
async fn accepts_heads_up_to_the_size_limit() {
    for bound in [Limits::default().max_header_size, 1024, 100_000] {
        let limits = Limits { max_header_size: bound, ..Limits::default() };
        let server = TestRelay::start(limits).await;
        let mut stream = server.send(&upgrade_of(bound)).await;
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
        let refused = response_to(&server, &upgrade_of(bound + 1)).await;
        assert!(
            refused.starts_with("HTTP/1.1 431 ") && refused.contains("Connection: close\r\n"),
            "{refused}"
        );
        assert_eq!(server.relay.stats().turned_away["maxHeaderSize"], 1);
    }
}

#[tokio::test]
async fn reads_frames_sent_with_the_request() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut grace_client = server.client(&grace).await;
    let authentication = masked_text(&authentication(&ada));
    let message = masked_text(&relay(&grace, "early"));
    let mut ada_stream = server.send(&[UPGRADE, &authentication, &message].concat()).await;
    assert!(read_head(&mut ada_stream).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(grace_client.message(&ada).await, "early");
}

#[tokio::test]
async fn closes_without_waiting_for_handshakes() {
    let limits = Limits {
        headers_timeout: Duration::from_secs(3600),
        close_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let mut server = TestRelay::start(limits).await;
    let _half_open = server.send(b"GET / HT").await;
    // It has its response, and does not close its side.
    let mut lingering = server.send(b"GET / HTTP/1.1\r\n\r\n").await;
    read_to_end(&mut lingering).await;
    server.relay.close();
    server.wait_closed().await;
}

/// Sends requests with these methods and targets, and returns the status of each response.
async fn statuses(server: &TestRelay, requests: &[(&str, &str)]) -> Vec<String> {
    let request = |(method, target)| format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    futures_util::future::join_all(requests.iter().map(|line| async {
        let answered = response_to(server, request(*line).as_bytes()).await;
        answered.split(' ').nth(1).unwrap().to_owned()
    }))
    .await
}

#[tokio::test]
async fn upgrades_only_at_the_configured_path() {
    let site = Site { path: Some("/relay".to_owned()), ..Site::default() };
    let server = TestRelay::with(Options { site, ..Options::default() }).await;
    for (target, status) in
        [("/", "404"), ("/relay", "101"), ("/relay?room=1", "101"), ("/relay/", "404"), ("/health", "404")]
    {
        let request = String::from_utf8(UPGRADE.to_vec()).unwrap().replacen('/', target, 1);
        let mut stream = server.send(request.as_bytes()).await;
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
        if status == "404" {
            read_to_end(&mut stream).await;
        }
    }
    let requests = [("GET", "/relay"), ("GET", "/"), ("GET", "/health"), ("POST", "/health")];
    assert_eq!(statuses(&server, &requests).await, ["426", "404", "200", "404"]);
}

#[tokio::test]
async fn serves_the_script_plain_compressed_or_not_modified() {
    let script = Script { plain: b"plain".to_vec(), gzip: b"packed".to_vec(), hash: "hash".to_owned() };
    let site = Site { script: Some(script), ..Site::default() };
    let server = TestRelay::with(Options { site, ..Options::default() }).await;
    let get = async |headers: &str| {
        let request = format!("GET /websocket_relay.min.js?v=1 HTTP/1.1\r\n{headers}\r\n");
        let answered = response_to(&server, request.as_bytes()).await;
        let (head, body) = answered.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("ETag: W/\"hash\"") && head.contains("Vary: Accept-Encoding"), "{head}");
        (head.to_owned(), body.to_owned())
    };
    let (head, body) = get("").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 5"), "{head}");
    assert!(head.contains("Content-Type: text/javascript; charset=utf-8"), "{head}");
    assert_eq!(body, "plain");
    let (head, body) = get("Accept-Encoding: gzip, br\r\n").await;
    assert!(head.contains("Content-Encoding: gzip") && head.contains("Content-Length: 6"), "{head}");
    assert_eq!(body, "packed");
    let (head, body) = get("If-None-Match: W/\"hash\"\r\nAccept-Encoding: gzip\r\n").await;
    assert!(head.starts_with("HTTP/1.1 304 ") && !head.contains("Content-Encoding"), "{head}");
    assert_eq!(body, "");
    // Without a configured path, a WebSocket opens there too.
    let request = String::from_utf8(UPGRADE.to_vec()).unwrap().replacen('/', "/websocket_relay.min.js", 1);
    let mut stream = server.send(request.as_bytes()).await;
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let bare = TestRelay::start(Limits::default()).await;
    assert_eq!(statuses(&bare, &[("GET", "/websocket_relay.min.js")]).await, ["426"]);
}

#[tokio::test]
async fn responds_503_while_closing() {
    let limits = Limits { close_timeout: Duration::from_secs(3600), ..Limits::default() };
    let mut server = TestRelay::start(limits).await;
    let mut last = server.upgraded().await;
    assert_eq!(statuses(&server, &[("GET", "/health")]).await, ["200"]);
    server.relay.close();
    // It gets a close frame, and sends none.
    assert_eq!(close_code(&read_to_end(&mut last).await), Some(1001));
    assert_eq!(statuses(&server, &[("GET", "/health"), ("GET", "/")]).await, ["503", "503"]);
    assert!(response_to(&server, UPGRADE).await.starts_with("HTTP/1.1 503 "));
    drop(last);
    server.wait_closed().await;
    TcpStream::connect(server.address).await.expect_err("the port is free");
}
