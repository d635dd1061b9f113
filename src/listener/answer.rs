//! What is answered to requests that open no WebSocket.

use std::borrow::Cow;

use httparse::Request;
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
    let mut bytes = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        // Bytes, for a value that somebody else gives may be more than ASCII.
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_whatever_its_headers_say() {
        let mut answer = text(StatusCode::FORBIDDEN, "no");
        answer.headers_mut().insert("x-why", HeaderValue::from_bytes(b"so\xF6").expect("a value"));
        let expected =
            b"HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\ncontent-type: text/plain; charset=utf-8\r\n\
            connection: close\r\nx-why: so\xF6\r\n\r\n";
        assert_eq!(serialize(&answer, false), expected);
        assert_eq!(serialize(&answer, true), [&expected[..], b"no\n"].concat());
    }
}
