/** The messages of one channel until the server accepts them. Independent of the connection. */

import { Alarm } from './alarm.js';
import type { RelayError } from './codes.js';

/** Called once: without an error when the server has accepted the message, else with the error that explains why not. */
export type SendCallback = (error?: RelayError) => void;
/** Callbacks as the application passed them. */
export type Callbacks = (SendCallback | null | undefined)[];

/** The most messages that may be outstanding on a channel. */
export const MAX_MESSAGES = 10_000;
/** The most characters (UTF-16 units, as in `message.length`) that may be outstanding on a channel. */
export const MAX_CHARACTERS = 4 * 2 ** 20;

/** A message as it is sent. */
export interface Outgoing {
  message: string;
  seq: number;
  first: true | undefined;
}

type Outstanding = [message: string, callback: SendCallback | null | undefined];

/** The outstanding messages of a channel, oldest first: sent by the application, neither accepted nor rejected. */
export class Outbox {
  /** Characters outstanding. */
  characters_ = 0;
  #outstanding: Outstanding[] = [];
  /** The seq of the newest message. */
  #lastSeq = 0;
  /** The last seq that was sent on this connection. */
  #sentSeq = 0;
  /** The server ignores the channel on this connection until a message says `first`. */
  #isRefused = false;
  /** When the server last answered, or was last sent everything. */
  #since = 0;
  #deliveredSeq = 0;
  /** Set while the server holds the channel back. */
  readonly #retry: Alarm;

  /** @param flush - called when everything outstanding is to be sent again */
  constructor(flush: () => void) {
    this.#retry = new Alarm(() => {
      this.#sentSeq = 0;
      flush();
    });
  }

  /** Since when the server owes an answer; `Infinity` if it owes none. */
  get waitingSince_(): number {
    return this.#outstanding.length && !this.#retry.isSet_ ? this.#since : Infinity;
  }

  /** Adds a message. Returns its sequence number, or 0 if there is no room. */
  add_(message: string, callback: SendCallback | null | undefined): number {
    const characters = this.characters_ + message.length;
    if (this.#outstanding.length >= MAX_MESSAGES || characters > MAX_CHARACTERS) return 0;
    this.characters_ = characters;
    this.#outstanding.push([message, callback]);
    return ++this.#lastSeq;
  }

  /** Returns the messages to send now, which count as sent from here on. */
  unsent_(): Outgoing[] {
    if (this.#retry.isSet_) return [];
    const oldest = this.#oldest;
    const from = Math.max(this.#sentSeq - oldest + 1, 0);
    if (!from) this.#since = Date.now();
    this.#sentSeq = this.#lastSeq;
    return this.#outstanding.slice(from).map(([message], index) => {
      const first = this.#isRefused || undefined;
      this.#isRefused = false;
      return { message, seq: oldest + from + index, first };
    });
  }

  /** The server has accepted everything up to `seq`. Returns the callbacks of the messages that are no longer outstanding. */
  accepted_(seq: number): Callbacks {
    // It cannot accept what was not sent.
    if (seq > this.#sentSeq) return [];
    const count = Math.max(seq - this.#oldest + 1, 0);
    if (count) this.#since = Date.now();
    return this.#remove(count);
  }

  /** The recipient has received everything up to `seq`. Returns whether that is new. */
  delivered_(seq: number): boolean {
    const isNew = seq > this.#deliveredSeq && seq <= this.#lastSeq;
    if (isNew) this.#deliveredSeq = seq;
    return isNew;
  }

  /**
   * The server takes nothing from `seq` on: for `retryAfter` milliseconds or, without it, never. Returns the callbacks of the
   * messages that have failed. A `seq` that is not outstanding on this connection changes nothing.
   */
  refused_(seq: number, retryAfter?: number): Callbacks {
    if (!(seq >= this.#oldest && seq <= this.#sentSeq)) return [];
    this.#isRefused = true;
    if (retryAfter === undefined) return this.clear_();
    this.#retry.start_(retryAfter);
    return [];
  }

  /** Removes all messages and returns their callbacks. */
  clear_(): Callbacks {
    this.#retry.stop_();
    return this.#remove(this.#outstanding.length);
  }

  /** The connection has ended: on the next one everything is sent again, and nothing is refused yet. */
  restart_(): void {
    this.#retry.stop_();
    this.#sentSeq = 0;
    this.#isRefused = false;
  }

  /** The seq of the oldest message. Those of the others follow without gaps. */
  get #oldest(): number {
    return this.#lastSeq - this.#outstanding.length + 1;
  }

  #remove(count: number): Callbacks {
    return this.#outstanding.splice(0, count).map(([message, callback]) => {
      this.characters_ -= message.length;
      return callback;
    });
  }
}
