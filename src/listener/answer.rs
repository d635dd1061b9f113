//! What is answered to requests that open no WebSocket.

use std::borrow::Cow;

use httparse::Request;
use tokio_tungstenite::tungstenite::handshake::server::write_response;
use tokio_tungstenite::tungstenite::http::header::{self, HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};

/// Its body may be the site's.
pub type Answer<'s> = Response<Cow<'s, [u8]>>;

/// An answer with a body.
pub fn answer<'s>(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Cow<'s, [u8]>>,
) -> Answer<'s> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    with(answer, &CLOSE)
}

/// An answer for people to read.
pub fn text(status: StatusCode, text: &str) -> Answer<'static> {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
}

/// The answer with these headers, which replace its own.
pub fn with<'s>(mut answer: Answer<'s>, headers: &[(HeaderName, &'static str)]) -> Answer<'s> {
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// One request a connection: whoever wants another connects again.
const CLOSE: [(HeaderName, &str); 1] = [(header::CONNECTION, "close")];

/// As it goes out, to `HEAD` without the body.
pub fn serialize(answer: &Answer<'_>, wants_body: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    // It fails for headers that are no text, and for versions that are not 1.0 or 1.1; there are none of these.
    write_response(&mut bytes, answer).ok();
    if wants_body {
        bytes.extend_from_slice(answer.body());
    }
    bytes
}

/// The first value of a header that is text.
pub fn value<'b>(request: &Request<'_, 'b>, name: &str) -> Option<&'b str> {
    let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}
