/** The messages of one sender until a listener gets them, each once. Pure. */

import { MAX_CHARACTERS, MAX_MESSAGES } from './outbox.js';

/** The most characters that may wait in all inboxes of a relay, {@link MESSAGE_OVERHEAD} included. */
const MAX_TOTAL = 16 * 2 ** 20;
/** Characters that a message counts in addition to its own. */
const MESSAGE_OVERHEAD = 128;

interface Incoming {
  message_: string;
  /** 0 if it is not to be acknowledged, because it is from a plain server or from a store that was lost. */
  offset_: number;
}

/** The size of all inboxes of a relay together. */
export interface TotalSize {
  /** Includes {@link MESSAGE_OVERHEAD} for each message. */
  characters_: number;
}

/** The messages of one sender that wait for a listener, oldest first. */
export class Inbox {
  #waiting: Incoming[] = [];
  #characters = 0;
  /** The highest offset that was added. */
  #last = 0;
  /** The highest offset that a listener has received. */
  #handled = 0;
  /** A message found no room: later ones are dropped too, until the server sends them all again. */
  #isSkipping = false;
  readonly #total: TotalSize;
  readonly #acknowledge: (offset: number, message: string) => void;
  readonly #fetch: () => void;

  /**
   * @param total - shared by all inboxes of a relay
   * @param acknowledge - called for each message that a listener received, and when it is added again later
   * @param fetch - called when there is room for messages that were skipped
   */
  constructor(total: TotalSize, acknowledge: (offset: number, message: string) => void, fetch: () => void) {
    this.#total = total;
    this.#acknowledge = acknowledge;
    this.#fetch = fetch;
  }

  /** The number of waiting messages. */
  get length_(): number {
    return this.#waiting.length;
  }

  /** Whether nothing is known of the sender, so that the inbox can be dropped. */
  get isUnused_(): boolean {
    return !this.length_ && !this.#last && !this.#isSkipping;
  }

  /**
   * Adds a message, unless it was added before; one without an offset is always new. Returns false if there is no room:
   * {@link MAX_MESSAGES} messages of {@link MAX_CHARACTERS} characters can wait, and {@link MAX_TOTAL} characters in all
   * inboxes.
   *
   * @param hasListener - a listener will take it at once, so there is room
   */
  add_(message: string, offset: number, hasListener: boolean): boolean {
    if (offset && offset <= this.#last) {
      if (offset <= this.#handled) this.#acknowledge(offset, message);
      return true;
    }
    const { length } = message;
    const isFull =
      !hasListener &&
      (this.length_ >= MAX_MESSAGES ||
        this.#characters + length > MAX_CHARACTERS ||
        this.#total.characters_ + MESSAGE_OVERHEAD + length > MAX_TOTAL);
    this.#isSkipping ||= isFull && offset > 0;
    if (isFull || this.#isSkipping) return false;
    this.#waiting.push({ message_: message, offset_: offset });
    this.#count(length, 1);
    this.#last = offset;
    return true;
  }

  /** Removes the oldest message, for a listener. There must be one. */
  take_(): string {
    const { message_: message, offset_: offset } = this.#waiting.shift() as Incoming;
    this.#count(-message.length, -1);
    if (offset) {
      this.#handled = offset;
      this.#acknowledge(offset, message);
    }
    return message;
  }

  /** Fetches what was skipped, once listeners have taken all messages. */
  drained_(): void {
    if (this.#isSkipping) this.#fetch();
  }

  /** The server will send again what it has an offset for, so that is dropped. */
  resume_(): void {
    for (const { message_: message, offset_: offset } of this.#waiting) if (offset) this.#count(-message.length, -1);
    this.#waiting = this.#waiting.filter(({ offset_: offset }) => !offset);
    this.#last = this.#handled;
    this.#isSkipping = false;
  }

  /** The server's store was lost, and offsets start anew. The waiting messages will not come again, so they stay. */
  restart_(): void {
    for (const incoming of this.#waiting) incoming.offset_ = 0;
    this.#last = this.#handled = 0;
    this.#isSkipping = false;
  }

  #count(characters: number, messages: number): void {
    this.#characters += characters;
    this.#total.characters_ += characters + MESSAGE_OVERHEAD * messages;
  }
}
