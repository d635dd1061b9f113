//! Who may connect, and how often: pure rules over a given time, and tables of bounded size.
//!
//! | module | what it limits or decides |
//! |---|---|
//! | `address`, `address_key` | a host's address, and what counts as one address: an IPv4 address or an IPv6 /64 |
//! | `trusted_proxies`, `network` | which address is the client's when the connection comes from a proxy |
//! | `connection_limiter` | connections of one address: how many, and how many per second |
//! | `auth_failures` | failed authentications of one address and of one client |
//! | `client_rate` | messages of one client, and events about its offences |
//! | `fair_queue` | requests that wait for a decision, shared fairly among addresses |
//! | `rate`, `bucket_table` | the token buckets behind these, one instant each: when the bucket is full again |
//!
//! A table of buckets forgets a bucket once it must be full. Tables keyed by address, which attackers choose, drop the
//! least recently used half instead of growing beyond [`Limits::MAX_TRACKED_ADDRESSES`], and count new IPv6 addresses by
//! their /48 before that. Nothing is stored for a limit that is not set.
//!
//! [`Limits::MAX_TRACKED_ADDRESSES`]: crate::limits::Limits::MAX_TRACKED_ADDRESSES

mod address;
mod address_key;
mod auth_failures;
mod bucket_table;
mod client_rate;
mod connection_limiter;
mod fair_queue;
mod list;
mod network;
mod rate;
mod trusted_proxies;

pub use address::{HostAddress, InvalidAddress};
pub use address_key::AddressKey;
pub use auth_failures::{AuthAttempt, AuthFailures};
pub use bucket_table::BucketTable;
pub use client_rate::{Charge, ClientRateLimiter};
pub use connection_limiter::{ConnectionLimiter, ConnectionPermit};
pub use fair_queue::{Bounds, FairQueue, Ticket};
pub use list::{members, trim};
pub use network::Network;
pub use rate::{Bucket, Rate};
pub use trusted_proxies::TrustedProxies;
