//! What to do, as the caller writes it: one line of JSON on stdin.

use serde::Deserialize;

/// One measurement.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub server: Server,
    /// Of the wire protocol: 1, or 2 with numbered messages and acknowledgements.
    pub generation: u8,
    /// The measurement fails after so long.
    pub max_seconds: u64,
    pub scenario: Scenario,
}

/// A server as it introduces itself, its clients registered: number `n` has the token `tokens[n]` and a channel to
/// `n ^ 1`, or, with more channels, to each of `n ^ 1`, `n ^ 2`, `n ^ 3` and so on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    pub pid: i32,
    pub port: u16,
    pub tokens: Vec<String>,
    pub dialect: Dialect,
    /// Whether SIGUSR2 makes it collect its garbage.
    pub collects_garbage: bool,
    /// Whether it speaks TLS.
    #[serde(default)]
    pub is_secure: bool,
}

/// How a server wants its frames.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// As `websocket-relay` has them.
    Relay,
    /// The same, but passed on as they were sent, mask and all.
    Verbatim,
    /// The packets of socket.io.
    SocketIo,
}

/// What is measured. All counts are of clients or messages in all.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Scenario {
    /// Every client keeps `window` messages of `size` bytes on their way, in turn to each of so many `partners`.
    /// Beside them `idle` others are connected.
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
    /// Messages are sent by the clock, `per_second` in all.
    Latency { clients: usize, size: usize, per_second: u64, warm_up: u64, messages: u64 },
    /// Clients connect and authenticate.
    Connect { clients: usize, warm_up: usize },
    /// Connections that do nothing, then send `used` messages each, then do nothing again.
    Idle { clients: usize, warm_up: usize, size: usize, used: u64 },
    /// Messages for clients that are away, which then come.
    Queue { clients: usize, size: usize, messages: u64 },
}

fn one() -> usize {
    1
}
