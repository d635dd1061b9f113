//! The door: accepts connections within the bounds and hands each to a session.

mod answer;
mod entry;
mod header;
mod inquiries;
mod metrics;
mod path;
mod request;
mod site;
mod tcp;
mod tls;
mod upgrade;

pub use entry::{Ask, Guest, Inquiry, Rules, Verdict};
pub use inquiries::{BOUNDS, Inquiries};
pub use site::{Script, Site};
pub use tcp::bind;
pub use tls::{Credentials, Tls};

pub use upgrade::{Handover, Standing};

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::access::{Guests, HostAddress, Source};
use crate::events::Event;
use crate::limits::Limits;
use crate::metrics::TurnedAway;
use crate::session::{self, Shared};
use crate::stream::Connection;

use upgrade::{Upgraded, accept, switch, upgrade};

/// Where connections come in, by the port or from another server: all within the same bounds, each a task.
#[derive(Debug)]
pub struct Door {
    /// What is found where.
    pub site: Site,
    /// What TLS is spoken with on the port.
    pub tls: Option<Arc<Tls>>,
    /// Who may come.
    rules: Rules,
    guests: Arc<Guests>,
    /// Requests that somebody is asked about.
    inquiries: Inquiries,
    shared: Arc<Shared>,
    threads: Vec<Handle>,
    tasks: TaskTracker,
    open: Arc<Semaphore>,
    excess: Arc<Semaphore>,
    /// Connections that came from another server.
    adopted: AtomicUsize,
}

/// A connection's place among those that may be open.
#[derive(Debug)]
pub struct Admission {
    /// Within `maxConnections`. Above it a connection is kept only to be told so.
    within_bounds: bool,
    _permit: OwnedSemaphorePermit,
}

impl Door {
    /// A door that nobody has come through. Connections are spread over the `threads`.
    pub fn new(
        shared: Arc<Shared>,
        threads: Vec<Handle>,
        site: Site,
        tls: Option<Tls>,
        rules: Rules,
    ) -> Self {
        let guests = Arc::new(Guests::new(&shared.limits));
        let inquiries = Inquiries::new(rules.ask.clone());
        let (open, excess) = (shared.limits.max_connections, Limits::MAX_TURNED_AWAY);
        let [open, excess] = [open, excess].map(|bound| Arc::new(Semaphore::new(bound)));
        let tls = tls.map(Arc::new);
        let (tasks, adopted) = (TaskTracker::new(), AtomicUsize::new(0));
        Self { site, tls, rules, guests, inquiries, shared, threads, tasks, open, excess, adopted }
    }

    /// A place for one more connection. Without one it is to be dropped without a word, and is counted here.
    fn admit(&self) -> Option<Admission> {
        let admission = self.place();
        if admission.is_none() {
            self.shared.metrics.turned_away(TurnedAway::MaxConnections);
        }
        admission
    }

    fn place(&self) -> Option<Admission> {
        let place = |of: &Arc<Semaphore>, within_bounds| {
            let permit = Arc::clone(of).try_acquire_owned().ok();
            permit.map(|_permit| Admission { within_bounds, _permit })
        };
        place(&self.open, true).or_else(|| place(&self.excess, false))
    }

    /// The answer to a request that another server has read from `peer`, whose it is, and the connection's place.
    ///
    /// # Errors
    /// What is to be answered instead before the connection is closed. Nothing, when there are so many that not even
    /// telling them has an end.
    pub fn accept(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
    ) -> Result<(Vec<u8>, Guest, Admission), Vec<u8>> {
        let (answer, guest) = accept(head, peer, self)?;
        self.admit().map(|admission| (answer, guest, admission)).ok_or_else(Vec::new)
    }

    /// One more from this place, whose address is known or not; `None` when there are too many, which is counted here.
    fn register(&self, source: Source, address: Option<HostAddress>) -> Option<Guest> {
        let visit = match self.guests.are_counted() {
            true => Some(self.guests.admit(source, Instant::now())),
            false => None,
        };
        let visit = visit.transpose().map_err(|why| self.shared.metrics.turned_away(why)).ok()?;
        Some(Guest { address, source: Some(source), visit })
    }

    /// The next request to decide about; see [`Inquiries::take`].
    pub fn take_verify_request(&self) -> Option<Inquiry> {
        self.inquiries.take()
    }

    /// Whose request this is, as far as proxies are trusted, and whether that client's connection is TLS. The connection from
    /// `peer` is or is not, as `is_tls` says. `None` when there is no request in `head`.
    pub fn caller(
        &self,
        head: &[u8],
        peer: Option<HostAddress>,
        is_tls: bool,
    ) -> Option<(Option<HostAddress>, bool)> {
        let called = request::parse(head, usize::MAX, |request| {
            request.ok().map(|request| upgrade::caller(request, peer, is_tls, &self.rules.trust))
        });
        called?.0
    }

    /// How somebody stands who comes by the port.
    fn standing(&self, peer: HostAddress) -> Standing {
        match self.rules.trust.is_nobody() {
            true => {
                let peer = peer.to_canonical();
                self.register(Source::of(peer), Some(peer)).map_or(Standing::Crowded, Standing::Known)
            }
            false => Standing::Unknown(peer),
        }
    }

    /// Accepts connections for ever; each runs as a task.
    pub async fn serve(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let (stream, peer, thread) = accept_one(listener, &self.threads).await;
            crate::faults::point("accept");
            let standing = self.standing(peer.into());
            if matches!(standing, Standing::Crowded) {
                self.crowd_out(stream, thread);
                continue;
            }
            match &self.tls {
                None => self.enter(ready_now(stream), standing, thread),
                Some(tls) => self.enter(tls.accept(stream), standing, thread),
            }
        }
    }

    /// One more connection comes in, as a task on `thread`; when there are so many that not even telling it has an end it
    /// is dropped.
    pub fn enter<C, F>(self: &Arc<Self>, connecting: F, standing: Standing, thread: &Handle)
    where
        C: Connection<Stream: Send> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<C>> + Send + 'static,
    {
        if let Some(admission) = self.admit() {
            self.tasks.spawn_on(run(connecting, standing, admission, Arc::clone(self)), thread);
        }
    }

    /// Tells a connection that there are too many of its address, unless that has to be told to too many, or would take
    /// a handshake of TLS.
    fn crowd_out(self: &Arc<Self>, stream: TcpStream, thread: &Handle) {
        let Ok(permit) = Arc::clone(&self.excess).try_acquire_owned() else { return };
        if self.tls.is_none() {
            let told = upgrade(ready_now(stream), Standing::Crowded, Arc::clone(self));
            self.tasks.spawn_on(guard(told.map(|_| drop(permit)), &self.shared), thread);
        }
    }

    /// Tells whoever comes that the relay is closing, for ever, each by one of the `tasks`.
    pub async fn turn_away(self: &Arc<Self>, listener: &TcpListener, tasks: &Mutex<JoinSet<()>>) {
        loop {
            let (stream, _, thread) = accept_one(listener, &self.threads).await;
            crate::faults::point("refuse");
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            if tasks.len() < Limits::MAX_TURNED_AWAY {
                let (closing, door) = (Standing::Closing, Arc::clone(self));
                let told = match &self.tls {
                    None => upgrade::turn_away(ready_now(stream), closing, door).left_future(),
                    Some(tls) => upgrade::turn_away(tls.accept(stream), closing, door).right_future(),
                };
                tasks.spawn_on(guard(told, &self.shared), thread);
            }
        }
    }

    /// The thread for one more connection.
    pub fn thread(&self) -> Option<&Handle> {
        least_busy(&self.threads)
    }

    /// Serves a connection whose request another server has read, as a task on `thread`; `kept` is dropped when it is
    /// over.
    pub fn adopt<C, K>(
        self: &Arc<Self>,
        thread: &Handle,
        handover: Handover<C>,
        admission: Admission,
        kept: K,
    ) where
        C: Connection<Stream: Send> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
        K: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let switched = {
            let shared = Arc::clone(&shared);
            async move { switch(handover, &shared).await }
        };
        let task = switched.then(move |upgraded| go_on(upgraded, admission, shared));
        let task = task.map(|()| drop(kept));
        self.adopted.fetch_add(1, Ordering::AcqRel);
        let door = Arc::clone(self);
        let task = guard(task, &self.shared).then(|()| async move { door.left().await });
        self.tasks.spawn_on(task, thread);
    }

    async fn left(&self) {
        if self.adopted.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.events.emit_surely(Event::Deserted).await;
        }
    }

    /// Whether there are connections that came from another server.
    pub fn has_adopted(&self) -> bool {
        self.adopted.load(Ordering::Acquire) > 0
    }

    /// Gives back what is of no use when the relay has ended and nobody is let in any more.
    pub fn retire(&mut self) {
        self.threads = Vec::new();
        self.rules.ask = None;
        self.site.script = None;
    }

    /// Answers a connection whose request another server has read, and closes it, as a task on `thread`; `kept` is
    /// dropped when it is over. When there are so many connections that not even telling it has an end it is dropped.
    pub fn refuse<C, K>(&self, thread: &Handle, connection: C, answer: Vec<u8>, kept: K)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        K: Send + 'static,
    {
        let Some(admission) = self.place() else { return };
        let task = upgrade::refuse_with(connection, answer, Arc::clone(&self.shared));
        let task = task.map(|()| drop((kept, admission)));
        self.tasks.spawn_on(guard(task, &self.shared), thread);
    }

    /// Waits until every connection is over.
    pub async fn emptied(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A connection that needs no handshake.
fn ready_now(stream: TcpStream) -> std::future::Ready<Option<TcpStream>> {
    std::future::ready(Some(stream))
}

/// The thread that has the fewest connections.
fn least_busy(threads: &[Handle]) -> Option<&Handle> {
    threads.iter().min_by_key(|thread| thread.metrics().num_alive_tasks())
}

/// A connection, its address, and the thread that it is for.
async fn accept_one<'a>(
    listener: &TcpListener,
    threads: &'a [Handle],
) -> (TcpStream, SocketAddr, &'a Handle) {
    loop {
        match poll_fn(|cx| poll_accept(listener, threads, cx)).await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            // No descriptor or no memory: they come back when connections end.
            Err(_) => tokio::time::sleep(Limits::ACCEPT_PAUSE).await,
        }
    }
}

fn poll_accept<'a>(
    listener: &TcpListener,
    threads: &'a [Handle],
    cx: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, SocketAddr, &'a Handle)>> {
    let thread = least_busy(threads).ok_or(io::ErrorKind::NotFound)?;
    // So that it is that thread which hears from the socket, from the beginning.
    let _entered = thread.enter();
    let (stream, peer) = ready!(listener.poll_accept(cx))?;
    Poll::Ready(Ok((stream, peer, thread)))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection from its request to its end. No `async fn`, which would have room for the session beside what the
/// handshake needs; this has room for the larger of the two.
fn run<C, F>(
    connecting: F,
    standing: Standing,
    admission: Admission,
    door: Arc<Door>,
) -> impl Future<Output = ()> + use<C, F>
where
    C: Connection + AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<C>>,
{
    let (shared, guarded) = (Arc::clone(&door.shared), Arc::clone(&door.shared));
    guard(
        upgrade(connecting, standing, door).then(move |upgraded| go_on(upgraded, admission, shared)),
        &guarded,
    )
}

/// A connection from its upgrade to its end.
fn go_on<C>(
    upgraded: Option<Upgraded<C>>,
    admission: Admission,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + use<C>
where
    C: Connection + AsyncRead + AsyncWrite + Unpin,
{
    match upgraded {
        Some((stream, early, Guest { source, visit, .. })) if admission.within_bounds => {
            session::run(stream, &early, shared, source, (admission, visit)).left_future()
        }
        upgraded => turn_away(upgraded, shared, admission).right_future(),
    }
}

async fn turn_away<C>(upgraded: Option<Upgraded<C>>, shared: Arc<Shared>, _admission: Admission)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if let Some((stream, ..)) = upgraded {
        shared.metrics.turned_away(TurnedAway::MaxConnections);
        session::turn_away(stream, &shared).await;
    }
}

/// A panic ends the task it happens in, and is told; nothing else notices. No `async fn`, which would have room for
/// the task twice.
fn guard<F: Future<Output = ()>>(task: F, shared: &Arc<Shared>) -> impl Future<Output = ()> + use<F> {
    let shared = Arc::clone(shared);
    AssertUnwindSafe(task).catch_unwind().map(move |finished| {
        if finished.is_err() {
            shared.panicked();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_connection_goes_to_the_thread_that_has_the_fewest() {
        let runtimes =
            [(); 3].map(|()| Builder::new_current_thread().enable_all().build().expect("a runtime"));
        let threads: Vec<_> = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
        let mut tasks = [const { Vec::new() }; 3];
        let accept = async |tasks: &mut [Vec<_>; 3]| {
            let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).expect("a port");
            let address = listener.local_addr().expect("its address");
            let mut client = TcpStream::connect(address).await.expect("a connection");
            client.write_all(b"hello").await.expect("it is connected");
            let accepted = poll_fn(|cx| poll_accept(&listener, &threads, cx)).await;
            let (_, _, thread) = accepted.expect("a connection");
            let place = threads.iter().position(|other| other.id() == thread.id()).expect("one of them");
            tasks[place].push(thread.spawn(pending::<()>()));
        };
        runtimes[0].block_on(async {
            for _ in 0..9 {
                accept(&mut tasks).await;
            }
            assert_eq!(tasks.each_ref().map(Vec::len), [3; 3]);
        });
        runtimes[1].block_on(async {
            for task in tasks[1].drain(1..) {
                task.abort();
                task.await.expect_err("it was ended");
            }
        });
        runtimes[0].block_on(async {
            accept(&mut tasks).await;
            accept(&mut tasks).await;
        });
        assert_eq!(tasks.map(|tasks| tasks.len()), [3; 3]);
    }
}
