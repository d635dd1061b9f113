//! The relay as a whole: the Rust API, and the only module that assembles the parts.
//!
//! # Threads
//!
//! The first thread accepts connections. Each connection stays on the thread that had the fewest connections when it was
//! accepted, so with more than one thread two sessions may use the same client's mailbox at once. The mailbox's lock
//! orders them and their events. A thread holds one such lock at a time, which debug builds check. A sender's
//! thread writes to the recipient's socket itself and needs no other thread, unless the socket is full.
//! `WEBSOCKET_RELAY_TEST_THREADS=4 cargo test --no-default-features` runs the Rust tests on four threads.
//!
//! # Panics
//!
//! A panic ends the task it happens in. If that task is a connection, the connection ends; the panic is counted and
//! emitted as [`Event::Panicked`](crate::Event::Panicked), and messages the task had already appended are still written.
//! A panic under a mailbox's lock wakes the mailbox's own session, so that it continues. Tasks that the whole relay
//! depends on are restarted (`restart_on_panic`). Bytes reserved from the total bound are given back.
//!
//! For closing and draining see `lifecycle`, for events on their way out see `event_dispatch`.

mod adoption;
mod clients;
mod event_dispatch;
mod lifecycle;
mod maintenance;
mod options;
mod store;
mod task;

use std::future::pending;
use std::iter;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::HostAddress;
use crate::error::{Error, StoreError, TlsError};
use crate::events::{self, EventReceiver, Interest};
use crate::listener::{Acceptor, TlsAcceptor};
pub use crate::listener::{Credentials, Rules, Script, Site, Verdict, Verifier, VerifyRequest};
use crate::metrics::Rejection;
use crate::session::Shared;

pub use adoption::AcceptedUpgrade;
pub use clients::Stats;
pub use options::{Address, Options};
use store::StoreThread;

/// A relay server.
///
/// It runs on threads of its own. Dropping it ends every connection at once; [`Relay::close`] and [`Relay::drain`] end
/// them with close frames first.
#[derive(Debug)]
pub struct Relay {
    context: Arc<Shared>,
    acceptor: Arc<Acceptor>,
    /// Stops the threads without waiting for connections.
    abort: CancellationToken,
    /// The thread of the store, if it is on disk.
    store: StoreThread,
    /// The tasks that hand events over.
    dispatchers: TaskTracker,
    /// Tells the first thread where to listen.
    start: Option<oneshot::Sender<Address>>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Creates a relay that takes registrations but does not listen yet, and the receiver of its events.
    ///
    /// # Errors
    /// [`Error::Limit`] for an option out of range, [`Error::Tls`], or [`Error::System`] if the system has no thread,
    /// descriptor or randomness left.
    pub fn new(options: Options) -> Result<(Self, EventReceiver), Error> {
        let Options { authorize_all_channels, threads, limits, site, credentials, rules, store } = options;
        Options::THREADS.check(threads as u64)?;
        limits.validate()?;
        let tls = credentials.as_ref().map(TlsAcceptor::new).transpose()?;
        let (events, receiver) = events::channel(limits.max_queued_events);
        let (hub, database) = store::open(&limits, authorize_all_channels, store.as_ref())?;
        let context = Arc::new(Shared::new(limits, hub, events));
        let store = StoreThread::start(&context, database)?;
        let (abort, dispatchers) = (CancellationToken::new(), TaskTracker::new());
        let runtime = || Builder::new_current_thread().enable_all().build().map_err(Error::System);
        let (first, others) = (runtime()?, (1..threads).map(|_| runtime()).collect::<Result<Vec<_>, _>>()?);
        let handles = iter::once(&first).chain(&others).map(|runtime| runtime.handle().clone()).collect();
        let (start, started) = oneshot::channel();
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&context), handles, site, tls, rules));
        let main = lifecycle::run(Arc::clone(&context), Arc::clone(&acceptor), started, dispatchers.clone());
        // From here on, dropping it stops the threads that have started, should the next one fail to start.
        let mut relay =
            Self { context, acceptor, abort, dispatchers, store, start: Some(start), threads: Vec::new() };
        relay.spawn_thread(first, main)?;
        for runtime in others {
            // The first thread spawns connections on it.
            relay.spawn_thread(runtime, pending())?;
        }
        Ok((relay, receiver))
    }

    /// Starts a thread that runs `main`. When `main` returns or panics, all other threads stop too.
    fn spawn_thread(
        &mut self,
        runtime: Runtime,
        main: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let (aborted, abort) = (self.abort.clone().cancelled_owned(), self.abort.clone().drop_guard());
        let thread = std::thread::Builder::new().name("websocket-relay".to_owned()).spawn(move || {
            // Dropped last, and also when the thread panics.
            let _abort = abort;
            lifecycle::run_until(runtime, main, aborted);
        });
        self.threads.push(thread.map_err(Error::System)?);
        Ok(())
    }

    /// Opens the port. [`Event::Listening`](crate::Event::Listening) or
    /// [`Event::ListenFailed`](crate::Event::ListenFailed) follows.
    ///
    /// # Errors
    /// [`Error::NotStartable`] if it was called before.
    pub fn listen(&mut self, address: Address) -> Result<(), Error> {
        let start = self.start.take().ok_or(Error::NotStartable)?;
        start.send(address).map_err(|_| Error::NotStartable)
    }

    /// Returns whether the relay opens WebSockets at this request target.
    pub fn should_handle(&self, target: &str) -> bool {
        self.acceptor.upgrades_at(target)
    }

    /// Returns the client address of a request, and whether the client's connection uses TLS.
    ///
    /// `head` is the HTTP head that another server read from `peer`, over TLS if `is_tls`. Headers of trusted proxies
    /// take precedence. Returns `None` if `head` is not a request.
    pub fn resolve_client(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
        is_tls: bool,
    ) -> Option<(Option<HostAddress>, bool)> {
        self.acceptor.resolve_client(head, peer, is_tls)
    }

    /// Returns the next request to verify. If there is none, [`Verifier`] is called when the next one comes.
    pub fn take_verify_request(&self) -> Option<VerifyRequest> {
        self.acceptor.take_verify_request()
    }

    /// Counts a connection that the application rejected by itself.
    pub fn count_rejection(&self, reason: Rejection) {
        self.context.metrics.connection_rejected(reason);
    }

    /// Replaces the TLS credentials. Open connections keep theirs.
    ///
    /// # Errors
    /// [`Error::Tls`]; the old credentials stay in use.
    pub fn set_credentials(&self, credentials: &Credentials) -> Result<(), Error> {
        let tls = self.acceptor.tls.as_ref().ok_or(TlsError::NotSecure)?;
        Ok(tls.replace(credentials)?)
    }

    /// Returns the event topics that have listeners, for the application to keep up to date.
    ///
    /// Events of other topics are queued too while there is room: a listener may be added before they are delivered.
    pub fn interest(&self) -> &Interest {
        self.context.events.interest()
    }

    /// Closes the port and every connection (1001). [`Event::Closed`](crate::Event::Closed) follows, after
    /// [`Limits::close_timeout`](crate::Limits::close_timeout) at the latest.
    pub fn close(&self) {
        self.context.stop();
        self.cut_after(self.context.limits.close_timeout);
    }

    /// Closes every connection (1012) as soon as its client has received all messages that wait for it, after `timeout` at
    /// the latest, and then the port. [`Event::Closed`](crate::Event::Closed) follows.
    ///
    /// Close reasons ask clients to reconnect after different delays up to `retry_after`. [`Relay::close`] or a shorter
    /// `timeout` ends draining early.
    pub fn drain(&self, timeout: Duration, retry_after: Duration) {
        self.cut_after(timeout);
        self.context.drain(retry_after);
    }

    /// Drops every connection after `timeout`.
    fn cut_after(&self, timeout: Duration) {
        if let Some(thread) = self.acceptor.least_busy_thread() {
            thread.spawn(lifecycle::cut_after(Arc::clone(&self.context), timeout));
        }
    }

    /// Stops the threads, closes the store, and frees all that a closed relay no longer needs: threads, descriptors, callbacks
    /// and queued messages. Clients, channels and counters can still be read.
    ///
    /// # Errors
    /// [`Error::Store`] if the store has failed, now or before.
    pub fn dispose(&mut self) -> Result<(), Error> {
        let closed = self.join_threads();
        // The last reference: the tasks that shared it ended with their threads.
        if let Some(acceptor) = Arc::get_mut(&mut self.acceptor) {
            acceptor.release();
        }
        // Usually none are left; those of a connection that was cut off came back just now.
        maintenance::drop_messages(&self.context);
        Ok(closed?)
    }

    fn join_threads(&mut self) -> Result<(), StoreError> {
        self.context.stop();
        self.abort.cancel();
        // Joined, so that no code of the relay runs after its owner has dropped it.
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
        self.store.close()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // There is nobody to tell.
        self.join_threads().ok();
    }
}
