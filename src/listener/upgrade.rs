//! The HTTP side of the port: upgrades WebSocket requests and answers all others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use httparse::Request;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::{self, HeaderName};

use super::answer::{Answer, serialize, text, value, with};
use super::entry::{self, Guest, Inquiry, Verdict, Verdicts};
use super::request::{self, Fault};
use super::{Door, metrics};
use crate::metrics::TurnedAway;
use crate::session::Shared;

/// A connection that was upgraded, the bytes that came behind the request, and whose it is.
pub type Upgraded<C> = (C, Vec<u8>, Guest);

/// A connection whose request another server has read.
#[derive(Debug)]
pub struct Handover<C> {
    /// The connection.
    pub connection: C,
    /// What [`accept`] answers to the request.
    pub answer: Vec<u8>,
    /// What came behind the request.
    pub early: Vec<u8>,
    /// Whose it is.
    pub guest: Guest,
}

/// How a connection stands that comes by the port.
#[derive(Debug)]
pub enum Standing {
    /// It is known whose it is.
    Known(Guest),
    /// The request will tell, in the name of a proxy with this address.
    Unknown(IpAddr),
    /// There are too many from its address.
    Crowded,
    /// The relay is closing.
    Closing,
}

/// Answers the one request of a connection that is there soon, unless the relay is closed before.
pub async fn upgrade<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    standing: Standing,
    door: Arc<Door>,
) -> Option<Upgraded<C>> {
    tokio::select! {
        biased;
        upgraded = greet(connecting, &door, standing) => upgraded,
        () = door.shared.stop.cancelled() => None,
    }
}

/// Gives the answer to a request that another server has read.
pub async fn switch<C: AsyncWrite + Unpin>(handover: Handover<C>, patience: Duration) -> Option<Upgraded<C>> {
    let Handover { mut connection, answer, early, guest } = handover;
    timeout(patience, connection.write_all(&answer)).await.ok()?.ok()?;
    Some((connection, early, guest))
}

/// The answer that upgrades the request with this head, and whose it is. It has come from `peer`.
///
/// # Errors
/// The answer that refuses it, when it does not ask for a WebSocket as it should, may not, or the relay is closing.
pub fn accept(head: &[u8], peer: Option<IpAddr>, door: &Door) -> Result<(Vec<u8>, Guest), Vec<u8>> {
    let answered = request::parse(head, |request| {
        if door.shared.stop.is_cancelled() {
            door.shared.metrics.turned_away(TurnedAway::Closing);
            return Err(Refusal::Closing);
        }
        let request = request.map_err(Refusal::Fault)?;
        let guest = identify(peer, request, door)?;
        Ok((open(request, door)?, guest))
    });
    let answer_of = answered.map_or(Err(Refusal::Fault(Fault::Malformed)), |(answer, _)| answer);
    answer_of.map_err(|refusal| serialize(&refuse(refusal), true))
}

/// Answers a connection's one request with why it is not served.
pub async fn turn_away<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    standing: Standing,
    door: Arc<Door>,
) {
    greet(connecting, &door, standing).await;
}

async fn greet<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    door: &Door,
    standing: Standing,
) -> Option<Upgraded<C>> {
    let limits = &door.shared.limits;
    let answered = async {
        let mut stream = connecting.await?;
        crate::faults::point("handshake");
        // Who ends the connection before it has asked gets no answer.
        let answered = request::read(&mut stream, |request| reply(door, &standing, request)).await;
        let (mut reply, early) = answered.ok()?;
        if let Some(question) = reply.question.take() {
            // Boxed: there is no room for it where nobody is asked.
            reply = Box::pin(decide(reply, question, door)).await;
        }
        stream.write_all(&reply.bytes).await.ok()?;
        stream.flush().await.ok()?;
        Some((stream, reply.upgrades, reply.guest, early))
    };
    // Who is asked has as long again.
    let patience = limits.headers_timeout * if door.rules.ask.is_some() { 2 } else { 1 };
    let Ok(answered) = timeout(patience, answered).await else {
        door.shared.metrics.turned_away(TurnedAway::HeadersTimeout);
        return None;
    };
    let (stream, upgrades, guest, early) = answered?;
    if upgrades {
        let guest = match standing {
            Standing::Known(guest) => guest,
            _ => guest,
        };
        return Some((stream, early, guest));
    }
    part(stream, limits.close_timeout).await;
    None
}

/// Closes a connection behind its answer.
async fn part<C: AsyncRead + AsyncWrite + Unpin>(mut stream: C, patience: Duration) {
    let farewell = async {
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection, and the client might miss the answer.
        copy(&mut stream, &mut sink()).await
    };
    // Whether it worked or not: the connection is over.
    timeout(patience, farewell).await.ok();
}

/// Gives an answer that refuses a request which another server has read, and closes its connection.
pub async fn refuse_with<C: AsyncRead + AsyncWrite + Unpin>(
    mut stream: C,
    answer: Vec<u8>,
    shared: Arc<Shared>,
) {
    let written = timeout(shared.limits.headers_timeout, stream.write_all(&answer)).await;
    if matches!(written, Ok(Ok(()))) {
        part(stream, shared.limits.close_timeout).await;
    }
}

/// What goes out.
#[derive(Default)]
struct Reply {
    bytes: Vec<u8>,
    /// Whether the connection is a WebSocket from here on.
    upgrades: bool,
    /// Whose it is, if the request has told.
    guest: Guest,
    /// What is to be asked before.
    question: Option<Box<(Inquiry, Verdicts)>>,
}

fn reply(door: &Door, standing: &Standing, request: Result<&Request<'_, '_>, Fault>) -> Reply {
    let wants_body = !request.is_ok_and(|request| request.method == Some("HEAD"));
    let refused = |refusal| Reply { bytes: serialize(&refuse(refusal), wants_body), ..Reply::default() };
    let wants_websocket = |request: &Request<'_, '_>| {
        value(request, "upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
    };
    let request = match (request, standing) {
        (Ok(request), Standing::Closing) => {
            // Who asks how the server is has not been turned away.
            if wants_websocket(request) {
                door.shared.metrics.turned_away(TurnedAway::Closing);
            }
            return refused(Refusal::Closing);
        }
        (_, Standing::Crowded) => return refused(Refusal::Crowded),
        (Ok(request), _) => request,
        (Err(fault), _) => return refused(Refusal::Fault(fault)),
    };
    let guest = match standing {
        Standing::Unknown(peer) => identify(Some(*peer), request, door),
        _ => Ok(Guest::default()),
    };
    let guest = match guest {
        Ok(guest) => guest,
        Err(refusal) => return refused(refusal),
    };
    if !wants_websocket(request)
        && let Some(answer) = door.site.find(request, || metrics::text(&door.shared))
    {
        return Reply { bytes: serialize(&answer, wants_body), ..Reply::default() };
    }
    if !request.path.is_some_and(|target| door.site.is_at(target)) {
        return refused(Refusal::NotFound);
    }
    match open(request, door) {
        Ok(bytes) => {
            let is_tls = door.tls.is_some();
            let (address, secure) = match standing {
                Standing::Known(guest) => (guest.address, is_tls),
                Standing::Unknown(peer) => {
                    let forwarded = value(request, "x-forwarded-proto");
                    (guest.address, door.trust().is_secure(Some(*peer), is_tls, forwarded))
                }
                // They have been answered.
                Standing::Crowded | Standing::Closing => (None, is_tls),
            };
            let question = door.rules.ask.as_ref().map(|_| Box::new(Inquiry::new(request, address, secure)));
            Reply { bytes, upgrades: true, guest, question }
        }
        Err(refusal) => refused(refusal),
    }
}

/// Whose request it is that came from `peer`, if there is room for one more of them.
fn identify(peer: Option<IpAddr>, request: &Request<'_, '_>, door: &Door) -> Result<Guest, Refusal> {
    match door.trust().client(peer, entry::forwarded(request).into_iter()) {
        Some(address) => door.register(address).ok_or(Refusal::Crowded),
        // Over a pipe everybody is the same.
        None => Ok(Guest::default()),
    }
}

/// The answer that opens a WebSocket, if the request may have one.
fn open(request: &Request<'_, '_>, door: &Door) -> Result<Vec<u8>, Refusal> {
    let answer = switch_protocols(request)?;
    if entry::is_from(door.rules.origins.as_deref(), request) {
        return Ok(answer);
    }
    door.shared.metrics.turned_away(TurnedAway::AllowedOrigins);
    Err(Refusal::Origin)
}

/// Asks whether what is to be replied is replied. No answer in time is a refusal, and so is none at all.
async fn decide(reply: Reply, question: Box<(Inquiry, Verdicts)>, door: &Door) -> Reply {
    let (inquiry, verdicts) = *question;
    let refused = |answer: &Answer<'_>| Reply { bytes: serialize(answer, true), ..Reply::default() };
    let turned_away = |why| door.shared.metrics.turned_away(why);
    let verdict = match (&door.rules.ask, door.inquiries.try_acquire()) {
        (Some(ask), Ok(_place)) => {
            (ask.0)(inquiry);
            tokio::select! {
                verdict = timeout(door.shared.limits.headers_timeout, verdicts) => verdict.ok().and_then(Result::ok),
                () = door.shared.stop.cancelled() => {
                    turned_away(TurnedAway::Closing);
                    return refused(&refuse(Refusal::Closing));
                }
            }
        }
        _ => None,
    };
    match verdict {
        Some(Verdict::Admitted) => reply,
        Some(Verdict::Refused { why, status, text, headers }) => {
            turned_away(why);
            refused(&entry::refused(status, text.as_deref(), &headers))
        }
        None => {
            turned_away(TurnedAway::Undecided);
            refused(&refuse(Refusal::NotDecided))
        }
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
    #[error("too many connections come from this address")]
    Crowded,
    #[error("pages of this origin may not connect")]
    Origin,
    #[error("nobody has decided about this request")]
    NotDecided,
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
        Refusal::Closing | Refusal::NotDecided => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Crowded => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Origin => StatusCode::FORBIDDEN,
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
