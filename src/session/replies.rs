//! Replies to the frames of a reliable client: accepted, hold, rejected, error, pong.

use std::collections::{BTreeMap, HashSet};
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep};

use crate::hub::{Accepted, Outbox};
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};

/// The replies of one connection, on their way from the frame to the outbox.
#[derive(Default)]
pub(super) struct Replies {
    /// Replies to be written.
    frames: Vec<u8>,
    /// Refusals, which are written behind the other replies.
    refusals: Vec<u8>,
    /// Acceptances since the last reply.
    accepted: Accepted,
    /// Refusals that wait until the messages before them are accepted, by target.
    waiting: BTreeMap<ClientId, Vec<u8>>,
    /// When acceptances have to be told if nothing is written before. Boxed: a silent connection needs none.
    due: Option<Pin<Box<Sleep>>>,
    /// Targets to which a message was refused: what follows is passed over until a frame is marked as the first after that.
    pub refused: HashSet<ClientId>,
}

impl Replies {
    /// Adds an acceptance of the messages to `target` up to `seq`.
    pub fn accept(&mut self, target: ClientId, seq: Seq) {
        if self.accepted.add(target, seq) {
            self.accepted.write(&mut self.frames);
        }
    }

    /// Adds the refusals that wait, if `poll_accepted` is ready: it returns what is to be accepted before.
    pub fn release_refusals(&mut self, poll_accepted: impl Fn(ClientId) -> Poll<Option<Seq>>) {
        for (target, mut refusal) in take(&mut self.waiting) {
            let Poll::Ready(last) = poll_accepted(target) else {
                self.waiting.insert(target, refusal);
                continue;
            };
            last.into_iter().for_each(|seq| self.accept(target, seq));
            self.accepted.write(&mut self.frames);
            self.refusals.append(&mut refusal);
        }
    }

    /// Adds a refusal, and passes over what the client has sent to `target` behind the refused message. A refusal names the
    /// oldest outstanding message, so the client has to know first what was accepted: see [`Replies::release_refusals`].
    pub fn refuse(&mut self, target: ClientId, refusal: &Notice<'_>) {
        self.refused.insert(target);
        encode::notice(refusal, self.waiting.entry(target).or_default());
    }

    /// Adds a reply behind the acceptances so far.
    pub fn add(&mut self, notice: &Notice<'_>) {
        self.accepted.write(&mut self.frames);
        let is_refusal = matches!(notice, Notice::Hold { .. } | Notice::Rejected { .. });
        encode::notice(notice, if is_refusal { &mut self.refusals } else { &mut self.frames });
    }

    /// Drops the refusals of a connection that ends. The replies before them may never arrive, and then a refusal would name
    /// the wrong message. The client sends its messages again on its next connection, and they are refused again.
    pub fn drop_refusals(&mut self) {
        self.refusals.clear();
        self.waiting.clear();
    }

    /// Returns the bytes of replies that are not in the outbox yet.
    pub fn len(&self) -> usize {
        self.frames.len() + self.refusals.len()
    }

    /// Whether there is something for the outbox.
    pub fn is_pending(&self) -> bool {
        self.len() > 0 || !self.accepted.is_empty()
    }

    /// Whether there is nothing to write and nothing to remember.
    pub fn is_idle(&self) -> bool {
        !self.is_pending() && self.due.is_none() && self.refused.is_empty() && self.waiting.is_empty()
    }

    /// Moves all replies to the outbox.
    pub fn move_to(&mut self, outbox: &mut Outbox) {
        if !self.accepted.is_empty() {
            self.await_more(outbox);
        }
        if self.len() == 0 {
            self.accepted.move_to(|target, seq| outbox.accept(target, seq));
        } else {
            outbox.write_accepted();
            self.accepted.write(&mut self.frames);
            // Taken: an idle connection keeps no buffer.
            for mut frames in [std::mem::take(&mut self.frames), std::mem::take(&mut self.refusals)] {
                outbox.write(|all| all.append(&mut frames));
            }
        }
    }

    /// Writes the acceptances that were waiting when this was last due, if nothing else has taken them along since. Later
    /// ones may wait as long: where there is traffic, something is written before.
    pub fn write_overdue(&mut self, outbox: &mut Outbox) {
        if outbox.is_overdue {
            outbox.write_accepted();
        } else if outbox.has_accepted() {
            self.start_waiting(outbox);
        }
    }

    /// Has the acceptances in the outbox wait for something else to be written.
    pub fn await_more(&mut self, outbox: &mut Outbox) {
        if self.due.is_none() {
            self.start_waiting(outbox);
        }
    }

    fn start_waiting(&mut self, outbox: &mut Outbox) {
        self.due = Some(Box::pin(sleep(Limits::ACCEPT_DELAY)));
        outbox.is_overdue = true;
    }

    /// Ready when acceptances have waited long enough.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Not stopped when they were written before: setting and stopping a timer for each message would cost more.
        if self.due.as_mut().is_none_or(|due| due.as_mut().poll(cx).is_pending()) {
            return Poll::Pending;
        }
        self.due = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_refusals_behind_acceptances_and_drops_them_when_the_connection_ends() {
        let target = ClientId::new(1).expect("an id");
        let written = |is_over: bool| {
            let (mut replies, mut outbox) = (Replies::default(), Outbox::default());
            replies.accept(target, Seq(1));
            replies.add(&Notice::Hold { target, seq: Seq(2), retry_after: Limits::HOLD_RETRY });
            replies.add(&Notice::Error { code: "ERR_X", message: "x" });
            if is_over {
                replies.drop_refusals();
            }
            replies.move_to(&mut outbox);
            String::from_utf8_lossy(outbox.unwritten()).into_owned()
        };
        let [running, over] = [false, true].map(written);
        assert!(running.find("accepted") < running.find("hold") && running.contains("ERR_X"), "{running}");
        assert!(over.contains("accepted") && over.contains("ERR_X") && !over.contains("hold"), "{over}");
    }
}
