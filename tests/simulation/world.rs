//! The server's sessions and their pages, and a run of them from a seed.

mod crashes;
mod steps;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use websocket_relay::hub::Pending;
use websocket_relay::session;
use websocket_relay::store::Durability;
use websocket_relay::{ClientId, Event, EventReceiver, Limits};

use crate::disk::Disk;
use crate::ledger::{Ledger, PageId};
use crate::link::{self, Link, ServerEnd, SharedLink};
use crate::page::{Page, State};
use crate::random::Random;
use crashes::serve;
use steps::Step;

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub faults: u64,
    pub connections: u64,
}

/// Set when a session is woken.
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A session of the server.
struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<WakeFlag>,
    link: SharedLink,
}

impl Task {
    /// Whether the session was woken and has not ended.
    fn is_woken(&self) -> bool {
        self.future.is_some() && self.woken.0.load(Ordering::Relaxed)
    }
}

/// A client. Its last page is the current one; earlier pages may not know yet that they were replaced.
struct Client {
    id: ClientId,
    token: String,
    is_reliable: bool,
    /// Whether its pages stop sending to a client after a rejection.
    is_polite: bool,
    /// Channels that were closed while the client had them.
    closed_channels: usize,
    pages: Vec<Page>,
}

impl Client {
    fn add_page(&mut self, now: u64, trace: Option<&Trace>) {
        let id = PageId { client: self.id.get(), page: self.pages.len() as u64 };
        let mut page = Page::new(id, self.token.clone(), self.is_reliable, now);
        (page.trace, page.is_polite) = (trace.cloned(), self.is_polite);
        self.pages.push(page);
    }

    /// Returns the current page.
    fn page(&mut self) -> &mut Page {
        self.pages.last_mut().expect("a client has a page")
    }
}

struct World {
    random: Random,
    /// Milliseconds since the start.
    now: u64,
    context: Arc<session::Shared>,
    events: EventReceiver,
    authorizes_all: bool,
    /// The disk of the store, if it is on one, and what was taken for it and not written.
    disk: Option<Disk>,
    pending: Pending,
    /// Before every time at which the store is to look into a mailbox: the clock of this run stands still.
    start: Instant,
    crashes: u64,
    tasks: Vec<Task>,
    clients: Vec<Client>,
    /// Clients that may have a channel.
    pairs: Vec<(ClientId, ClientId)>,
    ledger: Ledger,
    counts: Counts,
    /// The steps of this run, each with its weight.
    weights: Vec<(Step, usize)>,
    /// Whether faults have ended and every page becomes idle.
    is_settling: bool,
    trace: Option<Trace>,
}

/// The steps and frames of a run, a line each.
pub type Trace = Arc<Mutex<Vec<String>>>;

/// Adds a line to the trace of a run that has one.
pub fn note(trace: Option<&Trace>, line: impl FnOnce() -> String) {
    if let Some(trace) = trace {
        trace.lock().expect("one thread").push(line());
    }
}

/// Runs a seed. Panics when a check fails.
pub fn run(seed: u64, trace: Option<&Trace>) -> Counts {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let simulation = async {
        let mut world = World::new(seed, trace);
        world.run_steps().await;
        world.check_rates();
        world.settle().await;
        world.check();
        world.stop().await;
        world.counts
    };
    runtime.block_on(tokio::task::unconstrained(simulation))
}

fn limits(random: &mut Random, are_polite: bool) -> Limits {
    Limits {
        max_queued_messages: random.pick(&[1, 2, 4, 16]),
        max_queued_bytes: random.pick(&[50, 1000, 1 << 20]),
        max_mailbox_bytes: random.pick(&[300, 2000, 1 << 20]),
        max_total_bytes: random.pick(&[20_000, 1 << 20]),
        max_in_flight_messages: random.pick(&[1, 2, 3, 256]),
        max_in_flight_bytes: random.pick(&[1, 1000, 1 << 20]),
        max_write_ahead: random.pick(&[1, 200, 1000, 1 << 18]),
        // Only polite clients can avoid offences.
        max_offences: if are_polite { 1 } else { 1_000_000 },
        rate_limit: random.pick(&[0, 0, 0, 1, 20, 200]),
        rate_limit_burst: random.pick(&[0, 1, 5]),
        ..Limits::default()
    }
}

/// Returns the steps of a run. Each run has only some of the faults: with few of them, connections last longer and carry more
/// messages.
fn weights(random: &mut Random) -> Vec<(Step, usize)> {
    let mut weights = Step::NORMAL.to_vec();
    let rarity = random.pick(&[2, 4, 8]);
    for fault in Step::FAULTS {
        if random.one_in(rarity) {
            weights.push((fault, 1 + random.below(2)));
        }
    }
    weights
}

impl World {
    fn new(seed: u64, trace: Option<&Trace>) -> Self {
        let mut random = Random::new(seed);
        let are_polite = random.one_in(2);
        let limits = limits(&mut random, are_polite);
        let durability = random.pick(&[None, None, Some(Durability::Written), Some(Durability::Synced)]);
        let mut disk = durability.map(Disk::new);
        let authorizes_all = random.one_in(6);
        let (context, events) = serve(limits, authorizes_all, disk.as_mut());
        let mut ledger = Ledger::new(disk.is_some());
        let mut clients = Vec::new();
        for _ in 0..2 + random.below(3) {
            let registration = context.hub.register(None).expect("randomness");
            let is_reliable = !random.one_in(6);
            let (id, token) = (registration.id, registration.token.reveal().to_owned());
            if !is_reliable {
                ledger.add_plain_client(id.get());
            }
            let (is_polite, pages) = (are_polite, Vec::new());
            let mut client = Client { id, token, is_reliable, is_polite, closed_channels: 0, pages };
            client.add_page(0, trace);
            clients.push(client);
        }
        let ids: Vec<_> = clients.iter().map(|client| client.id).collect();
        let has_self_channels = random.one_in(8);
        let pairs: Vec<_> = ids
            .iter()
            .flat_map(|one| ids.iter().map(move |two| (*one, *two)))
            .filter(|(one, two)| one < two || one == two && has_self_channels)
            .collect();
        for (one, two) in &pairs {
            if are_polite || !random.one_in(6) {
                context.hub.open_channel(*one, *two).expect("both clients are registered");
            }
        }
        let weights = weights(&mut random);
        let (tasks, counts) = (Vec::new(), Counts::default());
        let (now, is_settling, trace) = (0, false, trace.cloned());
        let mut world = Self {
            random,
            now,
            context,
            events,
            authorizes_all,
            disk,
            pending: Pending::default(),
            start: Instant::now(),
            crashes: 0,
            tasks,
            clients,
            pairs,
            ledger,
            counts,
            weights,
            is_settling,
            trace,
        };
        world.commit_records();
        world.disk.iter_mut().for_each(Disk::sync);
        world
    }

    fn poll(&mut self, task: usize) {
        let Task { future, woken, .. } = &mut self.tasks[task];
        let Some(running) = future else { return };
        woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(woken));
        if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *future = None;
        }
    }

    async fn advance(&mut self, time: u64) {
        tokio::time::advance(Duration::from_millis(time)).await;
        self.now += time;
        let now = self.now;
        self.clients.iter_mut().flat_map(|client| &mut client.pages).for_each(|page| page.tick(now));
    }

    /// Checks the rate limit, and that polite pages are rejected only because a channel was closed.
    fn check_rates(&self) {
        let Limits { rate_limit, rate_limit_burst, .. } = self.context.limits;
        let (rate, burst) = (rate_limit as u64, rate_limit_burst as u64);
        let burst = if burst == 0 { rate } else { burst } + 1;
        // Another life of the server knows no debts.
        let max = burst * (1 + self.crashes) + rate * self.now / 1000;
        for Client { id, pages, closed_channels, is_polite, .. } in &self.clients {
            let received = self.ledger.received_from(id.get());
            assert!(
                rate == 0 || received <= max,
                "{received} messages of {id}, not {max}, at {rate} per second"
            );
            for Page { id, rejections, .. } in pages {
                assert!(
                    !is_polite || rejections <= closed_channels,
                    "{id:?}: {rejections} rejections after {closed_channels} closed channels"
                );
            }
        }
    }

    /// Takes the next step towards a connection with each page of a client: starts or opens one, or replaces a closed page.
    fn connect(&mut self, client: usize) {
        let now = self.now;
        for at in 0..self.clients[client].pages.len() {
            let is_last = at + 1 == self.clients[client].pages.len();
            match self.clients[client].pages[at].state {
                State::Waiting(until) if until <= now => {
                    let link = self.start_session();
                    self.clients[client].pages[at].connect(link, now);
                }
                State::Connecting => self.clients[client].pages[at].opened(),
                // A plain client does not reconnect by itself.
                State::Closed if is_last => self.clients[client].add_page(now, self.trace.as_ref()),
                _ => {}
            }
        }
    }

    /// Starts a session on a new link. Returns the link.
    fn start_session(&mut self) -> SharedLink {
        let random = &mut self.random;
        let (capacity, flushes_late) = (random.pick(&[1, 64, 1000, 1 << 16]), random.one_in(2));
        let mut link = Link::new(capacity, flushes_late, random.one_in(2));
        if self.is_settling {
            link.repair();
        }
        let link = Arc::new(Mutex::new(link));
        let future = session::run(ServerEnd(Arc::clone(&link)), &[], Arc::clone(&self.context), None, ());
        let woken = Arc::new(WakeFlag(AtomicBool::new(true)));
        self.tasks.push(Task { future: Some(Box::pin(future)), woken, link: Arc::clone(&link) });
        self.counts.connections += 1;
        link
    }

    /// Ends all faults, and runs until every page is idle.
    async fn settle(&mut self) {
        let Self { ledger, clients, .. } = self;
        for client in clients.iter_mut() {
            client.page().set_listening(true, self.now, ledger);
        }
        for (one, two) in self.pairs.clone() {
            self.open_channel(one, two);
        }
        for task in &self.tasks {
            link::lock(&task.link).repair();
        }
        self.is_settling = true;
        let mut wait = 1;
        // One message per second takes many rounds.
        let rounds = if self.context.limits.rate_limit == 1 { 100_000 } else { 4000 };
        for _ in 0..rounds {
            if self.run_round() {
                wait = 1;
                continue;
            }
            if wait > 100 && self.is_settled() {
                return;
            }
            self.advance(wait).await;
            wait = (wait * 2).min(5_000);
        }
        let pages = self.clients.iter_mut().map(|client| &*client.page());
        let busy: Vec<_> = pages.filter(|page| !page.is_idle()).map(|page| page.id).collect();
        panic!("these pages never become idle: {busy:?}");
    }

    /// Whether every page is idle and every session has a client.
    fn is_settled(&mut self) -> bool {
        let is_abandoned = |task: &Task| task.future.is_some() && link::lock(&task.link).is_abandoned;
        self.clients.iter_mut().all(|client| client.page().is_idle()) && !self.tasks.iter().any(is_abandoned)
    }

    /// Runs the server and every page once. Returns whether anything happened.
    fn run_round(&mut self) -> bool {
        let mut is_busy = self.run_server();
        for client in 0..self.clients.len() {
            let (now, ledger) = (self.now, &mut self.ledger);
            self.clients[client].pages.iter_mut().for_each(|page| page.read(true, now, ledger));
            let before = self.clients[client].page().state;
            self.connect(client);
            is_busy |= self.clients[client].page().state != before;
        }
        is_busy
    }

    /// Polls every session that was woken, and carries all bytes. Returns whether anything happened.
    fn run_server(&mut self) -> bool {
        let mut is_busy = self.context.hub.tell_presence().has_more;
        is_busy |= self.commit();
        for task in 0..self.tasks.len() {
            if self.tasks[task].is_woken() {
                self.poll(task);
                is_busy = true;
            }
            let mut link = link::lock(&self.tasks[task].link);
            is_busy |= !link.is_idle();
            link.carry_up(usize::MAX);
            link.carry_down(usize::MAX);
        }
        is_busy
    }

    /// Checks that every message arrived and that every page knows of receipts and presence.
    fn check(&mut self) {
        self.ledger.check();
        let totals = self.context.hub.totals();
        assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0), "messages wait after the end");
        while self.commit() {}
        let kept: Vec<_> = self.disk.iter().flat_map(Disk::messages).collect();
        assert!(kept.is_empty(), "the disk keeps what was received: {kept:?}");
        for (one, two) in self.pairs.clone() {
            for (from, to) in [(one, two), (two, one)] {
                let is_plain = |id: ClientId| !self.clients[id.get() as usize].is_reliable;
                if is_plain(from) || is_plain(to) {
                    continue;
                }
                let page = self.clients[from.get() as usize].page();
                assert!(page.knows_online(to.get()), "{:?} was not told that {to} is online", page.id);
                // A client that was reloaded gets receipts only for the page that sent last.
                let last = self.ledger.last_receipt_due(page.id, to.get()).filter(|_| page.id.page == 0);
                if let Some(last) = last {
                    assert!(
                        page.knows_delivered(to.get(), last),
                        "{:?} was not told that {to} has received {last}",
                        page.id
                    );
                }
            }
        }
        self.counts.messages = self.ledger.messages;
    }

    /// Stops the server, and checks that every session ends and that connect and disconnect events alternate.
    async fn stop(&mut self) {
        self.context.stop();
        for _ in 0..100 {
            while self.run_server() {}
            self.advance(100).await;
        }
        assert!(self.tasks.iter().all(|task| task.future.is_none()), "a session has not ended");
        assert_eq!(self.context.metrics.connections(), 0);
        let mut events = Vec::new();
        self.events.recv_many(&mut events, usize::MAX).now_or_never();
        let mut connected = BTreeSet::new();
        for event in events {
            match event {
                Event::Connected(id) => assert!(connected.insert(id), "{id} connected twice"),
                Event::Disconnected(id, reason) => {
                    assert!(connected.remove(&id), "{id} disconnected twice: {reason:?}");
                }
                Event::Offence { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(connected.is_empty(), "without a disconnect event: {connected:?}");
    }
}
