//! Decides how the port responds to a request.

use std::sync::Arc;
use std::time::Instant;

use httparse::Request;

use super::admission::{Admission, RemoteClient};
use super::request::{self, RequestError};
use super::rules::Rules;
use super::site::Site;
use super::upgrade::{UpgradeError, upgrade_response};
use super::verify_queue::VerifyQueue;
use super::verify_request::{VerdictReceiver, VerifyRequest};
use super::{header, metrics};
use crate::access::{AddressKey, ConnectionLimiter, HostAddress};
use crate::metrics::Rejection;
use crate::session::Shared;

/// Responds to HTTP requests: opens WebSockets for those that the rules allow, and serves the site to all others.
#[derive(Debug)]
pub struct HttpService {
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// What is served beside WebSockets.
    pub site: Site,
    /// Requests that wait for a verdict.
    pub verify_queue: VerifyQueue,
    /// The rules, except the verifier, which the queue holds.
    rules: Rules,
    limiter: Arc<ConnectionLimiter>,
    is_tls: bool,
}

/// The reply to a request.
pub enum Reply {
    /// Send the response and close the connection.
    Respond(Vec<u8>),
    /// Send the response; the connection is a WebSocket from then on.
    Upgrade(Upgrade),
    /// Ask the verifier, then upgrade or reject.
    Verify(Upgrade, Box<(VerifyRequest, VerdictReceiver)>),
}

/// An accepted request for a WebSocket.
pub struct Upgrade {
    /// The response that opens it.
    pub response: Vec<u8>,
    /// The client, if it was the request that identified it.
    pub client: Option<RemoteClient>,
}

impl HttpService {
    /// A service with these rules.
    pub fn new(shared: Arc<Shared>, site: Site, mut rules: Rules, is_tls: bool) -> Self {
        let limiter = Arc::new(ConnectionLimiter::new(&shared.limits));
        let verify_queue = VerifyQueue::new(rules.verifier.take());
        Self { shared, site, verify_queue, rules, limiter, is_tls }
    }

    /// Drops what a relay that has ended does not need: the verifier and the client for browsers.
    pub fn release(&mut self) {
        self.verify_queue = VerifyQueue::new(None);
        self.site.script = None;
    }

    /// Admits a connection to the port, and counts it if its address is the client's.
    pub fn admit(&self, peer: HostAddress) -> Admission {
        if !self.rules.trusted_proxies.is_none() {
            return Admission::BehindProxy(peer);
        }
        let peer = peer.to_canonical();
        self.register(AddressKey::of(peer), Some(peer)).map_or(Admission::OverLimit, Admission::Identified)
    }

    /// Returns the reply to a request.
    pub fn reply(&self, admission: &Admission, request: Result<&Request<'_, '_>, RequestError>) -> Reply {
        self.try_reply(admission, request)
            .unwrap_or_else(|error| Reply::Respond(error.response().to_bytes(wants_body(request.ok()))))
    }

    fn try_reply(
        &self,
        admission: &Admission,
        request: Result<&Request<'_, '_>, RequestError>,
    ) -> Result<Reply, UpgradeError> {
        let wants_websocket = |request| header::lists(request, "upgrade", "websocket");
        let request = match (request, admission) {
            (Ok(request), Admission::Closing) => {
                // A health check is not a rejected client.
                if wants_websocket(request) {
                    self.shared.metrics.connection_rejected(Rejection::Closing);
                }
                return Err(UpgradeError::Closing);
            }
            (_, Admission::OverLimit) => return Err(UpgradeError::TooManyConnections),
            (Ok(request), _) => request,
            (Err(error), _) => {
                if error == RequestError::TooLarge {
                    self.shared.metrics.connection_rejected(Rejection::MaxHeaderSize);
                }
                return Err(UpgradeError::Request(error));
            }
        };
        let (client, address, is_secure) = match admission {
            Admission::BehindProxy(peer) => {
                let (address, is_secure) = self.resolve(request, Some(*peer), self.is_tls);
                (Some(self.identify(address)?), address, is_secure)
            }
            known => (None, known.client().and_then(|client| client.address), self.is_tls),
        };
        if !wants_websocket(request)
            && let Some(response) = self.site.find(request, || metrics::render(&self.shared))
        {
            return Ok(Reply::Respond(response.to_bytes(wants_body(Some(request)))));
        }
        if !request.path.is_some_and(|target| self.site.upgrades_at(target)) {
            return Err(UpgradeError::NotFound);
        }
        let upgrade = Upgrade { response: self.upgrade(request)?, client };
        Ok(match self.verify_queue.has_verifier() {
            true => Reply::Verify(upgrade, Box::new(VerifyRequest::new(request, address, is_secure))),
            false => Reply::Upgrade(upgrade),
        })
    }

    /// Returns the response that upgrades the request with this head, which another server has read, and its client. The
    /// connection comes from `peer`.
    ///
    /// # Errors
    /// The response that rejects the request.
    pub fn accept(&self, head: &[u8], peer: Option<HostAddress>) -> Result<(Vec<u8>, RemoteClient), Vec<u8>> {
        let accept = |request: Result<&Request<'_, '_>, RequestError>| {
            if self.shared.stop.is_cancelled() {
                self.shared.metrics.connection_rejected(Rejection::Closing);
                return Err(UpgradeError::Closing);
            }
            let request = request.map_err(UpgradeError::Request)?;
            let (address, _) = self.resolve(request, peer, false);
            let client = self.identify(address)?;
            Ok((self.upgrade(request)?, client))
        };
        let accepted = request::parse(head, usize::MAX, |request| {
            accept(request).map_err(|error| error.response().to_bytes(wants_body(request.ok())))
        });
        let incomplete = || UpgradeError::Request(RequestError::Malformed).response().to_bytes(true);
        accepted.map_or_else(|| Err(incomplete()), |(accepted, _)| accepted)
    }

    /// See [`Acceptor::resolve_client`](super::Acceptor::resolve_client).
    pub fn resolve_client(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
        is_tls: bool,
    ) -> Option<(Option<HostAddress>, bool)> {
        let resolved = request::parse(head, usize::MAX, |request| {
            request.ok().map(|request| self.resolve(request, peer, is_tls))
        });
        resolved?.0
    }

    fn resolve(
        &self,
        request: &Request<'_, '_>,
        peer: Option<HostAddress>,
        is_tls: bool,
    ) -> (Option<HostAddress>, bool) {
        let proxies = &self.rules.trusted_proxies;
        let address = proxies.client(peer, header::lines(request, "x-forwarded-for"));
        (address, proxies.is_secure(peer, is_tls, header::lines(request, "x-forwarded-proto")))
    }

    /// Counts a connection of the client with this address, and returns the client.
    fn identify(&self, address: Option<HostAddress>) -> Result<RemoteClient, UpgradeError> {
        let key = match address {
            Some(address) => AddressKey::of(address),
            // The proxy at the other end of a pipe should have sent an address.
            None if self.rules.trusted_proxies.trusts_pipes() => AddressKey::UNKNOWN,
            // Clients over a pipe cannot be told apart.
            None => return Ok(RemoteClient::default()),
        };
        self.register(key, address).ok_or(UpgradeError::TooManyConnections)
    }

    /// Counts a connection of this address. Returns `None`, and counts a rejection, if the address is over its limits.
    fn register(&self, key: AddressKey, address: Option<HostAddress>) -> Option<RemoteClient> {
        let permit = self.limiter.is_enabled().then(|| self.limiter.acquire(key, Instant::now()));
        let permit = permit.transpose().map_err(|why| self.shared.metrics.connection_rejected(why)).ok()?;
        Some(RemoteClient { address, address_key: Some(key), permit })
    }

    /// Returns the response that opens a WebSocket, if the request and its origin are valid.
    fn upgrade(&self, request: &Request<'_, '_>) -> Result<Vec<u8>, UpgradeError> {
        let response = upgrade_response(request)?;
        if self.rules.allows_origin(request) {
            return Ok(response);
        }
        self.shared.metrics.connection_rejected(Rejection::AllowedOrigins);
        Err(UpgradeError::Origin)
    }
}

/// Returns whether the response has a body: always, except to `HEAD`.
fn wants_body(request: Option<&Request<'_, '_>>) -> bool {
    request.is_none_or(|request| request.method != Some("HEAD"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;
    use crate::hub::Hub;
    use crate::limits::Limits;
    use crate::listener::Verifier;

    #[test]
    fn release_drops_the_verifier() {
        let hub = Hub::new(Limits::default(), false).expect("randomness");
        let shared = Arc::new(Shared::new(Limits::default(), hub, events::channel(16).0));
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let verifier = Some(Verifier::each(move |_| assert_eq!(*held, ())));
        let rules = Rules { verifier, ..Rules::default() };
        let mut service = HttpService::new(shared, Site::default(), rules, false);
        assert!(weak.upgrade().is_some());
        service.release();
        assert!(weak.upgrade().is_none());
    }
}
