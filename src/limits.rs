//! Every bound of the relay, in one struct: name, unit, default and range.

use std::time::Duration;

/// One bound, as the documentation and the binding need it.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its name in the JavaScript options.
    pub name: &'static str,
    /// What it counts: `bytes`, `milliseconds`, or a plural noun.
    pub unit: &'static str,
    /// The value where none is given.
    pub default: u64,
    /// The smallest value taken.
    pub min: u64,
    /// The largest value taken.
    pub max: u64,
}

impl Limit {
    /// Checks a value.
    ///
    /// # Errors
    /// [`LimitError::OutOfRange`].
    pub fn check(&self, value: u64) -> Result<(), LimitError> {
        let Self { name, unit, min, max, .. } = *self;
        match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(LimitError::OutOfRange { name, unit, min, max, value }),
        }
    }
}

/// How a bound is held in [`Limits`] and given in options.
trait Bound {
    fn from_number(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Bound for usize {
    fn from_number(number: u64) -> Self {
        usize::try_from(number).unwrap_or(usize::MAX)
    }
    fn number(&self) -> u64 {
        *self as u64
    }
}

impl Bound for Duration {
    fn from_number(number: u64) -> Self {
        Duration::from_millis(number)
    }
    fn number(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $bound:ty = $default:expr, $min:literal..=$max:expr, $name:literal $unit:literal;)*) => {
        /// Every bound of the relay.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $($(#[$doc])* pub $field: $bound,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: Bound::from_number($default),)* }
            }
        }

        impl Limits {
            /// All bounds, in the order of the documentation.
            pub const TABLE: &[Limit] =
                &[$(Limit { name: $name, unit: $unit, default: $default, min: $min, max: $max },)*];

            /// Sets a bound by its name in the JavaScript options.
            ///
            /// # Errors
            /// [`LimitError`] when there is no such bound or `value` is outside its range.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $($name => self.$field = Bound::from_number(value),)*
                    _ => return Err(LimitError::Unknown { name: name.to_owned() }),
                }
                self.validate()
            }

            /// # Errors
            /// [`LimitError`] for the first bound that is outside its range.
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
/// The longest wait a timer takes in Node: 2^31 − 1 ms.
const LONGEST: u64 = (1 << 31) - 1;

limits! {
    /// The largest message, in bytes of its JSON string as it came. A frame may be longer by
    /// [`Limits::ENVELOPE`]; above that it closes the connection with 1009 before it is buffered.
    max_payload: usize = MIB, 1..=256 * MIB, "maxPayload" "bytes";
    /// The largest frame from a connection that has not authenticated.
    max_unauthenticated_payload: usize = 16 * KIB, 128..=256 * MIB, "maxUnauthenticatedPayload" "bytes";
    /// How long a connection may take to authenticate, from the upgrade on (4000).
    auth_timeout: Duration = 10_000, 1..=LONGEST, "authTimeout" "milliseconds";
    /// How long the HTTP head of a connection may take, a TLS handshake included.
    headers_timeout: Duration = 5_000, 1..=LONGEST, "headersTimeout" "milliseconds";
    /// The largest HTTP head of a connection to the port (431 above it). It is kept only while it comes in.
    max_header_size: usize = 16 * KIB, 1024..=MIB, "maxHeaderSize" "bytes";
    /// How long a message that has begun may take, as the heartbeats find it (4002).
    message_timeout: Duration = 120_000, 1..=LONGEST, "messageTimeout" "milliseconds";
    /// The offence that closes a connection (4504), counted from 1.
    max_offences: usize = 10, 1..=1_000_000, "maxOffences" "offences";
    /// Messages that wait in one lane, that is from one sender for one recipient.
    max_queued_messages: usize = 10_000, 1..=10_000_000, "maxQueuedMessages" "messages";
    /// Bytes of messages that wait in one lane. An empty lane takes one message of any size.
    max_queued_bytes: usize = 4 * MIB, 1..=4096 * MIB, "maxQueuedBytes" "bytes";
    /// Bytes that wait for one recipient, [`Limits::MESSAGE_OVERHEAD`] for each message and [`Limits::LANE_OVERHEAD`] for
    /// each sender included. An empty mailbox takes one message of any size.
    max_mailbox_bytes: usize = 64 * MIB, 1..=65_536 * MIB, "maxMailboxBytes" "bytes";
    /// Bytes that wait for all recipients together, overhead included. Recipients that are away, or do not keep up, may
    /// have all but [`Limits::READERS_SHARE`].
    max_total_bytes: usize = 512 * MIB, 1..=1_048_576 * MIB, "maxTotalBytes" "bytes";
    /// Channels that one client may open by sending, where it may without registration. Each takes some 300 bytes for as
    /// long as both clients are registered. Above it no channel counts as registered.
    max_opened_channels: usize = 10_000, 1..=10_000_000, "maxOpenedChannels" "channels";
    /// How long a message may wait in its lane before it is dropped, unless it is on its way then; 0 for ever.
    message_ttl: Duration = 0, 0..=LONGEST, "messageTtl" "milliseconds";
    /// Messages of one lane that are on their way to a recipient that acknowledges; the rest waits in the lane.
    max_in_flight_messages: usize = 256, 1..=10_000_000, "maxInFlightMessages" "messages";
    /// Bytes of one lane that are on their way to a recipient that acknowledges; one message may exceed it.
    max_in_flight_bytes: usize = MIB, 1..=4096 * MIB, "maxInFlightBytes" "bytes";
    /// How long a plain sender is held back by a full lane of a connected recipient before its message is refused.
    hold_timeout: Duration = 20_000, 1..=LONGEST, "holdTimeout" "milliseconds";
    /// The time between two heartbeats.
    ping_interval: Duration = 25_000, 1..=LONGEST, "pingInterval" "milliseconds";
    /// How long the answer to a heartbeat may take (4001).
    ping_timeout: Duration = 20_000, 1..=LONGEST, "pingTimeout" "milliseconds";
    /// Connections at one time, those that have not authenticated included (1013 above it).
    max_connections: usize = 100_000, 1..=10_000_000, "maxConnections" "connections";
    /// Connections from one address at one time, an IPv6 one with its /64; 0 for any number (429 above it).
    max_connections_per_address: usize = 0, 0..=10_000_000, "maxConnectionsPerAddress" "connections";
    /// New connections from one address in a second; 0 for any number (429 above it).
    connection_rate: usize = 0, 0..=1_000_000, "connectionRate" "connections";
    /// New connections from one address that may come at once; 0 for as many as in a second.
    connection_burst: usize = 0, 0..=1_000_000, "connectionBurst" "connections";
    /// Messages from one client in a second; 0 for any number.
    rate_limit: usize = 0, 0..=1_000_000, "rateLimit" "messages";
    /// Messages from one client that may come at once; 0 for as many as in a second.
    rate_limit_burst: usize = 0, 0..=1_000_000, "rateLimitBurst" "messages";
    /// Authentications from one address that may fail in a minute, before it is not listened to; 0 for any number.
    max_auth_failures_per_address: usize = 0, 0..=1_000_000, "maxAuthFailuresPerAddress" "failures";
    /// Authentications of one id that may fail in a minute, before addresses that failed are not listened to about it; 0 for
    /// any number.
    max_auth_failures_per_client: usize = 0, 0..=1_000_000, "maxAuthFailuresPerClient" "failures";
    /// How long a connection that is being closed may take to answer, and so how long `close()` may take.
    close_timeout: Duration = 5_000, 1..=LONGEST, "closeTimeout" "milliseconds";
    /// What is written to one connection at a time; one message may exceed it. What its socket does not take at once
    /// counts against `max_total_bytes`.
    max_write_ahead: usize = 256 * KIB, 1..=256 * MIB, "maxWriteAhead" "bytes";
    /// Events that wait for a busy JavaScript thread; errors of clients may use half of it. A quarter as many wait besides
    /// that nobody listens for yet.
    max_queued_events: usize = 65_536, 16..=16_777_216, "maxQueuedEvents" "events";
}

impl Limits {
    /// What a frame may hold beside its message.
    pub const ENVELOPE: usize = 1024;
    /// How deeply the JSON of a frame may nest.
    pub const MAX_NESTING: usize = 128;
    /// What a queued message is taken to cost beside its own bytes.
    pub const MESSAGE_OVERHEAD: usize = 64;
    /// What a lane with messages is taken to cost beside them. A first message takes a lane, a chunk and a list of chunks,
    /// and places in the tables of who may send: many lanes of one short message each would else take seven times what
    /// they count.
    pub const LANE_OVERHEAD: usize = 320;
    /// One part in so many of `max_total_bytes` is kept for recipients that are there and have read what there was.
    pub const READERS_SHARE: usize = 8;
    /// Connections above `max_connections` that are kept long enough to be told so; others are dropped.
    pub const MAX_REJECTED_CONNECTIONS: usize = 64;
    /// Addresses of which it is remembered how often they came or failed, beside what is remembered of each client. When there
    /// are half as many, new IPv6 ones are counted by their /48; when there are more, others begin anew.
    pub const MAX_TRACKED_ADDRESSES: usize = 65_536;
    /// Messages of a client with reliable delivery to channels that are not registered which count as one offence.
    pub const REFUSALS_PER_OFFENCE: usize = 10;
    /// Mistakes of one client, on all of its connections, that are told at once, each as an event; or
    /// [`Limits::max_offences`], where that is more.
    pub const OFFENCE_EVENT_BURST: usize = 100;
    /// The time in which one more of them is told.
    pub const OFFENCE_EVENT_INTERVAL: Duration = Duration::from_secs(1);
    /// Requests that wait until JavaScript is asked whether they may come in. Above it the oldest of the address that has
    /// the most gets a 503.
    pub const MAX_QUEUED_VERIFICATIONS: usize = 1024;
    /// Bytes of the requests that wait, [`Limits::VERIFICATION_OVERHEAD`] for each included, likewise.
    pub const MAX_QUEUED_VERIFICATION_BYTES: usize = 8 * 1024 * 1024;
    /// What a waiting request is taken to cost beside its head, in bytes.
    pub const VERIFICATION_OVERHEAD: usize = 1024;
    /// Requests that JavaScript was asked about and has not answered. One address may have as many as are still free, and
    /// so at most half; the others wait.
    pub const MAX_PENDING_VERIFICATIONS: usize = 2048;
    /// Verifications that JavaScript has not finished, including those of clients that have gone. Above it requests wait in
    /// their queue.
    pub const MAX_UNANSWERED_VERIFICATIONS: u32 = 8192;
    /// Bytes that a client may send behind its request before that is decided about. One that sends more is cut off, for
    /// only by reading can it be known that it has gone.
    pub const MAX_EARLY_BYTES: usize = 16 * 1024;
    /// Sessions of a client that were replaced and that are remembered: to be kept away, and to take nothing twice from
    /// one that comes back when it has been forgotten here.
    pub const REPLACED_SESSIONS: usize = 8;
    /// How long it may take until a sender is told what was accepted, where nothing else is told it before; twice as long
    /// while it goes on sending.
    pub const ACCEPT_DELAY: Duration = Duration::from_millis(10);
    /// Targets of one sender after which it is told at once, for they are searched one by one.
    pub const ACCEPT_BATCH: usize = 32;
    /// Notices of expired messages that a client is told again on its next connection, unless it has answered a heartbeat
    /// since it was told.
    pub const MAX_UNANSWERED: usize = 1024;
    /// Notices of expired messages that a client has not been told. From then on its messages are held (`hold`), so that a
    /// client that sends and does not read adds no more than what waits already.
    pub const MAX_UNTOLD: usize = 1024;
    /// What a notice of expired messages counts against `max_total_bytes` until its client is known to have heard of it. A
    /// message that expires has counted more.
    pub const NOTICE_OVERHEAD: usize = 64;
    /// Such notices of each client that count nothing: no more than a client costs that is there and reads.
    pub const FREE_NOTICES: usize = 64;
    /// Bytes of answers to one client's frames that have found no room in its outbox; then it is not read from.
    pub const MAX_ANSWERS: usize = 16 * 1024;
    /// Bytes that a connection may have left to write when it is being closed, though there is no room for them in
    /// `max_total_bytes`. With more it is cut.
    pub const SHORT_FAREWELL: usize = 16 * 1024;
    /// Channels of one connection that may be refused at one time before it is closed (4504).
    pub const MAX_REFUSING: usize = 10_000;
    /// When a sender that is held back tries again: a plain one beside being told that there is room, one that
    /// acknowledges because it is told so.
    pub const HOLD_RETRY: Duration = Duration::from_millis(250);
    /// What waits on a bridge in either direction, beside what the other side's socket holds.
    pub const BRIDGE_BYTES: usize = 64 * 1024;
    /// Frames of one connection that are decoded at one time, empty ones and parts of messages too. Who brings more waits in
    /// line from then on, until it brings less.
    pub const SHORT_TURN_FRAMES: usize = 64;
    /// Bytes of one connection that are read at one time, likewise.
    pub const SHORT_TURN_BYTES: usize = 32 * 1024;
    /// Frames that are decoded of one that waits in line, when its turn comes. After two such turns the thread looks who
    /// else has something to say: they go first.
    pub const TURN_FRAMES: usize = 256;
    /// Bytes that are read of it then; at least a read.
    pub const TURN_BYTES: usize = 144 * 1024;
    /// Bytes that are read and discarded behind an HTTP answer or a close frame, so that the client gets that and no reset:
    /// it may have sent so much before it reads. A client that sends more is cut off.
    pub const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
    /// Bytes that TLS encrypts ahead of what the socket has taken.
    pub const TLS_WRITE_AHEAD: usize = 16 * 1024;
    /// How long closing waits for connections that have been cut.
    pub const CUT_GRACE: Duration = Duration::from_millis(250);
    /// How long a task that all need pauses after a panic.
    pub const RESTART_PAUSE: Duration = Duration::from_millis(100);
    /// How long accepting pauses when the system has no descriptor or memory left.
    pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
}

/// Why a bound was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No bound has this name.
    #[error("there is no limit named {name}")]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The value is outside the bound's range.
    #[error("{name} must be between {min} and {max} {unit}, and is {value}")]
    OutOfRange {
        /// The bound.
        name: &'static str,
        /// Its unit.
        unit: &'static str,
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
        /// The value that was given.
        value: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_each_bound_can_be_set_to_its_ends_only() {
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
