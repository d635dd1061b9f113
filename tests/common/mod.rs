//! A relay on a free port, and clients that speak to it through real sockets.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use websocket_relay::{Address, Event, EventReceiver, Limits, Options, Registration, Relay};

/// How long anything may take before a test gives up. Nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// The defaults, with as many threads as the tests are to be run with.
pub fn options() -> Options {
    let threads = std::env::var("WEBSOCKET_RELAY_TEST_THREADS").map_or(1, |threads| threads.parse().unwrap());
    Options { threads, ..Options::default() }
}

pub struct TestRelay {
    pub relay: Relay,
    pub address: SocketAddr,
    events: EventReceiver,
    waiting: Vec<Event>,
}

impl TestRelay {
    pub async fn start(limits: Limits) -> Self {
        Self::with(Options { limits, ..options() }).await
    }

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

    /// Two registered clients with a channel.
    pub fn pair(&self) -> (Registration, Registration) {
        let (first, second) = (self.relay.register_client().unwrap(), self.relay.register_client().unwrap());
        self.relay.register_relay_channel(first.id, second.id).unwrap();
        (first, second)
    }

    pub async fn event(&mut self) -> Event {
        while self.waiting.is_empty() {
            assert!(soon(self.events.recv_many(&mut self.waiting, 100)).await, "no more events");
        }
        self.waiting.remove(0)
    }

    /// The next event that `wanted` knows, passing over others.
    pub async fn find<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.event().await) {
                return found;
            }
        }
    }

    /// The text and code of the next offence.
    pub async fn offence(&mut self) -> (String, &'static str) {
        self.find(|event| match event {
            Event::Offence { offence, .. } => Some((offence.to_string(), offence.code())),
            _ => None,
        })
        .await
    }

    pub async fn stranger(&self) -> Client {
        let (socket, _) = soon(connect_async(format!("ws://{}", self.address))).await.unwrap();
        Client { socket }
    }

    /// A connection that has sent its authentication.
    pub async fn client(&self, registration: &Registration) -> Client {
        let mut client = self.stranger().await;
        client.authenticate(registration).await;
        client
    }

    /// A connection with reliable delivery, and what it was told when it authenticated.
    pub async fn reliable(
        &self,
        registration: &Registration,
        session: &str,
        more: &Value,
    ) -> (Client, Value) {
        let mut client = self.stranger().await;
        client.send(reliable(registration, session, more)).await;
        let mut told = next(&mut client).await;
        assert!(told["authenticated"].is_object(), "{told}");
        (client, told["authenticated"].take())
    }

    pub async fn tcp(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    /// A connection that has sent half a head.
    pub async fn half_open(&self) -> TcpStream {
        let mut stream = self.tcp().await;
        soon(stream.write_all(&UPGRADE[..UPGRADE.len() / 2])).await.unwrap();
        stream
    }

    /// A connection that is upgraded and has sent nothing, without a WebSocket library on its side.
    pub async fn upgraded(&self) -> TcpStream {
        let mut stream = self.tcp().await;
        soon(stream.write_all(UPGRADE)).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }
}

pub const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Reads up to the empty line, and not a byte further.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A masked frame; the mask is 0, so that its payload can be read.
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

/// Everything up to the end of the connection; a reset counts as the end.
pub async fn read_rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
    rest
}

/// The code of the close frame at the end of what was read.
pub fn close_code(bytes: &[u8]) -> Option<u16> {
    let start = bytes.windows(2).rposition(|pair| pair[0] == 0x88 && pair[1] >= 2)?;
    Some(u16::from_be_bytes([bytes[start + 2], bytes[start + 3]]))
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

pub fn authentication(registration: &Registration) -> String {
    let (id, token) = (registration.id, registration.token.reveal());
    format!(r#"{{"authentication":{{"clientId":{id},"token":"{token}"}}}}"#)
}

/// A session of a client with reliable delivery.
pub const PAGE: &str = "00000000000000aa";

/// The authentication of a client with reliable delivery: its session, and what `more` it says of itself.
pub fn reliable(registration: &Registration, session: &str, more: &Value) -> String {
    let (id, token) = (registration.id.get(), registration.token.reveal());
    let mut frame = json!({ "clientId": id, "token": token, "version": 2, "session": session });
    frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "authentication": frame }).to_string()
}

pub fn relay(target: &Registration, message: &str) -> String {
    format!(r#"{{"relay":{{"targetId":{},"message":{message:?}}}}}"#, target.id)
}

/// The same from a client with reliable delivery.
pub fn numbered(target: &Registration, seq: u64, message: &str) -> String {
    json!({ "relay": { "targetId": target.id.get(), "message": message, "seq": seq } }).to_string()
}

/// The same behind a refusal.
pub fn first(target: &Registration, seq: u64, message: &str) -> String {
    json!({ "relay": { "targetId": target.id.get(), "message": message, "seq": seq, "first": true } })
        .to_string()
}

/// The acknowledgement of what came from `sender` up to this offset.
pub fn received(sender: &Registration, offset: impl Display) -> String {
    format!(r#"{{"received":{{"senderId":{},"offset":{offset}}}}}"#, sender.id)
}

/// The next frame that a client gets.
pub async fn next(client: &mut Client) -> Value {
    serde_json::from_str(&client.text().await).unwrap()
}

/// The message of a relay frame, which must come from `sender`.
pub fn message_of(text: &str, sender: &Registration) -> String {
    let head = format!(r#"{{"relay":{{"senderId":{},"message":""#, sender.id);
    let message = text.strip_prefix(&head).and_then(|rest| rest.strip_suffix("\"}}"));
    message.unwrap_or_else(|| panic!("no relay frame of client {}: {text:.200}", sender.id)).to_owned()
}

impl Client {
    pub async fn send(&mut self, text: impl Into<String>) {
        soon(self.socket.send(Message::text(text.into()))).await.unwrap();
    }

    pub async fn authenticate(&mut self, registration: &Registration) {
        self.send(authentication(registration)).await;
    }

    /// The next text frame.
    pub async fn text(&mut self) -> String {
        loop {
            match soon(self.socket.next()).await.expect("the connection is open").unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// The message of the next relay frame, which must come from `sender`.
    pub async fn message(&mut self, sender: &Registration) -> String {
        message_of(&self.text().await, sender)
    }

    /// Begins to close the connection.
    pub async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        soon(self.socket.close(Some(frame))).await.unwrap();
    }

    /// The close code and reason; whatever comes before is passed over.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }
}
