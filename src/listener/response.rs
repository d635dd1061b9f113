//! HTTP responses.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::http::StatusCode;

/// A response. Its body may be borrowed from the site.
#[derive(Debug)]
pub struct Response<'s> {
    status: StatusCode,
    /// Names keep their case: HTTP ignores it, but some clients do not.
    headers: Vec<(Cow<'static, str>, Cow<'static, [u8]>)>,
    body: Cow<'s, [u8]>,
}

impl<'s> Response<'s> {
    /// A response with a body.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Cow<'s, [u8]>>) -> Self {
        let body = body.into();
        let length = body.len().to_string().into_bytes();
        let mut response = Self { status, headers: Vec::new(), body }.with(&CLOSE);
        response.set("Content-Length", length);
        response.with(&[("Content-Type", content_type)])
    }

    /// A response without a body and `Content-Length`.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Cow::default() }.with(&CLOSE)
    }

    /// A response in plain text.
    pub fn text(status: StatusCode, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
    }

    /// Returns the response with these headers, each in place of one with the same name.
    pub fn with(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        for (name, value) in headers {
            self.set(*name, value.as_bytes());
        }
        self
    }

    /// Sets a header, in place of one with the same name. Name and value must be valid.
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

    /// Returns the bytes to send; a response to `HEAD` is sent without its body.
    pub fn to_bytes(&self, with_body: bool) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()).into_bytes();
        for (name, value) in &self.headers {
            // Values are bytes: a verifier's may contain more than ASCII.
            bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// One request per connection: a client with another request connects again.
const CLOSE: [(&str, &str); 1] = [("Connection", "close")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serializes_headers_and_body() {
        let mut response = Response::text(StatusCode::FORBIDDEN, "no");
        response.set("x-Why", &b"so\xF6"[..]);
        let expected = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 3\r\n\
            Content-Type: text/plain; charset=utf-8\r\nx-Why: so\xF6\r\n\r\n";
        assert_eq!(response.to_bytes(false), expected);
        assert_eq!(response.to_bytes(true), [&expected[..], b"no\n"].concat());
    }

    #[test]
    fn a_header_replaces_one_with_the_same_name() {
        let response =
            Response::empty(StatusCode::OK).with(&[("X-A", "1"), ("x-a", "2"), ("CONNECTION", "keep")]);
        assert_eq!(response.to_bytes(true), b"HTTP/1.1 200 OK\r\nCONNECTION: keep\r\nx-a: 2\r\n\r\n");
    }
}
