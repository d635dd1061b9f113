//! The port and HTTP: accepts connections, answers their requests, and hands WebSockets to sessions.
//!
//! A connection is one task on the least busy thread. Its way, and the module of each step:
//!
//! 1. `incoming` accepts it from the port that `tcp` opened; `tls` performs a TLS handshake if the port is encrypted.
//! 2. `acceptor` takes a slot for it (`slots`) and spawns its task.
//! 3. `handshake` reads its one request (`request`) and sends the reply that `service` decides on. HTTP is implemented here,
//!    with httparse: `upgrade` holds the WebSocket handshake, `site` everything else that is served, `response` the format.
//! 4. The plain connection goes to [`session::run`](crate::session::run).
//!
//! Checks are made from the cheapest to the most expensive: the limits of the address ([`Admission`], from
//! [`access`](crate::access)), the path, the WebSocket handshake, `allowedOrigins` as strings ([`Rules`]), and at last the
//! developer's functions. Requests wait for these in a [`VerifyQueue`]. Meanwhile their connections are read, so that a
//! request leaves the queue as soon as its client does. A rejected client is counted where it is rejected, by its
//! [`Rejection`](crate::metrics::Rejection).
//!
//! A connection that another server has accepted comes with the head of its request ([`Acceptor::accept_request`]) and then
//! takes the same way from step 4 ([`Acceptor::adopt`]); see [`stream`](crate::stream) for how its bytes arrive.

mod acceptor;
mod admission;
mod handshake;
mod header;
mod incoming;
mod metrics;
mod path;
mod request;
mod response;
mod rules;
mod service;
mod site;
mod slots;
mod tcp;
mod tls;
mod upgrade;
mod verify_queue;
mod verify_request;

pub use acceptor::Acceptor;
pub use admission::{Admission, RemoteClient};
pub use handshake::Handover;
pub use rules::Rules;
pub use site::{Script, Site};
pub use slots::ConnectionSlot;
pub use tcp::bind;
pub use tls::{Credentials, TlsAcceptor};
pub use verify_queue::{BOUNDS, Verifier, VerifyQueue};
pub use verify_request::{Verdict, VerifyRequest};
