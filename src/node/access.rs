//! Who may come, as JavaScript says it, and what it is callback about.

use std::sync::Arc;

use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

use super::NativeRelay;
use crate::access::{FairQueue, Network, Source, Trust};
use crate::limits::Limits;
use crate::listener::BOUNDS;
use crate::metrics::TurnedAway;
use crate::relay::{Ask, Inquiry, Rules, Verdict};

/// Who may come.
#[napi(object)]
pub struct NativeRules {
    /// Origins; any where there are none.
    pub origins: Option<Vec<String>>,
    /// Whether all proxies are believed.
    pub trusts_all: bool,
    /// How many proxies are.
    pub trusted_hops: u32,
    /// Addresses of proxies that are.
    pub trusted_networks: Vec<String>,
    /// Whether JavaScript is callback about each WebSocket of the relay's own port.
    pub has_verifier: bool,
}

/// The JavaScript function that is told of inquiries to take. Weak: it does not keep Node alive.
pub type VerifyCallback = ThreadsafeFunction<(), (), (), Status, true, true>;

/// What they say.
pub fn rules(native: NativeRules, callback: VerifyCallback) -> Rules {
    let NativeRules { origins, trusts_all, trusted_hops, trusted_networks, has_verifier } = native;
    let networks: Vec<_> = trusted_networks.iter().filter_map(|network| Network::parse(network)).collect();
    let trust = match (trusts_all, trusted_hops, networks.is_empty()) {
        (true, ..) => Trust::Everybody,
        (false, 1.., _) => Trust::Hops(trusted_hops as usize),
        (false, 0, false) => Trust::Networks(networks),
        (false, 0, true) => Trust::Nobody,
    };
    let ask = has_verifier.then(|| {
        Ask(Arc::new(move |_| {
            // An error means that JavaScript is gone.
            callback.call(Ok(()), ThreadsafeFunctionCallMode::NonBlocking);
        }))
    });
    Rules { origins, trust, ask }
}

/// A request that JavaScript is callback about. If it is collected without an answer the request is refused.
#[napi]
pub struct NativeVerifyRequest(Option<Inquiry>);

/// Whose a request is.
#[napi(object)]
pub struct NativeRequestClient {
    /// The address that counts as the client's.
    pub address: Option<String>,
    /// Whether the client's connection is TLS.
    pub secure: bool,
}

/// Why JavaScript does not let a client in.
#[napi(string_enum = "camelCase")]
#[derive(Clone, Copy)]
pub enum NativeRejection {
    /// Its page may not come.
    AllowedOrigins,
    /// It was refused by `verifyClient`.
    VerifyClient,
    /// There was no answer.
    Undecided,
    /// The relay is closing.
    Closing,
    /// Another listener answered it.
    Taken,
}

impl From<NativeRejection> for TurnedAway {
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

/// An answer that refuses.
#[napi(object)]
pub struct NativeRejectionResponse {
    /// What it is counted by.
    pub reason: NativeRejection,
    /// The HTTP status.
    pub status: u16,
    /// What is said.
    pub text: Option<String>,
    /// Names and values of headers, in turn.
    pub headers: Vec<String>,
}

#[napi]
impl NativeVerifyRequest {
    /// The request's target.
    #[napi(getter, catch_unwind)]
    pub fn url(&self) -> String {
        self.0.as_ref().map(|inquiry| inquiry.target.clone()).unwrap_or_default()
    }

    /// Names and values of the request's headers, in turn.
    #[napi(getter, catch_unwind)]
    pub fn headers(&self) -> Vec<String> {
        let headers = self.0.iter().flat_map(|inquiry| &inquiry.headers);
        headers.flat_map(|(name, value)| [name.clone(), value.clone()]).collect()
    }

    /// Whether the client's connection is TLS.
    #[napi(getter, catch_unwind)]
    pub fn secure(&self) -> bool {
        self.0.as_ref().is_some_and(|inquiry| inquiry.secure)
    }

    /// The address that counts as the client's.
    #[napi(getter, catch_unwind)]
    pub fn address(&self) -> Option<String> {
        self.0.as_ref().and_then(|inquiry| inquiry.address).map(|address| address.to_string())
    }

    /// Lets the client in, or answers with this refusal. Only the first answer counts.
    #[napi(catch_unwind)]
    pub fn answer(&mut self, refusal: Option<NativeRejectionResponse>) {
        let Some(inquiry) = self.0.take() else { return };
        inquiry.answer(match refusal {
            None => Verdict::Admitted,
            Some(NativeRejectionResponse { reason, status, text, headers }) => {
                let (pairs, _) = headers.as_chunks();
                let headers = pairs.iter().map(|[name, value]| (name.clone(), value.clone())).collect();
                Verdict::Refused { why: reason.into(), status, text, headers }
            }
        });
    }
}

#[napi]
impl NativeRelay {
    /// The next request of the relay's own port to decide about, when its client still waits. When there is none
    /// JavaScript is told of the next one.
    #[napi(catch_unwind)]
    pub fn take_verify_request(&self) -> Option<NativeVerifyRequest> {
        self.relay.take_verify_request().map(|inquiry| NativeVerifyRequest(Some(inquiry)))
    }
}

/// The requests that servers of Node have read and that JavaScript is to decide about, by ticket. It has the bounds and
/// the order of those of the relay's own port.
#[napi]
pub struct NativeVerifyQueue(FairQueue<()>);

/// A request that was added.
#[napi(object)]
pub struct NativeTicket {
    /// Its ticket.
    pub ticket: f64,
    /// The tickets of requests that have no room any more, itself perhaps.
    pub evicted: Vec<f64>,
}

#[napi]
impl NativeVerifyQueue {
    /// None yet.
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Self(FairQueue::new(BOUNDS))
    }

    /// Adds a request from an address, whose head has so many bytes.
    #[napi(catch_unwind)]
    pub fn add(&mut self, address: Option<String>, bytes: u32) -> NativeTicket {
        let bytes = Limits::INQUIRY_OVERHEAD + bytes as usize;
        let (ticket, evicted) = self.0.push(source(address.as_deref()), bytes, ());
        let evicted = evicted.into_iter().map(|(ticket, ())| ticket as f64).collect();
        NativeTicket { ticket: ticket as f64, evicted }
    }

    /// The ticket of the next request to decide about, if there is one now.
    #[napi(catch_unwind)]
    pub fn take(&mut self) -> Option<f64> {
        self.0.take().map(|(ticket, ())| ticket as f64)
    }

    /// A request of this address was answered, or its client has gone.
    #[napi(catch_unwind)]
    pub fn remove(&mut self, address: Option<String>, ticket: f64) {
        self.0.leave(source(address.as_deref()), ticket as u64);
    }
}

/// What counts as one place. Over a pipe everybody is the same.
fn source(address: Option<&str>) -> Option<Source> {
    address.and_then(|address| address.parse().ok()).map(Source::of)
}
