//! A relay on a free port, and clients that connect to it through real sockets.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use websocket_relay::{
    Address, ClientId, CloseReason, Event, EventReceiver, Limits, Options, Registration, Relay, Verifier,
};

/// The time after which a test gives up. No test that passes waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits a future, and panics after [`PATIENCE`].
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// Returns the default options, with the number of threads from `WEBSOCKET_RELAY_TEST_THREADS`.
pub fn options() -> Options {
    let threads = std::env::var("WEBSOCKET_RELAY_TEST_THREADS").map_or(1, |threads| threads.parse().unwrap());
    Options { threads, ..Options::default() }
}

/// Returns a verifier that decides nothing by itself, and the notification of requests to take from the relay.
pub fn manual_verifier() -> (Verifier, Arc<Notify>) {
    let requested = Arc::new(Notify::new());
    let notify = Arc::clone(&requested);
    (Verifier(Arc::new(move |_| notify.notify_one())), requested)
}

/// A relay that listens on a free port.
pub struct TestRelay {
    pub relay: Relay,
    pub address: SocketAddr,
    events: EventReceiver,
    waiting: Vec<Event>,
}

impl TestRelay {
    /// Starts a relay with these limits.
    pub async fn start(limits: Limits) -> Self {
        Self::with(Options { limits, ..options() }).await
    }

    /// Starts a relay with these options.
    pub async fn with(options: Options) -> Self {
        let (mut relay, events) = Relay::new(options).unwrap();
        relay.listen(Address { ip: Some(Ipv4Addr::LOCALHOST.into()), port: 0 }).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut relay = Self { relay, address, events, waiting: Vec::new() };
        match relay.event().await {
            Event::Listening(address) => relay.address = address,
            other => panic!("not listening: {other:?}"),
        }
        relay
    }

    /// Registers two clients and a channel between them.
    pub fn pair(&self) -> (Registration, Registration) {
        let (first, second) = (self.relay.register_client().unwrap(), self.relay.register_client().unwrap());
        self.relay.register_relay_channel(first.id, second.id).unwrap();
        (first, second)
    }

    /// Returns the next event.
    pub async fn event(&mut self) -> Event {
        while self.waiting.is_empty() {
            assert!(soon(self.events.recv_many(&mut self.waiting, 100)).await, "no more events");
        }
        self.waiting.remove(0)
    }

    /// Skips events until `wanted` returns a value, and returns that.
    pub async fn find_event<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.event().await) {
                return found;
            }
        }
    }

    /// Skips events up to one that is wanted.
    pub async fn wait_for(&mut self, is_wanted: impl Fn(&Event) -> bool) {
        self.find_event(|event| is_wanted(&event).then_some(())).await;
    }

    /// Skips events up to the last one.
    pub async fn wait_closed(&mut self) {
        self.wait_for(|event| matches!(event, Event::Closed)).await;
    }

    /// Skips events until this client has authenticated.
    pub async fn wait_connected(&mut self, client: ClientId) {
        self.wait_for(|event| matches!(event, Event::Connected(id) if *id == client)).await;
    }

    /// Skips events until this client's connection has ended, and returns the reason.
    pub async fn wait_disconnected(&mut self, client: ClientId) -> CloseReason {
        self.find_event(|event| match event {
            Event::Disconnected(id, reason) if id == client => Some(reason),
            _ => None,
        })
        .await
    }

    /// Skips events up to the next offence, and returns its text and code.
    pub async fn offence(&mut self) -> (String, &'static str) {
        self.find_event(|event| match event {
            Event::Offence { offence, .. } => Some((offence.to_string(), offence.code())),
            _ => None,
        })
        .await
    }

    /// Opens a WebSocket.
    pub async fn unauthenticated(&self) -> Client {
        let (socket, _) = soon(connect_async(format!("ws://{}", self.address))).await.unwrap();
        Client { socket }
    }

    /// Opens a WebSocket and sends the authentication of a plain client.
    pub async fn client(&self, registration: &Registration) -> Client {
        let mut client = self.unauthenticated().await;
        client.authenticate(registration).await;
        client
    }

    /// Opens a WebSocket, authenticates as a reliable client, and returns the reply too.
    pub async fn reliable(
        &self,
        registration: &Registration,
        session: &str,
        more: &Value,
    ) -> (Client, Value) {
        let mut client = self.unauthenticated().await;
        client.send(reliable(registration, session, more)).await;
        let mut reply = client.frame().await;
        assert!(reply["authenticated"].is_object(), "{reply}");
        (client, reply["authenticated"].take())
    }

    /// Opens a WebSocket and authenticates as a reliable client that asks for receipts and presence.
    pub async fn reliable_client(&self, registration: &Registration) -> Client {
        self.reliable(registration, SESSION, &json!({ "receipts": true, "presence": true })).await.0
    }

    /// Opens the WebSocket with this connection number of a reliable client's session.
    pub async fn reliable_connection(&self, registration: &Registration, connection: u64) -> Client {
        self.reliable(registration, SESSION, &json!({ "connection": connection })).await.0
    }

    /// Opens a TCP connection.
    pub async fn tcp(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Opens a TCP connection and sends these bytes.
    pub async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.tcp().await;
        soon(stream.write_all(bytes)).await.unwrap();
        stream
    }

    /// Opens a TCP connection and sends half a request head.
    pub async fn half_open(&self) -> TcpStream {
        self.send(&UPGRADE[..UPGRADE.len() / 2]).await
    }

    /// Opens a WebSocket without a WebSocket library, so that the test reads and writes its bytes.
    pub async fn upgraded(&self) -> TcpStream {
        let mut stream = self.send(UPGRADE).await;
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    /// The same, authenticated as a plain client.
    pub async fn upgraded_as(&self, registration: &Registration) -> TcpStream {
        let mut stream = self.upgraded().await;
        soon(stream.write_all(&masked_text(&authentication(registration)))).await.unwrap();
        stream
    }
}

/// A WebSocket upgrade request.
pub const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Reads an HTTP head, and no byte after it.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Returns a masked frame. The mask is 0, so that the payload stays readable.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Returns a masked text frame.
pub fn masked_text(text: &str) -> Vec<u8> {
    masked(0x81, text.as_bytes())
}

/// Reads to the end of the connection; a reset counts as the end.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
    rest
}

/// Returns the code of the close frame at the end of `bytes`.
pub fn close_code(bytes: &[u8]) -> Option<u16> {
    let start = bytes.windows(2).rposition(|pair| pair[0] == 0x88 && pair[1] >= 2)?;
    Some(u16::from_be_bytes([bytes[start + 2], bytes[start + 3]]))
}

/// A WebSocket client.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Returns the authentication frame of a plain client.
pub fn authentication(registration: &Registration) -> String {
    let (id, token) = (registration.id, registration.token.reveal());
    format!(r#"{{"authentication":{{"clientId":{id},"token":"{token}"}}}}"#)
}

/// A session of a reliable client.
pub const SESSION: &str = "00000000000000aa";

/// Returns the authentication frame of a reliable client, with the members of `more`.
pub fn reliable(registration: &Registration, session: &str, more: &Value) -> String {
    let (id, token) = (registration.id.get(), registration.token.reveal());
    let mut frame = json!({ "clientId": id, "token": token, "version": 2, "session": session });
    frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "authentication": frame }).to_string()
}

/// Returns a relay frame of a plain client.
pub fn relay(target: &Registration, message: &str) -> String {
    format!(r#"{{"relay":{{"targetId":{},"message":{message:?}}}}}"#, target.id)
}

/// Returns a relay frame of a reliable client.
pub fn numbered(target: &Registration, seq: u64, message: &str) -> String {
    json!({ "relay": { "targetId": target.id.get(), "message": message, "seq": seq } }).to_string()
}

/// Returns the first relay frame of a reliable client after a hold or a rejection.
pub fn numbered_first(target: &Registration, seq: u64, message: &str) -> String {
    json!({ "relay": { "targetId": target.id.get(), "message": message, "seq": seq, "first": true } })
        .to_string()
}

/// Returns the frame that acknowledges the messages of `sender` up to this offset.
pub fn received(sender: &Registration, offset: impl Display) -> String {
    format!(r#"{{"received":{{"senderId":{},"offset":{offset}}}}}"#, sender.id)
}

/// Returns the message of a relay frame, and panics if it is not from `sender`.
pub fn message_of(text: &str, sender: &Registration) -> String {
    let head = format!(r#"{{"relay":{{"senderId":{},"message":""#, sender.id);
    let message = text.strip_prefix(&head).and_then(|rest| rest.strip_suffix("\"}}"));
    message.unwrap_or_else(|| panic!("not a relay frame of client {}: {text:.200}", sender.id)).to_owned()
}

impl Client {
    /// Sends a text frame.
    pub async fn send(&mut self, text: impl Into<String>) {
        soon(self.socket.send(Message::text(text.into()))).await.unwrap();
    }

    /// Sends the authentication of a plain client.
    pub async fn authenticate(&mut self, registration: &Registration) {
        self.send(authentication(registration)).await;
    }

    /// Returns the next text frame.
    pub async fn text(&mut self) -> String {
        loop {
            match soon(self.socket.next()).await.expect("the connection is open").unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) => {}
                other => panic!("not a text frame: {other:?}"),
            }
        }
    }

    /// Returns the next text frame as JSON.
    pub async fn frame(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Returns the message of the next relay frame, and panics if it is not from `sender`.
    pub async fn message(&mut self, sender: &Registration) -> String {
        message_of(&self.text().await, sender)
    }

    /// Sends a close frame.
    pub async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        soon(self.socket.close(Some(frame))).await.unwrap();
    }

    /// Skips frames up to the close frame, and returns its code and reason.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("not a close frame: {other:?}"),
            }
        }
    }
}
