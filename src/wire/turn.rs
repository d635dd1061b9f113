//! Turns: when a connection may be read, so that one that sends much does not delay the others of its thread.
//!
//! A *turn* is what a connection may bring at one time, in frames and bytes. A connection that brings little has short turns
//! and is read as soon as it has something. One that brings more than a short turn ([`Limits::SHORT_TURN_FRAMES`],
//! [`Limits::SHORT_TURN_BYTES`]) waits in its thread's line before it is read again, for a longer turn; this goes on until
//! it brings less. Bytes that are only read to be discarded count as well.
//!
//! As long as connections wait in the line, one of them is the *pacer*: it yields, so that tokio looks at the sockets and
//! runs every task that has become ready, and then admits the first connections of the line. If the pacer leaves, the next
//! in line takes over.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::task::yield_now;

use crate::limits::Limits;

/// Connections that are admitted from the line each time the thread has looked at its sockets.
const ADMITTED_AT_ONCE: usize = 2;
/// Capacity that an empty line keeps.
const MIN_CAPACITY: usize = 1024;

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
    /// Bytes that count for the current read beside those that it returns.
    static CHARGED: Cell<usize> = const { Cell::new(0) };
}

/// Counts bytes for the read that is in progress beside those that it will return, such as those of TLS records with little
/// content.
pub fn charge(bytes: usize) {
    CHARGED.set(CHARGED.get() + bytes);
}

/// The connections of a thread that wait for their next turn, and the one among them that paces the line.
#[derive(Debug, Default)]
struct Line {
    /// The waiting connections, in the order of their tickets from `first_ticket` on. `None` has left.
    waiting: VecDeque<Option<Waker>>,
    /// The ticket of the first one in `waiting`.
    first_ticket: u32,
    /// The ticket of the pacer.
    pacer: Option<u32>,
}

impl Line {
    /// Adds a connection at the end and returns its ticket.
    fn join(&mut self, cx: &Context<'_>) -> u32 {
        self.waiting.push_back(Some(cx.waker().clone()));
        self.first_ticket.wrapping_add(self.waiting.len() as u32 - 1)
    }

    /// Returns the entry of a connection, or `None` if it has been admitted.
    fn entry(&mut self, ticket: u32) -> Option<&mut Option<Waker>> {
        self.waiting.get_mut(ticket.wrapping_sub(self.first_ticket) as usize)
    }

    /// Removes a connection. If it is the pacer, or was woken to become it, the first in line is woken instead.
    fn leave(&mut self, ticket: u32) {
        if let Some(entry) = self.entry(ticket) {
            *entry = None;
        }
        if self.pacer.is_none_or(|pacer| pacer == ticket) {
            self.pacer = None;
            self.wake_first();
        }
    }

    /// Admits the first connections of the line and wakes the next one to become the pacer. To be called by the pacer, which
    /// is awake itself, when the thread has looked at its sockets.
    fn admit(&mut self, pacer: u32) {
        let mut left = ADMITTED_AT_ONCE;
        while left > 0
            && let Some(first) = self.waiting.pop_front()
        {
            left -= usize::from(first.is_some());
            first.filter(|_| self.first_ticket != pacer).into_iter().for_each(Waker::wake);
            self.first_ticket = self.first_ticket.wrapping_add(1);
        }
        self.pacer = None;
        self.wake_first();
    }

    /// Wakes the first in line, which becomes the pacer because there is none.
    fn wake_first(&mut self) {
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first_ticket = self.first_ticket.wrapping_add(1);
        }
        match self.waiting.front() {
            Some(first) => first.iter().for_each(Waker::wake_by_ref),
            None if self.waiting.capacity() > MIN_CAPACITY => self.waiting = VecDeque::new(),
            None => {}
        }
    }
}

/// The turns of one connection.
#[derive(Debug, Default)]
pub struct Turn {
    stage: Stage,
    /// Whether the connection brought more than a short turn the last time: then it waits in line before it is read.
    is_long: bool,
    /// Frames that were decoded in this turn.
    frames: u16,
    /// Bytes that were read in this turn.
    bytes: u32,
    /// The ticket in the line.
    ticket: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The last read found nothing, so no turn has begun.
    #[default]
    Idle,
    /// The turn has begun.
    Reading,
    /// The connection waits in line for its turn.
    InLine,
}

impl Turn {
    /// Returns the bounds of this turn, in frames and bytes.
    fn limits(&self) -> (usize, usize) {
        match self.is_long {
            true => (Limits::TURN_FRAMES, Limits::TURN_BYTES),
            false => (Limits::SHORT_TURN_FRAMES, Limits::SHORT_TURN_BYTES),
        }
    }

    /// Returns the bytes that one read may ask for at most.
    pub fn max_bytes(&self) -> usize {
        self.limits().1
    }

    /// Records a read.
    pub fn record_read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add((bytes + CHARGED.take()) as u32);
    }

    /// Records a decoded frame.
    pub fn record_frame(&mut self) {
        self.frames += 1;
    }

    /// Returns whether another frame may be decoded in this turn.
    pub fn may_decode(&self) -> bool {
        usize::from(self.frames) < self.limits().0
    }

    /// Returns `Ready` if the connection may be read. Otherwise it waits in line, and its task is woken for its turn.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = !self.may_decode() || self.bytes as usize >= self.max_bytes();
        // Most connections never get past this.
        match self.stage {
            Stage::Idle if !self.is_long => {
                self.begin();
                return Poll::Ready(());
            }
            Stage::Reading if !is_over => return Poll::Ready(()),
            _ => {}
        }
        LINE.with_borrow_mut(|line| self.poll_line(line, cx))
    }

    /// Joins the line, or paces it, and returns `Ready` once the connection is admitted.
    fn poll_line(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Poll<()> {
        if self.stage != Stage::InLine {
            self.is_long = true;
            self.stage = Stage::InLine;
            self.ticket = line.join(cx);
        } else if line.pacer == Some(self.ticket) {
            line.admit(self.ticket);
        }
        if line.entry(self.ticket).is_none() {
            self.begin();
            return Poll::Ready(());
        }
        if line.pacer.is_some() {
            return Poll::Pending;
        }
        line.pacer = Some(self.ticket);
        // Wakes this task when the thread has looked at its sockets.
        pin!(yield_now()).poll(cx)
    }

    fn begin(&mut self) {
        (self.stage, self.frames, self.bytes) = (Stage::Reading, 0, 0);
    }

    /// Ends the turn, because there is nothing more to read.
    pub fn end(&mut self) {
        self.record_read(0);
        let (frames, bytes) = (usize::from(self.frames), self.bytes as usize);
        self.is_long = frames > Limits::SHORT_TURN_FRAMES || bytes > Limits::SHORT_TURN_BYTES;
        self.stage = Stage::Idle;
    }

    /// Leaves the line, because the connection is not read for now, or never again.
    pub fn leave_line(&mut self) {
        if self.stage == Stage::InLine {
            LINE.with_borrow_mut(|line| line.leave(self.ticket));
            self.stage = Stage::Idle;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave_line();
    }
}
