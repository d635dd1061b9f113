//! Who may come is looked at before anything else, and who has been told to wait is let in when its time has come.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{
    PATIENCE, TestRelay, UPGRADE, authentication, close_code, masked, numbered, options, read_head,
    read_rest, relay, reliable, soon,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use websocket_relay::{Ask, CloseReason, Event, Limits, Options, Rules, Trust, TurnedAway, Verdict};

/// The status of the answer to a request with these header lines.
async fn status(server: &TestRelay, lines: &str) -> String {
    let mut stream = server.tcp().await;
    let head = std::str::from_utf8(UPGRADE).unwrap().replace("Host:", &format!("{lines}Host:"));
    soon(stream.write_all(head.as_bytes())).await.unwrap();
    read_head(&mut stream).await[9..12].to_owned()
}

async fn with_rules(rules: Rules, limits: Limits) -> TestRelay {
    TestRelay::with(Options { rules, limits, ..options() }).await
}

#[tokio::test]
async fn compares_whole_origins_before_calling_the_verifier() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let ask = Ask::each(move |inquiry| {
        counter.fetch_add(1, Ordering::Relaxed);
        inquiry.answer(Verdict::Admitted);
    });
    let origins = Some(vec!["https://example.com".to_owned()]);
    let server = with_rules(Rules { origins, ask: Some(ask), ..Rules::default() }, Limits::default()).await;
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
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn rejects_requests_without_a_verdict() {
    let dropped = Ask::each(drop);
    let server = with_rules(Rules { ask: Some(dropped), ..Rules::default() }, Limits::default()).await;
    assert_eq!(status(&server, "").await, "503");
    let kept = Ask::each(std::mem::forget);
    let limits = Limits { headers_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = with_rules(Rules { ask: Some(kept), ..Rules::default() }, limits).await;
    assert_eq!(status(&server, "").await, "503");
}

#[tokio::test]
async fn rejects_pending_requests_when_the_relay_closes() {
    let asked = Arc::new(Notify::new());
    let notify = Arc::clone(&asked);
    let kept = Ask::each(move |inquiry| {
        notify.notify_one();
        std::mem::forget(inquiry);
    });
    for drains in [false, true] {
        let rules = Rules { ask: Some(kept.clone()), ..Rules::default() };
        let mut server = with_rules(rules, Limits::default()).await;
        let mut stream = server.tcp().await;
        soon(stream.write_all(UPGRADE)).await.unwrap();
        soon(asked.notified()).await;
        if drains {
            server.relay.drain(PATIENCE, Duration::ZERO)
        } else {
            server.relay.close()
        }
        let answer = String::from_utf8(read_rest(&mut stream).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("closing"), "{answer}");
        assert_eq!(server.relay.stats().turned_away["closing"], 1);
        server.find(|event| matches!(event, Event::Closed).then_some(())).await;
    }
}

#[tokio::test]
async fn sanitizes_the_rejection_response() {
    let ask = Ask::each(|inquiry| {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            header("x-good", "1"),
            header("x-bad", "1\r\nx-worse: 2"),
            header("x bad", "1"),
            header("Content-Length", "1"),
        ];
        inquiry.answer(Verdict::Refused {
            why: TurnedAway::VerifyClient,
            status: 101,
            text: Some("no".to_owned()),
            headers,
        });
    });
    let server = with_rules(Rules { ask: Some(ask), ..Rules::default() }, Limits::default()).await;
    let mut stream = server.tcp().await;
    soon(stream.write_all(UPGRADE)).await.unwrap();
    let answer = String::from_utf8(read_rest(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("\r\n\r\nno\n"), "{answer}");
    assert!(
        answer.contains("x-good: 1\r\n") && !answer.contains("worse") && !answer.contains("bad"),
        "{answer}"
    );
    assert!(answer.contains("Content-Length: 3\r\n"), "{answer}");
}

#[tokio::test]
async fn ignores_forwarded_addresses_of_untrusted_peers() {
    let limits = Limits { max_connections_per_address: 1, ..Limits::default() };
    let server = with_rules(Rules::default(), limits.clone()).await;
    let _one = server.upgraded().await;
    assert_eq!(status(&server, "X-Forwarded-For: 1.2.3.4\r\n").await, "429");
    let server = with_rules(Rules { trust: Trust::Hops(1), ..Rules::default() }, limits).await;
    let _one = server.upgraded().await;
    assert_eq!(status(&server, "X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n").await, "101");
}

#[tokio::test]
async fn closes_clients_over_the_rate_limit_for_too_long() {
    let limits = Limits { rate_limit: 1, hold_timeout: Duration::from_millis(1), ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut one = server.client(&ada).await;
    for _ in 0..4 {
        one.send(relay(&grace, "x")).await;
    }
    assert_eq!(one.closed().await, (4003, "over the rate limit".to_owned()));
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
            let who = if is_reliable { reliable(&ada, common::PAGE, &more) } else { authentication(&ada) };
            let message = if is_reliable { numbered(&grace, number, "x") } else { relay(&grace, "x") };
            let frames = [UPGRADE, &masked(0x81, who.as_bytes()), &masked(0x81, message.as_bytes())];
            let mut stream = server.tcp().await;
            soon(stream.write_all(&frames.concat())).await.unwrap();
            // From here on the one before is replaced.
            server.find(|event| matches!(event, Event::Connected(_)).then_some(())).await;
            connections.push(stream);
        }
        drop(connections);
        server.find(|event| matches!(event, Event::Disconnected(_, CloseReason::Lost)).then_some(())).await;
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
            let frames =
                [masked(0x81, authentication(&ada).as_bytes()), masked(0x81, relay(&grace, "x").as_bytes())];
            let mut stream = server.upgraded().await;
            // The next comes when this one has been read, or was closed instead.
            let close = masked(0x88, &4321_u16.to_be_bytes());
            stream.write_all(&[frames.concat(), close].concat()).await.unwrap();
            let code = close_code(&read_rest(&mut stream).await);
            if code != Some(4321) {
                return code;
            }
        }
    };
    assert_eq!(soon(code).await, Some(4003));
}

/// A relay of which the test decides about requests, and what tells of one.
async fn undecided(limits: Limits) -> (TestRelay, Arc<Notify>) {
    let told = Arc::new(Notify::new());
    let notify = Arc::clone(&told);
    let ask = Ask(Arc::new(move |_| notify.notify_one()));
    (with_rules(Rules { ask: Some(ask), ..Rules::default() }, limits).await, told)
}

#[tokio::test]
async fn drops_requests_of_disconnected_clients() {
    let (server, told) = undecided(Limits::default()).await;
    let mut gone = server.tcp().await;
    soon(gone.write_all(UPGRADE)).await.unwrap();
    soon(told.notified()).await;
    soon(gone.shutdown()).await.unwrap();
    assert_eq!(read_rest(&mut gone).await, b"");
    assert!(server.relay.take_verify_request().is_none());
    // Who comes then is asked about, and told of again.
    let mut here = server.tcp().await;
    soon(here.write_all(UPGRADE)).await.unwrap();
    soon(told.notified()).await;
    server.relay.take_verify_request().unwrap().answer(Verdict::Admitted);
    assert!(read_head(&mut here).await.starts_with("HTTP/1.1 101 "));
    assert!(server.relay.stats().turned_away.is_empty());
}

#[tokio::test]
async fn drops_requests_that_have_timed_out() {
    let limits = Limits { headers_timeout: Duration::from_millis(50), ..Limits::default() };
    let (server, _) = undecided(limits).await;
    assert_eq!(status(&server, "").await, "503");
    assert!(server.relay.take_verify_request().is_none());
}

#[tokio::test]
async fn buffers_early_bytes_up_to_a_bound() {
    let (mut server, told) = undecided(Limits::default()).await;
    let (ada, _) = server.pair();
    let mut client = server.tcp().await;
    soon(client.write_all(UPGRADE)).await.unwrap();
    soon(told.notified()).await;
    let hello = masked(0x81, authentication(&ada).as_bytes());
    soon(client.write_all(&hello[..10])).await.unwrap();
    soon(client.write_all(&hello[10..])).await.unwrap();
    server.relay.take_verify_request().unwrap().answer(Verdict::Admitted);
    server.find(|event| matches!(event, Event::Connected(id) if id == ada.id).then_some(())).await;
    assert!(server.relay.take_verify_request().is_none());
    let mut talker = server.tcp().await;
    soon(talker.write_all(UPGRADE)).await.unwrap();
    soon(told.notified()).await;
    // The end may be a reset.
    soon(talker.write_all(&[0; Limits::MAX_EARLY_BYTES + 1])).await.ok();
    assert_eq!(read_rest(&mut talker).await, b"");
    assert!(server.relay.take_verify_request().is_none());
}
