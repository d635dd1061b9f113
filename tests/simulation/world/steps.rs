//! The steps of a run: normal progress and faults.

use std::collections::BTreeSet;

use websocket_relay::{ClientId, CloseReason, Event};

use super::{Task, World, note};
use crate::disk::Disk;
use crate::link::{self, Link, Pipe};
use crate::page::State;

/// A step of a run. The steps from [`Step::PollAny`] on are faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Polls a session that was woken.
    Poll,
    CarryUp,
    CarryDown,
    Read,
    Send,
    Advance,
    Connect,
    /// Polls any session, woken or not.
    PollAny,
    /// Advances the clock by seconds.
    Jump,
    /// Tells the server that a connection is broken; the client does not know yet.
    Reset,
    /// A client gives its connection up; what it wrote may still arrive.
    Abandon,
    /// Both ends learn that a connection is broken; the bytes on their way are lost.
    Break,
    /// Stalls a link, or lets it carry bytes again.
    ToggleStall,
    /// An application stops listening, or listens again.
    ToggleListening,
    /// Replaces a page by a new one.
    Reload,
    /// Opens a second page of the same client.
    OpenSecondPage,
    CloseChannel,
    OpenChannel,
    /// The server ends a client's connection.
    Disconnect,
    /// The server's process dies, and another begins.
    Kill,
    /// The same, with a loss of power.
    LosePower,
}

impl Step {
    pub(super) const NORMAL: [(Self, usize); 7] = [
        (Self::Poll, 24),
        (Self::CarryUp, 14),
        (Self::CarryDown, 14),
        (Self::Read, 14),
        (Self::Send, 12),
        (Self::Advance, 6),
        (Self::Connect, 8),
    ];
    pub(super) const FAULTS: [Self; 14] = [
        Self::PollAny,
        Self::Jump,
        Self::Reset,
        Self::Abandon,
        Self::Break,
        Self::ToggleStall,
        Self::ToggleListening,
        Self::Reload,
        Self::OpenSecondPage,
        Self::CloseChannel,
        Self::OpenChannel,
        Self::Disconnect,
        Self::Kill,
        Self::LosePower,
    ];
}

impl World {
    pub(super) async fn run_steps(&mut self) {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        for _ in 0..200 + self.random.below(600) {
            let mut rest = self.random.below(total);
            let chosen = self.weights.iter().find(|(_, weight)| {
                let is_chosen = rest < *weight;
                rest = rest.saturating_sub(*weight);
                is_chosen
            });
            let step = chosen.expect("the number is below the total").0;
            note(self.trace.as_ref(), || format!("{} ms: {step:?}", self.now));
            self.run_step(step).await;
        }
    }

    async fn run_step(&mut self, step: Step) {
        self.counts.faults += u64::from(step >= Step::PollAny);
        let client = self.random.below(self.clients.len());
        let now = self.now;
        match step {
            Step::Poll => self.poll_woken(),
            Step::PollAny => self.poll_any(),
            Step::CarryUp => self.carry(|link| &link.up, Link::carry_up),
            Step::CarryDown => self.carry(|link| &link.down, Link::carry_down),
            Step::Read => self.read(client),
            Step::Send => self.send(),
            Step::Advance => {
                let time = self.random.pick(&[0, 1, 5, 10, 50, 250]);
                self.advance(time).await;
            }
            Step::Jump => {
                let time = self.random.pick(&[1_000, 10_000, 25_000, 46_000]);
                self.advance(time).await;
            }
            Step::Connect => (0..self.clients.len()).for_each(|client| self.connect(client)),
            Step::Reset => self.reset(client),
            Step::Abandon => self.clients[client].page().abandon(now),
            Step::Break => {
                self.reset(client);
                self.clients[client].page().abandon(now);
            }
            Step::ToggleStall => self.toggle_stall(),
            Step::ToggleListening => self.toggle_listening(client),
            Step::Reload => {
                self.clients[client].page().abandon(now);
                self.clients[client].page().state = State::Closed;
                self.clients[client].add_page(now, self.trace.as_ref());
            }
            Step::OpenSecondPage => self.clients[client].add_page(now, self.trace.as_ref()),
            Step::CloseChannel => self.close_channel(),
            Step::OpenChannel => {
                let (one, two) = self.random.pick(&self.pairs);
                self.open_channel(one, two);
            }
            Step::Disconnect => self.disconnect(client),
            Step::Kill => self.crash(false),
            Step::LosePower => self.crash(true),
        }
    }

    /// Polls a session that was woken. Sometimes lets the background task and the store do their work first.
    fn poll_woken(&mut self) {
        if self.random.one_in(4) {
            self.context.hub.tell_presence();
        }
        match self.random.below(16) {
            0 => self.take_for_store(true),
            1 => self.take_for_store(false),
            2 | 3 => drop(self.write_to_store()),
            4 if self.random.one_in(4) => self.disk.iter_mut().for_each(Disk::sync),
            _ => {}
        }
        if let Some(task) = self.pick_task(Task::is_woken) {
            self.poll(task);
        }
    }

    fn poll_any(&mut self) {
        if let Some(task) = self.pick_task(|task| task.future.is_some()) {
            self.poll(task);
        }
    }

    /// Carries some bytes in one direction of a link that is not stalled.
    fn carry(&mut self, pipe: fn(&Link) -> &Pipe, carry: fn(&mut Link, usize)) {
        let bytes = self.random.pick(&[1, 7, 60, 500, 1 << 20, 1 << 20]);
        let can_carry = |link: &Link| !link.is_stalled && !pipe(link).sent.is_empty();
        if let Some(task) = self.pick_task(|task| can_carry(&link::lock(&task.link))) {
            carry(&mut link::lock(&self.tasks[task].link), bytes);
        }
    }

    /// Picks one of the tasks that `can_be_picked` accepts.
    fn pick_task(&mut self, can_be_picked: impl Fn(&Task) -> bool) -> Option<usize> {
        let tasks = self.tasks.iter().enumerate().filter(|(_, task)| can_be_picked(task));
        let tasks: Vec<_> = tasks.map(|(index, _)| index).collect();
        (!tasks.is_empty()).then(|| self.random.pick(&tasks))
    }

    fn read(&mut self, client: usize) {
        let all = !self.random.one_in(3);
        let Self { clients, ledger, now, .. } = self;
        clients[client].pages.iter_mut().for_each(|page| page.read(all, *now, ledger));
    }

    fn send(&mut self) {
        let (one, two) = self.random.pick(&self.pairs);
        let (from, to) = if self.random.one_in(2) { (one, two) } else { (two, one) };
        let count = 1 + self.random.below(4);
        let Self { clients, ledger, .. } = self;
        let page = clients[from.get() as usize].page();
        (0..count).for_each(|_| page.send(to.get(), ledger));
    }

    fn reset(&mut self, client: usize) {
        if let Some(link) = &self.clients[client].page().link {
            link::lock(link).reset();
        }
    }

    fn toggle_stall(&mut self) {
        let Some(task) = self.pick_task(|task| task.future.is_some()) else { return };
        let mut link = link::lock(&self.tasks[task].link);
        link.is_stalled ^= true;
        if link.is_abandoned {
            link.end_up();
        }
    }

    fn toggle_listening(&mut self, client: usize) {
        let Self { clients, ledger, now, .. } = self;
        let page = clients[client].page();
        page.set_listening(!page.is_listening, *now, ledger);
    }

    fn close_channel(&mut self) {
        let (one, two) = self.random.pick(&self.pairs);
        if self.context.hub.close_channel(one, two).is_ok() {
            self.commit_records();
            self.ledger.channel_closed(one.get(), two.get());
            for client in BTreeSet::from([one, two]) {
                self.clients[client.get() as usize].closed_channels += 1;
            }
        }
    }

    /// Opens a channel, and lets the pages at both ends send to each other.
    pub(super) fn open_channel(&mut self, one: ClientId, two: ClientId) {
        // An error if they have one already.
        self.context.hub.open_channel(one, two).ok();
        self.commit_records();
        for (page, other) in [(one, two), (two, one)] {
            self.clients[page.get() as usize].pages.iter_mut().for_each(|page| page.allow(other.get()));
        }
    }

    fn disconnect(&self, client: usize) {
        let (id, reason) = (self.clients[client].id, CloseReason::ByServer(4100, String::new()));
        let emit = || self.context.events.emit(Event::Disconnected(id, reason.clone()));
        self.context.hub.disconnect(id, reason.clone(), emit).expect("the client is registered");
    }
}
