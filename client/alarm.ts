/** A timer that can be late, and can be told so. */

const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls a function at a time, once for each time that it is set. */
export class Alarm {
  readonly #call: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it is to ring, on a clock that also runs while the machine sleeps. */
  #at = Infinity;

  constructor(call: () => void) {
    this.#call = call;
  }

  get isSet(): boolean {
    return this.#at < Infinity;
  }

  start(milliseconds: number): void {
    this.clear();
    // A server may say what is no time: then it is now.
    if (!(milliseconds > 0)) milliseconds = 0;
    this.#at = Date.now() + milliseconds;
    this.#timer = setTimeout(this.ring, Math.min(milliseconds, LONGEST_TIMER));
  }

  clear(): void {
    this.#at = Infinity;
    clearTimeout(this.#timer);
  }

  /** Rings now, if it is set. */
  readonly ring = (): void => {
    if (!this.isSet) return;
    this.clear();
    this.#call();
  };

  /** Rings if it is late: in a tab that nobody sees timers come when they like, but frames do not. */
  check(): void {
    if (Date.now() >= this.#at) this.ring();
  }
}
