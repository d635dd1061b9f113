//! A request for a WebSocket that the developer decides about.

use httparse::Request;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode};

use super::response::Response;
use crate::access::HostAddress;
use crate::limits::Limits;
use crate::metrics::Rejection;

/// A request for a WebSocket that waits for a verdict. Dropping it rejects the request.
#[derive(Debug)]
pub struct VerifyRequest {
    /// The request's target.
    pub target: String,
    /// Names and values of its headers, in order; bytes beyond ASCII as Latin-1.
    pub headers: Vec<(String, String)>,
    /// Whether the client's connection is encrypted.
    pub secure: bool,
    /// The client's address.
    pub address: Option<HostAddress>,
    verdict: oneshot::Sender<Verdict>,
}

/// The decision about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Open the WebSocket.
    Admitted,
    /// Send this response instead.
    Rejected {
        /// The reason to count.
        why: Rejection,
        /// The HTTP status; 401 in place of one below 300 or out of range.
        status: u16,
        /// The body; the status text if `None`.
        text: Option<String>,
        /// Names and values of headers. Invalid ones are left out.
        headers: Vec<(String, String)>,
    },
}

/// Receives the verdict, or an error if the request was dropped.
pub type VerdictReceiver = oneshot::Receiver<Verdict>;

impl VerifyRequest {
    /// Returns what to verify of `request`, and where the verdict arrives.
    pub fn new(
        request: &Request<'_, '_>,
        address: Option<HostAddress>,
        secure: bool,
    ) -> (Self, VerdictReceiver) {
        let (verdict, receiver) = oneshot::channel();
        let latin = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
        let headers = request.headers.iter().map(|header| (header.name.to_owned(), latin(header.value)));
        let (target, headers) = (request.path.unwrap_or_default().to_owned(), headers.collect());
        (Self { target, headers, secure, address, verdict }, receiver)
    }

    /// Returns the size to count while it waits, in bytes.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        Limits::VERIFICATION_OVERHEAD + self.target.len() + headers.sum::<usize>()
    }

    /// Delivers the verdict.
    pub fn answer(self, verdict: Verdict) {
        // An error means that the client has gone, or has been rejected because the relay is closing.
        self.verdict.send(verdict).ok();
    }
}

/// Returns the response to a request that the developer rejected.
pub fn rejection_response(
    status: u16,
    message: Option<&str>,
    headers: &[(String, String)],
) -> Response<'static> {
    let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 300);
    let status = status.unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = Response::text(status, message.or(status.canonical_reason()).unwrap_or_default());
    let reserved = ["connection", "content-length", "transfer-encoding"];
    for (name, text) in headers {
        // As in Node, each character is a byte.
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>();
        let value = bytes.ok().filter(|value| HeaderValue::from_bytes(value).is_ok());
        let is_reserved = reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(name));
        match value.filter(|_| !is_reserved && HeaderName::try_from(name).is_ok()) {
            Some(value) if name.eq_ignore_ascii_case("content-type") => response.set(name.clone(), value),
            Some(value) => response.add(name.clone(), value),
            None => {}
        }
    }
    response
}
