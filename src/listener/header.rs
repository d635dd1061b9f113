//! Access to the headers of a request (RFC 9110, section 5). Values are bytes, because they need not be UTF-8.

use httparse::Request;

use crate::access::members;

/// Returns the values of a header, one per line.
pub fn lines<'b>(request: &Request<'_, 'b>, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
    let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

/// Returns the members of a list header, from all its lines.
pub fn list<'b>(request: &Request<'_, 'b>, name: &str) -> impl Iterator<Item = &'b [u8]> {
    lines(request, name).flat_map(members)
}

/// Returns whether a list header has this member, ignoring case.
pub fn lists(request: &Request<'_, '_>, name: &str, member: &str) -> bool {
    list(request, name).any(|listed| listed.eq_ignore_ascii_case(member.as_bytes()))
}

/// Returns the value of a header with exactly one line.
pub fn only<'b>(request: &Request<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    let mut lines = lines(request, name);
    lines.next().filter(|_| lines.next().is_none())
}

/// Returns whether a header has more than one line.
pub fn is_repeated(request: &Request<'_, '_>, name: &str) -> bool {
    lines(request, name).nth(1).is_some()
}

/// Returns whether `text` is a token (RFC 9110, section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}
