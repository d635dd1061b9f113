/** Notices that a connection is dead although nothing says so, by the clock. */

import { Alarm } from './alarm.js';

/** When a machine wakes, timers ring before the frames that came in time are read: milliseconds for those. */
const GRACE = 500;
/** Milliseconds for the answer of a server that was asked whether it is there. */
const ANSWER_TIMEOUT = 5_000;
/** One waking has several events. An attempt to connect that is younger, in milliseconds, was made by one of them. */
const ONE_WAKING = 1_000;

/** Watches one connection after the other. Rings to look after it, until it is cleared. */
export class Watch extends Alarm {
  #patience = 0;
  #heard = 0;
  /** When something must have been heard because the server was asked; `Infinity` if it was not. */
  #answerBy = Infinity;
  #suspicious = false;

  /**
   * @param waitingSince - since when an answer is awaited; `Infinity` if none is
   * @param dead - called when nothing was heard, or an answer was awaited, for longer than allowed
   * @param slept - called when the machine has slept
   */
  constructor(waitingSince: () => number, dead: () => void, slept: () => void) {
    super(() => {
      const now = Date.now();
      // Whoever sets the clock back is not to be waited for.
      this.#heard = Math.min(this.#heard, now);
      const left = Math.min(this.#answerBy, Math.min(this.#heard, waitingSince()) + this.#patience) - now;
      const wasSuspicious = this.#suspicious;
      this.#suspicious = left <= 0;
      if (left > 0) this.start(left);
      else if (wasSuspicious) dead();
      else this.start(GRACE);
    }, slept);
  }

  /** Starts anew. From now on the other side may be silent for so many milliseconds. */
  begin(patience: number): void {
    this.#patience = patience;
    this.#suspicious = false;
    this.#answerBy = Infinity;
    this.#heard = Date.now();
    this.start(patience);
  }

  /** A frame came. */
  heard(): void {
    const now = Date.now();
    this.#heard = now;
    // It may have come before the machine slept, so it is no answer yet. A slow link may need time for what is in front.
    if (this.#answerBy < Infinity) this.#answerBy = now + ANSWER_TIMEOUT;
    this.check();
  }

  /**
   * From now on a sign of life is due soon. Returns whether that is new.
   *
   * @param isOpen - whether the connection is open, not still being made
   */
  ask(isOpen: boolean): boolean {
    const now = Date.now();
    if (this.#answerBy < Infinity || (!isOpen && now - this.#heard < ONE_WAKING)) return false;
    this.#answerBy = now + ANSWER_TIMEOUT;
    this.start(Math.min(this.left, ANSWER_TIMEOUT));
    return true;
  }

  /** The sign of life came. */
  answered(): void {
    this.#answerBy = Infinity;
  }
}
