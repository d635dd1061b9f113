//! Sessions of the engine, the pages that they serve, and everything that can happen between them, as a seed decides.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use websocket_relay::hub::Hub;
use websocket_relay::ids::Offset;
use websocket_relay::session::{self, Shared};
use websocket_relay::{ClientId, CloseReason, Event, EventReceiver, Limits, events};

use crate::ledger::{Ledger, PageId};
use crate::link::{self, Link, ServerEnd};
use crate::page::{Page, State};
use crate::random::Random;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Poll,
    CarryUp,
    CarryDown,
    Read,
    Send,
    Advance,
    Connect,
    // What follows is what goes wrong.
    /// A session is woken for nothing.
    PollAny,
    /// Much time passes at once.
    Jump,
    /// The server hears of a broken connection, the client not yet.
    Reset,
    /// The client gives its connection up; what it wrote still arrives, late.
    Abandon,
    /// Both know that the connection is over, and what was on its way is lost.
    Cut,
    /// A link carries nothing for a while.
    Stall,
    /// The application stops to listen, or listens again.
    Listen,
    /// A page is replaced, and is gone.
    Reload,
    /// A second page of the same client.
    Rival,
    Revoke,
    Register,
    /// The server ends a client's connection.
    Disconnect,
}

impl Act {
    const NORMAL: [(Self, usize); 7] = [
        (Self::Poll, 24),
        (Self::CarryUp, 14),
        (Self::CarryDown, 14),
        (Self::Read, 14),
        (Self::Send, 12),
        (Self::Advance, 6),
        (Self::Connect, 8),
    ];
    const FAULTS: [Self; 12] = [
        Self::PollAny,
        Self::Jump,
        Self::Reset,
        Self::Abandon,
        Self::Cut,
        Self::Stall,
        Self::Listen,
        Self::Reload,
        Self::Rival,
        Self::Revoke,
        Self::Register,
        Self::Disconnect,
    ];
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub faults: u64,
    pub connections: u64,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection, as the server has it.
struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Flag>,
    link: link::Shared,
}

/// A client. Its last page is the one that is there; others may not know yet that they are replaced.
struct Client {
    id: ClientId,
    token: String,
    is_reliable: bool,
    /// Whether its pages stop to send where they may not.
    is_polite: bool,
    /// Channels that were taken from it.
    taken: usize,
    pages: Vec<Page>,
}

impl Client {
    fn add_page(&mut self, now: u64, trace: Option<&Trace>) {
        let id = PageId { client: self.id.get(), page: self.pages.len() as u64 };
        let mut page = Page::new(id, self.token.clone(), self.is_reliable, now);
        (page.trace, page.is_polite) = (trace.cloned(), self.is_polite);
        self.pages.push(page);
    }

    fn page(&mut self) -> &mut Page {
        self.pages.last_mut().expect("there is always one")
    }
}

struct World {
    random: Random,
    now: u64,
    shared: Arc<Shared>,
    events: EventReceiver,
    tasks: Vec<Task>,
    clients: Vec<Client>,
    pairs: Vec<(ClientId, ClientId)>,
    ledger: Ledger,
    counts: Counts,
    weights: Vec<(Act, usize)>,
    is_healing: bool,
    trace: Option<Trace>,
}

/// How a run went, as it was told by all who took part, when it is wanted.
pub type Trace = Arc<Mutex<Vec<String>>>;

/// Adds a line to the trace of a run that has one.
pub fn note(trace: Option<&Trace>, line: impl FnOnce() -> String) {
    if let Some(trace) = trace {
        trace.lock().expect("one thread").push(line());
    }
}

/// Runs what a seed decides. Panics when a promise is broken.
pub fn run(seed: u64, trace: Option<&Trace>) -> Counts {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let life = async {
        let mut world = World::new(seed, trace);
        world.play().await;
        world.check_bounds();
        world.heal().await;
        world.check();
        world.stop().await;
        world.counts
    };
    runtime.block_on(tokio::task::unconstrained(life))
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
        // Of those who could not know none is closed.
        max_offences: if are_polite { 1 } else { 1_000_000 },
        rate_limit: random.pick(&[0, 0, 0, 1, 20, 200]),
        rate_limit_burst: random.pick(&[0, 1, 5]),
        ..Limits::default()
    }
}

impl World {
    fn new(seed: u64, trace: Option<&Trace>) -> Self {
        let mut random = Random::new(seed);
        let are_polite = random.one_in(2);
        let limits = limits(&mut random, are_polite);
        let (sink, events) = events::channel(limits.max_queued_events);
        let create = random.pick(&[Hub::new, Hub::new, Hub::late]);
        let hub = create(limits.clone(), random.one_in(6)).expect("randomness");
        let shared = Arc::new(Shared::new(limits, hub, sink));
        let mut ledger = Ledger::default();
        let mut clients = Vec::new();
        for _ in 0..2 + random.below(3) {
            let registration = shared.hub.register(None).expect("randomness");
            let is_reliable = !random.one_in(6);
            let (id, token) = (registration.id, registration.token.reveal().to_owned());
            if !is_reliable {
                ledger.is_plain(id.get());
            }
            let (is_polite, pages) = (are_polite, Vec::new());
            let mut client = Client { id, token, is_reliable, is_polite, taken: 0, pages };
            client.add_page(0, trace);
            clients.push(client);
        }
        let ids: Vec<_> = clients.iter().map(|client| client.id).collect();
        let has_own = random.one_in(8);
        let pairs: Vec<_> = ids
            .iter()
            .flat_map(|one| ids.iter().map(move |two| (*one, *two)))
            .filter(|(one, two)| one < two || one == two && has_own)
            .collect();
        for (one, two) in &pairs {
            if are_polite || !random.one_in(6) {
                shared.hub.open_channel(*one, *two).expect("they exist");
            }
        }
        // Each run has its own faults: what never happens in one leaves more room for the others.
        let mut weights = Act::NORMAL.to_vec();
        for fault in Act::FAULTS {
            if random.one_in(2) {
                weights.push((fault, 1 + random.below(2)));
            }
        }
        let (tasks, counts) = (Vec::new(), Counts::default());
        let (now, is_healing, trace) = (0, false, trace.cloned());
        Self {
            random,
            now,
            shared,
            events,
            tasks,
            clients,
            pairs,
            ledger,
            counts,
            weights,
            is_healing,
            trace,
        }
    }

    async fn play(&mut self) {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        for _ in 0..200 + self.random.below(600) {
            let mut place = self.random.below(total);
            let chosen = self.weights.iter().find(|(_, weight)| {
                let is_here = place < *weight;
                place = place.saturating_sub(*weight);
                is_here
            });
            let act = chosen.expect("it is below the total").0;
            note(self.trace.as_ref(), || format!("{} ms: {act:?}", self.now));
            self.act(act).await;
        }
    }

    async fn act(&mut self, act: Act) {
        self.counts.faults += u64::from(act >= Act::PollAny);
        let client = self.random.below(self.clients.len());
        let now = self.now;
        match act {
            Act::Poll => {
                if self.random.one_in(4) {
                    self.shared.hub.tell_presence();
                }
                if self.random.one_in(8) {
                    self.commit(client);
                }
                let woken: Vec<_> = (0..self.tasks.len()).filter(|task| self.is_woken(*task)).collect();
                if !woken.is_empty() {
                    let task = self.random.pick(&woken);
                    self.poll(task);
                }
            }
            Act::PollAny if !self.tasks.is_empty() => {
                let task = self.random.below(self.tasks.len());
                self.poll(task);
            }
            Act::CarryUp | Act::CarryDown if !self.tasks.is_empty() => {
                let bytes = self.random.pick(&[1, 7, 60, 500, 1 << 20, 1 << 20]);
                let task = self.random.below(self.tasks.len());
                let mut link = link::lock(&self.tasks[task].link);
                match act {
                    _ if link.is_stalled => {}
                    Act::CarryUp => link.carry_up(bytes),
                    _ => link.carry_down(bytes),
                }
            }
            Act::Read => {
                let everything = !self.random.one_in(3);
                let Self { clients, ledger, .. } = self;
                clients[client].pages.iter_mut().for_each(|page| page.read(everything, now, ledger));
            }
            Act::Send => {
                let (one, two) = self.random.pick(&self.pairs.clone());
                let (from, to) = if self.random.one_in(2) { (one, two) } else { (two, one) };
                let count = 1 + self.random.below(4);
                let Self { clients, ledger, .. } = self;
                let page = clients[from.get() as usize].page();
                (0..count).for_each(|_| page.send(to.get(), ledger));
            }
            Act::Advance => {
                let time = self.random.pick(&[0, 1, 5, 10, 50, 250]);
                self.advance(time).await;
            }
            Act::Jump => {
                let time = self.random.pick(&[1_000, 10_000, 25_000, 46_000]);
                self.advance(time).await;
            }
            Act::Connect => self.connect(client),
            Act::Reset | Act::Cut => {
                if let Some(link) = self.clients[client].page().link.clone() {
                    link::lock(&link).reset();
                    if act == Act::Cut {
                        self.clients[client].page().abandon(now);
                    }
                }
            }
            Act::Abandon => self.clients[client].page().abandon(now),
            Act::Stall if !self.tasks.is_empty() => {
                let task = self.random.below(self.tasks.len());
                let mut link = link::lock(&self.tasks[task].link);
                link.is_stalled ^= true;
                if link.is_abandoned {
                    link.end_up();
                }
            }
            Act::Listen => {
                let Self { clients, ledger, .. } = self;
                let page = clients[client].page();
                page.listen(!page.is_listening, now, ledger);
            }
            Act::Reload => {
                self.clients[client].page().abandon(now);
                self.clients[client].page().state = State::Closed;
                self.clients[client].add_page(now, self.trace.as_ref());
            }
            Act::Rival => self.clients[client].add_page(now, self.trace.as_ref()),
            Act::Revoke => {
                let (one, two) = self.random.pick(&self.pairs.clone());
                if self.shared.hub.close_channel(one, two).is_ok() {
                    self.ledger.excuse(one.get(), two.get());
                    for client in BTreeSet::from([one, two]) {
                        self.clients[client.get() as usize].taken += 1;
                    }
                }
            }
            Act::Register => {
                let (one, two) = self.random.pick(&self.pairs.clone());
                self.register(one, two);
            }
            Act::Disconnect => {
                let (id, reason) = (self.clients[client].id, CloseReason::ByServer(4100, String::new()));
                let events = &self.shared.events;
                let tell = || events.emit(Event::Disconnected(id, reason.clone()));
                self.shared.hub.disconnect(id, reason.clone(), tell).expect("it exists");
            }
            Act::PollAny | Act::CarryUp | Act::CarryDown | Act::Stall => {}
        }
    }

    fn register(&mut self, one: ClientId, two: ClientId) {
        // They may have one.
        self.shared.hub.open_channel(one, two).ok();
        for (page, other) in [(one, two), (two, one)] {
            self.clients[page.get() as usize].pages.iter_mut().for_each(|page| page.allow(other.get()));
        }
    }

    fn is_woken(&self, task: usize) -> bool {
        self.tasks[task].future.is_some() && self.tasks[task].woken.0.load(Ordering::Relaxed)
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

    /// What holds at any time.
    fn check_bounds(&self) {
        let Limits { rate_limit, rate_limit_burst, .. } = self.shared.limits;
        let (rate, burst) = (rate_limit as u64, rate_limit_burst as u64);
        let most = if burst == 0 { rate } else { burst } + 1 + rate * self.now / 1000;
        for Client { id, pages, taken, is_polite, .. } in &self.clients {
            let heard = self.ledger.heard_of(id.get());
            assert!(
                rate == 0 || heard <= most,
                "{heard} messages of {id}, not {most}, at {rate} in a second"
            );
            for page in pages {
                let Page { id, rejections, .. } = page;
                assert!(!is_polite || rejections <= taken, "{id:?}: {rejections} rejections of {taken}");
            }
        }
    }

    /// Goes on with the connection of a client's pages: makes it, or opens it.
    fn connect(&mut self, client: usize) {
        let now = self.now;
        for at in 0..self.clients[client].pages.len() {
            let is_last = at + 1 == self.clients[client].pages.len();
            match self.clients[client].pages[at].state {
                State::Waiting(until) if until <= now => {
                    let random = &mut self.random;
                    let (capacity, late) = (random.pick(&[1, 64, 1000, 1 << 16]), random.one_in(2));
                    let mut link = Link::new(capacity, late, random.one_in(2));
                    if self.is_healing {
                        link.heal();
                    }
                    let link = Arc::new(Mutex::new(link));
                    let end = ServerEnd(Arc::clone(&link));
                    let future = session::run(end, &[], Arc::clone(&self.shared), None, ());
                    let woken = Arc::new(Flag(AtomicBool::new(true)));
                    self.tasks.push(Task { future: Some(Box::pin(future)), woken, link: Arc::clone(&link) });
                    self.counts.connections += 1;
                    self.clients[client].pages[at].connect(link, now);
                }
                State::Connecting => self.clients[client].pages[at].opened(),
                // Who is of generation 1 is made anew by whoever made it.
                State::Closed if is_last => self.clients[client].add_page(now, self.trace.as_ref()),
                _ => {}
            }
        }
    }

    /// Nothing goes wrong any more, and everybody goes on until nothing is left to do.
    async fn heal(&mut self) {
        let Self { ledger, clients, .. } = self;
        for client in clients.iter_mut() {
            client.page().listen(true, self.now, ledger);
        }
        for (one, two) in self.pairs.clone() {
            self.register(one, two);
        }
        for task in &self.tasks {
            link::lock(&task.link).heal();
        }
        self.is_healing = true;
        let mut wait = 1;
        // At one message in a second it takes its time.
        let rounds = if self.shared.limits.rate_limit == 1 { 100_000 } else { 4000 };
        for _ in 0..rounds {
            let is_busy = self.go_on();
            if is_busy {
                wait = 1;
                continue;
            }
            let all_idle = self.clients.iter_mut().all(|client| client.page().is_idle());
            if all_idle && self.tasks.iter().all(|task| task.future.is_none() || !is_over(task)) && wait > 100
            {
                return;
            }
            self.advance(wait).await;
            wait = (wait * 2).min(5_000);
        }
        let pages = self.clients.iter_mut().map(|client| &*client.page());
        let stuck: Vec<_> = pages.filter(|page| !page.is_idle()).map(|page| page.id).collect();
        panic!("it never comes to rest: {stuck:?}");
    }

    /// Everybody does what there is to do. False when there is nothing.
    fn go_on(&mut self) -> bool {
        let mut is_busy = self.serve();
        for client in 0..self.clients.len() {
            let (now, ledger) = (self.now, &mut self.ledger);
            self.clients[client].pages.iter_mut().for_each(|page| page.read(true, now, ledger));
            let before = self.clients[client].page().state;
            self.connect(client);
            is_busy |= self.clients[client].page().state != before;
        }
        is_busy
    }

    /// The store commits everything that waits for a client.
    fn commit(&self, client: usize) {
        self.shared.hub.commit(self.clients[client].id, Offset(u64::MAX - 1));
    }

    /// Sessions do what there is to do, and everything is carried. False when there is nothing.
    fn serve(&mut self) -> bool {
        let mut is_busy = self.shared.hub.tell_presence().has_more;
        (0..self.clients.len()).for_each(|client| self.commit(client));
        for task in 0..self.tasks.len() {
            if self.is_woken(task) {
                self.poll(task);
                is_busy = true;
            }
            let mut link = link::lock(&self.tasks[task].link);
            is_busy |= !link.is_quiet();
            link.carry_up(usize::MAX);
            link.carry_down(usize::MAX);
        }
        is_busy
    }

    fn check(&mut self) {
        self.ledger.check();
        let totals = self.shared.hub.totals();
        assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0), "nothing waits any more");
        for (one, two) in self.pairs.clone() {
            for (from, to) in [(one, two), (two, one)] {
                let is_plain = |id: ClientId| !self.clients[id.get() as usize].is_reliable;
                if is_plain(from) || is_plain(to) {
                    continue;
                }
                let page = self.clients[from.get() as usize].page();
                assert!(page.sees(to.get()), "{:?} is not told that {to} is there", page.id);
                // Receipts are for the page that sent last.
                let last = self.ledger.last_due(page.id, to.get()).filter(|_| page.id.page == 0);
                if let Some(last) = last {
                    assert!(
                        page.is_told_delivered(to.get(), last),
                        "{:?} is not told that {to} has {last}",
                        page.id
                    );
                }
            }
        }
        self.counts.messages = self.ledger.messages;
    }

    /// The server stops: every session ends, and each client was told of as it came and went.
    async fn stop(&mut self) {
        self.shared.stop();
        for _ in 0..100 {
            while self.serve() {}
            self.advance(100).await;
        }
        assert!(self.tasks.iter().all(|task| task.future.is_none()), "a session does not end");
        assert_eq!(self.shared.metrics.connections(), 0);
        let mut told = Vec::new();
        self.events.recv_many(&mut told, usize::MAX).now_or_never();
        let mut there = BTreeSet::new();
        for event in told {
            match event {
                Event::Connected(id) => assert!(there.insert(id), "{id} came twice"),
                Event::Disconnected(id, reason) => assert!(there.remove(&id), "{id} left twice: {reason:?}"),
                Event::Offence { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(there.is_empty(), "nobody is there any more: {there:?}");
    }
}

/// Whether a connection whose client is gone has not ended yet.
fn is_over(task: &Task) -> bool {
    link::lock(&task.link).is_abandoned
}
