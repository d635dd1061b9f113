/** Notices by the clock that a connection is dead. */

import { Alarm } from './alarm.js';

/** After a sleep, timers fire before the frames that came in time are read. This many milliseconds are left for those. */
const GRACE = 500;
/** How long a server that was asked whether it is there may take to answer, in milliseconds. */
const ANSWER_TIMEOUT = 5_000;
/** A page that wakes fires several events. A connection attempt younger than this, in milliseconds, was made by one of them. */
const WAKING = 1_000;

/** Watches the current connection until it is stopped. */
export class Watchdog extends Alarm {
  #timeout = 0;
  /** When the last frame came. */
  #heardAt = 0;
  /** When the answer to a ping is due; `Infinity` if there was none. */
  #answerBy = Infinity;
  /** A deadline was missed, and the grace time is running. */
  #isSuspicious = false;

  /**
   * @param waitingSince - returns since when the server owes an answer; `Infinity` if it owes none
   * @param dead - called when nothing was heard, or an answer was owed, for too long
   * @param slept - called when the machine has slept
   */
  constructor(waitingSince: () => number, dead: () => void, slept: () => void) {
    super(() => {
      const now = Date.now();
      // The clock may have been set back.
      this.#heardAt = Math.min(this.#heardAt, now);
      const remaining = Math.min(this.#answerBy, Math.min(this.#heardAt, waitingSince()) + this.#timeout) - now;
      const wasSuspicious = this.#isSuspicious;
      this.#isSuspicious = remaining <= 0;
      if (remaining > 0) this.start_(remaining);
      else if (wasSuspicious) dead();
      else this.start_(GRACE);
    }, slept);
  }

  /** Watches anew. From now on the server may be silent for `timeout` milliseconds. */
  watch_(timeout: number): void {
    this.#timeout = timeout;
    this.#isSuspicious = false;
    this.#answerBy = Infinity;
    this.#heardAt = Date.now();
    this.start_(timeout);
  }

  /** A frame came. */
  heard_(): void {
    const now = Date.now();
    this.#heardAt = now;
    // It may have been sent before the machine slept, so it is no answer. But the answer may be queued behind it.
    if (this.#answerBy < Infinity) this.#answerBy = now + ANSWER_TIMEOUT;
    this.fireIfDue_();
  }

  /**
   * Expects an answer soon. Returns false if it does so already, or if the connection attempt has only just begun.
   *
   * @param isOpen - whether the connection is open, not still being made
   */
  expectAnswer_(isOpen: boolean): boolean {
    const now = Date.now();
    if (this.#answerBy < Infinity || (!isOpen && now - this.#heardAt < WAKING)) return false;
    this.#answerBy = now + ANSWER_TIMEOUT;
    this.start_(Math.min(this.remaining_, ANSWER_TIMEOUT));
    return true;
  }

  /** The expected answer came. */
  answered_(): void {
    this.#answerBy = Infinity;
  }
}
