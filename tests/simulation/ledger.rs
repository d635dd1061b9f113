//! A record of what pages sent and received, and the checks on it.

use std::collections::{BTreeMap, BTreeSet};

/// A page of a client. Reloading gives the client another page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId {
    pub client: u64,
    pub page: u64,
}

/// The messages from one page to one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    from: PageId,
    to: u64,
}

/// A message that an application received.
struct Receipt {
    from: PageId,
    seq: u64,
    /// Its place among the messages that all applications received.
    index: u64,
}

#[derive(Default)]
pub struct Ledger {
    /// The last sequence number of each flow.
    sent: BTreeMap<Flow, u64>,
    /// Messages that the store has committed. `None` if it commits every message at once.
    committed: Option<BTreeSet<(Flow, u64)>>,
    accepted: BTreeMap<Flow, BTreeSet<u64>>,
    rejected: BTreeMap<Flow, BTreeSet<u64>>,
    /// Messages that may have been dropped because their channel was closed.
    droppable: BTreeMap<Flow, BTreeSet<u64>>,
    /// The last message of each flow before its channel was closed. Its receipt may be lost.
    last_before_close: BTreeMap<Flow, u64>,
    /// What each page received, in order.
    received: BTreeMap<PageId, Vec<Receipt>>,
    /// The index of each message's first receipt.
    first_received: BTreeMap<(Flow, u64), u64>,
    /// Messages that a server may have forgotten when it crashed, though they were received.
    forgotten: BTreeMap<Flow, u64>,
    /// How often a loss of power may have lost committed messages, which clients are told.
    pub losses: u64,
    /// Clients that do not acknowledge. Messages to or from them may get lost.
    plain: BTreeSet<u64>,
    /// The number of messages that applications received.
    pub messages: u64,
}

impl Ledger {
    /// Creates a ledger. `commits_late` tells whether the store commits a message only after it was appended.
    pub fn new(commits_late: bool) -> Self {
        Self { committed: commits_late.then(BTreeSet::new), ..Self::default() }
    }

    /// Records that the server has crashed: receipts that it had not told are lost.
    pub fn crashed(&mut self) {
        self.last_before_close.extend(self.sent.iter().map(|(flow, sent)| (*flow, *sent)));
        self.forgotten.clone_from(&self.sent);
    }

    /// Records that the store has lost commits: what was accepted and not received may be dropped.
    pub fn lost(&mut self) {
        self.losses += 1;
        for (flow, sent) in self.sent.clone() {
            let unreceived: Vec<_> = (1..=sent).filter(|seq| !self.is_received(flow, *seq)).collect();
            self.droppable.entry(flow).or_default().extend(unreceived);
        }
    }

    pub fn add_plain_client(&mut self, client: u64) {
        self.plain.insert(client);
    }

    pub fn sent(&mut self, from: PageId, to: u64, seq: u64) {
        self.sent.insert(Flow { from, to }, seq);
    }

    /// Records that the store has committed a message.
    pub fn committed(&mut self, from: PageId, to: u64, seq: u64) {
        self.committed.iter_mut().for_each(|committed| {
            committed.insert((Flow { from, to }, seq));
        });
    }

    /// Records that the sender was told `accepted`, which needs a commit or the recipient's receipt.
    pub fn accepted(&mut self, from: PageId, to: u64, seqs: impl Iterator<Item = u64>) {
        let flow = Flow { from, to };
        for seq in seqs {
            let is_committed =
                self.committed.as_ref().is_none_or(|committed| committed.contains(&(flow, seq)));
            // A plain client's socket accepts what it takes, and a closed channel what it drops.
            let is_dropped = self.droppable.get(&flow).is_some_and(|droppable| droppable.contains(&seq));
            let is_settled = self.plain.contains(&to) || is_dropped;
            assert!(
                is_committed || is_settled || self.is_received(flow, seq),
                "{seq} of {flow:?} was accepted, but neither committed nor received"
            );
            self.accepted.entry(flow).or_default().insert(seq);
        }
    }

    pub fn rejected(&mut self, from: PageId, to: u64, seqs: impl Iterator<Item = u64>) {
        self.rejected.entry(Flow { from, to }).or_default().extend(seqs);
    }

    /// Records that the application of page `by` received a message.
    pub fn received(&mut self, by: PageId, from: PageId, seq: u64) {
        self.messages += 1;
        let flow = Flow { from, to: by.client };
        assert!(
            self.sent.get(&flow).is_some_and(|sent| seq <= *sent),
            "{by:?} received {seq} of {from:?}, which was never sent"
        );
        let received = self.received.entry(by).or_default();
        let last = received.iter().rev().find(|receipt| receipt.from == from).map_or(0, |last| last.seq);
        assert!(seq > last, "{by:?} received {seq} of {from:?} after {last}");
        received.push(Receipt { from, seq, index: self.messages });
        self.first_received.entry((flow, seq)).or_insert(self.messages);
    }

    /// Checks a receipt: the recipient's application has received every message up to `seq`.
    pub fn delivered(&self, from: PageId, to: u64, seq: u64) {
        let flow = Flow { from, to };
        if self.plain.contains(&to) {
            return;
        }
        let missing = self.undroppable(flow).find(|due| *due <= seq && !self.is_received(flow, *due));
        assert_eq!(missing, None, "{from:?} was told that {to} has received everything up to {seq}");
    }

    /// Records that a channel was closed: messages that were not received yet may be dropped.
    pub fn channel_closed(&mut self, client: u64, other: u64) {
        let flows: Vec<_> = self.sent.iter().map(|(flow, sent)| (*flow, *sent)).collect();
        for (flow, sent) in flows {
            let ends = (flow.from.client, flow.to);
            if ends == (client, other) || ends == (other, client) {
                let unreceived: Vec<_> = (1..=sent).filter(|seq| !self.is_received(flow, *seq)).collect();
                self.droppable.entry(flow).or_default().extend(unreceived);
                self.last_before_close.insert(flow, sent);
            }
        }
    }

    /// Returns how many of a client's messages were received.
    pub fn received_from(&self, client: u64) -> u64 {
        self.first_received.keys().filter(|(flow, _)| flow.from.client == client).count() as u64
    }

    fn is_received(&self, flow: Flow, seq: u64) -> bool {
        self.first_received.contains_key(&(flow, seq))
    }

    /// Returns the accepted messages that must not be dropped.
    fn undroppable(&self, flow: Flow) -> impl Iterator<Item = u64> {
        let droppable = self.droppable.get(&flow);
        let accepted = self.accepted.get(&flow).into_iter().flatten().copied();
        accepted.filter(move |seq| droppable.is_none_or(|droppable| !droppable.contains(seq)))
    }

    /// Returns the last message whose receipt must have reached `from` by the end of the run.
    pub fn last_receipt_due(&self, from: PageId, to: u64) -> Option<u64> {
        let flow = Flow { from, to };
        let last_before_close = self.last_before_close.get(&flow).copied().unwrap_or_default();
        self.undroppable(flow).last().filter(|last| *last > last_before_close)
    }

    /// Checks that no rejected message was received and no accepted message was lost. Called at the end of a run.
    pub fn check(&self) {
        for flow in self.sent.keys() {
            let forgotten = self.forgotten.get(flow).copied().unwrap_or_default();
            for seq in self.rejected.get(flow).into_iter().flatten().filter(|seq| **seq > forgotten) {
                assert!(!self.is_received(*flow, *seq), "{seq} of {flow:?} was rejected, but received");
            }
            if self.plain.contains(&flow.to) || self.plain.contains(&flow.from.client) {
                continue;
            }
            for seq in self.undroppable(*flow) {
                self.check_received(*flow, seq);
            }
        }
    }

    /// Checks that a message was received and that no page of the recipient skipped it. A page may start after a message that
    /// an earlier page received; from its first message on it receives all of them.
    fn check_received(&self, flow: Flow, seq: u64) {
        let first = self.first_received.get(&(flow, seq));
        assert_ne!(first, None, "{seq} of {flow:?} was accepted, but never received");
        for (by, received) in self.received.iter().filter(|(by, _)| by.client == flow.to) {
            let mut received = received.iter().filter(|receipt| receipt.from == flow.from);
            let has_started = received.clone().next().is_some_and(|receipt| receipt.seq < seq);
            let next = received.find(|receipt| receipt.seq >= seq);
            let is_skipped = next.is_some_and(|next| {
                next.seq > seq && (has_started || first.is_some_and(|at| *at > next.index))
            });
            assert!(!is_skipped, "{by:?} skipped {seq} of {flow:?}");
        }
    }
}
