//! The bounds that cannot be configured, each with its unit and the reason for its value.

use std::time::Duration;

use super::{Limit, Limits};

impl Limits {
    // What a frame and a message cost.

    /// Bytes that a frame may hold beside its message: enough for the members of a relay frame and some white space.
    pub const ENVELOPE_BYTES: usize = 1024;
    /// Levels to which a frame's JSON may be nested. A frame of the protocol has two.
    pub const MAX_JSON_DEPTH: usize = 128;
    /// Bytes that a queued message counts beside its own.
    pub const MESSAGE_OVERHEAD: usize = 64;
    /// Bytes that a lane with messages counts beside them. The first message allocates a lane, a chunk, a list of chunks
    /// and entries in the tables of senders: without this, many lanes of one short message each would take seven times
    /// what they count.
    pub const LANE_OVERHEAD: usize = 320;
    /// The share (one part in this many) of `max_total_bytes` that is reserved for recipients that are connected and
    /// keep up: those that are away must not fill the relay for all.
    pub const READERS_SHARE: usize = 8;

    // Who may connect.

    /// Connections above `max_connections` that are kept long enough to be sent their rejection. Others are dropped.
    pub const MAX_REJECTED_CONNECTIONS: usize = 64;
    /// Addresses whose connections and failures are counted, and likewise clients. From half of it on, new IPv6 addresses
    /// are counted by their /48; above it, the least recently used half is forgotten.
    pub const MAX_TRACKED_ADDRESSES: usize = 65_536;
    /// Requests that wait for `verifyClient`. Above it, the oldest request of the address with the most gets a 503.
    pub const MAX_QUEUED_VERIFICATIONS: usize = 1024;
    /// Bytes of these requests, [`Limits::VERIFICATION_OVERHEAD`] for each included. Above it, likewise.
    pub const MAX_QUEUED_VERIFICATION_BYTES: usize = 8 * 1024 * 1024;
    /// Bytes that a waiting request counts beside its head.
    pub const VERIFICATION_OVERHEAD: usize = 1024;
    /// Requests that `verifyClient` was called for and has not answered. One address may have as many as are still free,
    /// which is at most half; its others wait.
    pub const MAX_PENDING_VERIFICATIONS: usize = 2048;
    /// Verifications that JavaScript has not finished, including those of clients that have gone. Above it requests wait in
    /// their queue.
    pub const MAX_UNANSWERED_VERIFICATIONS: u32 = 8192;
    /// Bytes that a client may send after its request while that is being decided. They have to be read, for only reading
    /// shows that the client has gone; a client that sends more is disconnected.
    pub const MAX_EARLY_BYTES: usize = 16 * 1024;

    /// Clients that are registered in one call. Each takes some 0.5 µs; the thread of JavaScript waits for them.
    pub const MAX_REGISTERED_AT_ONCE: Limit =
        Limit { name: "count", unit: "clients", default: 1, min: 1, max: 100_000 };

    // Offences.

    /// Messages of a reliable client to targets without a channel that count as one offence: it may have sent many before
    /// it could know.
    pub const REFUSALS_PER_OFFENCE: usize = 10;
    /// Offences of one client, over all of its connections, that become events at once; or [`Limits::max_offences`], if
    /// that is more.
    pub const OFFENCE_EVENT_BURST: usize = 100;
    /// Time after which one more of a client's offences becomes an event.
    pub const OFFENCE_EVENT_INTERVAL: Duration = Duration::from_secs(1);
    /// Targets to which one connection's messages may be rejected at a time, before it is closed (4504).
    pub const MAX_REFUSED_CHANNELS: usize = 10_000;

    // The store.

    /// Time that a message to a connected client has to be received, before it is stored. It is stored within twice as long.
    /// A received message may stay in the store as much longer.
    pub const COMMIT_DELAY: Duration = Duration::from_millis(100);
    /// Bytes of messages that are stored in one commit; one message may exceed it.
    pub const MAX_COMMIT_BYTES: usize = 4 * 1024 * 1024;
    /// Channels that are stored in one commit, and about 4,000 more: `registerRelayChannels` waits for as many commits as it
    /// needs.
    pub const MAX_COMMIT_CHANNELS: usize = 200_000;
    /// Time after which a full disk is tried again.
    pub const STORE_RETRY: Duration = Duration::from_secs(1);

    // What a client is told.

    /// Replaced sessions of a client that are remembered, to keep them out, and to recognise the repeated messages of one
    /// that comes back.
    pub const MAX_REPLACED_SESSIONS: usize = 8;
    /// Time after which a sender is told what was accepted, if nothing else is written to it before; twice as long while
    /// it goes on sending.
    pub const ACCEPT_DELAY: Duration = Duration::from_millis(10);
    /// Targets of one sender with messages to report as accepted, from which on they are reported at once: the list is
    /// searched linearly.
    pub const ACCEPT_BATCH: usize = 32;
    /// Notices of expired messages that are sent again on a client's next connection, unless it has answered a heartbeat
    /// since they were sent. Older ones are dropped.
    pub const MAX_UNACKNOWLEDGED_NOTICES: usize = 1024;
    /// Notices of expired messages that have not been sent to a client yet. From then on its messages are held (`hold`), so
    /// that a client that sends and does not read adds no more than the messages that wait already.
    pub const MAX_UNSENT_NOTICES: usize = 1024;
    /// Bytes that such a notice counts against `max_total_bytes` until its client is known to have it. The expired message
    /// has counted more.
    pub const NOTICE_OVERHEAD: usize = 64;
    /// Such notices per client that count nothing: a connected client that reads costs as much.
    pub const FREE_NOTICES: usize = 64;
    /// Bytes of replies to a client's frames that have found no room in its outbox. From then on it is not read from.
    pub const MAX_REPLY_BYTES: usize = 16 * 1024;
    /// Time after which a held sender tries again: a plain one also when it learns that there is room, a reliable one
    /// because its `hold` says so.
    pub const HOLD_RETRY: Duration = Duration::from_millis(250);

    // Reading and writing.

    /// Bytes that wait on a bridge in either direction, beside those that the socket behind it holds.
    pub const BRIDGE_BYTES: usize = 64 * 1024;
    /// Frames of one connection that are decoded in a short turn, empty ones and fragments included. A connection that
    /// brings more waits in line from then on, until it brings less. See [`wire::turn`](crate::wire::turn).
    pub const SHORT_TURN_FRAMES: usize = 64;
    /// Bytes of one connection that are read in a short turn; likewise.
    pub const SHORT_TURN_BYTES: usize = 32 * 1024;
    /// Frames that are decoded in the turn of a connection that waited in line.
    pub const TURN_FRAMES: usize = 256;
    /// Bytes that are read in the turn of a connection that waited in line; at least one read.
    pub const TURN_BYTES: usize = 144 * 1024;
    /// Bytes that are read and discarded after an HTTP response or a close frame. Closing with bytes unread would reset the
    /// connection, and the client, which may have sent this much before it reads, would miss the response. A client that
    /// sends more is disconnected.
    pub const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
    /// Bytes that TLS encrypts before the socket has taken them.
    pub const TLS_WRITE_AHEAD: usize = 16 * 1024;

    // Closing and recovering.

    /// Bytes that a closing connection may have left to write although `max_total_bytes` has no room for them. A
    /// connection with more is cut.
    pub const MAX_UNCOUNTED_CLOSE_BYTES: usize = 16 * 1024;
    /// Time that closing waits for connections that have been cut.
    pub const CUT_GRACE: Duration = Duration::from_millis(250);
    /// Pause after a panic before a task that the whole relay needs is restarted.
    pub const RESTART_PAUSE: Duration = Duration::from_millis(100);
    /// Pause of accepting when the system is out of descriptors or memory.
    pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

    // The store on disk.

    /// Pages of the log from which on it is copied into the file. Fewer means more syncs, more means a larger file beside it.
    pub const STORE_LOG_PAGES: usize = 1000;
    /// Bytes to which the log is cut after it was longer: what it has while it is copied in time. It keeps those, so that a
    /// full disk has room for records that make room.
    pub const STORE_LOG_BYTES: usize = 8 * 1024 * 1024;
    /// Bytes by which the file grows at a time.
    pub const STORE_GROWTH: usize = 64 * 1024;
    /// Bytes of the file that are kept in memory.
    pub const STORE_CACHE_BYTES: usize = 8 * 1024 * 1024;
    /// Time for which another program may keep the file locked. Then the store fails.
    pub const STORE_BUSY_TIMEOUT: Duration = Duration::from_secs(30);
}
