//! What was sent, accepted, refused and heard, and whether that is what was promised.

use std::collections::{BTreeMap, BTreeSet};

/// A page of a client: reload it, and it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId {
    pub client: u64,
    pub page: u64,
}

/// The messages of one page for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    from: PageId,
    to: u64,
}

#[derive(Default)]
pub struct Ledger {
    /// The highest number of each flow.
    sent: BTreeMap<Flow, u64>,
    accepted: BTreeMap<Flow, BTreeSet<u64>>,
    rejected: BTreeMap<Flow, BTreeSet<u64>>,
    /// Those that may have been dropped with their channel.
    excused: BTreeMap<Flow, BTreeSet<u64>>,
    /// The last of each flow that was sent before the channel was revoked: an acknowledgement under way then is not told.
    revoked: BTreeMap<Flow, u64>,
    /// What each page heard, in order: from whom, which number; and what was heard how-manieth of all.
    heard: BTreeMap<PageId, Vec<(PageId, u64, u64)>>,
    /// When each message was heard first.
    first_heard: BTreeMap<(Flow, u64), u64>,
    /// Clients that do not acknowledge, to which or from which messages may get lost.
    plain: BTreeSet<u64>,
    pub messages: u64,
}

impl Ledger {
    pub fn is_plain(&mut self, client: u64) {
        self.plain.insert(client);
    }

    pub fn sent(&mut self, from: PageId, to: u64, seq: u64) {
        self.sent.insert(Flow { from, to }, seq);
    }

    pub fn accepted(&mut self, from: PageId, to: u64, seqs: impl Iterator<Item = u64>) {
        self.accepted.entry(Flow { from, to }).or_default().extend(seqs);
    }

    pub fn rejected(&mut self, from: PageId, to: u64, seqs: impl Iterator<Item = u64>) {
        self.rejected.entry(Flow { from, to }).or_default().extend(seqs);
    }

    pub fn heard(&mut self, by: PageId, from: PageId, seq: u64) {
        self.messages += 1;
        let flow = Flow { from, to: by.client };
        assert!(
            self.sent.get(&flow).is_some_and(|sent| seq <= *sent),
            "{by:?} heard {seq} of {from:?}, who never sent it"
        );
        let heard = self.heard.entry(by).or_default();
        let last = heard.iter().rev().find(|(of, ..)| *of == from).map_or(0, |(_, last, _)| *last);
        assert!(seq > last, "{by:?} heard {seq} of {from:?} behind {last}");
        heard.push((from, seq, self.messages));
        self.first_heard.entry((flow, seq)).or_insert(self.messages);
    }

    /// `to`'s application is said to have all of `from` up to `seq`.
    pub fn delivered(&self, from: PageId, to: u64, seq: u64) {
        let flow = Flow { from, to };
        if self.plain.contains(&to) {
            return;
        }
        let missing = self.due(flow).find(|due| *due <= seq && !self.is_heard(flow, *due));
        assert_eq!(missing, None, "{from:?} was told that {to} has everything up to {seq}");
    }

    /// What was sent so far and not heard may get lost: the channel is revoked.
    pub fn excuse(&mut self, client: u64, other: u64) {
        let flows: Vec<_> = self.sent.iter().map(|(flow, sent)| (*flow, *sent)).collect();
        for (flow, sent) in flows {
            let ends = (flow.from.client, flow.to);
            if ends == (client, other) || ends == (other, client) {
                let unheard: Vec<_> = (1..=sent).filter(|seq| !self.is_heard(flow, *seq)).collect();
                self.excused.entry(flow).or_default().extend(unheard);
                self.revoked.insert(flow, sent);
            }
        }
    }

    /// How many messages of a client were heard.
    pub fn heard_of(&self, client: u64) -> u64 {
        self.first_heard.keys().filter(|(flow, _)| flow.from.client == client).count() as u64
    }

    fn is_heard(&self, flow: Flow, seq: u64) -> bool {
        self.first_heard.contains_key(&(flow, seq))
    }

    /// Accepted, and not dropped with a channel.
    fn due(&self, flow: Flow) -> impl Iterator<Item = u64> {
        let excused = self.excused.get(&flow);
        let accepted = self.accepted.get(&flow).into_iter().flatten().copied();
        accepted.filter(move |seq| excused.is_none_or(|excused| !excused.contains(seq)))
    }

    /// The last number that has to have been told as delivered to `from` by now.
    pub fn last_due(&self, from: PageId, to: u64) -> Option<u64> {
        let flow = Flow { from, to };
        let revoked = self.revoked.get(&flow).copied().unwrap_or_default();
        self.due(flow).last().filter(|last| *last > revoked)
    }

    /// To be called when nothing is under way any more.
    pub fn check(&self) {
        for flow in self.sent.keys() {
            for seq in self.rejected.get(flow).into_iter().flatten() {
                assert!(!self.is_heard(*flow, *seq), "{seq} of {flow:?} was rejected, and heard");
            }
            if self.plain.contains(&flow.to) || self.plain.contains(&flow.from.client) {
                continue;
            }
            for due in self.due(*flow) {
                let first = self.first_heard.get(&(*flow, due));
                assert_ne!(first, None, "{due} of {flow:?} was accepted, and never heard");
                // A page goes on where those before it ended, at the latest, and hears all from there on.
                for (by, heard) in self.heard.iter().filter(|(by, _)| by.client == flow.to) {
                    let mut heard = heard.iter().filter(|(from, ..)| *from == flow.from);
                    let has_begun = heard.clone().next().is_some_and(|(_, seq, _)| *seq < due);
                    let next = heard.find(|(_, seq, _)| *seq >= due);
                    let is_gap =
                        next.is_some_and(|(_, seq, at)| *seq > due && (has_begun || first > Some(at)));
                    assert!(!is_gap, "{by:?} passed over {due} of {flow:?}");
                }
            }
        }
    }
}
