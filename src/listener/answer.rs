//! What is answered to requests that open no WebSocket.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::http::StatusCode;

/// An answer. Its body may be the site's.
#[derive(Debug)]
pub struct Answer<'s> {
    status: StatusCode,
    /// Names are written as they stand here: HTTP does not care about their case, but some clients do.
    headers: Vec<(Cow<'static, str>, Cow<'static, [u8]>)>,
    body: Cow<'s, [u8]>,
}

/// An answer with a body.
pub fn answer<'s>(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Cow<'s, [u8]>>,
) -> Answer<'s> {
    let mut answer = empty(status);
    answer.body = body.into();
    let length = answer.body.len().to_string();
    answer.set("Content-Length", length.into_bytes());
    answer.with(&[("Content-Type", content_type)])
}

/// An answer without a body, and without a word about its length.
pub fn empty(status: StatusCode) -> Answer<'static> {
    // One request a connection: a client that wants another connects again.
    Answer { status, headers: Vec::new(), body: Cow::default() }.with(&[("Connection", "close")])
}

/// An answer for people to read.
pub fn text(status: StatusCode, text: &str) -> Answer<'static> {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
}

impl Answer<'_> {
    /// The answer with these headers, which replace its own.
    pub fn with(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        for (name, value) in headers {
            self.set(*name, value.as_bytes());
        }
        self
    }

    /// Sets a header, in place of the one of this name. Name and value must be valid.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, [u8]>>) {
        let (name, value) = (name.into(), value.into());
        match self.headers.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            Some(header) => *header = (name, value),
            None => self.headers.push((name, value)),
        }
    }

    /// Adds a header. Name and value must be valid.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, [u8]>>) {
        self.headers.push((name.into(), value.into()));
    }
}

/// As it goes out, to `HEAD` without the body.
pub fn serialize(answer: &Answer<'_>, wants_body: bool) -> Vec<u8> {
    let reason = answer.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", answer.status.as_u16()).into_bytes();
    for (name, value) in &answer.headers {
        // Bytes, for a value that somebody else gives may be more than ASCII.
        bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    if wants_body {
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_whatever_its_headers_say() {
        let mut answer = text(StatusCode::FORBIDDEN, "no");
        answer.set("x-Why", &b"so\xF6"[..]);
        let expected = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 3\r\n\
            Content-Type: text/plain; charset=utf-8\r\nx-Why: so\xF6\r\n\r\n";
        assert_eq!(serialize(&answer, false), expected);
        assert_eq!(serialize(&answer, true), [&expected[..], b"no\n"].concat());
    }

    #[test]
    fn a_header_replaces_the_one_of_its_name() {
        let answer = empty(StatusCode::OK).with(&[("X-A", "1"), ("x-a", "2"), ("CONNECTION", "keep")]);
        assert_eq!(serialize(&answer, true), b"HTTP/1.1 200 OK\r\nCONNECTION: keep\r\nx-a: 2\r\n\r\n");
    }
}
