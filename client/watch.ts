/** Notices that a connection is dead although nothing says so, by the clock. */

import { Alarm } from './alarm.js';

/** When a machine wakes, timers ring before the frames that came in time are read: so long those get. */
const GRACE = 500;

/** Watches one connection after the other. Rings to look after it, until it is cleared. */
export class Watch extends Alarm {
  #patience = 0;
  #heard = 0;
  #suspicious = false;

  /**
   * @param waitingSince - since when an answer is awaited; `Infinity` if none is
   * @param dead - called when nothing was heard, or an answer was awaited, for longer than allowed
   */
  constructor(waitingSince: () => number, dead: () => void) {
    super(() => {
      const now = Date.now();
      // Whoever sets the clock back is not to be waited for.
      this.#heard = Math.min(this.#heard, now);
      const left = Math.min(this.#heard, waitingSince()) + this.#patience - now;
      const wasSuspicious = this.#suspicious;
      this.#suspicious = left <= 0;
      if (left > 0) this.start(left);
      else if (wasSuspicious) dead();
      else this.start(GRACE);
    });
  }

  /** Starts anew. From now on the other side may be silent for so many milliseconds. */
  begin(patience: number): void {
    this.#patience = patience;
    this.#suspicious = false;
    this.#heard = Date.now();
    this.start(patience);
  }

  /** A frame came. */
  heard(): void {
    this.#heard = Date.now();
    this.check();
  }
}
