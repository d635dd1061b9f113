/** What one channel has sent and the server has not accepted yet. No socket. */

import { Alarm } from './alarm.js';
import type { RelayError } from './codes.js';

/** Called once: without an error when the server has accepted the message, else with what became of it. */
export type SendCallback = (error?: RelayError) => void;
/** As it was given. */
export type Callbacks = (SendCallback | null | undefined)[];

/** How many messages of a channel may be outstanding. */
export const MAX_MESSAGES = 10_000;
/** How many characters (UTF-16 units, as in `message.length`) of a channel may be outstanding. */
export const MAX_CHARACTERS = 4 * 2 ** 20;

/** A message as it goes out. */
export interface Outgoing {
  message: string;
  seq: number;
  first: true | undefined;
}

interface Outstanding {
  message: string;
  callback: SendCallback | null | undefined;
}

/** The messages of a channel from `send` until they are accepted or refused, oldest first. */
export class Outbox {
  /** How many are outstanding. */
  characters = 0;
  #outstanding: Outstanding[] = [];
  #lastSeq = 0;
  /** The last that went out on this connection. */
  #sentSeq = 0;
  /** The server refuses the channel on this connection until it is told `first`. */
  #refused = false;
  #since = 0;
  #deliveredSeq = 0;

  /** Set while the server holds the channel back. */
  readonly #retry: Alarm;

  /** @param flush - called when all that is outstanding is to go out again */
  constructor(flush: () => void) {
    this.#retry = new Alarm(() => {
      this.#sentSeq = 0;
      flush();
    });
  }

  /** Since when the server owes an answer; `Infinity` if it does not. */
  get waitingSince(): number {
    return this.#outstanding.length && !this.#retry.isSet ? this.#since : Infinity;
  }

  /** Takes a message in and returns its sequence number, or 0 if there is no room. */
  add(message: string, callback: SendCallback | null | undefined): number {
    const characters = this.characters + message.length;
    if (this.#outstanding.length >= MAX_MESSAGES || characters > MAX_CHARACTERS) return 0;
    this.characters = characters;
    this.#outstanding.push({ message, callback });
    return ++this.#lastSeq;
  }

  /** What is to go out now: all that has not on this connection, or since the server asked to have it again. */
  unsent(): Outgoing[] {
    if (this.#retry.isSet) return [];
    const oldest = this.#oldest;
    const from = Math.max(this.#sentSeq - oldest + 1, 0);
    if (!from) this.#since = Date.now();
    this.#sentSeq = this.#lastSeq;
    return this.#outstanding.slice(from).map(({ message }, index) => {
      const first = this.#refused || undefined;
      this.#refused = false;
      return { message, seq: oldest + from + index, first };
    });
  }

  /** The server has all up to `seq`. Returns the callbacks of those that it did not have before. */
  settled(seq: number): Callbacks {
    // It cannot have what was not sent.
    if (seq > this.#sentSeq) return [];
    const count = Math.max(seq - this.#oldest + 1, 0);
    if (count) this.#since = Date.now();
    return this.#remove(count);
  }

  /** The other application has all up to `seq`. Returns whether that is news. */
  arrived(seq: number): boolean {
    const isNews = seq > this.#deliveredSeq && seq <= this.#lastSeq;
    if (isNews) this.#deliveredSeq = seq;
    return isNews;
  }

  /**
   * The server takes nothing from `seq` on, which the next message is to know of: for so many milliseconds, or never. Then
   * returns the callbacks of what is outstanding. A `seq` that is not, or not on this connection, changes nothing.
   */
  refuse(seq: number, retryAfter?: number): Callbacks {
    if (!(seq >= this.#oldest && seq <= this.#sentSeq)) return [];
    this.#refused = true;
    if (retryAfter === undefined) return this.clear();
    this.#retry.start(retryAfter);
    return [];
  }

  /** Nothing outstanding will be sent any more. Returns its callbacks. */
  clear(): Callbacks {
    this.#retry.clear();
    return this.#remove(this.#outstanding.length);
  }

  /** The connection is gone, and with it what the server refused on it. */
  restart(): void {
    this.#retry.clear();
    this.#sentSeq = 0;
    this.#refused = false;
  }

  /** Between the oldest and the latest there are no gaps. */
  get #oldest(): number {
    return this.#lastSeq - this.#outstanding.length + 1;
  }

  #remove(count: number): Callbacks {
    return this.#outstanding.splice(0, count).map(({ message, callback }) => {
      this.characters -= message.length;
      return callback;
    });
  }
}
