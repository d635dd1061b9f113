//! The plan of a measurement: one line of JSON on stdin.

use serde::Deserialize;

/// One measurement.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub server: Server,
    /// Generation of the wire protocol: 1, or 2 with numbered messages and acknowledgements.
    pub generation: u8,
    /// Seconds after which the measurement fails.
    pub max_seconds: u64,
    pub scenario: Scenario,
}

/// A server's introduction. Client `n` has the token `tokens[n]` and a channel to `n ^ 1`, or with more channels to each of
/// `n ^ 1`, `n ^ 2`, `n ^ 3` and so on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    pub pid: i32,
    pub port: u16,
    pub tokens: Vec<String>,
    pub dialect: Dialect,
    /// Whether it collects its garbage on SIGUSR2.
    pub collects_garbage: bool,
    /// Whether it uses TLS.
    #[serde(default)]
    pub is_secure: bool,
}

/// The frames of a server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// The frames of `websocket-relay`.
    Relay,
    /// The same, but forwarded as they were sent, masks included.
    Verbatim,
    /// The packets of socket.io.
    SocketIo,
}

/// What is measured. All counts are totals of clients or messages.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Scenario {
    /// Every client keeps `window` messages of `size` bytes in flight, to each of its `partners` in turn. `idle` other
    /// clients are connected.
    Relay {
        clients: usize,
        #[serde(default)]
        idle: usize,
        #[serde(default = "one")]
        partners: usize,
        size: usize,
        window: u64,
        warm_up: u64,
        messages: u64,
    },
    /// Messages are sent on schedule, `per_second` in total.
    Latency { clients: usize, size: usize, per_second: u64, warm_up: u64, messages: u64 },
    /// Clients connect and authenticate.
    Connect { clients: usize, warm_up: usize },
    /// Connections are idle, then send `used` messages each, then are idle again.
    Idle { clients: usize, warm_up: usize, size: usize, used: u64 },
    /// Messages are queued for absent clients, which then connect.
    Queue { clients: usize, size: usize, messages: u64 },
    /// Messages are queued for absent clients, which stay away.
    Fill { clients: usize, size: usize, messages: u64 },
}

fn one() -> usize {
    1
}
