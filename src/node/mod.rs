//! The Node-API binding: translates, and decides nothing.

mod events;

use std::iter;
use std::net::IpAddr;

use napi::Status;
use napi::bindgen_prelude::{Env, Function, Result};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::error::Error;
use crate::events::Topic;
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::relay::{Address, Options, Relay};

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

/// A new client.
#[napi(object)]
pub struct NativeClient {
    /// Its id.
    pub id: f64,
    /// Its secret.
    pub token: String,
}

/// Keeps Node alive while it exists, and does nothing else.
type KeepAlive = ThreadsafeFunction<(), (), (), Status, true>;

/// A relay, for `index.js`, which has checked every argument.
#[napi]
pub struct NativeRelay {
    relay: Relay,
    keep_alive: Option<KeepAlive>,
}

#[napi]
impl NativeRelay {
    /// A relay that does not listen yet. `on_events` gets batches of events, without those that have to be asked for.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        authorize_all_channels: bool,
        settings: Vec<NativeSetting>,
        on_events: Function<'_, Vec<events::NativeEvent>, ()>,
    ) -> Result<Self, Code> {
        let mut options = Options { authorize_all_channels, ..Options::default() };
        for NativeSetting { name, value } in settings {
            match &*name {
                "threads" => options.threads = value as usize,
                name => options.limits.set(name, value as u64).map_err(|error| coded(error.into()))?,
            }
        }
        let (relay, receiver) = Relay::new(options).map_err(coded)?;
        let outlet = on_events.build_threadsafe_function().callee_handled::<true>().weak::<true>().build();
        let outlet =
            outlet.map_err(|error| napi::Error::new("ERR_SYSTEM".to_owned(), error.reason.clone()))?;
        for topic in [Topic::Connected, Topic::Disconnected, Topic::Offences] {
            relay.want_events(topic, false);
        }
        relay.spawn_courier(events::carry(receiver, outlet));
        Ok(Self { relay, keep_alive: None })
    }

    /// Opens the port.
    #[napi(catch_unwind)]
    pub fn listen(&mut self, ip: Option<String>, port: u16) -> Result<(), Code> {
        let ip = ip.map(|ip| ip.parse::<IpAddr>()).transpose();
        let ip = ip.map_err(|error| napi::Error::new("EINVAL".to_owned(), error.to_string()))?;
        self.relay.listen(Address { ip, port }).map_err(coded)
    }

    /// Registers a client.
    #[napi(catch_unwind)]
    pub fn register_client(&self) -> Result<NativeClient, Code> {
        let client = self.relay.register_client().map_err(coded)?;
        Ok(NativeClient { id: client.id.get() as f64, token: client.token.reveal().to_owned() })
    }

    /// Lets two clients talk.
    #[napi(catch_unwind)]
    pub fn register_relay_channel(&self, client1: f64, client2: f64) -> Result<(), Code> {
        let id = |number, argument| ClientId::from_f64(number).ok_or(Error::ClientNotFound { argument });
        let (first, second) =
            (id(client1, "clientId1").map_err(coded)?, id(client2, "clientId2").map_err(coded)?);
        self.relay.register_relay_channel(first, second).map_err(coded)
    }

    /// Asks for the events `connection`, `disconnect` or `error`; does nothing for others.
    #[napi(catch_unwind)]
    pub fn want(&self, name: String) {
        let topic = match &*name {
            "connection" => Topic::Connected,
            "disconnect" => Topic::Disconnected,
            "error" => Topic::Offences,
            _ => return,
        };
        self.relay.want_events(topic, true);
    }

    /// Closes the port and every connection.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.relay.close();
    }

    /// Keeps Node alive until [`NativeRelay::unref_loop`].
    #[napi(catch_unwind)]
    pub fn ref_loop(&mut self, env: &Env) -> Result<()> {
        if self.keep_alive.is_none() {
            let nothing = env.create_function_from_closure("keepAlive", |_| Ok(()))?;
            self.keep_alive = Some(nothing.build_threadsafe_function().callee_handled::<true>().build()?);
        }
        Ok(())
    }

    /// Lets Node exit while the relay listens.
    #[napi(catch_unwind)]
    pub fn unref_loop(&mut self) {
        self.keep_alive = None;
    }
}

/// The `code` of an error in JavaScript.
type Code = String;

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn coded(error: Error) -> napi::Error<Code> {
    napi::Error::new(error.code().to_owned(), error.to_string())
}
