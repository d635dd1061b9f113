//! The HTTP side of the port: upgrades WebSocket requests and answers all others.

use std::sync::Arc;
use std::time::Duration;

use httparse::Request;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::{self, HeaderName};

use super::answer::{Answer, serialize, text, value, with};
use super::request::{self, Fault};
use super::{Door, Site};

/// A connection that was upgraded, and the bytes that came behind the request.
pub type Upgraded<C> = (C, Vec<u8>);

/// A connection whose request another server has read.
#[derive(Debug)]
pub struct Handover<C> {
    /// The connection.
    pub connection: C,
    /// What [`accept`] answers to the request.
    pub answer: Vec<u8>,
    /// What came behind the request.
    pub early: Vec<u8>,
}

/// Answers the one request of a connection that is there soon, unless the relay is closed before.
pub async fn upgrade<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    door: Arc<Door>,
) -> Option<Upgraded<C>> {
    tokio::select! {
        biased;
        upgraded = greet(connecting, &door, false) => upgraded,
        () = door.shared.stop.cancelled() => None,
    }
}

/// Gives the answer to a request that another server has read.
pub async fn switch<C: AsyncWrite + Unpin>(handover: Handover<C>, patience: Duration) -> Option<Upgraded<C>> {
    let Handover { mut connection, answer, early } = handover;
    timeout(patience, connection.write_all(&answer)).await.ok()?.ok()?;
    Some((connection, early))
}

/// The answer that upgrades the request with this head.
///
/// # Errors
/// The answer that refuses it, when it does not ask for a WebSocket as it should, or the relay `is_closing`.
pub fn accept(head: &[u8], is_closing: bool) -> Result<Vec<u8>, Vec<u8>> {
    let answered = request::parse(head, |request| match is_closing {
        true => Err(Refusal::Closing),
        false => request.map_err(Refusal::Fault).and_then(switch_protocols),
    });
    let answer_of = answered.map_or(Err(Refusal::Fault(Fault::Malformed)), |(answer, _)| answer);
    answer_of.map_err(|refusal| serialize(&refuse(refusal), true))
}

/// Tells a connection's one request that the relay is closing.
pub async fn turn_away<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    door: Arc<Door>,
) {
    greet(connecting, &door, true).await;
}

async fn greet<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    door: &Door,
    is_closing: bool,
) -> Option<Upgraded<C>> {
    let limits = &door.shared.limits;
    let answered = async {
        let mut stream = connecting.await?;
        // Who ends the connection before it has asked gets no answer.
        let answered = request::read(&mut stream, |request| reply(&door.site, is_closing, request)).await;
        let (Reply { bytes, upgrades }, early) = answered.ok()?;
        stream.write_all(&bytes).await.ok()?;
        stream.flush().await.ok()?;
        Some((stream, upgrades, early))
    };
    let (mut stream, upgrades, early) = timeout(limits.headers_timeout, answered).await.ok()??;
    if upgrades {
        return Some((stream, early));
    }
    let farewell = async {
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection, and the client might miss the answer.
        copy(&mut stream, &mut sink()).await
    };
    // Whether it worked or not: the connection is over.
    timeout(limits.close_timeout, farewell).await.ok();
    None
}

/// What goes out.
struct Reply {
    bytes: Vec<u8>,
    /// Whether the connection is a WebSocket from here on.
    upgrades: bool,
}

fn reply(site: &Site, is_closing: bool, request: Result<&Request<'_, '_>, Fault>) -> Reply {
    let wants_body = !request.is_ok_and(|request| request.method == Some("HEAD"));
    let refused = |refusal| Reply { bytes: serialize(&refuse(refusal), wants_body), upgrades: false };
    let request = match request {
        Ok(_) if is_closing => return refused(Refusal::Closing),
        Ok(request) => request,
        Err(fault) => return refused(Refusal::Fault(fault)),
    };
    let wants_websocket =
        value(request, "upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    if !wants_websocket && let Some(answer) = site.find(request) {
        return Reply { bytes: serialize(&answer, wants_body), upgrades: false };
    }
    if !request.path.is_some_and(|target| site.is_at(target)) {
        return refused(Refusal::NotFound);
    }
    match switch_protocols(request) {
        Ok(bytes) => Reply { bytes, upgrades: true },
        Err(refusal) => refused(refusal),
    }
}

/// Why a request does not open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Fault(Fault),
    #[error("nothing is here")]
    NotFound,
    #[error("the server is closing")]
    Closing,
    #[error("this is a WebSocket server")]
    NoUpgrade,
    #[error("only version 13 of WebSocket is spoken here")]
    Version,
    #[error("a WebSocket is opened with GET and HTTP/1.1")]
    Method,
    #[error("this value of the header {0} does not open a WebSocket")]
    Header(&'static str),
}

/// The answer to a WebSocket upgrade, made without the types of `http`: they cost more than the rest of it.
fn switch_protocols(request: &Request<'_, '_>) -> Result<Vec<u8>, Refusal> {
    let upgrade = value(request, "upgrade").ok_or(Refusal::NoUpgrade)?;
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(Refusal::Method);
    }
    let mut options = value(request, "connection").unwrap_or_default().split([' ', ',']);
    if !options.any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::Header("connection"));
    }
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(Refusal::Header("upgrade"));
    }
    if value(request, "sec-websocket-version") != Some("13") {
        return Err(Refusal::Version);
    }
    let key = value(request, "sec-websocket-key").filter(|key| is_key(key));
    let accept = derive_accept_key(key.ok_or(Refusal::Header("sec-websocket-key"))?.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ";
    // Whoever asks for subprotocols must get one; which one means nothing here.
    let answer = match value(request, "sec-websocket-protocol").and_then(|offered| offered.split(',').next())
    {
        Some(first) => [head, &accept, "\r\nsec-websocket-protocol: ", first.trim(), "\r\n\r\n"].concat(),
        None => [head, &accept, "\r\n\r\n"].concat(),
    };
    Ok(answer.into_bytes())
}

/// Whether it is the base64 of 16 bytes.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").filter(|digits| digits.len() == 22);
    digits.is_some_and(|digits| {
        digits.bytes().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(&digit))
    })
}

fn refuse(refusal: Refusal) -> Answer<'static> {
    let status = match refusal {
        Refusal::NoUpgrade | Refusal::Version => StatusCode::UPGRADE_REQUIRED,
        Refusal::NotFound => StatusCode::NOT_FOUND,
        Refusal::Closing => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Fault(Fault::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::Fault(Fault::Malformed) | Refusal::Method | Refusal::Header(_) => StatusCode::BAD_REQUEST,
    };
    let answer = text(status, &refusal.to_string());
    if status == StatusCode::UPGRADE_REQUIRED { with(answer, &UPGRADE) } else { answer }
}

const UPGRADE: [(HeaderName, &str); 3] = [
    (header::CONNECTION, "upgrade, close"),
    (header::UPGRADE, "websocket"),
    (header::SEC_WEBSOCKET_VERSION, "13"),
];
