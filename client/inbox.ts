/** What came from one sender: each message once, until a listener has it. No socket, no timer. */

interface Incoming {
  message: string;
  /** 0 if it is not to be acknowledged: of generation 1, or of a store that is lost. */
  offset: number;
}

/** The messages of a sender that wait for a listener, oldest first. */
export class Inbox {
  #waiting: Incoming[] = [];
  /** The highest offset that came. */
  #last = 0;
  /** The highest offset that a listener has got. */
  #handed = 0;
  readonly #acknowledge: (offset: number, message: string) => void;

  /** @param acknowledge - called for each message that a listener has got, and again if it comes again */
  constructor(acknowledge: (offset: number, message: string) => void) {
    this.#acknowledge = acknowledge;
  }

  /** How many wait. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Takes in a message, unless it came before. One without an offset is always new. */
  add(message: string, offset = 0): void {
    if (!offset || offset > this.#last) {
      this.#waiting.push({ message, offset });
      this.#last = offset;
    } else if (offset <= this.#handed) {
      this.#acknowledge(offset, message);
    }
  }

  /** Hands over the oldest, of which there must be one. */
  take(): string {
    const { message, offset } = this.#waiting.shift() as Incoming;
    if (offset) {
      this.#handed = offset;
      this.#acknowledge(offset, message);
    }
    return message;
  }

  /** The server sends again what still waits, so it need not be kept. */
  resume(): void {
    this.#waiting = [];
    this.#last = this.#handed;
  }

  /** The server's store is lost: offsets start anew. What waits will not come again, so it stays. */
  restart(): void {
    for (const one of this.#waiting) one.offset = 0;
    this.#last = this.#handed = 0;
  }
}
