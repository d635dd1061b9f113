//! The Node-API binding: translates, and decides nothing.

mod access;
mod bridge;
mod events;
mod lifecycle;
mod tls;

use std::iter;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use napi::Status;
use napi::bindgen_prelude::{Buffer, Env, Function, Result};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::access::HostAddress;
use crate::error::Error;
use crate::events::Topic;
use crate::limits::Limits;
use crate::relay::{Address, Options, Relay, Script, Site};
use crate::stream::{self, Waiting};

/// A bound: its name among the options, what it counts, its default and its range.
#[napi(object)]
pub struct NativeLimit {
    /// Its name among the options.
    pub name: String,
    /// What it counts.
    pub unit: String,
    /// The value where none is given.
    pub default: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// Every bound, and the number of threads.
#[napi(catch_unwind)]
pub fn limits() -> Vec<NativeLimit> {
    let native = |limit: &crate::limits::Limit| NativeLimit {
        name: limit.name.to_owned(),
        unit: limit.unit.to_owned(),
        default: limit.default as f64,
        min: limit.min as f64,
        max: limit.max as f64,
    };
    iter::once(&Options::THREADS).chain(Limits::TABLE).map(native).collect()
}

/// A value for an option of [`limits`].
#[napi(object)]
pub struct NativeSetting {
    /// The option's name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// How a relay behaves.
#[napi(object)]
pub struct NativeOptions {
    /// Whether clients may talk without a registered channel.
    pub authorize_all_channels: bool,
    /// Options of [`limits`] other than the default ones.
    pub settings: Vec<NativeSetting>,
    /// What TLS is spoken with on the port.
    pub credentials: Option<tls::NativeCredentials>,
    /// The only path where WebSockets are opened.
    pub path: Option<String>,
    /// The client for browsers.
    pub script: Option<NativeScript>,
    /// What shows its source.
    pub source_map: Option<NativeScript>,
    /// Whether `/metrics` is found on the port.
    pub metrics: bool,
    /// Who may come.
    pub rules: access::NativeRules,
}

/// A script that browsers load.
#[napi(object)]
pub struct NativeScript {
    /// Its text.
    pub plain: Buffer,
    /// Its text in gzip.
    pub gzip: Buffer,
    /// What changes whenever the text does.
    pub hash: String,
}

/// A new client.
#[napi(object)]
pub struct NativeRegistration {
    /// Its id.
    pub id: f64,
    /// Its secret.
    pub token: String,
}

/// What becomes of a request whose socket JavaScript has.
#[napi(object, object_from_js = false)]
pub struct NativeUpgrade {
    /// What is to be answered. If it is empty, nothing is.
    pub response: Buffer,
    /// It is served, and what comes behind the answer goes over this. Without it the request is refused.
    pub bridge: Option<bridge::NativeBridge>,
}

/// Keeps Node alive while it exists, and does nothing else.
type KeepAlive = ThreadsafeFunction<(), (), (), Status, true>;

/// Keeps Node alive while connections hold it that have left Node, unless it is told not to.
#[derive(Default)]
struct AdoptedConnections(Mutex<Option<KeepAlive>>);

impl AdoptedConnections {
    fn keep(&self, alive: Option<KeepAlive>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = alive;
    }
}

/// A TCP connection that has left Node and was not answered yet. Keeps Node alive, as its socket would. If it is
/// collected it is closed.
#[napi]
pub struct NativeAdoptedConnection(Option<(Waiting, Arc<AdoptedConnections>)>);

#[napi]
impl NativeAdoptedConnection {
    /// Whether its client has left, or sent more than it may before it is answered.
    #[napi(catch_unwind)]
    pub fn is_abandoned(&mut self) -> bool {
        self.0.as_mut().is_none_or(|(waiting, _)| waiting.has_left())
    }

    /// Closes it without an answer.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.0 = None;
    }
}

/// A relay, for `index.js`, which has checked every argument.
#[napi]
pub struct NativeRelay {
    relay: Relay,
    pending_batches: events::PendingBatches,
    keep_alive: Option<KeepAlive>,
    /// Connections that were taken over.
    adopted: Weak<AdoptedConnections>,
    adopted_keep_alive: bool,
    /// None when the relay has ended.
    bridges: Option<Arc<bridge::BridgeRegistry>>,
    next_bridge: u32,
}

#[napi]
impl NativeRelay {
    /// A relay that does not listen yet. `on_events` gets batches of events, see [`NativeRelay::set_interest`];
    /// `on_socket_commands` is called when [`NativeRelay::bridges_with_commands`] has something, and `on_verify_requests` when
    /// [`NativeRelay::take_verify_request`] has.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        options: NativeOptions,
        on_events: Function<'_, Vec<events::NativeEvent>, ()>,
        on_socket_commands: Function<'_, (), ()>,
        on_verify_requests: Function<'_, (), ()>,
    ) -> Result<Self, Code> {
        let NativeOptions {
            authorize_all_channels,
            settings,
            credentials,
            path,
            script,
            source_map,
            metrics,
            rules,
        } = options;
        let [script, source_map] = [script, source_map].map(|script| {
            script.map(|NativeScript { plain, gzip, hash }| {
                let (plain, gzip) = (plain.into(), gzip.into());
                Script { plain, gzip, hash }
            })
        });
        let site = Site { path, script, source_map, has_metrics: metrics };
        let on_verify_requests =
            on_verify_requests.build_threadsafe_function().callee_handled::<true>().weak::<true>().build();
        let rules = access::rules(rules, on_verify_requests.map_err(|error| system_error(&error))?);
        let mut options = Options { authorize_all_channels, site, rules, ..Options::default() };
        for NativeSetting { name, value } in settings {
            match &*name {
                "threads" => options.threads = value as usize,
                name => options.limits.set(name, value as u64).map_err(|error| js_error(error.into()))?,
            }
        }
        options.credentials = credentials.map(Into::into);
        let (relay, receiver) = Relay::new(options).map_err(js_error)?;
        let pending_batches = events::PendingBatches::default();
        let callback =
            events::event_callback(&on_events, relay.interest().clone(), Arc::clone(&pending_batches));
        let callback = Arc::new(callback.map_err(|error| system_error(&error))?);
        let on_socket_commands =
            on_socket_commands.build_threadsafe_function().callee_handled::<true>().weak::<true>().build();
        let bridges = Some(Arc::new(bridge::BridgeRegistry::new(
            on_socket_commands.map_err(|error| system_error(&error))?,
        )));
        let topics =
            [Topic::Connected, Topic::Disconnected, Topic::Offences, Topic::Expired, Topic::MessagesExpired];
        for topic in topics {
            relay.interest().set(topic, false);
        }
        let hand_over = move |batch| events::hand_over(Arc::clone(&callback), batch);
        relay.dispatch_events(receiver, events::to_native, hand_over);
        let (adopted, adopted_keep_alive) = (Weak::new(), true);
        Ok(Self {
            relay,
            pending_batches,
            keep_alive: None,
            adopted,
            adopted_keep_alive,
            bridges,
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

    /// Takes a connection over by its descriptor, if that can be done; whoever has the descriptor closes it then.
    #[napi(catch_unwind)]
    pub fn adopt_descriptor(
        &mut self,
        env: &Env,
        descriptor: i32,
    ) -> Result<Option<NativeAdoptedConnection>> {
        let Ok(socket) = stream::take_over(descriptor) else { return Ok(None) };
        Ok(Some(NativeAdoptedConnection(Some((Waiting::new(socket), self.adopted(env)?)))))
    }

    /// Serves, or refuses, a WebSocket request whose connection was taken over. `head` is its HTTP head, `early` what came
    /// behind it, `peer` the address that it came from.
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
        let peer = peer.as_deref().and_then(parse_peer);
        // An error means that the system has no room for the connection, which is closed then.
        match self.relay.accept_upgrade(head, peer) {
            Ok(upgrade) => self.relay.adopt_socket(upgrade, socket, early, adopted).ok(),
            Err(answer) if answer.is_empty() => None,
            Err(answer) => self.relay.respond_and_close(socket, answer, adopted).ok(),
        };
    }

    /// Answers a connection that was taken over, and closes it.
    #[napi(catch_unwind)]
    pub fn reject_adopted(&self, connection: &mut NativeAdoptedConnection, answer: &[u8]) {
        if let Some((waiting, adopted)) = connection.0.take() {
            let (socket, _) = waiting.into_parts(&[]);
            self.relay.respond_and_close(socket, answer.to_vec(), adopted).ok();
        }
    }

    /// Serves, or refuses, a WebSocket request whose socket stays in JavaScript; arguments as above. Nothing but the
    /// answer is to be written to it before what comes over the bridge.
    #[napi(catch_unwind)]
    pub fn upgrade(&mut self, head: &[u8], early: &[u8], peer: Option<String>) -> NativeUpgrade {
        let peer = peer.as_deref().and_then(parse_peer);
        let mut upgrade = match self.relay.accept_upgrade(head, peer) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return NativeUpgrade { response: refusal.into(), bridge: None },
        };
        // Without it the relay has ended, and has refused already.
        let Some(bridges) = self.bridges.clone() else {
            return NativeUpgrade { response: Vec::new().into(), bridge: None };
        };
        let response = upgrade.take_response().into();
        self.next_bridge = self.next_bridge.wrapping_add(1);
        let (stream, bridge) = bridge::open(self.next_bridge, &bridges);
        self.relay.adopt(upgrade, stream, early.to_vec(), ());
        NativeUpgrade { response, bridge: Some(bridge) }
    }

    /// Whose request it is that another server has read, as far as proxies are trusted. It has this HTTP head and came from
    /// `peer`, over TLS or not.
    #[napi(catch_unwind)]
    pub fn resolve_client(
        &self,
        head: &[u8],
        peer: Option<String>,
        is_tls: bool,
    ) -> access::NativeRequestClient {
        let host = peer.as_deref().and_then(parse_peer);
        let (address, secure) = self.relay.resolve_client(head, host, is_tls).unwrap_or((host, false));
        access::NativeRequestClient { address: address.map(|address| address.to_string()).or(peer), secure }
    }

    /// Counts a client that JavaScript has not let in.
    #[napi(catch_unwind)]
    pub fn count_rejection(&self, reason: access::NativeRejection) {
        self.relay.count_rejection(reason.into());
    }

    /// Whether WebSockets are opened at this target of a request.
    #[napi(catch_unwind)]
    pub fn should_handle(&self, target: &[u8]) -> bool {
        str::from_utf8(target).is_ok_and(|target| self.relay.should_handle(target))
    }

    /// The numbers of the bridges that have commands to fetch.
    #[napi(catch_unwind)]
    pub fn bridges_with_commands(&self) -> Vec<u32> {
        self.bridges.as_ref().map(|bridges| bridges.take()).unwrap_or_default()
    }

    /// Greets new connections with other credentials.
    #[napi(catch_unwind)]
    pub fn set_credentials(&self, credentials: tls::NativeCredentials) -> Result<(), Code> {
        self.relay.set_credentials(&credentials.into()).map_err(js_error)
    }

    /// Registers a client, for so many milliseconds or for ever.
    #[napi(catch_unwind)]
    pub fn register_client(&self, lifetime: Option<f64>) -> Result<NativeRegistration, Code> {
        let client = match lifecycle::duration(lifetime) {
            Some(lifetime) => self.relay.register_client_for(lifetime),
            None => self.relay.register_client(),
        };
        let client = client.map_err(js_error)?;
        Ok(NativeRegistration { id: client.id.get() as f64, token: client.token.reveal().to_owned() })
    }

    /// Lets two clients talk.
    #[napi(catch_unwind)]
    pub fn register_relay_channel(&self, client1: f64, client2: f64) -> Result<(), Code> {
        let (first, second) = (lifecycle::id(client1, "clientId1")?, lifecycle::id(client2, "clientId2")?);
        self.relay.register_relay_channel(first, second).map_err(js_error)
    }

    /// Whether somebody listens for `connection`, `disconnect`, `expired`, `messagesExpired` or `error`. At first nobody
    /// does. All other events are always told.
    #[napi(catch_unwind)]
    pub fn set_interest(&self, name: String, wanted: bool) {
        let topic = match &*name {
            "connection" => Topic::Connected,
            "disconnect" => Topic::Disconnected,
            "error" => Topic::Offences,
            "expired" => Topic::Expired,
            "messagesExpired" => Topic::MessagesExpired,
            _ => return,
        };
        self.relay.interest().set(topic, wanted);
    }

    /// The listeners of a batch have been called, as is said once for each that is not empty.
    #[napi(catch_unwind)]
    pub fn batch_handled(&self) {
        self.pending_batches.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes the port and every connection.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.relay.close();
    }

    /// Closes the port, and every connection when its client has what waits for it; both times are milliseconds.
    #[napi(catch_unwind)]
    pub fn drain(&self, timeout: u32, retry_after: u32) {
        let [timeout, retry_after] = [timeout, retry_after].map(|ms| Duration::from_millis(ms.into()));
        self.relay.drain(timeout, retry_after);
    }

    /// Whether there are connections that were taken over or go over a bridge.
    #[napi(getter, catch_unwind)]
    pub fn has_adopted(&self) -> bool {
        self.relay.has_adopted()
    }

    /// Gives back all that a closed relay needs no more. What is asked of it afterwards is answered.
    #[napi(catch_unwind)]
    pub fn dispose(&mut self) {
        self.relay.dispose();
        (self.bridges, self.keep_alive) = (None, None);
    }

    /// Keeps Node alive until [`NativeRelay::unref_loop`].
    #[napi(catch_unwind)]
    pub fn ref_loop(&mut self, env: &Env) -> Result<()> {
        if self.keep_alive.is_none() {
            self.keep_alive = Some(keep_alive(env)?);
        }
        Ok(())
    }

    /// Lets Node exit while the relay listens.
    #[napi(catch_unwind)]
    pub fn unref_loop(&mut self) {
        self.keep_alive = None;
    }

    /// Whether connections that were taken over keep Node alive, as those that it holds itself do. At first they do.
    #[napi(catch_unwind)]
    pub fn ref_adopted(&mut self, env: &Env, counts: bool) -> Result<()> {
        self.adopted_keep_alive = counts;
        if let Some(adopted) = self.adopted.upgrade() {
            adopted.keep(if counts { Some(keep_alive(env)?) } else { None });
        }
        Ok(())
    }
}

impl NativeRelay {
    fn adopted(&mut self, env: &Env) -> Result<Arc<AdoptedConnections>> {
        if let Some(adopted) = self.adopted.upgrade() {
            return Ok(adopted);
        }
        let adopted = Arc::new(AdoptedConnections::default());
        if self.adopted_keep_alive {
            adopted.keep(Some(keep_alive(env)?));
        }
        self.adopted = Arc::downgrade(&adopted);
        Ok(adopted)
    }
}

fn keep_alive(env: &Env) -> Result<KeepAlive> {
    let nothing = env.create_function_from_closure("keepAlive", |_| Ok(()))?;
    nothing.build_threadsafe_function().callee_handled::<true>().build()
}

/// The address of a socket, as Node writes it. `None` for a pipe.
fn parse_peer(peer: &str) -> Option<HostAddress> {
    // The interface may be gone.
    peer.parse().or_else(|_| peer.split('%').next().unwrap_or_default().parse()).ok()
}

/// The `code` of an error in JavaScript.
type Code = String;

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn js_error(error: Error) -> napi::Error<Code> {
    napi::Error::new(error.code().to_owned(), error.to_string())
}

fn system_error(error: &napi::Error) -> napi::Error<Code> {
    napi::Error::new("ERR_SYSTEM".to_owned(), error.reason.clone())
}
