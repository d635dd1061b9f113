//! The rules by which connections are accepted, and the requests that JavaScript verifies.

use std::sync::Arc;

use napi_derive::napi;

use super::callback::Signal;
use crate::access::{AddressKey, FairQueue, Network, TrustedProxies};
use crate::limits::Limits;
use crate::listener::BOUNDS;
use crate::metrics::Rejection;
use crate::relay::{Rules, Verdict, Verifier, VerifyRequest};

/// The rules by which connections are accepted.
#[napi(object)]
pub struct NativeRules {
    /// Allowed origins; null allows any.
    pub origins: Option<Vec<String>>,
    /// Whether all proxies are trusted.
    pub trusts_all: bool,
    /// The number of trusted proxies.
    pub trusted_hops: u32,
    /// The addresses of trusted proxies.
    pub trusted_networks: Vec<String>,
    /// Whether JavaScript verifies each WebSocket request of the relay's own port.
    pub has_verifier: bool,
}

/// Converts the rules. `on_verify_request` is called when there is a request to verify.
pub fn rules(native: NativeRules, on_verify_request: Signal) -> Rules {
    let NativeRules { origins, trusts_all, trusted_hops, trusted_networks, has_verifier } = native;
    let networks: Vec<_> = trusted_networks.iter().filter_map(|network| Network::parse(network)).collect();
    let trust = match (trusts_all, trusted_hops, networks.is_empty()) {
        (true, ..) => TrustedProxies::All,
        (false, 1.., _) => TrustedProxies::Hops(trusted_hops as usize),
        (false, 0, false) => TrustedProxies::Networks(networks),
        (false, 0, true) => TrustedProxies::None,
    };
    let ask = has_verifier.then(|| Verifier(Arc::new(move |_| on_verify_request.send())));
    Rules { origins, trusted_proxies: trust, verifier: ask }
}

/// The client of a request that a Node server has read.
#[napi(object)]
pub struct NativeRequestClient {
    /// Its address, after the headers of trusted proxies.
    pub address: Option<String>,
    /// Whether its connection uses TLS.
    pub secure: bool,
}

/// The reason why JavaScript rejects a connection.
#[napi(string_enum = "camelCase")]
#[derive(Clone, Copy)]
pub enum NativeRejection {
    /// Its origin is not allowed.
    AllowedOrigins,
    /// `verifyClient` rejected it.
    VerifyClient,
    /// There was no verdict in time.
    Undecided,
    /// The relay is closing.
    Closing,
    /// Another listener answered the request.
    Taken,
}

impl From<NativeRejection> for Rejection {
    fn from(reason: NativeRejection) -> Self {
        match reason {
            NativeRejection::AllowedOrigins => Self::AllowedOrigins,
            NativeRejection::VerifyClient => Self::VerifyClient,
            NativeRejection::Undecided => Self::Undecided,
            NativeRejection::Closing => Self::Closing,
            NativeRejection::Taken => Self::Taken,
        }
    }
}

/// An HTTP response that rejects a request.
#[napi(object)]
pub struct NativeRejectionResponse {
    /// The reason to count.
    pub reason: NativeRejection,
    /// The HTTP status.
    pub status: u16,
    /// The text of the body.
    pub text: Option<String>,
    /// Names and values of headers, alternating.
    pub headers: Vec<String>,
}

/// A request of the relay's own port to verify. It is rejected if it is garbage collected without a verdict.
#[napi]
pub struct NativeVerifyRequest(Option<VerifyRequest>);

impl NativeVerifyRequest {
    /// Wraps a request.
    pub fn new(request: VerifyRequest) -> Self {
        Self(Some(request))
    }
}

#[napi]
impl NativeVerifyRequest {
    /// The request target.
    #[napi(getter, catch_unwind)]
    pub fn url(&self) -> String {
        self.0.as_ref().map(|request| request.target.clone()).unwrap_or_default()
    }

    /// Names and values of the request headers, alternating.
    #[napi(getter, catch_unwind)]
    pub fn headers(&self) -> Vec<String> {
        let headers = self.0.iter().flat_map(|request| &request.headers);
        headers.flat_map(|(name, value)| [name.clone(), value.clone()]).collect()
    }

    /// Whether the client's connection uses TLS.
    #[napi(getter, catch_unwind)]
    pub fn secure(&self) -> bool {
        self.0.as_ref().is_some_and(|request| request.secure)
    }

    /// The client's address, after the headers of trusted proxies.
    #[napi(getter, catch_unwind)]
    pub fn address(&self) -> Option<String> {
        self.0.as_ref().and_then(|request| request.address).map(|address| address.to_string())
    }

    /// Accepts the request, or rejects it with a response. Only the first call counts.
    #[napi(catch_unwind)]
    pub fn answer(&mut self, rejection: Option<NativeRejectionResponse>) {
        let Some(request) = self.0.take() else { return };
        request.answer(match rejection {
            None => Verdict::Admitted,
            Some(NativeRejectionResponse { reason, status, text, headers }) => {
                let (pairs, _) = headers.as_chunks();
                let headers = pairs.iter().map(|[name, value]| (name.clone(), value.clone())).collect();
                Verdict::Rejected { why: reason.into(), status, text, headers }
            }
        });
    }
}

/// The requests that Node servers have read and JavaScript is to verify. They have the bounds and the order of the queue
/// of the relay's own port. Each has a ticket.
#[napi]
pub struct NativeVerifyQueue(FairQueue<()>);

/// The ticket of a request that was added.
#[napi(object)]
pub struct NativeTicket {
    /// The ticket.
    pub ticket: f64,
    /// The tickets of requests that were evicted to make room; it may be one of them.
    pub evicted: Vec<f64>,
}

#[napi]
impl NativeVerifyQueue {
    /// Creates an empty queue.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Self(FairQueue::new(BOUNDS))
    }

    /// Adds a request from `address` whose head has `bytes` bytes.
    #[napi(catch_unwind)]
    pub fn add(&mut self, address: Option<String>, bytes: u32) -> NativeTicket {
        let bytes = Limits::VERIFICATION_OVERHEAD + bytes as usize;
        let (ticket, evicted) = self.0.push(address_key(address.as_deref()), bytes, ());
        let evicted = evicted.into_iter().map(|(ticket, ())| ticket as f64).collect();
        NativeTicket { ticket: ticket as f64, evicted }
    }

    /// Returns the ticket of the next request to verify, if there is one now.
    #[napi(catch_unwind)]
    pub fn take(&mut self) -> Option<f64> {
        self.0.take().map(|(ticket, ())| ticket as f64)
    }

    /// Removes a request that was answered, or whose client has disconnected.
    #[napi(catch_unwind)]
    pub fn remove(&mut self, address: Option<String>, ticket: f64) {
        self.0.remove(address_key(address.as_deref()), ticket as u64);
    }
}

/// Returns the key by which an address is counted. All connections over pipes share one.
fn address_key(address: Option<&str>) -> Option<AddressKey> {
    address.and_then(|address| address.parse().ok()).map(AddressKey::of)
}
