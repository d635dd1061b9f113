//! A relay that lets WebSocket clients talk to each other through registered, authenticated channels.
//!
//! The one idea to keep in mind: **each recipient has one mailbox, with a lane per sender, and beside it the outbox of the
//! connection that reads it.** A send appends to its lane; what the recipient's socket can take is moved to the outbox,
//! lanes in turn, and written at the end of the sender's own turn, or by the recipient's session when its socket can take
//! more. So order, queueing for who is away, back-pressure and take-over are the same mechanism: a slow reader costs only
//! its own bounded mailbox, a flooding sender only its own lane.
//!
//! A message's way: socket → [`wire`] → [`session`] → [`protocol::decode`] → [`backend::Backend::append`] →
//! [`model::Mailbox`] → [`protocol::encode`] → [`backend::Outbox`] → [`backend::Backend::flush`] → socket. Between two plain
//! clients, when nothing waits before it, it passes the mailbox by. When the socket takes no more, a [`backend::Bell`]
//! wakes the recipient's session. The message's JSON string is carried as it came in, never unescaped and escaped again.
//!
//! Each connection stays on one of the relay's threads ([`Options::threads`]). A sender's thread goes all of this way, so
//! nothing has to wait for another thread, wherever the recipient is.
//!
//! Modules import only from lower floors, and from their own folder:
//!
//! | floor | modules |
//! |---|---|
//! | 5 | `node` (with the feature `node`): the Node-API binding; only it names napi |
//! | 4 | [`relay`]: the façade; [`listener`]: the port and HTTP |
//! | 3 | [`session`]: one connection; [`wire`]: its bytes; [`stream`]: what they come over |
//! | 2 | [`backend`]: where everything is kept, behind atomic verbs |
//! | 1 | [`model`]: pure state; [`protocol`]: pure codec; [`access`]: who may come, and how often |
//! | 0 | [`ids`], [`limits`], [`error`], [`events`], [`metrics`], [`hand`], [`printable`], `copy`, `read_buffer`, `sync`, `trim`, `faults` |

#[cfg(all(feature = "node", feature = "conformance"))]
compile_error!("the conformance build relays nothing: there is no addon of it");

pub mod access;
pub mod backend;
mod copy;
pub mod error;
pub mod events;
pub mod faults;
pub mod hand;
pub mod ids;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod model;
pub mod printable;
mod read_buffer;
// A test binary has no Node to link to.
#[cfg(all(feature = "node", not(test)))]
mod node;
pub mod protocol;
pub mod relay;
pub mod session;
pub mod stream;
mod sync;
mod trim;
pub mod wire;

pub use access::{HostAddress, Network, Trust};
pub use backend::Registration;
pub use error::{CloseReason, Error, Offence, TlsError};
pub use events::{Event, EventReceiver};
pub use ids::{ClientId, Token};
pub use limits::Limits;
pub use metrics::TurnedAway;
pub use relay::{
    AcceptedUpgrade, Address, Ask, Credentials, Inquiry, Options, Relay, Rules, Script, Site, Stats, Verdict,
};
