/** The messages of one sender until a listener gets them, each once. Pure. */

import type { ServerFrame } from './codec.js';
import { MAX_CHARACTERS, MAX_MESSAGES } from './outbox.js';

/** The most characters that may wait in all inboxes of a relay, {@link MESSAGE_OVERHEAD} included. */
const MAX_TOTAL = 16 * 2 ** 20;
/** Characters that a message counts in addition to its own. */
const MESSAGE_OVERHEAD = 128;
/** The sessions of a sender, each page of it being one, of which it is remembered what was received. */
const MAX_SESSIONS = 8;

interface Incoming {
  message_: string;
  /** 0 if it is not to be acknowledged, because it is from a plain server or from a store that was lost. */
  offset_: number;
  /** The session of the sender. Undefined if the server named none; then the offset tells messages apart. */
  session_: string | undefined;
  /** The sender's number of the message in that session. */
  seq_: number;
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
  /** The session that the server named last on this connection. */
  #session: string | undefined;
  /**
   * The last `seq` that a listener has received, by session, those that were heard last at the end. It outlives connections
   * and servers, so that a message may come in any number of ways. The offset if there is no session.
   */
  readonly #received = new Map<string | undefined, number>();
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
    this.#session = session ?? this.#session;
    const incoming = { message_: message, offset_: offset ?? 0, session_: seq ? this.#session : undefined, seq_: seq ?? 0 };
    // An acknowledgement covers what came before. Behind messages that wait, this one waits too.
    if (!this.length_ && !this.#isSkipping && !this.#isNew(incoming)) {
      this.#receive(incoming);
      return true;
    }
    const { length } = message;
    const isFull =
      !hasListener &&
      (this.length_ >= MAX_MESSAGES ||
        this.#characters + length > MAX_CHARACTERS ||
        this.#total.characters_ + MESSAGE_OVERHEAD + length > MAX_TOTAL);
    this.#isSkipping ||= isFull && incoming.offset_ > 0;
    if (isFull || this.#isSkipping) return false;
    this.#waiting.push(incoming);
    this.#count(length, 1);
    return true;
  }

  /** Removes the oldest message, for a listener. There must be one. Returns undefined if a listener has received it before. */
  take_(): string | undefined {
    const incoming = this.#waiting.shift() as Incoming;
    this.#count(-incoming.message_.length, -1);
    return this.#receive(incoming) ? incoming.message_ : undefined;
  }

  /** Fetches what was skipped, once listeners have taken all messages. */
  drained_(): void {
    if (this.#isSkipping) this.#fetch();
  }

  /** The server will send again what it has an offset for, so that is dropped. */
  resume_(): void {
    for (const { message_: message, offset_: offset } of this.#waiting) if (offset) this.#count(-message.length, -1);
    this.#waiting = this.#waiting.filter(({ offset_: offset }) => !offset);
    this.#session = undefined;
    this.#isSkipping = false;
  }

  /** The server's store was lost, and offsets start anew. The waiting messages may not come again, so they stay. */
  restart_(): void {
    for (const incoming of this.#waiting) incoming.offset_ = 0;
    this.#received.delete(undefined);
    this.resume_();
  }

  /** Counts a message as received by a listener. Returns whether it is new. */
  #receive(incoming: Incoming): boolean {
    const { message_: message, offset_: offset, session_: session, seq_: seq } = incoming;
    const isNew = this.#isNew(incoming);
    if (isNew && (session ? seq : offset)) {
      this.#received.delete(session);
      this.#received.set(session, session ? seq : offset);
      if (this.#received.size > MAX_SESSIONS) this.#received.delete(this.#received.keys().next().value);
    }
    if (offset) this.#acknowledge(offset, message);
    return isNew;
  }

  /** Whether no listener has received a message. One with neither a session nor an offset is always new. */
  #isNew({ offset_: offset, session_: session, seq_: seq }: Incoming): boolean {
    const number = session ? seq : offset;
    return !number || number > (this.#received.get(session) ?? 0);
  }

  #count(characters: number, messages: number): void {
    this.#characters += characters;
    this.#total.characters_ += characters + MESSAGE_OVERHEAD * messages;
  }
}
