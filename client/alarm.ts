/** A timer that follows the wall clock, also across sleep and throttling. */

/** The longest single `setTimeout`, in milliseconds. A longer wait is split, to compare it with the clock in between. */
const TICK = 5_000;
/** A timer this many milliseconds late means that the machine slept or the page was frozen. */
const SLEPT = 2_000;

/** Calls a function once, some time after each `start_`. */
export class Alarm {
  readonly #fired: () => void;
  readonly #slept: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it is due, by `Date.now()`, which also advances while the machine sleeps. */
  #due = Infinity;

  /**
   * @param fired - called when the time has come
   * @param slept - called, after `fired` if that is due too, when no timer could run for a while
   */
  constructor(fired: () => void, slept?: () => void) {
    this.#fired = fired;
    this.#slept = slept;
  }

  get isSet_(): boolean {
    return this.#due < Infinity;
  }

  /** Milliseconds until it fires; `Infinity` if it is not set. */
  get remaining_(): number {
    return this.#due - Date.now();
  }

  /** Sets it, in place of the time that it was set to. Anything but a positive number means now. */
  start_(milliseconds: number): void {
    this.stop_();
    this.#wait(milliseconds > 0 ? milliseconds : 0);
  }

  stop_(): void {
    this.#due = Infinity;
    clearTimeout(this.#timer);
  }

  /** Fires now, before its time. It must be set. */
  fire_(): void {
    this.stop_();
    this.#fired();
  }

  /** Fires if it is due. Frames call this, because browsers delay the timers of hidden tabs but not their frames. */
  fireIfDue_(): void {
    if (this.remaining_ <= 0) this.fire_();
  }

  #wait(remaining: number): void {
    const start = Date.now();
    const tick = Math.min(remaining, TICK);
    this.#due = start + remaining;
    this.#timer = setTimeout(() => {
      const passed = Date.now() - start;
      // At least `tick` has passed, even if the clock was set back.
      const rest = remaining - Math.max(passed, tick);
      if (rest > 0) this.#wait(rest);
      else this.fire_();
      if (passed > tick + SLEPT) this.#slept?.();
    }, tick);
  }
}
