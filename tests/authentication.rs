//! A client authenticates with its token, and has one connection at a time.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{TestRelay, authentication, relay};
use websocket_relay::protocol::{Generation, decode};
use websocket_relay::{CloseReason, Credentials, Event, Limits, Options};

#[tokio::test]
async fn accepts_frames_sent_right_after_authentication() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.unauthenticated().await, server.client(&grace).await);
    // Without waiting for a reply.
    ada_client.send(authentication(&ada)).await;
    for n in 0..10 {
        ada_client.send(relay(&grace, &n.to_string())).await;
    }
    for n in 0..10 {
        assert_eq!(grace_client.message(&ada).await, n.to_string());
    }
}

#[tokio::test]
async fn closes_clients_that_do_not_authenticate_in_time() {
    let limits = Limits { auth_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = TestRelay::start(limits).await;
    assert_eq!(server.unauthenticated().await.closed().await.0, 4000);
}

#[tokio::test]
async fn ignores_repeated_authentication() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    ada_client.authenticate(&ada).await;
    ada_client.send(relay(&grace, "still here")).await;
    assert_eq!(grace_client.message(&ada).await, "still here");
    drop((ada_client, grace_client));
    server.relay.close();
    let mut connected = 0;
    server
        .find_event(|event| {
            connected += usize::from(matches!(event, Event::Connected(_)));
            matches!(event, Event::Closed).then_some(())
        })
        .await;
    assert_eq!(connected, 2);
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut old) = (server.client(&ada).await, server.client(&grace).await);
    ada_client.send(relay(&grace, "to the old")).await;
    assert_eq!(old.message(&ada).await, "to the old");
    let mut new = server.client(&grace).await;
    assert_eq!(old.closed().await, (4501, "replaced by a newer connection".to_owned()));
    for n in 0..1000 {
        ada_client.send(relay(&grace, &n.to_string())).await;
    }
    for n in 0..1000 {
        assert_eq!(new.message(&ada).await, n.to_string());
    }
    // Connect and disconnect events of one client alternate.
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match server.event().await {
            Event::Connected(id) if id == grace.id => seen.push("connected"),
            Event::Disconnected(id, CloseReason::Replaced) if id == grace.id => seen.push("replaced"),
            Event::Connected(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["connected", "replaced", "connected"]);
}

#[tokio::test]
async fn keeps_one_of_many_rival_connections() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (server_ref, grace_ref) = (&server, &grace);
    let mut rivals =
        futures_util::future::join_all((0..50).map(|_| async move { server_ref.client(grace_ref).await }))
            .await;
    let mut events = (0, 0);
    while events.0 < 50 {
        match server.event().await {
            Event::Connected(_) => events.0 += 1,
            Event::Disconnected(_, CloseReason::Replaced) => events.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, (50, 49));
    let mut ada_client = server.client(&ada).await;
    ada_client.send(relay(&grace, "to the last")).await;
    let received = futures_util::future::join_all(rivals.iter_mut().map(|rival| async {
        use futures_util::StreamExt;
        match common::soon(rival.socket.next()).await.unwrap().unwrap() {
            tokio_tungstenite::tungstenite::Message::Text(_) => 1,
            tokio_tungstenite::tungstenite::Message::Close(_) => 0,
            other => panic!("{other:?}"),
        }
    }))
    .await;
    assert_eq!(received.iter().sum::<i32>(), 1);
}

#[tokio::test]
async fn never_prints_secrets() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let token = ada.token.reveal();
    let mut printed = format!("{ada:?} {:#?} {:?}", grace.token, server.relay);
    let frame = authentication(&ada);
    printed += &format!("{:?}", decode(&frame, Generation::Plain));
    // The token is in an unrecognized frame and in the close reason.
    let mut client = server.client(&ada).await;
    client.send(frame.replace("clientId", "client")).await;
    client.close(4321, token).await;
    loop {
        let event = server.event().await;
        printed += &format!("{event:?}");
        if matches!(event, Event::Disconnected(..)) {
            break;
        }
    }
    assert_eq!(printed.matches("[redacted]").count(), 2, "{printed}");
    let secrets =
        Credentials { keys: vec![token.into()], passphrase: Some(token.into()), ..Credentials::default() };
    printed += &format!("{:?}", Options { credentials: Some(secrets), ..Options::default() });
    for registration in [&ada, &grace] {
        let token = registration.token.reveal();
        assert!(!printed.contains(token), "{printed}");
        // Nor as a list of bytes.
        assert!(!printed.contains(&format!("{:?}", token.as_bytes())[1..20]), "{printed}");
    }
}
