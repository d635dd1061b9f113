//! The developer's rules about who may open a WebSocket.

use httparse::Request;

use super::header;
use super::verify_queue::Verifier;
use crate::access::TrustedProxies;

/// Who may open a WebSocket.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Origins of pages that may, as browsers send them in `Origin`; `None` for any.
    pub origins: Option<Vec<String>>,
    /// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
    pub trusted_proxies: TrustedProxies,
    /// Decides about each request that the other rules allow.
    pub verifier: Option<Verifier>,
}

impl Rules {
    /// Returns whether the page that sent `request` may open a WebSocket.
    pub fn allows_origin(&self, request: &Request<'_, '_>) -> bool {
        let Some(origins) = &self.origins else { return true };
        let origin = header::only(request, "origin");
        origin.is_some_and(|origin| {
            origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
        })
    }
}
