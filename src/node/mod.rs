//! The Node-API binding: converts arguments and results, and decides nothing.

mod access;
#[cfg(not(feature = "system-allocator"))]
mod allocator;
mod bridge;
mod callback;
mod checks;
mod clients;
mod errors;
mod events;
mod options;
mod tls;
mod upgrade;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use napi::bindgen_prelude::{Env, Function, Result};
use napi_derive::napi;

use access::NativeVerifyRequest;
use bridge::BridgeRegistry;
use callback::{AdoptedConnections, KeepAlive, Signal};
use errors::{Code, js_error, system_error};
use events::{NativeEvent, PendingBatches};
use options::NativeOptions;
use tls::NativeCredentials;

use crate::access::HostAddress;
use crate::relay::{Address, Relay};

/// A relay, for `index.js`, which has checked every argument.
#[napi]
pub struct NativeRelay {
    relay: Relay,
    pending_batches: PendingBatches,
    keep_alive: Option<KeepAlive>,
    /// Shared by the connections adopted by their descriptors.
    adopted: Weak<AdoptedConnections>,
    /// Whether adopted connections keep Node alive.
    adopted_keep_alive: bool,
    /// `None` once the relay was disposed of.
    bridges: Option<Arc<BridgeRegistry>>,
    /// The number of the last bridge.
    next_bridge: u32,
}

#[napi]
impl NativeRelay {
    /// Creates a relay that does not listen yet.
    ///
    /// `on_events` is given batches of events, see [`NativeRelay::set_interest`]. `on_socket_commands` is called when
    /// `bridgesWithCommands()` has something to return, and `on_verify_requests` when `takeVerifyRequest()` has.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        options: NativeOptions,
        on_events: Function<'_, Vec<NativeEvent>, ()>,
        on_socket_commands: Function<'_, (), ()>,
        on_verify_requests: Function<'_, (), ()>,
    ) -> Result<Self, Code> {
        let options = options::options(options, Signal::new(&on_verify_requests)?)?;
        let (relay, receiver) = Relay::new(options).map_err(js_error)?;
        let pending_batches = PendingBatches::default();
        let (interest, pending) = (relay.interest().clone(), Arc::clone(&pending_batches));
        let on_events = events::event_callback(&on_events, interest, pending).map_err(system_error)?;
        let bridges = Arc::new(BridgeRegistry::new(Signal::new(&on_socket_commands)?));
        events::TOPICS.iter().for_each(|(_, topic)| relay.interest().set(*topic, false));
        let on_events = Arc::new(on_events);
        let hand_over = move |batch| events::hand_over(Arc::clone(&on_events), batch);
        relay.dispatch_events(receiver, events::queue, hand_over);
        Ok(Self {
            relay,
            pending_batches,
            keep_alive: None,
            adopted: Weak::new(),
            adopted_keep_alive: true,
            bridges: Some(bridges),
            next_bridge: 0,
        })
    }

    /// Opens the port.
    #[napi(catch_unwind)]
    pub fn listen(&mut self, ip: Option<String>, port: u16) -> Result<(), Code> {
        let ip = ip.map(|ip| ip.parse::<HostAddress>()).transpose();
        let ip = ip.map_err(|error| napi::Error::new("EINVAL".to_owned(), error.to_string()))?;
        self.relay.listen(Address { ip, port }).map_err(js_error)
    }

    /// Replaces the TLS credentials; open connections keep theirs.
    #[napi(catch_unwind)]
    pub fn set_credentials(&self, credentials: NativeCredentials) -> Result<(), Code> {
        self.relay.set_credentials(&credentials.into()).map_err(js_error)
    }

    /// Returns the next request of the relay's own port to verify, if its client still waits. If there is none,
    /// `on_verify_requests` is called for the next one.
    #[napi(catch_unwind)]
    pub fn take_verify_request(&self) -> Option<NativeVerifyRequest> {
        self.relay.take_verify_request().map(NativeVerifyRequest::new)
    }

    /// Sets whether `connection`, `disconnect`, `expired`, `messagesExpired` or `error` has a listener. Initially none
    /// has. All other events are always delivered.
    #[napi(catch_unwind)]
    pub fn set_interest(&self, name: String, wanted: bool) {
        if let Some((_, topic)) = events::TOPICS.iter().find(|(topic, _)| *topic == name) {
            self.relay.interest().set(*topic, wanted);
        }
    }

    /// Says that the listeners of a batch were called. To be called once for each batch that is not empty.
    #[napi(catch_unwind)]
    pub fn batch_handled(&self) {
        self.pending_batches.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes the port and every connection.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.relay.close();
    }

    /// Closes every connection once its client has received what waits for it, and the port. Both times are in
    /// milliseconds.
    #[napi(catch_unwind)]
    pub fn drain(&self, timeout: u32, retry_after: u32) {
        let [timeout, retry_after] = [timeout, retry_after].map(|ms| Duration::from_millis(ms.into()));
        self.relay.drain(timeout, retry_after);
    }

    /// Frees all that a closed relay no longer needs. It can still be asked about clients and statistics.
    #[napi(catch_unwind)]
    pub fn dispose(&mut self) -> Result<(), Code> {
        let closed = self.relay.dispose();
        (self.bridges, self.keep_alive) = (None, None);
        closed.map_err(js_error)
    }

    /// Keeps Node alive until [`NativeRelay::unref_loop`].
    #[napi(catch_unwind)]
    pub fn ref_loop(&mut self, env: &Env) -> Result<()> {
        if self.keep_alive.is_none() {
            self.keep_alive = Some(KeepAlive::new(env)?);
        }
        Ok(())
    }

    /// Lets Node exit while the relay listens.
    #[napi(catch_unwind)]
    pub fn unref_loop(&mut self) {
        self.keep_alive = None;
    }
}
