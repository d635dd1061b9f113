//! The opening handshake of RFC 6455, section 4.2: the response that upgrades a request, or the error that rejects it.

use httparse::Request;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::header;
use super::request::RequestError;
use super::response::Response;

/// Why a request does not open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The head is not a valid request.
    #[error(transparent)]
    Request(RequestError),
    /// Nothing is served at its path.
    #[error("nothing is here")]
    NotFound,
    /// The relay is closing.
    #[error("the server is closing")]
    Closing,
    /// Its address has too many connections, or opens them too fast.
    #[error("too many connections come from this address")]
    TooManyConnections,
    /// It comes from a page of another origin.
    #[error("pages of this origin may not connect")]
    Origin,
    /// The verifier gave no verdict in time.
    #[error("no decision was made about this request")]
    NoVerdict,
    /// It does not ask for an upgrade.
    #[error("this is a WebSocket server")]
    NoUpgrade,
    /// It asks for another version of the protocol.
    #[error("only version 13 of WebSocket is supported")]
    Version,
    /// It has another method or HTTP version.
    #[error("a WebSocket is opened by GET over HTTP/1.1")]
    Method,
    /// This header is missing, repeated or invalid.
    #[error("the header {0} is missing, repeated or invalid")]
    Header(&'static str),
}

impl UpgradeError {
    /// Returns the response that says so.
    pub fn response(self) -> Response<'static> {
        let status = match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Closing | Self::NoVerdict => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Request(RequestError::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Request(RequestError::Malformed) | Self::Method | Self::Header(_) => {
                StatusCode::BAD_REQUEST
            }
        };
        let response = Response::text(status, &self.to_string());
        if status == StatusCode::UPGRADE_REQUIRED { response.with(&UPGRADE) } else { response }
    }
}

const UPGRADE: [(&str, &str); 3] =
    [("Connection", "Upgrade, close"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];

/// Headers that identify the server, the page and the body. If there are two lines, a proxy may have used the other one.
const SINGLE: [&str; 3] = ["host", "origin", "content-length"];

/// Returns the response that upgrades `request`.
///
/// tungstenite's `create_response` is not used: it takes an `http::Request`, which copies every header and takes longer than
/// the rest of the handshake; it accepts repeated headers and a body; and it writes header names in lower case, which some
/// embedded clients do not understand. Only the hash is tungstenite's.
///
/// # Errors
/// Why the request does not open a WebSocket.
pub fn upgrade_response(request: &Request<'_, '_>) -> Result<Vec<u8>, UpgradeError> {
    if header::lines(request, "upgrade").next().is_none() {
        return Err(UpgradeError::NoUpgrade);
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(UpgradeError::Method);
    }
    for name in SINGLE {
        if header::is_repeated(request, name) {
            return Err(UpgradeError::Header(name));
        }
    }
    // A body would be read as frames.
    if header::lines(request, "transfer-encoding").next().is_some() {
        return Err(UpgradeError::Header("transfer-encoding"));
    }
    if header::list(request, "content-length").any(|length| length != b"0") {
        return Err(UpgradeError::Header("content-length"));
    }
    for (name, option) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        if !header::lists(request, name, option) {
            return Err(UpgradeError::Header(name));
        }
    }
    if header::only(request, "sec-websocket-version") != Some(b"13") {
        return Err(UpgradeError::Version);
    }
    let key = header::only(request, "sec-websocket-key").filter(|key| is_key(key));
    Ok(switching_protocols(request, key.ok_or(UpgradeError::Header("sec-websocket-key"))?))
}

/// Returns the 101 response to a valid request with this key. Names and order of its headers are those of RFC 6455, because
/// some embedded clients compare them as text.
fn switching_protocols(request: &Request<'_, '_>, key: &[u8]) -> Vec<u8> {
    let accept = derive_accept_key(key);
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    // A client that offers subprotocols requires one of them. The relay uses none, so any will do.
    let mut offered = header::list(request, "sec-websocket-protocol").filter(|name| header::is_token(name));
    let response = match offered.next().and_then(|name| str::from_utf8(name).ok()) {
        Some(first) => [head, &accept, "\r\nSec-WebSocket-Protocol: ", first, "\r\n\r\n"].concat(),
        None => [head, &accept, "\r\n\r\n"].concat(),
    };
    response.into_bytes()
}

/// Returns whether `key` is the base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").filter(|digits| digits.len() == 22);
    digits.is_some_and(|digits| {
        digits.iter().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit))
    })
}
