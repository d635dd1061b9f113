/** An event emitter of Node's shape, typed by a map of events, small enough for a browser bundle. */

import * as check from './check.js';
import { later } from './later.js';
import { listOf } from './lists.js';

/** A function that is called with what an event carries. */
export type Listener<Args extends unknown[]> = (...args: Args) => void;

/** What a list holds: a listener, or for `once` what stands in for it until it has fired. */
type Call<Args extends unknown[]> = Listener<Args> & { listener?: Listener<Args> | undefined };

/** Calls back into the application. Its exception surfaces as an uncaught one, and stops nothing of ours. */
export function callSafely(call: () => void): void {
  try {
    call();
  } catch (error) {
    later(() => {
      throw error;
    });
  }
}

/**
 * What Node's `EventEmitter` does, with two differences made for pages:
 *
 * - A listener that throws stops neither the other listeners nor `emit`. Its exception surfaces as an uncaught one
 *   (`window.onerror`, `process.on('uncaughtException')`), as with any callback of an event.
 * - An `'error'` that nobody listens to is printed with `console.error` and not thrown.
 *
 * `Events` maps the name of each event to the list of what its listeners are called with.
 */
export class Emitter<Events extends { [Name in keyof Events]: unknown[] }> {
  readonly #calls = new Map<keyof Events, Call<never>[]>();

  /**
   * Calls `listener` whenever the event is emitted, with `this` bound to the emitter. Added twice, it is called twice.
   *
   * @throws TypeError if `listener` is not a function
   */
  on<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    check.ofType('function', listener, 'listener');
    listOf(this.#calls, event).push(listener);
    return this;
  }

  /** The same as {@link on}. */
  addListener<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    return this.on(event, listener);
  }

  /**
   * Calls `listener` the next time the event is emitted, and then no more.
   *
   * @throws TypeError if `listener` is not a function
   */
  once<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    check.ofType('function', listener, 'listener');
    const call: Call<Events[Name]> = (...args) => {
      // A listener before this one may have emitted the same event, and so have fired it already.
      if (!call.listener) return;
      // Without it the call counts as a listener itself: `off` then takes off this very one.
      call.listener = undefined;
      this.off(event, call);
      listener.apply(this, args);
    };
    call.listener = listener;
    return this.on(event, call);
  }

  /** Takes a listener off; of one that was added several times, the latest. */
  off<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    const index = this.listeners(event).lastIndexOf(listener);
    if (index >= 0) listOf(this.#calls, event).splice(index, 1);
    return this;
  }

  /** The same as {@link off}. */
  removeListener<Name extends keyof Events>(event: Name, listener: Listener<Events[Name]>): this {
    return this.off(event, listener);
  }

  /** Takes all listeners of an event off, or without an argument those of every event. */
  removeAllListeners(event?: keyof Events): this {
    if (event === undefined) this.#calls.clear();
    else this.#calls.delete(event);
    return this;
  }

  /** Calls the listeners of an event in the order they were added. Returns whether there were any. */
  emit<Name extends keyof Events>(event: Name, ...args: Events[Name]): boolean {
    // A copy: listeners that come and go meanwhile do not disturb it.
    const calls = listOf(this.#calls, event).slice() as Listener<Events[Name]>[];
    for (const call of calls) callSafely(() => call.apply(this, args));
    if (!calls.length && event === 'error') console.error(...args);
    return calls.length > 0;
  }

  /** A new list of the listeners of an event. */
  listeners<Name extends keyof Events>(event: Name): Listener<Events[Name]>[] {
    return listOf(this.#calls, event).map((call) => call.listener ?? call) as Listener<Events[Name]>[];
  }

  /** How many listeners an event has. */
  listenerCount(event: keyof Events): number {
    return listOf(this.#calls, event).length;
  }

  /** The names of the events that have listeners. */
  eventNames(): (keyof Events)[] {
    return [...this.#calls.keys()].filter((event) => this.listenerCount(event));
  }
}
