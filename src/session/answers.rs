//! What a client with reliable delivery is told of its own frames: accepted, held, rejected, wrong.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep};

use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};

/// The answers to a client's own frames, between the frame and the socket.
#[derive(Default)]
pub(super) struct Answers {
    /// Answers to be written.
    pub frames: Vec<u8>,
    /// Bytes of answers that were written and that the socket has not taken.
    pub unflushed: usize,
    /// Up to which number messages were accepted, for each target, since that was last told. It goes with whatever
    /// is written next, or when it is due.
    accepted: Vec<(ClientId, Seq)>,
    /// When they are due. Boxed, for a connection that is silent needs none.
    due: Option<Pin<Box<Sleep>>>,
    /// The targets of which everything is passed over until a frame says that it is the first after the refusal.
    pub refusing: HashSet<ClientId>,
}

impl Answers {
    /// `target`'s messages are stored up to `seq`. Told once for many.
    pub fn accepted(&mut self, target: ClientId, seq: Seq) {
        match self.accepted.iter_mut().find(|(of, _)| *of == target) {
            Some((_, last)) => *last = seq,
            None => self.accepted.push((target, seq)),
        }
        if self.accepted.len() >= Limits::ACCEPT_BATCH {
            self.write_accepted();
        }
    }

    /// Makes what was accepted due when it has waited for long enough.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.due.is_none() && !self.accepted.is_empty() {
            self.due = Some(Box::pin(sleep(Limits::ACCEPT_DELAY)));
        }
        // Not stopped when it was told before: starting and stopping it for each message would cost more.
        if self.due.as_mut().is_none_or(|due| due.as_mut().poll(cx).is_pending()) {
            return Poll::Pending;
        }
        self.due = None;
        self.write_accepted();
        Poll::Ready(())
    }

    /// An answer, behind what was accepted before it.
    pub fn add(&mut self, notice: &Notice<'_>) {
        // A refusal names the oldest message that is outstanding: what was accepted has to be known before it.
        self.write_accepted();
        encode::notice(notice, &mut self.frames);
    }

    fn write_accepted(&mut self) {
        for (target, seq) in self.accepted.drain(..) {
            encode::notice(&Notice::Accepted { target, seq }, &mut self.frames);
        }
    }

    /// Moves all answers to the output.
    pub fn write(&mut self, output: &mut Vec<u8>) {
        self.write_accepted();
        self.unflushed += self.frames.len();
        // Given back, for an idle connection keeps no buffer.
        output.append(&mut std::mem::take(&mut self.frames));
    }
}
