//! How a session ends when the server stops: its client gets what waits for it first.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Phase, Session, close};
use crate::error::CloseReason;
use crate::hub::{Bell, Hub};
use crate::wire::Wire;

impl Session {
    /// Takes nothing but acknowledgements from now on. Returns false when the client has not authenticated, and nothing waits
    /// for it.
    pub(super) fn begin_draining(&mut self) -> bool {
        match mem::replace(&mut self.phase, Phase::Detached) {
            Phase::Attached(attachment) => self.phase = Phase::Draining(attachment),
            other => self.phase = other,
        }
        matches!(self.phase, Phase::Draining(_))
    }

    /// Writes what waits for the client until nothing is left, or the server is in a hurry; then ends the connection.
    pub(super) async fn drain<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        reason: CloseReason,
    ) {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        let mut hurry = pin!(shared.hurry.cancelled());
        let drained = poll_fn(|cx| {
            while !self.is_drained() {
                ready!(self.poll_drain(&bell, &shared.hub, wire, cx))?;
            }
            Poll::Ready(Ok::<_, CloseReason>(()))
        });
        let reason = tokio::select! {
            biased;
            () = &mut hurry => reason,
            drained = drained => drained.err().unwrap_or(reason),
        };
        let outbox = self.end(&reason);
        let Some(_reservation) = shared.hub.reserve_for_close(outbox.len()) else { return };
        close(wire, outbox, &reason, &shared).await;
    }

    /// Ready when there may be something else to do.
    fn poll_drain<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        bell: &Bell,
        hub: &Hub,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        while bell.poll_rung(cx).is_ready() {
            self.answer_bell()?;
        }
        self.has_mail = true;
        let received = self.poll(hub, wire, cx);
        if self.is_drained() { Poll::Ready(Ok(())) } else { received }
    }

    /// Whether nothing waits for the client, and no message of the client is held.
    fn is_drained(&self) -> bool {
        let waits = |claim| self.held.is_some() || self.shared.hub.has_waiting(claim);
        !self.phase.attachment().is_some_and(|attachment| waits(&attachment.claim))
    }
}
