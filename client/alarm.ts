/** A timer that can be late, and can be told so. */

const LONGEST_TIMER = 2 ** 31 - 1;

/** Milliseconds after which a timer that runs for longer looks at the clock again. */
const TICK = 5_000;
/** A timer that is so many milliseconds late tells that the machine slept, or that the page was frozen. */
const SLEPT = 2_000;

/** Calls a function at a time, once for each time that it is set. */
export class Alarm {
  readonly #call: () => void;
  readonly #slept: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it is to ring, on a clock that also runs while the machine sleeps. */
  #at = Infinity;

  /**
   * @param call - called when it rings
   * @param slept - called, after that, when time has passed in which no timer of the page rang
   */
  constructor(call: () => void, slept?: () => void) {
    this.#call = call;
    this.#slept = slept;
  }

  get isSet(): boolean {
    return this.#at < Infinity;
  }

  /** Milliseconds until it rings. */
  get left(): number {
    return this.#at - Date.now();
  }

  start(milliseconds: number): void {
    this.clear();
    // A server may say what is no time: then it is now.
    this.#wait(milliseconds > 0 ? Math.min(milliseconds, LONGEST_TIMER) : 0);
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
    if (this.left <= 0) this.ring();
  }

  #wait(left: number): void {
    const since = Date.now();
    const slice = Math.min(left, TICK);
    this.#at = since + left;
    this.#timer = setTimeout(() => {
      const passed = Date.now() - since;
      // Timers stand still while the machine sleeps, but the clock does not. Nor is it believed when it is set back.
      const rest = left - Math.max(passed, slice);
      if (rest > 0) this.#wait(rest);
      else this.ring();
      if (passed > slice + SLEPT) this.#slept?.();
    }, slice);
  }
}
