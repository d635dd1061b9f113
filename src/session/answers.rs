//! What a client with reliable delivery is told of its own frames: accepted, held, rejected, wrong.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep};

use crate::backend::{Accepted, Outbox};
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};

/// The answers to a client's own frames, between the frame and the outbox.
#[derive(Default)]
pub(super) struct Answers {
    /// Answers to be written.
    frames: Vec<u8>,
    /// Those of them that refuse, to be written behind the others.
    refusals: Vec<u8>,
    /// What was accepted since the outbox was last told.
    accepted: Accepted,
    /// When the client has to be told what was accepted, if nothing is written before. Boxed, for a connection that is
    /// silent needs none.
    due: Option<Pin<Box<Sleep>>>,
    /// The targets of which everything is passed over until a frame says that it is the first after the refusal.
    pub refusing: HashSet<ClientId>,
}

impl Answers {
    /// `target`'s messages are stored up to `seq`.
    pub fn accepted(&mut self, target: ClientId, seq: Seq) {
        if self.accepted.add(target, seq) {
            self.accepted.write(&mut self.frames);
        }
    }

    /// An answer, behind what was accepted before it.
    pub fn add(&mut self, notice: &Notice<'_>) {
        // A refusal names the oldest message that is outstanding: what was accepted has to be known before it.
        self.accepted.write(&mut self.frames);
        let is_refusal = matches!(notice, Notice::Hold { .. } | Notice::Rejected { .. });
        encode::notice(notice, if is_refusal { &mut self.refusals } else { &mut self.frames });
    }

    /// The connection ends. What was written before a refusal may never go out, and without that it would name the wrong
    /// messages; whoever comes again sends them again, and is refused again.
    pub fn forget_refusals(&mut self) {
        self.refusals.clear();
    }

    /// Bytes of answers that have found no room in the outbox yet.
    pub fn len(&self) -> usize {
        self.frames.len() + self.refusals.len()
    }

    /// Whether there is something for the outbox.
    pub fn are_pending(&self) -> bool {
        self.len() > 0 || !self.accepted.is_empty()
    }

    /// Whether nothing is owed and nothing is to be remembered.
    pub fn are_idle(&self) -> bool {
        !self.are_pending() && self.due.is_none() && self.refusing.is_empty()
    }

    /// Moves all answers to the outbox.
    pub fn move_to(&mut self, outbox: &mut Outbox) {
        if !self.accepted.is_empty() && self.due.is_none() {
            self.wait(outbox);
        }
        if self.len() == 0 {
            self.accepted.move_to(|target, seq| outbox.accept(target, seq));
        } else {
            outbox.tell_accepted();
            self.accepted.write(&mut self.frames);
            // Given back, for an idle connection keeps no buffer.
            for mut frames in [std::mem::take(&mut self.frames), std::mem::take(&mut self.refusals)] {
                outbox.write(|all| all.append(&mut frames));
            }
        }
    }

    /// Tells what was accepted when it was due last, if nothing that was written since has told it. What was accepted
    /// later may wait as long: where there is traffic, something is written before.
    pub fn tell_overdue(&mut self, outbox: &mut Outbox) {
        if outbox.is_overdue {
            outbox.tell_accepted();
        } else if outbox.has_accepted() {
            self.wait(outbox);
        }
    }

    /// What was accepted may wait from now on.
    fn wait(&mut self, outbox: &mut Outbox) {
        self.due = Some(Box::pin(sleep(Limits::ACCEPT_DELAY)));
        outbox.is_overdue = true;
    }

    /// Ready when what was accepted has waited for long enough.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Not stopped when it was told before: starting and stopping it for each message would cost more.
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
    async fn a_refusal_comes_behind_what_was_accepted_and_not_at_the_end() {
        let target = ClientId::new(1).expect("an id");
        let written = |is_over: bool| {
            let (mut answers, mut outbox) = (Answers::default(), Outbox::default());
            answers.accepted(target, Seq(1));
            answers.add(&Notice::Hold { target, seq: Seq(2), retry_after: Limits::HOLD_RETRY });
            answers.add(&Notice::Error { code: "ERR_X", message: "x" });
            if is_over {
                answers.forget_refusals();
            }
            answers.move_to(&mut outbox);
            String::from_utf8_lossy(outbox.untaken()).into_owned()
        };
        let [running, over] = [false, true].map(written);
        assert!(running.find("accepted") < running.find("hold") && running.contains("ERR_X"), "{running}");
        assert!(over.contains("accepted") && over.contains("ERR_X") && !over.contains("hold"), "{over}");
    }
}
