/** An event emitter like Node's, typed by a map of events and small enough for a browser bundle. */

import * as check from './check.js';

/** A function that is called with the arguments of an event. */
export type Listener<Args extends unknown[]> = (...args: Args) => void;

/** A listener, or the wrapper that `once` puts in its place. */
type Call<Args extends unknown[]> = Listener<Args> & { listener_?: Listener<Args> | undefined };

/** Calls a function of the application. What it throws surfaces as an uncaught error and does not disturb the caller. */
export function callSafely(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/**
 * Works like Node's `EventEmitter`, with two differences made for pages:
 *
 * - A listener that throws stops neither the other listeners nor `emit`. The error surfaces as an uncaught one
 *   (`window.onerror`, `process.on('uncaughtException')`), as with any event callback.
 * - An `'error'` without a listener is printed with `console.error`, not thrown.
 *
 * `Events` maps the name of each event to the tuple of its listeners' arguments.
 */
export class Emitter<Events extends { [Name in keyof Events]: unknown[] }> {
  readonly #calls = new Map<keyof Events, Call<never>[]>();

  /**
   * Calls `listener` whenever the event is emitted, with `this` set to the emitter. A listener that is added twice is called
   * twice.
   *
   * @throws TypeError if `listener` is not a function
   */
  on<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    check.ofType('function', listener, 'listener');
    this.#callsOf(event).push(listener);
    return this;
  }

  /** The same as {@link on}. */
  addListener<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    return this.on(event, listener);
  }

  /**
   * Calls `listener` only the next time the event is emitted.
   *
   * @throws TypeError if `listener` is not a function
   */
  once<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    check.ofType('function', listener, 'listener');
    const call: Call<Events[Name]> = (...args) => {
      // An earlier listener may have emitted the same event, and so called this one already.
      if (!call.listener_) return;
      // From here on `off` finds this wrapper itself, not another one of the same listener.
      call.listener_ = undefined;
      this.off(event, call);
      listener.apply(this, args);
    };
    call.listener_ = listener;
    return this.on(event, call);
  }

  /** Removes a listener. Of one that was added several times, the latest is removed. */
  off<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    const index = this.listeners(event).lastIndexOf(listener);
    if (index >= 0) this.#callsOf(event).splice(index, 1);
    return this;
  }

  /** The same as {@link off}. */
  removeListener<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    return this.off(event, listener);
  }

  /** Removes all listeners of an event or, without an argument, of every event. */
  removeAllListeners(event?: keyof Events): this {
    if (event === undefined) this.#calls.clear();
    else this.#calls.delete(event);
    return this;
  }

  /** Calls the listeners of an event in the order they were added. Returns whether there were any. */
  emit<Name extends keyof Events>(event: Name, ...args: Events[Name]): boolean {
    // A copy, because listeners may add and remove listeners.
    const calls = this.#callsOf(event).slice() as Listener<Events[Name]>[];
    for (const call of calls) callSafely(() => call.apply(this, args));
    if (!calls.length && event === 'error') console.error(...args);
    return calls.length > 0;
  }

  /** Returns the listeners of an event, in a new array. */
  listeners<Name extends keyof Events>(event: Name): Listener<Events[Name]>[] {
    return this.#callsOf(event).map((call) => call.listener_ ?? call) as Listener<Events[Name]>[];
  }

  /** Returns the number of listeners of an event. */
  listenerCount(event: keyof Events): number {
    return this.#callsOf(event).length;
  }

  /** Returns the names of the events that have listeners. */
  eventNames(): (keyof Events)[] {
    return [...this.#calls.keys()].filter((event) => this.listenerCount(event));
  }

  #callsOf(event: keyof Events): Call<never>[] {
    const calls = this.#calls;
    return calls.get(event) ?? (calls.set(event, []).get(event) as Call<never>[]);
  }
}
