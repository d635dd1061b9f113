//! How a relay is configured.

use crate::access::HostAddress;
use crate::limits::{Limit, Limits};
use crate::listener::{Credentials, Rules, Site};
use crate::store::StoreOptions;

/// The options of a relay.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether clients may send to each other without a registered channel. Default: no.
    pub authorize_all_channels: bool,
    /// Number of threads, within [`Options::THREADS`]. One thread moves hundreds of thousands of messages a second. More
    /// help if it is always busy and there are idle cores; each takes about 300 KiB of memory.
    pub threads: usize,
    /// The bounds.
    pub limits: Limits,
    /// What the port serves at which path.
    pub site: Site,
    /// TLS certificates and keys. Without them the port speaks plain HTTP.
    pub credentials: Option<Credentials>,
    /// The rules by which connections are accepted.
    pub rules: Rules,
    /// The file that keeps clients, channels and messages. Without it they live as long as the relay.
    pub store: Option<StoreOptions>,
}

impl Options {
    /// The range of [`Options::threads`].
    pub const THREADS: Limit = Limit { name: "threads", unit: "threads", default: 1, min: 1, max: 64 };
}

impl Default for Options {
    fn default() -> Self {
        Self {
            authorize_all_channels: false,
            threads: Self::THREADS.default as usize,
            limits: Limits::default(),
            site: Site::default(),
            credentials: None,
            rules: Rules::default(),
            store: None,
        }
    }
}

/// The address to listen on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Address {
    /// The IP address; `None` for all interfaces.
    pub ip: Option<HostAddress>,
    /// The port; 0 for a free one.
    pub port: u16,
}
