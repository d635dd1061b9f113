//! The options of a relay as JavaScript passes them.

use std::iter;

use napi::bindgen_prelude::{Buffer, Result};
use napi_derive::napi;

use super::access::{self, NativeRules};
use super::callback::Signal;
use super::errors::{Code, js_error};
use super::tls::NativeCredentials;
use crate::limits::{Limit, Limits};
use crate::relay::{Options, Script, Site};
use crate::store::{Durability, StoreOptions};

/// An option with a bound: its name, unit, default and range.
#[napi(object)]
pub struct NativeLimit {
    /// The option's name.
    pub name: String,
    /// The unit of its value.
    pub unit: String,
    /// The default value.
    pub default: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// Returns every option with a bound.
#[napi(catch_unwind)]
pub fn limits() -> Vec<NativeLimit> {
    let native = |limit: &Limit| NativeLimit {
        name: limit.name.to_owned(),
        unit: limit.unit.to_owned(),
        default: limit.default as f64,
        min: limit.min as f64,
        max: limit.max as f64,
    };
    iter::once(&Options::THREADS).chain(Limits::TABLE).map(native).collect()
}

/// A value of an option that [`limits`] lists.
#[napi(object)]
pub struct NativeSetting {
    /// The option's name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// The options of a relay.
#[napi(object)]
pub struct NativeOptions {
    /// Whether clients may send to each other without a registered channel.
    pub authorize_all_channels: bool,
    /// Options of [`limits`] that differ from their defaults.
    pub settings: Vec<NativeSetting>,
    /// The certificates and keys of the port.
    pub credentials: Option<NativeCredentials>,
    /// The only path at which WebSockets are opened.
    pub path: Option<String>,
    /// The browser client.
    pub script: Option<NativeScript>,
    /// The source map of the browser client.
    pub source_map: Option<NativeScript>,
    /// Whether the port serves `/metrics`.
    pub metrics: bool,
    /// The rules by which connections are accepted.
    pub rules: NativeRules,
    /// The file that keeps clients, channels and messages.
    pub store: Option<NativeStore>,
}

/// A store on disk.
#[napi(object)]
pub struct NativeStore {
    /// The absolute path of its file.
    pub path: String,
    /// Whether each commit waits for the disk.
    pub synced: bool,
}

/// A file that browsers load.
#[napi(object)]
pub struct NativeScript {
    /// Its content.
    pub plain: Buffer,
    /// Its content, compressed with gzip.
    pub gzip: Buffer,
    /// A hash of the content.
    pub hash: String,
}

/// Converts the options. `on_verify_request` is called when there is a request to verify.
pub fn options(native: NativeOptions, on_verify_request: Signal) -> Result<Options, Code> {
    let NativeOptions {
        authorize_all_channels,
        settings,
        credentials,
        path,
        script,
        source_map,
        metrics,
        rules,
        store,
    } = native;
    let [script, source_map] = [script, source_map].map(|script| script.map(Script::from));
    let mut options = Options {
        authorize_all_channels,
        site: Site { path, script, source_map, has_metrics: metrics },
        rules: access::rules(rules, on_verify_request),
        credentials: credentials.map(Into::into),
        store: store.map(StoreOptions::from),
        ..Options::default()
    };
    for NativeSetting { name, value } in settings {
        match &*name {
            "threads" => options.threads = value as usize,
            name => options.limits.set(name, value as u64).map_err(|error| js_error(error.into()))?,
        }
    }
    Ok(options)
}

impl From<NativeStore> for StoreOptions {
    fn from(NativeStore { path, synced }: NativeStore) -> Self {
        let durability = if synced { Durability::Synced } else { Durability::Written };
        Self { path: path.into(), durability }
    }
}

impl From<NativeScript> for Script {
    fn from(NativeScript { plain, gzip, hash }: NativeScript) -> Self {
        Self { plain: plain.into(), gzip: gzip.into(), hash }
    }
}
