//! A relay that lets WebSocket clients talk to each other through registered, authenticated channels.
//!
//! **Each recipient has one mailbox, with a lane per sender, and beside it the outbox of the connection that reads it.** To
//! send is to append to a lane. What the recipient's socket can take moves on to the outbox, lanes in turn, and is written at
//! the end of the sender's turn, or by the recipient's session once its socket can take more. Order, queueing for clients that
//! are away, back-pressure and take-over are all this one mechanism: a slow reader fills only its own mailbox, and a flooding
//! sender only its own lane. Every mailbox, lane and outbox is bounded.
//!
//! A message's way: socket → [`wire`] → [`session`] → [`protocol::decode`] → [`hub::Hub::append`] → [`model::Mailbox`] →
//! [`protocol::encode`] → [`hub::Outbox`] → socket, when the sender's [`hub::Batch`] is dropped. Between two plain clients, if
//! nothing waits before it, a message skips the mailbox. A [`hub::Bell`] wakes the recipient's session when the socket takes no
//! more. The message's JSON string is passed on as it came, never unescaped and escaped again.
//!
//! Each connection stays on one of the relay's threads ([`Options::threads`]). The sender's thread goes the whole way, so no
//! message waits for another thread, wherever its recipient is.
//!
//! # The map
//!
//! A module imports only from the floors below it. `scripts/layers.mjs` reads this table and checks that.
//!
//! | floor | modules |
//! |---|---|
//! | 9 | `node`: the Node-API binding (feature `node`); the only one that names napi |
//! | 8 | [`relay`]: the façade |
//! | 7 | [`listener`]: the port, TLS and HTTP |
//! | 6 | [`session`]: one connection, from authentication to close |
//! | 5 | [`wire`]: a connection's WebSocket frames, in and out |
//! | 4 | [`hub`]: who is connected and what is on its way: mailboxes, outboxes, bells, claims, presence |
//! | 3 | [`store`]: what is kept: clients, tokens, lifetimes |
//! | 2 | [`model`]: pure state; [`protocol`]: pure codec; [`access`]: who may connect, and how fast they may send; [`stream`]: what carries a connection's bytes; [`events`] |
//! | 1 | [`error`]: errors, offences and close codes |
//! | 0 | [`ids`], [`limits`], [`metrics`], [`printable`], [`shared_writer`], `copy`, `faults`, `read_buffer`, `sync` |
//!
//! # Where things go
//!
//! | a new … | goes to |
//! |---|---|
//! | option or limit | [`limits`], with its default; the code that keeps to it names it |
//! | close code, error or offence | [`error`], one table each; `client/codes.ts` mirrors the codes |
//! | frame, or member of one | [`protocol`]: `frame` for WebSocket, `decode` and `encode` for JSON |
//! | rule of who may send or connect | [`access`], as a function of the time that is passed in |
//! | rule of presence | `hub/presence.rs` |
//! | store | [`store`]: a variant of [`store::Store`], and a line in `tests/store_contract.rs` |
//! | transport | [`stream`]: an implementation of [`stream::Transport`], opened by [`listener`] |
//! | event for the application | [`events`], emitted where it happens; `src/node/events.rs` names it for JavaScript |

#[cfg(all(feature = "node", feature = "conformance"))]
compile_error!("the conformance build relays nothing: there is no addon of it");

pub mod access;
mod copy;
pub mod error;
pub mod events;
pub mod faults;
pub mod hub;
pub mod ids;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod model;
pub mod printable;
mod read_buffer;
pub mod shared_writer;
// A test binary has no Node to link to.
#[cfg(all(feature = "node", not(test)))]
mod node;
pub mod protocol;
pub mod relay;
pub mod session;
pub mod store;
pub mod stream;
mod sync;
pub mod wire;

pub use access::{HostAddress, Network, TrustedProxies};
pub use error::{CloseReason, Error, Offence, TlsError};
pub use events::{Event, EventReceiver};
pub use hub::{NewClient, Registration};
pub use ids::{ClientId, Token};
pub use limits::Limits;
pub use metrics::Rejection;
pub use relay::{
    AcceptedUpgrade, Address, Credentials, Options, Relay, Rules, Script, Site, Stats, Verdict, Verifier,
    VerifyRequest,
};
