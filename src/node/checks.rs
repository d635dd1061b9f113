//! Checks and bounds of the engine that JavaScript applies as well.

use napi_derive::napi;

use crate::access::Network;
use crate::ids::Token;
use crate::limits::Limits;

/// Returns whether a text is an address, or an address and the length of its prefix, as in `10.0.0.0/8`.
#[napi(catch_unwind)]
pub fn is_network(text: String) -> bool {
    Network::parse(&text).is_some()
}

/// Returns a text with everything that may be a token replaced by `[redacted]`.
#[napi(catch_unwind)]
pub fn redact_tokens(text: String) -> String {
    Token::redact(&text)
}

/// The number of requests whose verification by JavaScript may be unfinished, abandoned ones included.
#[napi(catch_unwind)]
pub fn max_unanswered_verifications() -> u32 {
    Limits::MAX_UNANSWERED_VERIFICATIONS
}

/// The largest number of clients that `registerClients()` registers.
#[napi(catch_unwind)]
pub fn max_registered_at_once() -> u32 {
    u32::try_from(Limits::MAX_REGISTERED_AT_ONCE.max).unwrap_or(u32::MAX)
}
