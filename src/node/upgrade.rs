//! WebSocket requests that a Node server has read.

use std::sync::Arc;

use napi::bindgen_prelude::{Buffer, Env, Result};
use napi_derive::napi;

use super::NativeRelay;
use super::access::{NativeRejection, NativeRequestClient};
use super::bridge::{self, NativeBridge};
use super::callback::{AdoptedConnections, KeepAlive};
use crate::access::HostAddress;
use crate::stream::{self, PendingConnection};

/// The result of a request whose socket stays in JavaScript.
#[napi(object, object_from_js = false)]
pub struct NativeUpgrade {
    /// The HTTP response. If it is empty, nothing is to be written.
    pub response: Buffer,
    /// Carries the bytes after the response. `None` if the request was rejected.
    pub bridge: Option<NativeBridge>,
}

/// A TCP connection adopted by its descriptor and not answered yet. Keeps Node alive, as its socket would.
///
/// It is closed if it is garbage collected.
#[napi]
pub struct NativeAdoptedConnection(Option<(PendingConnection, Arc<AdoptedConnections>)>);

#[napi]
impl NativeAdoptedConnection {
    /// Whether its client has disconnected, or sent more than it may before the response.
    #[napi(catch_unwind)]
    pub fn is_abandoned(&mut self) -> bool {
        self.0.as_mut().is_none_or(|(waiting, _)| waiting.has_left())
    }

    /// Closes it without a response.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.0 = None;
    }
}

#[napi]
impl NativeRelay {
    /// Adopts a connection by its descriptor. Returns null if that is not possible; otherwise the caller closes its own
    /// descriptor.
    #[napi(catch_unwind)]
    pub fn adopt_descriptor(
        &mut self,
        env: &Env,
        descriptor: i32,
    ) -> Result<Option<NativeAdoptedConnection>> {
        let Ok(socket) = stream::adopt_descriptor(descriptor) else { return Ok(None) };
        Ok(Some(NativeAdoptedConnection(Some((PendingConnection::new(socket), self.adopted(env)?)))))
    }

    /// Serves or rejects a WebSocket request on an adopted connection. `head` is its HTTP head, `early` holds the bytes
    /// after it, `peer` is the socket's remote address.
    #[napi(catch_unwind)]
    pub fn upgrade_adopted(
        &self,
        head: &[u8],
        early: &[u8],
        peer: Option<String>,
        connection: &mut NativeAdoptedConnection,
    ) {
        let Some((waiting, adopted)) = connection.0.take() else { return };
        let (socket, early) = waiting.into_parts(early);
        // After a system error the connection is closed already.
        match self.relay.accept_upgrade(head, parse_peer(peer.as_deref())) {
            Ok(upgrade) => self.relay.adopt_socket(upgrade, socket, early, adopted).ok(),
            Err(response) if response.is_empty() => None,
            Err(response) => self.relay.respond_and_close(socket, response, adopted).ok(),
        };
    }

    /// Writes a response to an adopted connection and closes it.
    #[napi(catch_unwind)]
    pub fn reject_adopted(&self, connection: &mut NativeAdoptedConnection, response: &[u8]) {
        if let Some((waiting, adopted)) = connection.0.take() {
            let (socket, _) = waiting.into_parts(&[]);
            self.relay.respond_and_close(socket, response.to_vec(), adopted).ok();
        }
    }

    /// Serves or rejects a WebSocket request whose socket stays in JavaScript; see [`NativeRelay::upgrade_adopted`] for
    /// the arguments. Nothing but the response may be written to the socket before the bytes of the bridge.
    #[napi(catch_unwind)]
    pub fn upgrade(&mut self, head: &[u8], early: &[u8], peer: Option<String>) -> NativeUpgrade {
        let rejected = |response: Vec<u8>| NativeUpgrade { response: response.into(), bridge: None };
        let mut upgrade = match self.relay.accept_upgrade(head, parse_peer(peer.as_deref())) {
            Ok(upgrade) => upgrade,
            Err(response) => return rejected(response),
        };
        // Without it the relay has been disposed of, and has rejected the request already.
        let Some(bridges) = self.bridges.clone() else { return rejected(Vec::new()) };
        let response = upgrade.take_response().into();
        self.next_bridge = self.next_bridge.wrapping_add(1);
        let (stream, bridge) = bridge::open(self.next_bridge, &bridges);
        self.relay.adopt(upgrade, stream, early.to_vec(), ());
        NativeUpgrade { response, bridge: Some(bridge) }
    }

    /// Returns the client address of a request that a Node server has read, after the headers of trusted proxies.
    #[napi(catch_unwind)]
    pub fn resolve_client(&self, head: &[u8], peer: Option<String>, is_tls: bool) -> NativeRequestClient {
        let host = parse_peer(peer.as_deref());
        let (address, secure) = self.relay.resolve_client(head, host, is_tls).unwrap_or((host, false));
        NativeRequestClient { address: address.map(|address| address.to_string()).or(peer), secure }
    }

    /// Counts a connection that JavaScript has rejected.
    #[napi(catch_unwind)]
    pub fn count_rejection(&self, reason: NativeRejection) {
        self.relay.count_rejection(reason.into());
    }

    /// Returns whether WebSockets are opened at this request target.
    #[napi(catch_unwind)]
    pub fn should_handle(&self, target: &[u8]) -> bool {
        str::from_utf8(target).is_ok_and(|target| self.relay.should_handle(target))
    }

    /// Returns the numbers of the bridges with commands to fetch.
    #[napi(catch_unwind)]
    pub fn bridges_with_commands(&self) -> Vec<u32> {
        self.bridges.as_ref().map(|bridges| bridges.take()).unwrap_or_default()
    }

    /// Whether any connection is adopted or goes over a bridge.
    #[napi(getter, catch_unwind)]
    pub fn has_adopted(&self) -> bool {
        self.relay.has_adopted()
    }

    /// Sets whether adopted connections keep Node alive, as its own sockets do. Initially they do.
    #[napi(catch_unwind)]
    pub fn ref_adopted(&mut self, env: &Env, keep_alive: bool) -> Result<()> {
        self.adopted_keep_alive = keep_alive;
        if let Some(adopted) = self.adopted.upgrade() {
            adopted.set_keep_alive(if keep_alive { Some(KeepAlive::new(env)?) } else { None });
        }
        Ok(())
    }
}

impl NativeRelay {
    /// Returns what adopted connections share, and creates it for the first one.
    fn adopted(&mut self, env: &Env) -> Result<Arc<AdoptedConnections>> {
        if let Some(adopted) = self.adopted.upgrade() {
            return Ok(adopted);
        }
        let adopted = Arc::new(AdoptedConnections::default());
        if self.adopted_keep_alive {
            adopted.set_keep_alive(Some(KeepAlive::new(env)?));
        }
        self.adopted = Arc::downgrade(&adopted);
        Ok(adopted)
    }
}

/// Parses a socket's remote address as Node prints it. Returns `None` for a pipe.
fn parse_peer(peer: Option<&str>) -> Option<HostAddress> {
    let peer = peer?;
    // Without the zone if its interface is gone.
    peer.parse().or_else(|_| peer.split('%').next().unwrap_or_default().parse()).ok()
}
