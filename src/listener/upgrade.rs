//! The HTTP side of the port: upgrades WebSocket requests and answers all others.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use httparse::Request;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::answer::{Answer, serialize, text};
use super::entry::{self, RemoteClient, Verdict, Verdicts, VerifyRequest};
use super::request::{self, Fault};
use super::{Acceptor, header, metrics};
use crate::access::{AddressKey, HostAddress, TrustedProxies};
use crate::limits::Limits;
use crate::metrics::Rejection;
use crate::session::Shared;
use crate::wire::{self, Turn};

/// A connection that was upgraded, the bytes that came behind the request, and whose it is.
pub type Upgraded<C> = (C, Vec<u8>, RemoteClient);

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
    pub client: RemoteClient,
}

/// How a connection stands that comes by the port.
#[derive(Debug)]
pub enum Admission {
    /// It is known whose it is.
    Identified(RemoteClient),
    /// The request will tell, in the name of a proxy with this address.
    BehindProxy(HostAddress),
    /// There are too many from its address.
    OverLimit,
    /// The relay is closing.
    Closing,
}

impl Admission {
    fn client(&self) -> Option<&RemoteClient> {
        match self {
            Self::Identified(client) => Some(client),
            _ => None,
        }
    }
}

/// Answers the one request of a connection that is there soon, unless the relay is closed before.
pub async fn upgrade<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    standing: Admission,
    acceptor: Arc<Acceptor>,
) -> Option<Upgraded<C>> {
    let mut greeting = pin!(greet(connecting, &acceptor, standing));
    tokio::select! {
        biased;
        upgraded = &mut greeting => upgraded,
        // Once more: the relay may have closed while it was looked at, and who is asked about is told so.
        () = acceptor.shared.stop.cancelled() => greeting.now_or_never().flatten(),
    }
}

/// Gives the answer to a request that another server has read, unless the relay is closed before it is taken.
pub async fn switch<C: AsyncWrite + Unpin>(handover: Handover<C>, shared: &Shared) -> Option<Upgraded<C>> {
    let Handover { mut connection, answer, early, client } = handover;
    tokio::select! {
        biased;
        written = timeout(shared.limits.headers_timeout, connection.write_all(&answer)) => written.ok()?.ok()?,
        () = shared.stop.cancelled() => return None,
    }
    Some((connection, early, client))
}

/// The answer that upgrades the request with this head, and whose it is. It has come from `peer`.
///
/// # Errors
/// The answer that refuses it, when it does not ask for a WebSocket as it should, may not, or the relay is closing.
pub fn accept(
    head: &[u8],
    peer: Option<HostAddress>,
    acceptor: &Acceptor,
) -> Result<(Vec<u8>, RemoteClient), Vec<u8>> {
    let accept = |request: Result<&Request<'_, '_>, Fault>| {
        if acceptor.shared.stop.is_cancelled() {
            acceptor.shared.metrics.connection_rejected(Rejection::Closing);
            return Err(Refusal::Closing);
        }
        let request = request.map_err(Refusal::Fault)?;
        let (address, _) = caller(request, peer, false, &acceptor.rules.trusted_proxies);
        let client = identify(address, acceptor)?;
        Ok((open(request, acceptor)?, client))
    };
    let answered = request::parse(head, usize::MAX, |request| {
        accept(request).map_err(|refusal| serialize(&refuse(refusal), wants_body(request)))
    });
    let malformed = || serialize(&refuse(Refusal::Fault(Fault::Malformed)), true);
    answered.map_or_else(|| Err(malformed()), |(answer, _)| answer)
}

/// Answers a connection's one request with why it is not served.
pub async fn reject<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    standing: Admission,
    acceptor: Arc<Acceptor>,
) {
    greet(connecting, &acceptor, standing).await;
}

async fn greet<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    acceptor: &Acceptor,
    standing: Admission,
) -> Option<Upgraded<C>> {
    let limits = &acceptor.shared.limits;
    let answered = async {
        let mut stream = connecting.await?;
        crate::faults::point("handshake");
        // Who ends the connection before it has asked gets no answer.
        let answered =
            request::read(&mut stream, limits, |request| reply(acceptor, &standing, request)).await;
        let mut answered = answered.ok()?;
        if let Some(question) = answered.0.question.take() {
            let source = standing.client().unwrap_or(&answered.0.client).source;
            // Boxed: there is no room for it where nobody is asked.
            answered = Box::pin(ask(answered, question, source, &mut stream, acceptor)).await?;
        }
        let (reply, early) = answered;
        stream.write_all(&reply.bytes).await.ok()?;
        stream.flush().await.ok()?;
        Some((stream, reply.upgrades, reply.client, early))
    };
    // Who is asked has as long again.
    let patience = limits.headers_timeout * if acceptor.verify_queue.are_asked() { 2 } else { 1 };
    // Boxed, so that an open connection has no room for what only its beginning needs.
    let Ok(answered) = timeout(patience, Box::pin(answered)).await else {
        acceptor.shared.metrics.connection_rejected(Rejection::HeadersTimeout);
        return None;
    };
    let (stream, upgrades, client, early) = answered?;
    if upgrades {
        let client = match standing {
            Admission::Identified(client) => client,
            _ => client,
        };
        return Some((stream, early, client));
    }
    part(stream, limits.close_timeout).await;
    None
}

/// Closes a connection behind its answer.
async fn part<C: AsyncRead + AsyncWrite + Unpin>(mut stream: C, patience: Duration) {
    let farewell = async {
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection, and the client might miss the answer.
        wire::discard(&mut stream, &mut Turn::default(), Limits::MAX_DISCARDED_BYTES).await
    };
    // Whether it worked or not: the connection is over. Boxed, so that an open connection has no room for it.
    timeout(patience, Box::pin(farewell)).await.ok();
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

/// Asks whether a request is let in, as long as its client waits for the answer. Returns what is to be replied, and what
/// has come behind the request.
async fn ask<C: AsyncRead + Unpin>(
    (reply, mut early): (Reply, Vec<u8>),
    question: Box<(VerifyRequest, Verdicts)>,
    source: Option<AddressKey>,
    stream: &mut C,
    acceptor: &Acceptor,
) -> Option<(Reply, Vec<u8>)> {
    let reply = tokio::select! {
        biased;
        reply = decide(reply, question, source, acceptor) => reply,
        () = left(stream, &mut early) => return None,
    };
    Some((reply, early))
}

/// Waits until the client has closed its side of the connection, or has sent more than it may before it is answered.
/// What it sends is added to `early`.
async fn left<C: AsyncRead + Unpin>(stream: &mut C, early: &mut Vec<u8>) {
    let mut turn = Turn::default();
    let mut is_open = |bytes: &[u8]| {
        early.extend_from_slice(bytes);
        !bytes.is_empty() && early.len() <= Limits::MAX_EARLY_BYTES
    };
    poll_fn(|cx| {
        while matches!(ready!(wire::poll_read(stream, &mut turn, cx, &mut is_open)), Ok(true)) {}
        Poll::Ready(())
    })
    .await;
}

/// What goes out.
#[derive(Default)]
struct Reply {
    bytes: Vec<u8>,
    /// Whether the connection is a WebSocket from here on.
    upgrades: bool,
    /// Whose it is, if the request has told.
    client: RemoteClient,
    /// What is to be asked before.
    question: Option<Box<(VerifyRequest, Verdicts)>>,
}

fn reply(acceptor: &Acceptor, standing: &Admission, request: Result<&Request<'_, '_>, Fault>) -> Reply {
    let wants_body = wants_body(request);
    let refused = |refusal| Reply { bytes: serialize(&refuse(refusal), wants_body), ..Reply::default() };
    let wants_websocket = |request: &Request<'_, '_>| header::lists(request, "upgrade", "websocket");
    let request = match (request, standing) {
        (Ok(request), Admission::Closing) => {
            // Who asks how the server is has not been turned away.
            if wants_websocket(request) {
                acceptor.shared.metrics.connection_rejected(Rejection::Closing);
            }
            return refused(Refusal::Closing);
        }
        (_, Admission::OverLimit) => return refused(Refusal::Crowded),
        (Ok(request), _) => request,
        (Err(fault), _) => {
            if fault == Fault::TooLarge {
                acceptor.shared.metrics.connection_rejected(Rejection::MaxHeaderSize);
            }
            return refused(Refusal::Fault(fault));
        }
    };
    let is_tls = acceptor.tls.is_some();
    let (client, address, secure) = match standing {
        Admission::BehindProxy(peer) => {
            let (address, secure) = caller(request, Some(*peer), is_tls, &acceptor.rules.trusted_proxies);
            match identify(address, acceptor) {
                Ok(client) => (client, address, secure),
                Err(refusal) => return refused(refusal),
            }
        }
        Admission::Identified(client) => (RemoteClient::default(), client.address, is_tls),
        // They have been answered.
        Admission::OverLimit | Admission::Closing => (RemoteClient::default(), None, is_tls),
    };
    if !wants_websocket(request)
        && let Some(answer) = acceptor.site.find(request, || metrics::text(&acceptor.shared))
    {
        return Reply { bytes: serialize(&answer, wants_body), ..Reply::default() };
    }
    if !request.path.is_some_and(|target| acceptor.site.upgrades_at(target)) {
        return refused(Refusal::NotFound);
    }
    match open(request, acceptor) {
        Ok(bytes) => {
            let question = acceptor
                .verify_queue
                .are_asked()
                .then(|| Box::new(VerifyRequest::new(request, address, secure)));
            Reply { bytes, upgrades: true, client, question }
        }
        Err(refusal) => refused(refusal),
    }
}

fn wants_body(request: Result<&Request<'_, '_>, Fault>) -> bool {
    !request.is_ok_and(|request| request.method == Some("HEAD"))
}

/// Whose request this is, as far as proxies are trusted, and whether that client's connection is TLS. The connection from
/// `peer` is or is not, as `is_tls` says.
pub fn caller(
    request: &Request<'_, '_>,
    peer: Option<HostAddress>,
    is_tls: bool,
    trust: &TrustedProxies,
) -> (Option<HostAddress>, bool) {
    let address = trust.client(peer, header::lines(request, "x-forwarded-for"));
    (address, trust.is_secure(peer, is_tls, header::lines(request, "x-forwarded-proto")))
}

/// A client with this address, if there is room for one more of them.
fn identify(address: Option<HostAddress>, acceptor: &Acceptor) -> Result<RemoteClient, Refusal> {
    let source = match address {
        Some(address) => AddressKey::of(address),
        // The proxy at the other end of a pipe should have told.
        None if acceptor.rules.trusted_proxies.trusts_pipes() => AddressKey::UNKNOWN,
        // Over a pipe everybody is the same.
        None => return Ok(RemoteClient::default()),
    };
    acceptor.register(source, address).ok_or(Refusal::Crowded)
}

/// The answer that opens a WebSocket, if the request may have one.
fn open(request: &Request<'_, '_>, acceptor: &Acceptor) -> Result<Vec<u8>, Refusal> {
    let answer = switch_protocols(request)?;
    if entry::is_from(acceptor.rules.origins.as_deref(), request) {
        return Ok(answer);
    }
    acceptor.shared.metrics.connection_rejected(Rejection::AllowedOrigins);
    Err(Refusal::Origin)
}

/// Asks whether what is to be replied is replied. No answer in time is a refusal, and so is none at all.
async fn decide(
    reply: Reply,
    question: Box<(VerifyRequest, Verdicts)>,
    source: Option<AddressKey>,
    acceptor: &Acceptor,
) -> Reply {
    let (inquiry, verdicts) = *question;
    let refused = |answer: &Answer<'_>| Reply { bytes: serialize(answer, true), ..Reply::default() };
    let turned_away = |why| acceptor.shared.metrics.connection_rejected(why);
    let _place = acceptor.verify_queue.add(source, inquiry);
    let verdict = tokio::select! {
        verdict = timeout(acceptor.shared.limits.headers_timeout, verdicts) => verdict.ok().and_then(Result::ok),
        () = acceptor.shared.stop.cancelled() => {
            turned_away(Rejection::Closing);
            return refused(&refuse(Refusal::Closing));
        }
    };
    match verdict {
        Some(Verdict::Admitted) => reply,
        Some(Verdict::Rejected { why, status, text, headers }) => {
            turned_away(why);
            refused(&entry::refused(status, text.as_deref(), &headers))
        }
        None => {
            turned_away(Rejection::Undecided);
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

/// The answer to a WebSocket upgrade, made without the types of `http`: they cost more than the rest of it. Names and
/// their order are those of RFC 6455: some embedded clients compare them as text.
fn switch_protocols(request: &Request<'_, '_>) -> Result<Vec<u8>, Refusal> {
    if header::lines(request, "upgrade").next().is_none() {
        return Err(Refusal::NoUpgrade);
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(Refusal::Method);
    }
    for name in SINGLE {
        if header::is_repeated(request, name) {
            return Err(Refusal::Header(name));
        }
    }
    // Its body would be read as frames.
    if header::lines(request, "transfer-encoding").next().is_some() {
        return Err(Refusal::Header("transfer-encoding"));
    }
    if header::list(request, "content-length").any(|length| length != b"0") {
        return Err(Refusal::Header("content-length"));
    }
    for (name, option) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        if !header::lists(request, name, option) {
            return Err(Refusal::Header(name));
        }
    }
    if header::only(request, "sec-websocket-version") != Some(b"13") {
        return Err(Refusal::Version);
    }
    let key = header::only(request, "sec-websocket-key").filter(|key| is_key(key));
    let accept = derive_accept_key(key.ok_or(Refusal::Header("sec-websocket-key"))?);
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    // Whoever asks for subprotocols must get one; which one means nothing here.
    let mut offered = header::list(request, "sec-websocket-protocol").filter(|name| header::is_token(name));
    let answer = match offered.next().and_then(|name| str::from_utf8(name).ok()) {
        Some(first) => [head, &accept, "\r\nSec-WebSocket-Protocol: ", first, "\r\n\r\n"].concat(),
        None => [head, &accept, "\r\n\r\n"].concat(),
    };
    Ok(answer.into_bytes())
}

/// Headers that say who asks whom, and how much. Of two lines a proxy may have taken the one, and we the other.
const SINGLE: [&str; 3] = ["host", "origin", "content-length"];

/// Whether it is the base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").filter(|digits| digits.len() == 22);
    digits.is_some_and(|digits| {
        digits.iter().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit))
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
    if status == StatusCode::UPGRADE_REQUIRED { answer.with(&UPGRADE) } else { answer }
}

const UPGRADE: [(&str, &str); 3] =
    [("Connection", "Upgrade, close"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
