/** What came from one sender: each message once, until a listener has it. No socket, no timer. */

import { MAX_CHARACTERS, MAX_MESSAGES } from './outbox.js';

/** How many characters may wait for listeners in all inboxes of a relay, {@link MESSAGE_OVERHEAD} included. */
export const MAX_WAITING = 16 * 2 ** 20;
/** How many characters a message counts as beside its own. */
const MESSAGE_OVERHEAD = 128;

interface Incoming {
  message: string;
  /** 0 if it is not to be acknowledged: of generation 1, or of a store that is lost. */
  offset: number;
}

/** What all inboxes of a relay hold together. */
export interface Waiting {
  /** Each message counts {@link MESSAGE_OVERHEAD} more. */
  characters: number;
}

/** The messages of a sender that wait for a listener, oldest first. */
export class Inbox {
  #waiting: Incoming[] = [];
  #characters = 0;
  /** The highest offset that came. */
  #last = 0;
  /** The highest offset that a listener has got. */
  #handed = 0;
  /** There was no room for a message, so what follows it is not taken either, until the server sends it all again. */
  #skips = false;
  readonly #total: Waiting;
  readonly #acknowledge: (offset: number, message: string) => void;
  readonly #fetch: () => void;

  /**
   * @param total - counts for all inboxes of a relay
   * @param acknowledge - called for each message that a listener has got, and again if it comes again
   * @param fetch - called when there is room for what was skipped
   */
  constructor(total: Waiting, acknowledge: (offset: number, message: string) => void, fetch: () => void) {
    this.#total = total;
    this.#acknowledge = acknowledge;
    this.#fetch = fetch;
  }

  /** How many wait. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Whether nothing is remembered of this sender. */
  get isNew(): boolean {
    return !this.length && !this.#last && !this.#skips;
  }

  /**
   * Takes in a message, unless it came before. One without an offset is always new. Returns false if there is no room for
   * it: 10,000 messages of 4,194,304 characters can wait, and {@link MAX_WAITING} in all inboxes together.
   *
   * @param isHeard - whether a listener gets it at once; then there is room
   */
  add(message: string, offset: number, isHeard: boolean): boolean {
    if (offset && offset <= this.#last) {
      if (offset <= this.#handed) this.#acknowledge(offset, message);
      return true;
    }
    const { length } = message;
    const isFull =
      this.length >= MAX_MESSAGES ||
      this.#characters + length > MAX_CHARACTERS ||
      this.#total.characters + MESSAGE_OVERHEAD + length > MAX_WAITING;
    this.#skips ||= offset > 0 && isFull && !isHeard;
    if (this.#skips || (isFull && !isHeard)) return false;
    this.#waiting.push({ message, offset });
    this.#count(length, 1);
    this.#last = offset;
    return true;
  }

  /** Hands over the oldest, of which there must be one. */
  take(): string {
    const { message, offset } = this.#waiting.shift() as Incoming;
    this.#count(-message.length, -1);
    if (offset) {
      this.#handed = offset;
      this.#acknowledge(offset, message);
    }
    return message;
  }

  /** A listener has all that waited. */
  emptied(): void {
    if (this.#skips) this.#fetch();
  }

  /** The server sends again what still waits, so it need not be kept. */
  resume(): void {
    this.#count(-this.#characters, -this.length);
    this.#waiting = [];
    this.#last = this.#handed;
    this.#skips = false;
  }

  /** The server's store is lost: offsets start anew. What waits will not come again, so it stays. */
  restart(): void {
    for (const one of this.#waiting) one.offset = 0;
    this.#last = this.#handed = 0;
    this.#skips = false;
  }

  #count(characters: number, messages: number): void {
    this.#characters += characters;
    this.#total.characters += characters + MESSAGE_OVERHEAD * messages;
  }
}
