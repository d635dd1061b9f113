/** The messages of one sender until a listener gets them, each once. Pure. */

import type { ServerFrame } from './codec.js';
import { MAX_CHARACTERS, MAX_MESSAGES } from './outbox.js';

/** The most characters that may wait in all inboxes of a relay, {@link MESSAGE_OVERHEAD} included. */
const MAX_TOTAL = 16 * 2 ** 20;
/** Characters that a message counts in addition to its own. */
const MESSAGE_OVERHEAD = 128;
/** The sessions of a sender, each page of it being one, of which it is remembered what was received. */
const MAX_SESSIONS = 8;

/** What is remembered of a session of the sender. */
interface Session {
  /** The number of the last message that a listener has received. */
  last_: number;
}

interface Incoming {
  message_: string;
  /** None if it is not to be acknowledged, because it is from a plain server or from a store that was lost. */
  offset_: number | null | undefined;
  session_: Session;
  /** Counts up within the session. NaN if the message is always new. */
  number_: number;
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
  /**
   * The sessions of the sender by their names, those that were named last at the end. They outlive connections and servers,
   * so that a message may come in any number of ways.
   */
  readonly #sessions = new Map<string, Session>();
  /** The one that was named last on this connection. */
  #session: Session | undefined;
  /** Stands for a session if the server names none. Offsets are the numbers, and count until the store is lost. */
  #offsets: Session = { last_: 0 };
  /** A message found no room: later ones are dropped too, until the server sends them all again. */
  #isSkipping = false;
  readonly #total: TotalSize;
  readonly #acknowledge: (offset: number, message: string) => void;
  readonly #fetch: () => void;

  /**
   * @param total - shared by all inboxes of a relay
   * @param acknowledge - called for each message that a listener received, also when it is added again later
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
    return !this.length_ && !this.#isSkipping;
  }

  /**
   * Adds a message. Returns false if there is no room: {@link MAX_MESSAGES} messages of {@link MAX_CHARACTERS} characters
   * can wait, and {@link MAX_TOTAL} characters in all inboxes.
   *
   * @param hasListener - a listener will take it at once, so there is room
   */
  add_({ message, offset, seq, session }: NonNullable<ServerFrame['relay']>, hasListener: boolean): boolean {
    if (session) {
      this.#session = this.#sessions.get(session) ?? { last_: 0 };
      this.#sessions.delete(session);
      this.#sessions.set(session, this.#session);
      if (this.#sessions.size > MAX_SESSIONS) this.#sessions.delete(this.#sessions.keys().next().value as string);
    }
    const known = seq ? this.#session : undefined;
    const from = known ?? this.#offsets;
    const number = (known ? seq : offset) ?? NaN;
    const { length } = message;
    const isFull =
      !hasListener &&
      (this.length_ >= MAX_MESSAGES ||
        this.#characters + length > MAX_CHARACTERS ||
        this.#total.characters_ + MESSAGE_OVERHEAD + length > MAX_TOTAL);
    this.#isSkipping ||= isFull && !!offset;
    if (isFull || this.#isSkipping) return false;
    this.#waiting.push({ message_: message, offset_: offset, session_: from, number_: number });
    this.#count(length, 1);
    // Behind a message that waits it waits too: an acknowledgement covers what came before.
    if (this.length_ === 1 && number <= from.last_) this.take_();
    return true;
  }

  /** Removes the oldest message, for a listener. There must be one. Returns undefined if a listener has received it before. */
  take_(): string | undefined {
    const { message_: message, offset_: offset, session_: session, number_: number } = this.#waiting.shift() as Incoming;
    this.#count(-message.length, -1);
    if (offset) this.#acknowledge(offset, message);
    if (number <= session.last_) return undefined;
    session.last_ = number;
    return message;
  }

  /** Fetches what was skipped, once listeners have taken all messages. */
  drained_(): void {
    if (this.#isSkipping) this.#fetch();
  }

  /** The server will send again what it has an offset for, so that is dropped. */
  resume_(): void {
    this.#waiting = this.#waiting.filter(({ message_: message, offset_: offset }) => !offset || this.#count(-message.length, -1));
    this.#session = undefined;
    this.#isSkipping = false;
  }

  /** The server's store was lost, and offsets start anew. The waiting messages may not come again, so they stay. */
  restart_(): void {
    for (const incoming of this.#waiting) incoming.offset_ = undefined;
    this.#offsets = { last_: 0 };
    this.resume_();
  }

  #count(characters: number, messages: number): void {
    this.#characters += characters;
    this.#total.characters_ += characters + MESSAGE_OVERHEAD * messages;
  }
}
