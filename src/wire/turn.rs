//! Who of a thread's connections reads when: who brings little goes first, who brings much waits in line.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::task::yield_now;

use crate::limits::Limits;

/// So many of those in line have their turn before the thread looks again who else has something to say.
const LET_ON: usize = 2;
/// Room in the line, in places, that is kept while nobody is in it.
const KEPT: usize = 1024;

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
    /// What the last read took beside the bytes that it brought.
    static CHARGED: Cell<usize> = const { Cell::new(0) };
}

/// Counts so many bytes for the turn of whoever reads at this moment, beside those that the read brings.
pub fn charge(bytes: usize) {
    CHARGED.set(CHARGED.get() + bytes);
}

/// Those connections of a thread that bring much and wait for their next turn. As long as there are any, one of them is
/// the pacer: it has the line move on whenever the thread has looked who else has something to say.
#[derive(Debug, Default)]
struct Line {
    /// By ticket, from `let_on`; none of who has gone away.
    waiting: VecDeque<Option<Waker>>,
    /// The first ticket whose turn has not come.
    let_on: u32,
    /// The ticket of the pacer.
    pacer: Option<u32>,
}

impl Line {
    /// A place at the end.
    fn join(&mut self, cx: &Context<'_>) -> u32 {
        self.waiting.push_back(Some(cx.waker().clone()));
        self.let_on.wrapping_add(self.waiting.len() as u32 - 1)
    }

    fn place(&mut self, ticket: u32) -> Option<&mut Option<Waker>> {
        self.waiting.get_mut(ticket.wrapping_sub(self.let_on) as usize)
    }

    /// Gives up a place. Whoever paces, or was woken to, is followed by the first in line.
    fn leave(&mut self, ticket: u32) {
        if let Some(place) = self.place(ticket) {
            *place = None;
        }
        if self.pacer.is_none_or(|pacer| pacer == ticket) {
            self.pacer = None;
            self.wake_first();
        }
    }

    /// The thread has looked: it is the turn of the first in line, and somebody else's to pace than `pacer`, which is awake.
    fn move_on(&mut self, pacer: u32) {
        let mut left = LET_ON;
        while left > 0
            && let Some(first) = self.waiting.pop_front()
        {
            left -= usize::from(first.is_some());
            first.filter(|_| self.let_on != pacer).into_iter().for_each(Waker::wake);
            self.let_on = self.let_on.wrapping_add(1);
        }
        self.pacer = None;
        self.wake_first();
    }

    /// Wakes the first in line, who then finds that nobody paces; nobody else would come to know.
    fn wake_first(&mut self) {
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.let_on = self.let_on.wrapping_add(1);
        }
        match self.waiting.front() {
            Some(first) => first.iter().for_each(Waker::wake_by_ref),
            None if self.waiting.capacity() > KEPT => self.waiting = VecDeque::new(),
            None => {}
        }
    }
}

/// What a connection brings at one time.
#[derive(Debug, Default)]
pub struct Turn {
    stage: Stage,
    /// Whether it brought much when it last did: then it waits in line before it is read.
    is_long: bool,
    frames: u16,
    bytes: u32,
    /// Its place in line.
    ticket: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// There was nothing to read when it was last tried.
    #[default]
    Resting,
    Reading,
    InLine,
}

impl Turn {
    fn limits(&self) -> (usize, usize) {
        match self.is_long {
            true => (Limits::TURN_FRAMES, Limits::TURN_BYTES),
            false => (Limits::SHORT_TURN_FRAMES, Limits::SHORT_TURN_BYTES),
        }
    }

    /// The most that may be read at one time.
    pub fn max_bytes(&self) -> usize {
        self.limits().1
    }

    /// So many bytes were read.
    pub fn record_read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add((bytes + CHARGED.take()) as u32);
    }

    /// A frame was decoded.
    pub fn record_frame(&mut self) {
        self.frames += 1;
    }

    /// Whether another frame may be decoded.
    pub fn may_decode(&self) -> bool {
        usize::from(self.frames) < self.limits().0
    }

    /// Ready while it is the connection's turn. Pending when it is that of others; then the task is woken when it may go
    /// on.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = !self.may_decode() || self.bytes as usize >= self.max_bytes();
        // Most connections never come to see the line.
        match self.stage {
            Stage::Resting if !self.is_long => {
                self.begin();
                return Poll::Ready(());
            }
            Stage::Reading if !is_over => return Poll::Ready(()),
            _ => {}
        }
        LINE.with_borrow_mut(|line| {
            match self.stage {
                Stage::Resting | Stage::Reading => {
                    self.is_long = true;
                    self.stage = Stage::InLine;
                    self.ticket = line.join(cx);
                }
                Stage::InLine if line.pacer == Some(self.ticket) => line.move_on(self.ticket),
                Stage::InLine => {}
            }
            if self.stage == Stage::InLine {
                if line.place(self.ticket).is_some() {
                    return match line.pacer {
                        Some(_) => Poll::Pending,
                        None => {
                            line.pacer = Some(self.ticket);
                            // Wakes the task when the thread has looked.
                            pin!(yield_now()).poll(cx)
                        }
                    };
                }
                self.begin();
            }
            Poll::Ready(())
        })
    }

    fn begin(&mut self) {
        (self.stage, self.frames, self.bytes) = (Stage::Reading, 0, 0);
    }

    /// There is nothing more to read.
    pub fn end(&mut self) {
        self.record_read(0);
        let (frames, bytes) = (usize::from(self.frames), self.bytes as usize);
        self.is_long = frames > Limits::SHORT_TURN_FRAMES || bytes > Limits::SHORT_TURN_BYTES;
        self.stage = Stage::Resting;
    }

    /// It is not read from for now, or ever again.
    pub fn leave_line(&mut self) {
        if self.stage == Stage::InLine {
            LINE.with_borrow_mut(|line| line.leave(self.ticket));
            self.stage = Stage::Resting;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave_line();
    }
}
