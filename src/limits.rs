//! The limits that can be configured, in one table: name, unit, default and range. Fixed ones are in `limits/fixed.rs`.
//!
//! # Memory
//!
//! Every collection that clients or the application can make grow has a bound, something that its memory counts against,
//! and a moment at which it shrinks. A new one needs a line here, and a test if it can grow large (`tests/bounded_memory.rs`
//! counts allocated bytes).
//!
//! | collection | bound | counts against | shrinks |
//! |---|---|---|---|
//! | `Queue::heads`, `Queue::chunks` (a lane's messages) | `maxQueuedMessages`, `maxQueuedBytes` | `maxMailboxBytes` and `maxTotalBytes`: its bytes, 64 a message, 320 a lane | when messages are acknowledged, taken or expire (`Queue::shrink`), to room for 4 times as many heads (64 at least) and chunks of 8 times the bytes that count |
//! | `Lane::earlier_sessions`, `ReliableState::replaced` | `MAX_REPLACED_SESSIONS` | nothing | with the lane, the client |
//! | `Mailbox::channels`, `Mailbox::lanes` | channels: the application's, `maxOpenedChannels` a client | nothing; the docs name some 300 bytes a pair | when a sender is unregistered or its channel is, below an eighth |
//! | `Mailbox::ready_lanes` | lanes with messages | 320 a lane | when empty |
//! | `Ages::marks` | 33 | nothing | with the last message |
//! | `ExpiredNotices::sent` | `MAX_UNACKNOWLEDGED_NOTICES` | `maxTotalBytes`: 64 a notice above `FREE_NOTICES` | when a heartbeat is answered, below a quarter; with the session |
//! | `ExpiredNotices::unsent` | `MAX_UNSENT_NOTICES`, then `hold`; messages that wait already may add to it | likewise | when sent; with the session |
//! | `Notices::delivered`, `delivered_due`, `presence_due` | channels of the client | nothing, as `Mailbox::channels` | when sent, if empty; with the session |
//! | `ExpirySchedule::visits`, `expired` | one a mailbox; one a pair, until the maintenance task counts them | nothing | when visited, when counted |
//! | `Registry::shards`, `deadlines` | the application's registrations | `stats().registered` | below a quarter |
//! | `Registry::samples`; `leaving` | 512; removals whose peers are being told | nothing | never; when they are told |
//! | `SendBuffer::frames`, `splices`, `Outbox::sole_copies` | `maxWriteAhead` and one message; `MAX_SPLICES` | `maxTotalBytes`: all bytes, once the socket does not take them | when all is taken; what is too much when the socket takes no more |
//! | outbox before authentication | `maxUnauthenticatedPayload` | nothing | likewise |
//! | outbox of a closing connection, `Ending::rest` | the rest of one frame | `maxTotalBytes`: all bytes (`Hub::reserve_for_close`); the connection is cut if there is no room | with the connection, after `closeTimeout` |
//! | spare outbox buffers (`SPARE` in `outbox.rs`) | 16 a thread, of 512 KiB and what belongs to them | nothing | when taken |
//! | `Accepted` | `ACCEPT_BATCH` | nothing | when sent |
//! | `Replies::frames`, `refusals` | `MAX_REPLY_BYTES`, then the client is not read from | nothing | when moved to the outbox |
//! | `Replies::refused` | `MAX_REFUSED_CHANNELS`, then 4504 | nothing | when nothing is refused |
//! | `Replies::waiting` | `MAX_REFUSED_CHANNELS` a connection | nothing: empty if the store commits at once | when what came before is committed or received |
//! | `store::Queue` | a removal per lane, a visit per mailbox, a session per connection that authenticates, and what `register…` waits for | nothing: empty if the store is in memory | when committed |
//! | `hub::Pending` | `MAX_COMMIT_BYTES` of messages, and what is in the queue | nothing; the messages are copies | when committed |
//! | `ReliableState::accepted` | targets that the session has sent to | nothing, as `Mailbox::channels`: empty if the store commits at once | with the session, the target |
//! | `PresenceQueue`, `PresencePass` | each client once | nothing, as the registrations | when told |
//! | `HeldMessage::message` | one message a connection | nothing: `maxPayload` for each connection | when taken or refused |
//! | `Wire::input`, `Decoder::message` | twice `maxPayload` | nothing: for each connection | when decoded; below a quarter |
//! | `BridgeBuffers::input`, `output` | twice `BRIDGE_BYTES` and what Node read at one time; `BRIDGE_BYTES` | nothing: for each connection | when read; the part that was read, at the latest when it is half |
//! | head of a request | `maxHeaderSize` | nothing: for each connection | when answered |
//! | `Batch::written_to`, `slices` | frames of one turn | nothing | with the batch |
//! | `LINE` (`wire/turn.rs`) | connections | `maxConnections` | when empty, above 1,024 places |
//! | read buffers | one a thread, and those that are shared until it flushes | nothing | when nothing is shared |
//! | `BucketTable` (rates, failures, known addresses) | `MAX_TRACKED_ADDRESSES` each | nothing | half are forgotten at a time |
//! | `ConnectionLimiter::open` | connections | `maxConnections` | below an eighth |
//! | requests to verify | `MAX_QUEUED_VERIFICATIONS`, `MAX_QUEUED_VERIFICATION_BYTES` | nothing | when answered or evicted |
//! | events | `maxQueuedEvents`; a text has at most 200 characters, a reason 123 bytes | nothing | when taken |
//! | pages of the store's file in memory | `STORE_CACHE_BYTES`, or one transaction | nothing | when the store is closed |
//! | the log beside the store's file, on disk | `STORE_LOG_PAGES` and one transaction, unless another program reads for long | nothing | to `STORE_LOG_BYTES`, when it was copied into the file |
//! | `Metrics::tables` | codes, which are fixed; close codes of the application's own | nothing | never |
mod fixed;

use std::time::Duration;

/// The description of one configurable limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its name in the JavaScript options.
    pub name: &'static str,
    /// What it counts: `bytes`, `milliseconds`, or a plural noun.
    pub unit: &'static str,
    /// The default value.
    pub default: u64,
    /// The smallest allowed value.
    pub min: u64,
    /// The largest allowed value.
    pub max: u64,
}

impl Limit {
    /// Checks a value.
    ///
    /// # Errors
    /// [`LimitError::OutOfRange`] if the value is not between `min` and `max`.
    pub fn check(&self, value: u64) -> Result<(), LimitError> {
        let Self { name, unit, min, max, .. } = *self;
        match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(LimitError::OutOfRange { name, unit, min, max, value }),
        }
    }
}

/// The type of a limit in [`Limits`], converted from and to the number in the options.
trait LimitValue {
    fn from_number(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl LimitValue for usize {
    fn from_number(number: u64) -> Self {
        usize::try_from(number).unwrap_or(usize::MAX)
    }
    fn number(&self) -> u64 {
        *self as u64
    }
}

impl LimitValue for Duration {
    fn from_number(number: u64) -> Self {
        Duration::from_millis(number)
    }
    fn number(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, $min:literal..=$max:expr, $name:literal $unit:literal;)*) => {
        /// The relay's limits: configurable ones as fields, fixed ones as constants.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $($(#[$doc])* pub $field: $type,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: LimitValue::from_number($default),)* }
            }
        }

        impl Limits {
            /// The configurable limits, in the order of the documentation.
            pub const TABLE: &[Limit] =
                &[$(Limit { name: $name, unit: $unit, default: $default, min: $min, max: $max },)*];

            /// Sets a limit by its name in the JavaScript options.
            ///
            /// # Errors
            /// [`LimitError`] if there is no such limit, or `value` is out of its range.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $($name => self.$field = LimitValue::from_number(value),)*
                    _ => return Err(LimitError::Unknown { name: name.to_owned() }),
                }
                self.validate()
            }

            /// Checks all limits.
            ///
            /// # Errors
            /// [`LimitError`] for the first limit that is out of its range.
            pub fn validate(&self) -> Result<(), LimitError> {
                $(Limit { name: $name, unit: $unit, default: $default, min: $min, max: $max }
                    .check(self.$field.number())?;)*
                Ok(())
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The longest time in milliseconds that a timer of Node takes.
const MAX_MILLISECONDS: u64 = (1 << 31) - 1;

limits! {
    /// The largest message, in bytes of its JSON string as received. A frame may be longer by
    /// [`Limits::ENVELOPE_BYTES`]; a longer one closes the connection (1009) before it is buffered.
    max_payload: usize = MIB, 1..=256 * MIB, "maxPayload" "bytes";
    /// The largest frame of a connection that has not authenticated.
    max_unauthenticated_payload: usize = 16 * KIB, 128..=256 * MIB, "maxUnauthenticatedPayload" "bytes";
    /// How long a connection may take to authenticate after the upgrade (4000 after it).
    auth_timeout: Duration = 10_000, 1..=MAX_MILLISECONDS, "authTimeout" "milliseconds";
    /// How long the TLS handshake and the HTTP head of a connection may take together.
    headers_timeout: Duration = 5_000, 1..=MAX_MILLISECONDS, "headersTimeout" "milliseconds";
    /// The largest HTTP head of a connection to the port (431 above it). It is kept only until it is complete.
    max_header_size: usize = 16 * KIB, 1024..=MIB, "maxHeaderSize" "bytes";
    /// How long a message may take to arrive in full (4002 after it). Checked with the heartbeats.
    message_timeout: Duration = 120_000, 1..=MAX_MILLISECONDS, "messageTimeout" "milliseconds";
    /// Offences after which a connection is closed (4504).
    max_offences: usize = 10, 1..=1_000_000, "maxOffences" "offences";
    /// Messages that wait in one lane, which is from one sender to one recipient.
    max_queued_messages: usize = 10_000, 1..=10_000_000, "maxQueuedMessages" "messages";
    /// Bytes of messages that wait in one lane. An empty lane takes one message of any size.
    max_queued_bytes: usize = 4 * MIB, 1..=4096 * MIB, "maxQueuedBytes" "bytes";
    /// Bytes that wait for one recipient, including [`Limits::MESSAGE_OVERHEAD`] per message and
    /// [`Limits::LANE_OVERHEAD`] per sender. An empty mailbox takes one message of any size.
    max_mailbox_bytes: usize = 64 * MIB, 1..=65_536 * MIB, "maxMailboxBytes" "bytes";
    /// Bytes that wait for all recipients together, overhead included. Messages to recipients that are away, or do not keep
    /// up, may take all but [`Limits::READERS_SHARE`].
    max_total_bytes: usize = 512 * MIB, 1..=1_048_576 * MIB, "maxTotalBytes" "bytes";
    /// Channels that one client may open by sending, if all channels are allowed. Each takes some 300 bytes while both
    /// clients are registered. Above the limit, a message to a new target is refused as without a channel.
    max_opened_channels: usize = 10_000, 1..=10_000_000, "maxOpenedChannels" "channels";
    /// How long a message may wait in its lane before it is dropped; 0 for ever. A message in flight is not dropped.
    message_ttl: Duration = 0, 0..=MAX_MILLISECONDS, "messageTtl" "milliseconds";
    /// Messages of one lane that are in flight to a reliable client; the others wait in the lane.
    max_in_flight_messages: usize = 256, 1..=10_000_000, "maxInFlightMessages" "messages";
    /// Bytes of one lane that are in flight to a reliable client; one message may exceed it.
    max_in_flight_bytes: usize = MIB, 1..=4096 * MIB, "maxInFlightBytes" "bytes";
    /// How long the message of a plain client is held when the lane is full and the recipient connected, before it is
    /// refused.
    hold_timeout: Duration = 20_000, 1..=MAX_MILLISECONDS, "holdTimeout" "milliseconds";
    /// The pause between two heartbeats, each of which takes [`Limits::ping_timeout`].
    ping_interval: Duration = 25_000, 1..=MAX_MILLISECONDS, "pingInterval" "milliseconds";
    /// How long the answer to a heartbeat may take (4001 after it).
    ping_timeout: Duration = 20_000, 1..=MAX_MILLISECONDS, "pingTimeout" "milliseconds";
    /// Open connections, including those that have not authenticated (1013 above it).
    max_connections: usize = 100_000, 1..=10_000_000, "maxConnections" "connections";
    /// Open connections from one address, or one IPv6 /64; 0 for any number (429 above it).
    max_connections_per_address: usize = 0, 0..=10_000_000, "maxConnectionsPerAddress" "connections";
    /// New connections from one address per second; 0 for any number (429 above it).
    connection_rate: usize = 0, 0..=1_000_000, "connectionRate" "connections";
    /// New connections from one address that may come at once; 0 for as many as in a second.
    connection_burst: usize = 0, 0..=1_000_000, "connectionBurst" "connections";
    /// Messages from one client per second; 0 for any number.
    rate_limit: usize = 0, 0..=1_000_000, "rateLimit" "messages";
    /// Messages from one client that may come at once; 0 for as many as in a second.
    rate_limit_burst: usize = 0, 0..=1_000_000, "rateLimitBurst" "messages";
    /// Failed authentications per minute from one address, after which its tokens are not checked; 0 for any number.
    max_auth_failures_per_address: usize = 0, 0..=1_000_000, "maxAuthFailuresPerAddress" "failures";
    /// Failed authentications per minute of one id, after which its tokens are not checked for addresses that have failed;
    /// 0 for any number.
    max_auth_failures_per_client: usize = 0, 0..=1_000_000, "maxAuthFailuresPerClient" "failures";
    /// How long a closing connection may take to answer, and with it how long `close()` may take.
    close_timeout: Duration = 5_000, 1..=MAX_MILLISECONDS, "closeTimeout" "milliseconds";
    /// Bytes that are moved to one connection's outbox at a time; one message may exceed it. Those that its socket does
    /// not take at once count against `max_total_bytes`.
    max_write_ahead: usize = 256 * KIB, 1..=256 * MIB, "maxWriteAhead" "bytes";
    /// Events that wait for a busy JavaScript thread; clients' offences may use half of it. A quarter as many wait beside
    /// them for which the application has no listener yet.
    max_queued_events: usize = 65_536, 16..=16_777_216, "maxQueuedEvents" "events";
}

/// An error of setting a limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No limit has this name.
    #[error("there is no limit named {name}")]
    Unknown {
        /// The unknown name.
        name: String,
    },
    /// The value is out of the limit's range.
    #[error("{name} must be between {min} and {max} {unit}, and is {value}")]
    OutOfRange {
        /// The limit.
        name: &'static str,
        /// Its unit.
        unit: &'static str,
        /// The smallest allowed value.
        min: u64,
        /// The largest allowed value.
        max: u64,
        /// The rejected value.
        value: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_defaults_and_ends_of_ranges_only() {
        Limits::default().validate().expect("valid defaults");
        for limit in Limits::TABLE {
            let mut limits = Limits::default();
            limits.set(limit.name, limit.default).expect("the default");
            assert_eq!(limits, Limits::default(), "{}", limit.name);
            limits.set(limit.name, limit.min).expect("the smallest");
            limits.set(limit.name, limit.max).expect("the largest");
            for value in [limit.min.wrapping_sub(1), limit.max + 1] {
                assert!(limits.set(limit.name, value).is_err(), "{} {value}", limit.name);
            }
        }
        let unknown = Limits::default().set("maxPayloads", 1).expect_err("no such limit");
        assert_eq!(unknown.to_string(), "there is no limit named maxPayloads");
    }
}
