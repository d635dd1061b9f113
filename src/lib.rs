//! A relay that lets WebSocket clients talk to each other through registered, authenticated channels.
//!
//! The one idea to keep in mind: **each recipient has one mailbox, with a lane per sender, and the recipient's
//! session pulls from it.** A send appends to its lane and rings the bell of the recipient's connection; that
//! session writes when its socket can take it, lanes in turn. So order, queueing for who is away, back-pressure
//! and take-over are the same mechanism: a slow reader costs only its own bounded mailbox, a flooding sender only
//! its own lane.
//!
//! A message's way: socket → [`wire`] → [`session`] → [`protocol::decode`] → [`backend::Backend::append`] →
//! [`model::Mailbox`] → [`backend::Bell`] → the target's [`session`] → [`protocol::encode`] → [`wire`] → socket.
//! The message's JSON string is carried as it came in, never unescaped and escaped again.
//!
//! Modules import only from lower floors, and from their own folder:
//!
//! | floor | modules |
//! |---|---|
//! | 5 | `node` (with the feature `node`): the Node-API binding; only it names napi |
//! | 4 | [`relay`]: the façade; [`listener`]: the port and HTTP |
//! | 3 | [`session`]: one connection; [`wire`]: its bytes |
//! | 2 | [`backend`]: where everything is kept, behind atomic verbs |
//! | 1 | [`model`]: pure state; [`protocol`]: pure codec |
//! | 0 | [`ids`], [`limits`], [`error`], [`events`] |

pub mod backend;
mod copy;
pub mod error;
pub mod events;
pub mod ids;
pub mod limits;
pub mod listener;
pub mod model;
// A test binary has no Node to link to.
#[cfg(all(feature = "node", not(test)))]
mod node;
pub mod protocol;
pub mod relay;
pub mod session;
pub mod stream;
pub mod wire;

pub use backend::Registration;
pub use error::{CloseReason, Error, Offence};
pub use events::{Event, EventReceiver};
pub use ids::{ClientId, Token};
pub use limits::Limits;
pub use relay::{Address, Options, Relay};
