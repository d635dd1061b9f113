//! Who is let in at the upgrade: by address, by origin, and by asking whoever made the relay.

use std::fmt;
use std::sync::Arc;

use httparse::Request;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode};

use super::answer::{Answer, text};
use super::header;
use super::verify_queue::VerifyQueue;
use crate::access::{AddressKey, ConnectionPermit, HostAddress, TrustedProxies};
use crate::limits::Limits;
use crate::metrics::Rejection;

/// Who may come.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The pages that may open WebSockets, as browsers name them in `Origin`; any where there is none.
    pub origins: Option<Vec<String>>,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: TrustedProxies,
    /// Who is asked about each WebSocket, behind all other rules.
    pub verifier: Option<Verifier>,
}

/// Somebody who answers verify_queue. The function is called when there are some to [take](VerifyQueue::take), and again only
/// after it has found that there are no more.
#[derive(Clone)]
pub struct Verifier(pub Arc<dyn Fn(&VerifyQueue) + Send + Sync>);

impl Verifier {
    /// Asks `answer` about each inquiry as it comes.
    pub fn each(answer: impl Fn(VerifyRequest) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |verify_queue| {
            while let Some(inquiry) = verify_queue.take() {
                answer(inquiry);
            }
        }))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier")
    }
}

/// A request for a WebSocket that somebody has to decide upon. Dropping it refuses.
#[derive(Debug)]
pub struct VerifyRequest {
    /// The request's target.
    pub target: String,
    /// Its headers, as they came; bytes beyond ASCII as Latin-1.
    pub headers: Vec<(String, String)>,
    /// Whether the client's connection is TLS.
    pub secure: bool,
    /// The address that counts as the client's.
    pub address: Option<HostAddress>,
    verdict: oneshot::Sender<Verdict>,
}

/// What is to become of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It is served.
    Admitted,
    /// It is not.
    Rejected {
        /// What it is counted by.
        why: Rejection,
        /// The HTTP status; 401 in place of one that there is not.
        status: u16,
        /// What is said to it; the name of the status where there is none.
        text: Option<String>,
        /// Headers of the answer. What is none is left out.
        headers: Vec<(String, String)>,
    },
}

/// Where the verdict on an inquiry comes.
pub type Verdicts = oneshot::Receiver<Verdict>;

impl VerifyRequest {
    /// That of a request.
    pub fn new(request: &Request<'_, '_>, address: Option<HostAddress>, secure: bool) -> (Self, Verdicts) {
        let (verdict, verdicts) = oneshot::channel();
        let latin = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
        let headers = request.headers.iter().map(|header| (header.name.to_owned(), latin(header.value)));
        let (target, headers) = (request.path.unwrap_or_default().to_owned(), headers.collect());
        (Self { target, headers, secure, address, verdict }, verdicts)
    }

    /// What it takes while it waits, in bytes.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        Limits::VERIFICATION_OVERHEAD + self.target.len() + headers.sum::<usize>()
    }

    /// Decides.
    pub fn answer(self, verdict: Verdict) {
        // Nobody waits any more: the client has been refused, or the relay is closed.
        self.verdict.send(verdict).ok();
    }
}

/// What is known of whoever has come.
#[derive(Debug, Default)]
pub struct RemoteClient {
    /// The address that counts as the client's.
    pub address: Option<HostAddress>,
    /// Where that is.
    pub source: Option<AddressKey>,
    /// Kept as long as the connection.
    pub permit: Option<ConnectionPermit>,
}

/// Whether the page that a request comes from may open WebSockets.
pub fn is_from(origins: Option<&[String]>, request: &Request<'_, '_>) -> bool {
    let Some(origins) = origins else { return true };
    let origin = header::only(request, "origin");
    origin.is_some_and(|origin| origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin)))
}

/// The answer to who was refused by somebody who was asked.
pub fn refused(status: u16, message: Option<&str>, headers: &[(String, String)]) -> Answer<'static> {
    let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 300);
    let status = status.unwrap_or(StatusCode::UNAUTHORIZED);
    let mut answer = text(status, message.or(status.canonical_reason()).unwrap_or_default());
    let own = ["connection", "content-length", "transfer-encoding"];
    for (name, text) in headers {
        // As Node writes them: each character a byte.
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>();
        let value = bytes.ok().filter(|value| HeaderValue::from_bytes(value).is_ok());
        let is_ours = own.iter().any(|own| own.eq_ignore_ascii_case(name));
        match value.filter(|_| !is_ours && HeaderName::try_from(name).is_ok()) {
            Some(value) if name.eq_ignore_ascii_case("content-type") => answer.set(name.clone(), value),
            Some(value) => answer.add(name.clone(), value),
            None => {}
        }
    }
    answer
}
