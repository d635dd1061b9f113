//! How a session ends when all do: its client gets what waits for it first.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Attachment, Session, close};
use crate::backend::Bell;
use crate::error::CloseReason;
use crate::wire::Wire;

impl Session {
    /// Writes what waits for the client, and takes no more from it than acknowledgements, until nothing waits; then ends
    /// the connection. When that takes too long for whoever waits for it, nothing more is waited for.
    pub(super) async fn drain<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        farewell: CloseReason,
    ) {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        self.is_draining = true;
        let mut hurry = pin!(shared.hurry.cancelled());
        let drained = poll_fn(|cx| {
            while !self.is_drained() {
                ready!(self.poll_drain(&bell, wire, cx))?;
            }
            Poll::Ready(Ok::<_, CloseReason>(()))
        });
        let reason = tokio::select! {
            biased;
            () = &mut hurry => farewell,
            drained = drained => drained.err().unwrap_or(farewell),
        };
        let outbox = self.end(&reason);
        let Some(_counted) = shared.backend.linger(outbox.len()) else { return };
        close(wire, outbox, &reason, &shared).await;
    }

    /// Ready when there may be something else to do.
    fn poll_drain<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        bell: &Bell,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        while bell.poll_rung(cx).is_ready() {
            self.answer_bell()?;
        }
        self.mail = true;
        let received = self.poll(wire, cx);
        if self.is_drained() { Poll::Ready(Ok(())) } else { received }
    }

    /// Whether nothing waits for the client any more, and nothing of it for others.
    fn is_drained(&self) -> bool {
        let waits = self.attachment.as_ref().is_some_and(|Attachment { claim, .. }| {
            self.held.is_some() || self.shared.backend.has_waiting(claim)
        });
        !waits && self.outbox.as_ref().is_none_or(|outbox| outbox.is_empty())
    }
}
