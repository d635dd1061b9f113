//! Invalid bytes cost only the connection that sends them.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{
    TestRelay, UPGRADE, authentication, close_code, masked, masked_text, read_head, read_to_end, relay, soon,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use websocket_relay::Limits;

#[tokio::test]
async fn closes_on_protocol_errors_with_the_right_code() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    let cases: [(&str, Vec<u8>, u16, &str); 13] = [
        ("binary", masked(0x82, b"x"), 1003, "ERR_BINARY_MESSAGE"),
        ("invalid UTF-8", masked(0x81, b"\xFF"), 1007, "ERR_INVALID_UTF8"),
        ("a surrogate in UTF-8", masked(0x81, b"\"\xED\xA0\x80\""), 1007, "ERR_INVALID_UTF8"),
        (
            "UTF-8 cut at the end",
            [masked(0x01, b"\"\xE2"), masked(0x80, b"\x82")].concat(),
            1007,
            "ERR_INVALID_UTF8",
        ),
        ("invalid UTF-8 in a fragment", masked(0x01, b"\"\xFF"), 1007, "ERR_INVALID_UTF8"),
        ("an unmasked frame", b"\x81\x02{}".to_vec(), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        ("a reserved bit", masked(0xC1, b"{}"), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        ("an unknown opcode", masked(0x83, b""), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        ("a continuation of nothing", masked(0x80, b"x"), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        ("a fragmented ping", masked(0x09, b"x"), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        ("a long ping", masked(0x89, &[0; 126]), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        ("a reserved close code", masked(0x88, b"\x03\xED"), 1002, "ERR_WEBSOCKET_PROTOCOL"),
        (
            "a length of 2^64 - 1",
            b"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0".to_vec(),
            1002,
            "ERR_WEBSOCKET_PROTOCOL",
        ),
    ];
    for (name, bytes, close, code) in cases {
        let mut client = server.upgraded().await;
        soon(client.write_all(&bytes)).await.unwrap();
        assert_eq!(close_code(&read_to_end(&mut client).await), Some(close), "{name}");
        assert_eq!(server.offence().await.1, code, "{name}");
        ada_client.send(relay(&grace, name)).await;
        assert_eq!(grace_client.message(&ada).await, name);
    }
}

#[tokio::test]
async fn rejects_deeply_nested_json() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    for depth in [129, 10_000, 500_000] {
        ada_client.send(format!("{}{}", "[".repeat(depth), "]".repeat(depth))).await;
        assert_eq!(server.offence().await.1, "ERR_INVALID_JSON");
    }
    ada_client.send("[".repeat(1 << 20)).await;
    assert_eq!(server.offence().await.1, "ERR_INVALID_JSON");
    ada_client.send(format!("{}{}", "[".repeat(128), "]".repeat(128))).await;
    assert_eq!(server.offence().await.1, "ERR_UNRECOGNIZED_MESSAGE");
    ada_client.send(relay(&grace, "alive")).await;
    assert_eq!(grace_client.message(&ada).await, "alive");
}

#[tokio::test]
async fn cuts_off_endless_request_heads() {
    let timeout = Duration::from_millis(100);
    let limits = Limits { headers_timeout: timeout, close_timeout: timeout, ..Limits::default() };
    let server = TestRelay::start(limits).await;
    // Slow.
    let mut client = server.send(b"GET / HTT").await;
    assert!(read_to_end(&mut client).await.is_empty());
    // Endless.
    let mut client = server.send(b"GET / HTTP/1.1\r\n").await;
    while client.write_all(&[b'a'; 1000]).await.is_ok() {}
    // Not HTTP.
    let mut client = server.send(b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03\r\n\r\n").await;
    read_to_end(&mut client).await;
}

#[tokio::test]
async fn answers_invalid_upgrade_requests() {
    let server = TestRelay::start(Limits::default()).await;
    let request = |text: &str| {
        let text = text.to_owned();
        let server = &server;
        async move {
            let mut stream = server.send(text.as_bytes()).await;
            String::from_utf8(read_to_end(&mut stream).await).unwrap()
        }
    };
    let upgrade = String::from_utf8(UPGRADE.to_vec()).unwrap();
    let plain = request("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 426 ") && plain.contains("Upgrade: websocket"), "{plain}");
    let old = request(&upgrade.replace("Version: 13", "Version: 8")).await;
    assert!(old.starts_with("HTTP/1.1 426 ") && old.contains("Sec-WebSocket-Version: 13"), "{old}");
    for (what, with) in
        [("GET", "POST"), ("dGhlIHNhbXBsZSBub25jZQ==", "short"), ("Upgrade: websocket", "Upgrade: h2c")]
    {
        let refused = request(&upgrade.replace(what, with)).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    }
    let mut stream = server.tcp().await;
    let offer = upgrade.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: one, two\r\n\r\n");
    soon(stream.write_all(offer.as_bytes())).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Sec-WebSocket-Protocol: one\r\n"), "{head}");
}

#[tokio::test]
async fn decodes_bytes_in_any_pieces() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut grace_client = server.client(&grace).await;
    let mut bytes = UPGRADE.to_vec();
    bytes.extend(masked_text(&authentication(&ada)));
    for n in 0..20 {
        bytes.extend(masked_text(&relay(&grace, &format!("{n} ü{}", "x".repeat(n * 20)))));
        bytes.extend(masked(0x89, b"ping"));
    }
    for piece in [1, 3, 7, 1000, usize::MAX] {
        let mut ada_stream = server.tcp().await;
        ada_stream.set_nodelay(true).unwrap();
        for bytes in bytes.chunks(piece) {
            soon(ada_stream.write_all(bytes)).await.unwrap();
        }
        for n in 0..20 {
            assert_eq!(grace_client.message(&ada).await, format!("{n} ü{}", "x".repeat(n * 20)));
        }
        read_head(&mut ada_stream).await;
        for _ in 0..20 {
            let mut pong = [0; 6];
            soon(ada_stream.read_exact(&mut pong)).await.unwrap();
            assert_eq!(&pong, b"\x8A\x04ping");
        }
    }
}

#[tokio::test]
async fn closes_on_endless_fragments() {
    let mut server = TestRelay::start(Limits { max_unauthenticated_payload: 500, ..Limits::default() }).await;
    for payload in [&b"x"[..], b""] {
        let mut client = server.upgraded().await;
        soon(client.write_all(&masked(0x01, b"\""))).await.unwrap();
        soon(client.write_all(&masked(0x00, payload).repeat(501))).await.unwrap();
        assert_eq!(close_code(&read_to_end(&mut client).await), Some(1009));
        assert_eq!(server.offence().await.1, "ERR_MESSAGE_TOO_BIG");
    }
}

#[tokio::test]
async fn serves_a_client_that_pings_and_does_not_read() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut flood = server.upgraded_as(&ada).await;
    let pings = masked(0x89, &[b'x'; 125]).repeat(1000);
    for _ in 0..200 {
        soon(flood.write_all(&pings)).await.unwrap();
    }
    soon(flood.write_all(&masked_text(&relay(&grace, "done")))).await.unwrap();
    assert_eq!(server.client(&grace).await.message(&ada).await, "done");
}
