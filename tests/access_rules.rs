//! Requests are checked against origins, `verifyClient` and addresses before anything else; accepted clients keep to their
//! rate.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{
    PATIENCE, TestRelay, UPGRADE, authentication, close_code, manual_verifier, masked, masked_text, numbered,
    options, read_head, read_to_end, relay, reliable, soon,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use websocket_relay::{
    CloseReason, Event, Limits, Options, Rejection, Rules, TrustedProxies, Verdict, Verifier,
};

/// Returns the status of the response to an upgrade request with these header lines.
async fn status(server: &TestRelay, lines: &str) -> String {
    let head = std::str::from_utf8(UPGRADE).unwrap().replace("Host:", &format!("{lines}Host:"));
    let mut stream = server.send(head.as_bytes()).await;
    read_head(&mut stream).await[9..12].to_owned()
}

async fn with_rules(rules: Rules, limits: Limits) -> TestRelay {
    TestRelay::with(Options { rules, limits, ..options() }).await
}

#[tokio::test]
async fn compares_whole_origins_before_calling_the_verifier() {
    let verified = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&verified);
    let ask = Verifier::each(move |request| {
        counter.fetch_add(1, Ordering::Relaxed);
        request.answer(Verdict::Admitted);
    });
    let origins = Some(vec!["https://example.com".to_owned()]);
    let server =
        with_rules(Rules { origins, verifier: Some(ask), ..Rules::default() }, Limits::default()).await;
    for (lines, expected) in [
        ("Origin: https://example.com\r\n", "101"),
        ("Origin: HTTPS://EXAMPLE.COM\r\n", "101"),
        ("Origin: https://example.com.evil\r\n", "403"),
        ("Origin: http://example.com\r\n", "403"),
        ("Origin: \r\n", "403"),
        ("", "403"),
    ] {
        assert_eq!(status(&server, lines).await, expected, "{lines}");
    }
    assert_eq!(verified.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn rejects_requests_without_a_verdict() {
    let dropped = Verifier::each(drop);
    let server = with_rules(Rules { verifier: Some(dropped), ..Rules::default() }, Limits::default()).await;
    assert_eq!(status(&server, "").await, "503");
    let kept = Verifier::each(std::mem::forget);
    let limits = Limits { headers_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = with_rules(Rules { verifier: Some(kept), ..Rules::default() }, limits).await;
    assert_eq!(status(&server, "").await, "503");
}

#[tokio::test]
async fn rejects_pending_requests_when_the_relay_closes() {
    let requested = Arc::new(Notify::new());
    let notify = Arc::clone(&requested);
    let kept = Verifier::each(move |request| {
        notify.notify_one();
        std::mem::forget(request);
    });
    for drains in [false, true] {
        let rules = Rules { verifier: Some(kept.clone()), ..Rules::default() };
        let mut server = with_rules(rules, Limits::default()).await;
        let mut stream = server.send(UPGRADE).await;
        soon(requested.notified()).await;
        if drains {
            server.relay.drain(PATIENCE, Duration::ZERO)
        } else {
            server.relay.close()
        }
        let response = String::from_utf8(read_to_end(&mut stream).await).unwrap();
        assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("closing"), "{response}");
        assert_eq!(server.relay.stats().turned_away["closing"], 1);
        server.wait_closed().await;
    }
}

#[tokio::test]
async fn sanitizes_the_rejection_response() {
    let ask = Verifier::each(|request| {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            header("x-good", "1"),
            header("x-bad", "1\r\nx-worse: 2"),
            header("x bad", "1"),
            header("Content-Length", "1"),
        ];
        request.answer(Verdict::Rejected {
            why: Rejection::VerifyClient,
            status: 101,
            text: Some("no".to_owned()),
            headers,
        });
    });
    let server = with_rules(Rules { verifier: Some(ask), ..Rules::default() }, Limits::default()).await;
    let mut stream = server.send(UPGRADE).await;
    let response = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert!(response.starts_with("HTTP/1.1 401 ") && response.ends_with("\r\n\r\nno\n"), "{response}");
    assert!(
        response.contains("x-good: 1\r\n") && !response.contains("worse") && !response.contains("bad"),
        "{response}"
    );
    assert!(response.contains("Content-Length: 3\r\n"), "{response}");
}

#[tokio::test]
async fn ignores_forwarded_addresses_of_untrusted_peers() {
    let limits = Limits { max_connections_per_address: 1, ..Limits::default() };
    let server = with_rules(Rules::default(), limits.clone()).await;
    let _one = server.upgraded().await;
    assert_eq!(status(&server, "X-Forwarded-For: 1.2.3.4\r\n").await, "429");
    let server =
        with_rules(Rules { trusted_proxies: TrustedProxies::Hops(1), ..Rules::default() }, limits).await;
    let _one = server.upgraded().await;
    assert_eq!(status(&server, "X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n").await, "101");
}

#[tokio::test]
async fn closes_clients_over_the_rate_limit_for_too_long() {
    let limits = Limits { rate_limit: 1, hold_timeout: Duration::from_millis(1), ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut ada_client = server.client(&ada).await;
    for _ in 0..4 {
        ada_client.send(relay(&grace, "x")).await;
    }
    assert_eq!(ada_client.closed().await, (4003, "over the rate limit".to_owned()));
}

#[tokio::test]
async fn limits_the_rate_across_reconnects() {
    for is_reliable in [false, true] {
        let mut server = TestRelay::start(Limits { rate_limit: 1, ..Limits::default() }).await;
        let (ada, grace) = server.pair();
        let start = Instant::now();
        let mut connections = Vec::new();
        for number in 1..=60 {
            let more = json!({ "connection": number });
            let authentication =
                if is_reliable { reliable(&ada, common::SESSION, &more) } else { authentication(&ada) };
            let message = if is_reliable { numbered(&grace, number, "x") } else { relay(&grace, "x") };
            let frames = [UPGRADE, &masked_text(&authentication), &masked_text(&message)];
            let stream = server.send(&frames.concat()).await;
            // The connection before is now replaced.
            server.wait_for(|event| matches!(event, Event::Connected(_))).await;
            connections.push(stream);
        }
        drop(connections);
        server.wait_for(|event| matches!(event, Event::Disconnected(_, CloseReason::Lost))).await;
        let (relayed, most) = (server.relay.stats().totals.relayed_messages, 2 + start.elapsed().as_secs());
        assert!((1..=most).contains(&relayed), "{relayed} messages, not {most}");
    }
}

#[tokio::test]
async fn closes_reconnecting_clients_over_the_rate_limit_for_too_long() {
    let limits = Limits {
        rate_limit: 20,
        rate_limit_burst: 1,
        hold_timeout: Duration::from_millis(1),
        ..Limits::default()
    };
    let server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let code = async {
        loop {
            let frames = [masked_text(&authentication(&ada)), masked_text(&relay(&grace, "x"))];
            let mut stream = server.upgraded().await;
            // Connect again once the relay has read this connection, or has closed it.
            let close = masked(0x88, &4321_u16.to_be_bytes());
            stream.write_all(&[frames.concat(), close].concat()).await.unwrap();
            let code = close_code(&read_to_end(&mut stream).await);
            if code != Some(4321) {
                return code;
            }
        }
    };
    assert_eq!(soon(code).await, Some(4003));
}

/// Starts a relay whose requests the test verifies, and returns the notification of a request.
async fn with_manual_verifier(limits: Limits) -> (TestRelay, Arc<Notify>) {
    let (ask, requested) = manual_verifier();
    (with_rules(Rules { verifier: Some(ask), ..Rules::default() }, limits).await, requested)
}

#[tokio::test]
async fn drops_requests_of_disconnected_clients() {
    let (server, requested) = with_manual_verifier(Limits::default()).await;
    let mut closed = server.send(UPGRADE).await;
    soon(requested.notified()).await;
    soon(closed.shutdown()).await.unwrap();
    assert_eq!(read_to_end(&mut closed).await, b"");
    assert!(server.relay.take_verify_request().is_none());
    // The next request is notified again.
    let mut here = server.send(UPGRADE).await;
    soon(requested.notified()).await;
    server.relay.take_verify_request().unwrap().answer(Verdict::Admitted);
    assert!(read_head(&mut here).await.starts_with("HTTP/1.1 101 "));
    assert!(server.relay.stats().turned_away.is_empty());
}

#[tokio::test]
async fn drops_requests_that_have_timed_out() {
    let limits = Limits { headers_timeout: Duration::from_millis(50), ..Limits::default() };
    let (server, _) = with_manual_verifier(limits).await;
    assert_eq!(status(&server, "").await, "503");
    assert!(server.relay.take_verify_request().is_none());
}

#[tokio::test]
async fn buffers_early_bytes_up_to_a_bound() {
    let (mut server, requested) = with_manual_verifier(Limits::default()).await;
    let (ada, _) = server.pair();
    let mut client = server.send(UPGRADE).await;
    soon(requested.notified()).await;
    let hello = masked_text(&authentication(&ada));
    soon(client.write_all(&hello[..10])).await.unwrap();
    soon(client.write_all(&hello[10..])).await.unwrap();
    server.relay.take_verify_request().unwrap().answer(Verdict::Admitted);
    server.wait_connected(ada.id).await;
    assert!(server.relay.take_verify_request().is_none());
    let mut talker = server.send(UPGRADE).await;
    soon(requested.notified()).await;
    // The end may be a reset.
    soon(talker.write_all(&[0; Limits::MAX_EARLY_BYTES + 1])).await.ok();
    assert_eq!(read_to_end(&mut talker).await, b"");
    assert!(server.relay.take_verify_request().is_none());
}
