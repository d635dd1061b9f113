//! Reads a connection's first request, with httparse.
//!
//! A read goes into one buffer per thread. Nearly every head arrives in one piece and is parsed there; only an incomplete
//! head is copied and kept with its connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use httparse::{Error, Header, ParserConfig, Request, Status};
use tokio::io::{AsyncRead, ReadBuf};

use crate::limits::Limits;
use crate::wire::Turn;

/// Header lines that the stack has room for, enough for nearly every request.
const USUAL_HEADERS: usize = 100;

/// The most header lines in a request, the same as in Node.
const MAX_HEADERS: usize = 2000;

/// Size of a read, in bytes.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// The read buffer of all connections of a thread.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Why a head is not a valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is not HTTP/1.1.
    #[error("this is not HTTP/1.1")]
    Malformed,
    /// It exceeds [`Limits::max_header_size`], or has too many lines.
    #[error("the head of the request is too large")]
    TooLarge,
}

/// Reads the first request of a connection and calls `answer` with it. Returns the answer, and the bytes after the head.
///
/// # Errors
/// If the connection ends before the head does.
pub async fn read<T>(
    stream: &mut (impl AsyncRead + Unpin),
    limits: &Limits,
    answer: impl Fn(Result<&Request<'_, '_>, RequestError>) -> T,
) -> io::Result<(T, Vec<u8>)> {
    let (mut head, mut turn) = (Head::new(limits.max_header_size), Turn::default());
    poll_fn(|cx| poll_read(stream, &mut turn, &mut head, &answer, cx)).await
}

fn poll_read<T>(
    stream: &mut (impl AsyncRead + Unpin),
    turn: &mut Turn,
    head: &mut Head,
    answer: impl Fn(Result<&Request<'_, '_>, RequestError>) -> T,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(T, Vec<u8>)>> {
    READ.with_borrow_mut(|buffer| {
        loop {
            ready!(turn.poll_ready(cx));
            let mut buffer = ReadBuf::new(buffer);
            let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
            if read.is_pending() {
                turn.end();
            }
            ready!(read)?;
            turn.record_read(buffer.filled().len());
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(answered) = head.received(buffer.filled(), &answer) {
                return Poll::Ready(Ok(answered));
            }
        }
    })
}

/// The received part of a head.
struct Head {
    bytes: Vec<u8>,
    /// Bytes of the empty lines before it. They count towards the bound, or a client could send them forever.
    blank: usize,
    /// The largest size of a head, in bytes.
    bound: usize,
}

impl Head {
    fn new(bound: usize) -> Self {
        Self { bytes: Vec::new(), blank: 0, bound }
    }

    /// Adds received bytes. Returns `None` while the head is incomplete.
    fn received<T>(
        &mut self,
        bytes: &[u8],
        answer: impl Fn(Result<&Request<'_, '_>, RequestError>) -> T,
    ) -> Option<(T, Vec<u8>)> {
        let (head, bound) = (&mut self.bytes, self.bound);
        // Nearly every head arrives in one piece and is parsed in place.
        if head.is_empty()
            && let Some(answered) = parse(bytes, bound, &answer)
        {
            return Some(answered);
        }
        let searched = head.len();
        head.extend_from_slice(bytes);
        // They are not part of the head, but two of them look like its end.
        let blank = empty_lines(head);
        head.drain(..blank);
        self.blank += blank;
        let searched = searched.saturating_sub(blank);
        let within_bounds = &head[..head.len().min(bound)];
        // Parsing on every piece would take quadratic time if the pieces are single bytes.
        if (searched..within_bounds.len()).any(|last| ends_with_empty_line(&within_bounds[..=last])) {
            return parse(head, bound, &answer)
                .or_else(|| Some((answer(Err(RequestError::Malformed)), Vec::new())));
        }
        let is_too_large = head.len().max(self.blank) >= bound;
        is_too_large.then(|| (answer(Err(RequestError::TooLarge)), Vec::new()))
    }
}

/// Returns the length of the empty lines that some clients send before a request.
fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] = rest {
        rest = after;
    }
    bytes.len() - rest.len()
}

fn ends_with_empty_line(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n")
}

/// Parses the head at the start of `bytes`, of at most `bound` bytes, and calls `answer` with the request. Returns the answer,
/// and the bytes after the head; `None` if the head is incomplete.
pub fn parse<T>(
    bytes: &[u8],
    bound: usize,
    answer: impl Fn(Result<&Request<'_, '_>, RequestError>) -> T,
) -> Option<(T, Vec<u8>)> {
    let mut headers = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    parse_in(&mut headers, bytes, bound, &answer).unwrap_or_else(|| {
        let mut headers = vec![const { MaybeUninit::uninit() }; MAX_HEADERS];
        let parsed = parse_in(&mut headers, bytes, bound, &answer);
        parsed.unwrap_or_else(|| Some((answer(Err(RequestError::TooLarge)), Vec::new())))
    })
}

/// Parses with room for these headers; the outer `None` means that the request has more.
fn parse_in<'b, T>(
    headers: &mut [MaybeUninit<Header<'b>>],
    bytes: &'b [u8],
    bound: usize,
    answer: impl Fn(Result<&Request<'_, '_>, RequestError>) -> T,
) -> Option<Option<(T, Vec<u8>)>> {
    let mut request = Request::new(&mut []);
    let mut config = ParserConfig::default();
    // Node allows it.
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    let within_bounds = &bytes[..bytes.len().min(bound)];
    let error = match config.parse_request_with_uninit_headers(&mut request, within_bounds, headers) {
        Ok(Status::Partial) => return Some(None),
        Ok(Status::Complete(size)) => return Some(Some((answer(Ok(&request)), bytes[size..].to_vec()))),
        Err(Error::TooManyHeaders) => return None,
        Err(_) => RequestError::Malformed,
    };
    Some(Some((answer(Err(error)), Vec::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: usize = 16 * 1024;
    const HEAD: &str = "GET /path HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// Reads a head in pieces. Returns its path or the error, and the bytes after it.
    fn read<'a>(
        mut pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(Result<String, RequestError>, Vec<u8>)> {
        let path = |request: Result<&Request<'_, '_>, RequestError>| {
            request.map(|request| request.path.expect("a path").to_owned())
        };
        let mut head = Head::new(BOUND);
        pieces.find_map(|piece| head.received(piece, path))
    }

    fn head_of(size: usize) -> String {
        let head = "GET /path HTTP/1.1\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "x".repeat(size - head.len())))
    }

    #[test]
    fn reads_a_head_in_pieces_and_keeps_the_bytes_after_it() {
        for head in [HEAD.to_owned(), HEAD.replace('\r', ""), format!("\r\n\r\n\n\n{HEAD}")] {
            let bytes = format!("{head}after");
            for size in 1..=bytes.len() {
                let (path, early) = read(bytes.as_bytes().chunks(size)).expect("a request");
                assert_eq!(path.as_deref(), Ok("/path"), "pieces of {size}");
                assert!(b"after".starts_with(&early), "pieces of {size}");
                assert_eq!(early.len(), head.len().next_multiple_of(size).min(bytes.len()) - head.len());
            }
            assert_eq!(read(head.as_bytes()[..head.len() - 1].chunks(1)), None);
        }
    }

    #[test]
    fn accepts_a_head_of_the_largest_size_and_no_larger() {
        let bound = BOUND;
        for size in [1, 7, 4096, bound] {
            let (path, _) = read(head_of(bound).as_bytes().chunks(size)).expect("a request");
            assert_eq!(path.as_deref(), Ok("/path"), "pieces of {size}");
            let (error, _) = read(head_of(bound + 1).as_bytes().chunks(size)).expect("an error");
            assert_eq!(error, Err(RequestError::TooLarge), "pieces of {size}");
        }
        let lines = |count| HEAD.replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: x\r\n".repeat(count - 1)));
        let outcome = |count| read(std::iter::once(lines(count).as_bytes())).expect("an outcome").0;
        for count in [USUAL_HEADERS, USUAL_HEADERS + 1, MAX_HEADERS] {
            assert_eq!(outcome(count).as_deref(), Ok("/path"), "{count} lines");
        }
        assert_eq!(outcome(MAX_HEADERS + 1), Err(RequestError::TooLarge));
    }

    #[test]
    fn bounds_the_head_alone_even_below_a_read() {
        let path = |request: Result<&Request<'_, '_>, RequestError>| {
            request.map(|request| request.path.expect("a path").to_owned())
        };
        let bytes = format!("{HEAD}{}", "b".repeat(100));
        for (bound, expected) in [(HEAD.len(), Ok("/path")), (HEAD.len() - 1, Err(RequestError::TooLarge))] {
            let (path, early) = Head::new(bound).received(bytes.as_bytes(), path).expect("an outcome");
            assert_eq!(path.as_deref().map_err(|error| *error), expected);
            assert_eq!(early.len(), if expected.is_ok() { 100 } else { 0 });
        }
    }

    #[test]
    fn bounds_the_empty_lines_before_a_head() {
        for size in [1, 2, 7, 4096] {
            let lines = "\r\n".repeat(BOUND);
            let (error, _) = read(lines.as_bytes().chunks(size)).expect("an error");
            assert_eq!(error, Err(RequestError::TooLarge), "pieces of {size}");
        }
    }

    #[test]
    fn rejects_other_protocols_at_once() {
        for bytes in
            ["\x16\x03\x01\x02", "GET / HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /\r\n\r\n"]
        {
            let (error, _) = read(std::iter::once(bytes.as_bytes())).expect("an error");
            assert_eq!(error, Err(RequestError::Malformed), "{bytes:?}");
        }
    }
}
