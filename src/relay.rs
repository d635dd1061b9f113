//! The relay as a whole: the Rust API, and the only place that assembles it.

mod event_dispatch;
mod lifecycle;

use std::future::pending;
use std::io;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::HostAddress;
use crate::backend::{Backend, Registration};
use crate::error::{Error, TlsError};
use crate::events::{self, Event, EventReceiver, Interest};
use crate::ids::ClientId;
use crate::limits::{Limit, Limits};
use crate::listener::{self, Admission, Door, Guest, Handover, Tls};
pub use crate::listener::{Ask, Credentials, Inquiry, Rules, Script, Site, Verdict};
use crate::metrics::TurnedAway;
use crate::session::Shared;
use crate::stream::Connection;

pub use lifecycle::Stats;

/// How a relay behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether clients may talk without a registered channel. Default: no.
    pub authorize_all_channels: bool,
    /// Threads that the connections are spread over, within [`Options::THREADS`]. One moves hundreds of thousands of
    /// messages a second; more help when it is busy all the time and there are cores for them, and cost about 300 KiB of
    /// memory each.
    pub threads: usize,
    /// The bounds.
    pub limits: Limits,
    /// What is found where on the port.
    pub site: Site,
    /// What TLS is spoken with. Without it, none is.
    pub credentials: Option<Credentials>,
    /// Who may come.
    pub rules: Rules,
}

impl Options {
    /// How many threads there may be.
    pub const THREADS: Limit = Limit { name: "threads", unit: "threads", default: 1, min: 1, max: 64 };
}

impl Default for Options {
    fn default() -> Self {
        Self {
            authorize_all_channels: false,
            threads: Self::THREADS.default as usize,
            limits: Limits::default(),
            site: Site::default(),
            credentials: None,
            rules: Rules::default(),
        }
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Address {
    /// The address; all of them where there is none.
    pub ip: Option<HostAddress>,
    /// The port; 0 is a free one.
    pub port: u16,
}

/// A WebSocket request that another server has read and that is to be served.
#[derive(Debug)]
pub struct AcceptedUpgrade {
    answer: Vec<u8>,
    guest: Guest,
    admission: Admission,
    thread: Handle,
}

impl AcceptedUpgrade {
    /// The answer to the request, for whoever has the socket to write it; it is then not written again.
    pub fn take_response(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }
}

/// A relay server. It runs on threads of its own, so that whoever made it may be busy; dropping it ends it at
/// once, [`Relay::close`] does it with good manners.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    door: Arc<Door>,
    /// Ends the threads without waiting for anybody.
    abort: CancellationToken,
    dispatchers: TaskTracker,
    start: Option<oneshot::Sender<Address>>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// A relay that does not listen yet but takes registrations, and what it tells.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Tls`], or [`Error::System`] when the system has no thread, descriptor or randomness to give.
    pub fn new(options: Options) -> Result<(Self, EventReceiver), Error> {
        let Options { authorize_all_channels, threads, limits, site, credentials, rules } = options;
        Options::THREADS.check(threads as u64)?;
        limits.validate()?;
        let tls = credentials.as_ref().map(Tls::new).transpose()?;
        let (events, receiver) = events::channel(limits.max_queued_events);
        let backend = Backend::memory(limits.clone(), authorize_all_channels)?;
        let shared = Arc::new(Shared::new(limits, backend, events));
        let (abort, dispatchers) = (CancellationToken::new(), TaskTracker::new());
        let runtime = || Builder::new_current_thread().enable_all().build().map_err(Error::System);
        let (first, others) = (runtime()?, (1..threads).map(|_| runtime()).collect::<Result<Vec<_>, _>>()?);
        let handles = iter::once(&first).chain(&others).map(|runtime| runtime.handle().clone()).collect();
        let (start, started) = oneshot::channel();
        let door = Arc::new(Door::new(Arc::clone(&shared), handles, site, tls, rules));
        let main = run(Arc::clone(&shared), Arc::clone(&door), started, dispatchers.clone());
        // From here on dropping it ends the threads that there are, should the system refuse the next.
        let mut relay = Self { shared, door, abort, dispatchers, start: Some(start), threads: Vec::new() };
        relay.spawn_thread(first, main)?;
        for runtime in others {
            // Its connections are tasks that the first thread gives it.
            relay.spawn_thread(runtime, pending())?;
        }
        Ok((relay, receiver))
    }

    /// Starts a thread, which ends with `main`, and with it all others.
    fn spawn_thread(
        &mut self,
        runtime: Runtime,
        main: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let (aborted, end) = (self.abort.clone().cancelled_owned(), self.abort.clone().drop_guard());
        let thread = std::thread::Builder::new().name("websocket-relay".to_owned()).spawn(move || {
            // Dropped last, and also when it panics.
            let _end = end;
            drive(runtime, main, aborted);
        });
        self.threads.push(thread.map_err(Error::System)?);
        Ok(())
    }

    /// Opens the port. [`Event::Listening`] or [`Event::ListenFailed`] tells how it went.
    ///
    /// # Errors
    /// [`Error::NotStartable`] when called again.
    pub fn listen(&mut self, address: Address) -> Result<(), Error> {
        let start = self.start.take().ok_or(Error::NotStartable)?;
        start.send(address).map_err(|_| Error::NotStartable)
    }

    /// Whether WebSockets are opened at this target of a request.
    pub fn should_handle(&self, target: &str) -> bool {
        self.door.site.is_at(target)
    }

    /// Whose request this is, as far as proxies are trusted, and whether that client's connection is TLS. Another server has
    /// read it, with this HTTP head, from `peer`, over TLS or not. `None` when it is no request.
    pub fn resolve_client(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
        is_tls: bool,
    ) -> Option<(Option<HostAddress>, bool)> {
        self.door.caller(head, peer, is_tls)
    }

    /// The next request to decide about. `None` when there is none now; then [`Ask`] tells of the next one.
    pub fn take_verify_request(&self) -> Option<Inquiry> {
        self.door.take_verify_request()
    }

    /// Counts a client that was not let in by who made the relay.
    pub fn count_rejection(&self, why: TurnedAway) {
        self.shared.metrics.turned_away(why);
    }

    /// Whether the relay serves the WebSocket request with this HTTP head, which another server has read from `peer`.
    ///
    /// # Errors
    /// What is to be answered instead, before the connection is closed; it may be nothing.
    pub fn accept_upgrade(&self, head: &[u8], peer: Option<HostAddress>) -> Result<AcceptedUpgrade, Vec<u8>> {
        let (answer, guest, admission) = self.door.accept(head, peer)?;
        // Without a thread it has ended, and has refused already.
        let thread = self.door.thread().ok_or_else(Vec::new)?.clone();
        Ok(AcceptedUpgrade { answer, guest, admission, thread })
    }

    /// Answers the request and serves the connection like one that came by the port. `early` came behind the request,
    /// `kept` is dropped when the connection is over.
    pub fn adopt<C, K>(&self, upgrade: AcceptedUpgrade, connection: C, early: Vec<u8>, kept: K)
    where
        C: Connection<Stream: Send> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
        K: Send + 'static,
    {
        let AcceptedUpgrade { answer, guest, admission, thread } = upgrade;
        self.door.adopt(&thread, Handover { connection, answer, early, guest }, admission, kept);
    }

    /// Whether there are connections that were adopted. [`Event::Deserted`] tells when the last one has ended.
    pub fn has_adopted(&self) -> bool {
        self.door.has_adopted()
    }

    /// Does the same with a connection that was taken over by its descriptor; see [`crate::stream::take_over`].
    ///
    /// # Errors
    /// When the system has no room to watch the socket; the connection is closed then.
    pub fn adopt_socket<K>(
        &self,
        upgrade: AcceptedUpgrade,
        socket: std::net::TcpStream,
        early: Vec<u8>,
        kept: K,
    ) -> io::Result<()>
    where
        K: Send + 'static,
    {
        let stream = watch(socket, &upgrade.thread)?;
        self.adopt(upgrade, stream, early, kept);
        Ok(())
    }

    /// Answers the request of a connection that was taken over, and closes it. `kept` is dropped when that is done.
    ///
    /// # Errors
    /// When the system has no room to watch the socket; the connection is closed then.
    pub fn respond_and_close<K>(
        &self,
        socket: std::net::TcpStream,
        answer: Vec<u8>,
        kept: K,
    ) -> io::Result<()>
    where
        K: Send + 'static,
    {
        // Without one the relay has ended, and the connection is closed.
        let Some(thread) = self.door.thread() else { return Ok(()) };
        let stream = watch(socket, thread)?;
        self.door.refuse(thread, stream, answer, kept);
        Ok(())
    }

    /// Greets new connections with other credentials. Those that there are go on.
    ///
    /// # Errors
    /// [`Error::Tls`], and nothing has changed.
    pub fn set_credentials(&self, credentials: &Credentials) -> Result<(), Error> {
        let tls = self.door.tls.as_ref().ok_or(TlsError::NotSecure)?;
        Ok(tls.replace(credentials)?)
    }

    /// Registers a client.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn register_client(&self) -> Result<Registration, Error> {
        self.shared.backend.register(None)
    }

    /// Lets two clients, or one client and itself, talk.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelExists`].
    pub fn register_relay_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        self.shared.backend.authorize_pair(first, second)
    }

    /// The topics of events that somebody listens for, to be kept up to date. An event of another topic comes all the
    /// same, while there is room: whether it is wanted is asked again when it is delivered.
    pub fn interest(&self) -> &Interest {
        self.shared.events.interest()
    }

    /// Closes the port and every connection (1001). [`Event::Closed`] tells when that is done, at the latest after
    /// [`Limits::close_timeout`].
    pub fn close(&self) {
        self.shared.stop();
        self.cut_after(self.shared.limits.close_timeout);
    }

    /// Closes every connection (1012) when its client has what waits for it, at the latest after `timeout`, and the port.
    /// Clients are asked to come back after different times, up to `retry_after`. [`Event::Closed`] tells when that is done.
    /// [`Relay::close`] cuts it short, and so does a `timeout` that is over sooner.
    pub fn drain(&self, timeout: Duration, retry_after: Duration) {
        self.cut_after(timeout);
        self.shared.drain(retry_after);
    }

    /// Whatever a connection is doing then, it does not go on.
    fn cut_after(&self, timeout: Duration) {
        let Some(thread) = self.door.thread() else { return };
        let shared = Arc::clone(&self.shared);
        thread.spawn(async move {
            let cut = || async {
                crate::faults::point("cut");
                tokio::time::sleep(timeout).await;
                shared.cut();
            };
            restart_on_panic(&shared, cut).await;
        });
    }

    /// Ends whatever still runs, and gives back threads, descriptors, what was given to be called, and the memory of
    /// messages. Clients and channels stay registered, and what was counted can still be read.
    pub fn dispose(&mut self) {
        self.join();
        // Nothing else holds it: the tasks are gone with their threads.
        if let Some(door) = Arc::get_mut(&mut self.door) {
            door.retire();
        }
        // Mostly there are none. Those of a connection that had to be cut off came back just now.
        lifecycle::drop_messages(&self.shared);
    }

    fn join(&mut self) {
        self.shared.stop();
        self.abort.cancel();
        // Joined, so that no code of ours runs once the owner believes that it is gone.
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.join();
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns its runtime, and its tasks end with it")]
fn drive(runtime: Runtime, main: impl Future<Output = ()>, aborted: impl Future<Output = ()>) {
    runtime.block_on(async {
        tokio::select! {
            () = main => {}
            () = aborted => {}
        }
    });
}

async fn run(
    shared: Arc<Shared>,
    door: Arc<Door>,
    started: oneshot::Receiver<Address>,
    dispatchers: TaskTracker,
) {
    let mut maintenance = pin!(lifecycle::run_maintenance(&shared));
    let listener = tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        listener = listen(&shared, started) => listener,
        () = &mut maintenance => None,
    };
    if let Some(listener) = &listener {
        tokio::select! {
            // First: whoever comes when it is closing is told so.
            biased;
            () = shared.stop.cancelled() => {}
            () = restart_on_panic(&shared, || door.serve(listener)) => {}
            () = &mut maintenance => {}
        }
    }
    let emptied = async {
        tokio::select! {
            biased;
            () = door.emptied() => {}
            () = shared.cut.cancelled() => {
                // Each ends when it is asked next; this is for one that does not come to that.
                timeout(Limits::CUT_GRACE, door.emptied()).await.ok();
            }
        }
    };
    match &listener {
        // Who asks meanwhile whether the server is well is answered.
        Some(listener) => {
            let refused = Mutex::default();
            tokio::select! {
                biased;
                () = emptied => {}
                () = restart_on_panic(&shared, || door.turn_away(listener, &refused)) => {}
            }
        }
        None => emptied.await,
    }
    drop(listener);
    lifecycle::drop_messages(&shared);
    shared.events.emit_surely(Event::Closed).await;
    dispatchers.close();
    dispatchers.wait().await;
}

/// Runs a task that all need, and again after a panic, which is told.
async fn restart_on_panic<F: Future<Output = ()>>(shared: &Shared, task: impl Fn() -> F) {
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        shared.panicked();
        // Should it panic each time, others have their turn.
        tokio::time::sleep(Limits::RESTART_PAUSE).await;
    }
}

/// Opens the port when it is time. Without one the relay waits to be closed, or is closed when it could not be opened.
async fn listen(shared: &Shared, started: oneshot::Receiver<Address>) -> Option<TcpListener> {
    // An error means that the relay was dropped before it listened.
    let Ok(address) = started.await else { return std::future::pending().await };
    let bound = catch_unwind(|| bind(address)).unwrap_or_else(|_| {
        shared.panicked();
        Err(io::Error::other("a bug of websocket-relay"))
    });
    match bound {
        Ok((listener, address)) => {
            shared.events.emit_surely(Event::Listening(address)).await;
            Some(listener)
        }
        Err(error) => {
            shared.events.emit_surely(Event::ListenFailed(error)).await;
            shared.stop();
            None
        }
    }
}

fn bind(address: Address) -> io::Result<(TcpListener, std::net::SocketAddr)> {
    crate::faults::point("bind");
    let listener = listener::bind(address.ip, address.port)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A socket that `thread` hears from.
fn watch(socket: std::net::TcpStream, thread: &Handle) -> io::Result<TcpStream> {
    let _entered = thread.enter();
    TcpStream::from_std(socket)
}
