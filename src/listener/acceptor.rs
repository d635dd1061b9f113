//! Accepts connections within the limits and runs each as a task.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, RemoteClient};
use super::handshake::{self, Handover, Upgraded};
use super::incoming::{accept, least_busy};
use super::rules::Rules;
use super::service::HttpService;
use super::site::Site;
use super::slots::{ConnectionSlot, ConnectionSlots};
use super::tls::TlsAcceptor;
use super::verify_request::VerifyRequest;
use crate::access::HostAddress;
use crate::events::Event;
use crate::limits::Limits;
use crate::metrics::Rejection;
use crate::session::{self, Shared};
use crate::stream::Transport;

/// Accepts connections from the port and from other servers, within the same limits, and runs each as a task.
#[derive(Debug)]
pub struct Acceptor {
    /// TLS of the port, if it is encrypted.
    pub tls: Option<Arc<TlsAcceptor>>,
    service: Arc<HttpService>,
    shared: Arc<Shared>,
    slots: ConnectionSlots,
    threads: Vec<Handle>,
    tasks: TaskTracker,
    /// Open connections that came from another server.
    adopted: AtomicUsize,
}

impl Acceptor {
    /// An acceptor without connections. It spreads them over the `threads`.
    pub fn new(
        shared: Arc<Shared>,
        threads: Vec<Handle>,
        site: Site,
        tls: Option<TlsAcceptor>,
        rules: Rules,
    ) -> Self {
        let service = Arc::new(HttpService::new(Arc::clone(&shared), site, rules, tls.is_some()));
        let slots = ConnectionSlots::new(&shared.limits);
        let (tls, tasks, adopted) = (tls.map(Arc::new), TaskTracker::new(), AtomicUsize::new(0));
        Self { tls, service, shared, slots, threads, tasks, adopted }
    }

    /// Accepts connections forever.
    pub async fn serve(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let (stream, peer, thread) = accept(listener, &self.threads).await;
            crate::faults::point("accept");
            match (self.service.admit(peer.into()), &self.tls) {
                (Admission::OverLimit, _) => self.reject_over_limit(stream, thread),
                (admission, None) => self.spawn(ready_now(stream), admission, thread),
                (admission, Some(tls)) => self.spawn(tls.accept(stream), admission, thread),
            }
        }
    }

    /// Rejects connections forever because the relay is closing, each in one of the `tasks`.
    pub async fn reject_all(self: &Arc<Self>, listener: &TcpListener, tasks: &Mutex<JoinSet<()>>) {
        loop {
            let (stream, _, thread) = accept(listener, &self.threads).await;
            crate::faults::point("refuse");
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            if tasks.len() < Limits::MAX_REJECTED_CONNECTIONS {
                let (closing, service) = (Admission::Closing, Arc::clone(&self.service));
                let rejected = match &self.tls {
                    None => handshake::reject(ready_now(stream), closing, service).left_future(),
                    Some(tls) => handshake::reject(tls.accept(stream), closing, service).right_future(),
                };
                tasks.spawn_on(catch_panics(rejected, &self.shared), thread);
            }
        }
    }

    /// Runs a connection as a task on `thread`. Without a free slot it is dropped without a response.
    pub fn spawn<C, F>(self: &Arc<Self>, connecting: F, admission: Admission, thread: &Handle)
    where
        C: Transport<Stream: Send> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<C>> + Send + 'static,
    {
        if let Some(slot) = self.acquire_slot() {
            let task = run(connecting, admission, slot, Arc::clone(&self.service));
            self.tasks.spawn_on(catch_panics(task, &self.shared), thread);
        }
    }

    /// Tells a connection that its address is over its limits, unless that would take a TLS handshake or there are too many
    /// to tell.
    fn reject_over_limit(&self, stream: TcpStream, thread: &Handle) {
        let Some(slot) = self.slots.acquire_excess() else { return };
        if self.tls.is_none() {
            let service = Arc::clone(&self.service);
            let rejected = handshake::upgrade(ready_now(stream), Admission::OverLimit, service);
            self.tasks.spawn_on(catch_panics(rejected.map(|_| drop(slot)), &self.shared), thread);
        }
    }

    /// Acquires a slot, or counts a rejection.
    fn acquire_slot(&self) -> Option<ConnectionSlot> {
        let slot = self.slots.acquire();
        if slot.is_none() {
            self.shared.metrics.connection_rejected(Rejection::MaxConnections);
        }
        slot
    }

    /// Accepts a request with this head, which another server has read from `peer`. Returns the response, the client and the
    /// connection's slot.
    ///
    /// # Errors
    /// The response that rejects the request. It is empty if the connection is to be closed without one, because there are
    /// too many connections.
    pub fn accept_request(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
    ) -> Result<(Vec<u8>, RemoteClient, ConnectionSlot), Vec<u8>> {
        let (response, client) = self.service.accept(head, peer)?;
        self.acquire_slot().map(|slot| (response, client, slot)).ok_or_else(Vec::new)
    }

    /// Runs a connection whose request was [accepted](Self::accept_request) as a task on `thread`. `kept` is dropped when it
    /// ends.
    pub fn adopt<C, K>(
        self: &Arc<Self>,
        thread: &Handle,
        handover: Handover<C>,
        slot: ConnectionSlot,
        kept: K,
    ) where
        C: Transport<Stream: Send> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
        K: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let completed = {
            let shared = Arc::clone(&shared);
            async move { handshake::complete(handover, &shared).await }
        };
        let task = completed.then(move |upgraded| run_session(upgraded, slot, shared));
        let task = task.map(|()| drop(kept));
        self.adopted.fetch_add(1, Ordering::AcqRel);
        let acceptor = Arc::clone(self);
        let task = catch_panics(task, &self.shared).then(|()| async move { acceptor.adopted_ended().await });
        self.tasks.spawn_on(task, thread);
    }

    /// Rejects a connection whose request another server has read, as a task on `thread`. `kept` is dropped when it ends.
    /// Without a free slot the connection is dropped without a response.
    pub fn respond_and_close<C, K>(&self, thread: &Handle, connection: C, response: Vec<u8>, kept: K)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        K: Send + 'static,
    {
        let Some(slot) = self.slots.acquire() else { return };
        let task = handshake::respond_and_close(connection, response, Arc::clone(&self.shared));
        let task = task.map(|()| drop((kept, slot)));
        self.tasks.spawn_on(catch_panics(task, &self.shared), thread);
    }

    async fn adopted_ended(&self) {
        if self.adopted.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.events.emit_or_wait(Event::AdoptedConnectionsEnded).await;
        }
    }

    /// Returns whether connections from another server are open.
    pub fn has_adopted(&self) -> bool {
        self.adopted.load(Ordering::Acquire) > 0
    }

    /// Returns whether WebSockets open at this request target.
    pub fn upgrades_at(&self, target: &str) -> bool {
        self.service.site.upgrades_at(target)
    }

    /// Returns the address of the client that sent a request, and whether its connection is encrypted, which trusted
    /// proxies may say. The request came from `peer`, over TLS or not. `None` if `head` is not a request.
    pub fn resolve_client(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
        is_tls: bool,
    ) -> Option<(Option<HostAddress>, bool)> {
        self.service.resolve_client(head, peer, is_tls)
    }

    /// Takes the next request to verify, if there is one.
    pub fn take_verify_request(&self) -> Option<VerifyRequest> {
        self.service.verify_queue.take()
    }

    /// Returns the thread for the next connection.
    pub fn least_busy_thread(&self) -> Option<&Handle> {
        least_busy(&self.threads)
    }

    /// Waits until all connections have ended.
    pub async fn wait_until_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Drops what a relay that has ended does not need. Must be called without open connections.
    pub fn release(&mut self) {
        self.threads = Vec::new();
        if let Some(service) = Arc::get_mut(&mut self.service) {
            service.release();
        }
    }
}

/// A connection that needs no TLS handshake.
fn ready_now(stream: TcpStream) -> std::future::Ready<Option<TcpStream>> {
    std::future::ready(Some(stream))
}

/// Runs a connection from its request to its end. Not an `async fn`: its future would have room for both the handshake and
/// the session, and not only for the larger one.
fn run<C, F>(
    connecting: F,
    admission: Admission,
    slot: ConnectionSlot,
    service: Arc<HttpService>,
) -> impl Future<Output = ()> + use<C, F>
where
    C: Transport + AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<C>>,
{
    let shared = Arc::clone(&service.shared);
    handshake::upgrade(connecting, admission, service)
        .then(move |upgraded| run_session(upgraded, slot, shared))
}

/// Runs a connection from its upgrade to its end.
fn run_session<C>(
    upgraded: Option<Upgraded<C>>,
    slot: ConnectionSlot,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + use<C>
where
    C: Transport + AsyncRead + AsyncWrite + Unpin,
{
    match upgraded {
        Some(Upgraded { connection, early, client }) if slot.is_within_limit() => {
            let RemoteClient { address_key, permit, .. } = client;
            session::run(connection, &early, shared, address_key, (slot, permit)).left_future()
        }
        upgraded => reject_session(upgraded, shared, slot).right_future(),
    }
}

/// Closes a connection that is above `maxConnections`.
async fn reject_session<C>(upgraded: Option<Upgraded<C>>, shared: Arc<Shared>, _slot: ConnectionSlot)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(Upgraded { connection, .. }) = upgraded {
        shared.metrics.connection_rejected(Rejection::MaxConnections);
        session::reject(connection, &shared).await;
    }
}

/// Counts and reports a panic, which ends only `task`. Not an `async fn`: its future would store the task twice.
fn catch_panics<F: Future<Output = ()>>(task: F, shared: &Arc<Shared>) -> impl Future<Output = ()> + use<F> {
    let shared = Arc::clone(shared);
    AssertUnwindSafe(task).catch_unwind().map(move |finished| {
        if finished.is_err() {
            shared.panicked();
        }
    })
}
