/** Which messages the application has received and the server has not yet been told of. */

import { Alarm } from './alarm.js';
import type { ClientFrame } from './codec.js';

/** Acknowledgements are sent when they cover this many characters, each message counting as a 32nd more … */
const MAX_SIZE = 2 ** 18;
/** … or after this many milliseconds. */
const MAX_DELAY = 50;

/** Collects acknowledgements, to send one per sender for many messages. */
export class Acknowledgements {
  /** The highest offset to acknowledge, by sender. */
  readonly #offsets = new Map<number, number>();
  #size = 0;
  readonly #alarm = new Alarm(() => this.flush_());
  readonly #send: (frame: ClientFrame) => void;

  constructor(send: (frame: ClientFrame) => void) {
    this.#send = send;
  }

  add_(senderId: number, offset: number, { length }: string): void {
    this.#offsets.set(senderId, offset);
    this.#size += MAX_SIZE / 32 + length;
    if (this.#size >= MAX_SIZE) this.flush_();
    else if (!this.#alarm.isSet_) this.#alarm.start_(MAX_DELAY);
  }

  flush_(): void {
    this.#offsets.forEach((offset, senderId) => this.#send({ received: { senderId, offset } }));
    this.clear_();
  }

  flushIfDue_(): void {
    this.#alarm.fireIfDue_();
  }

  clear_(): void {
    this.#offsets.clear();
    this.#size = 0;
    this.#alarm.stop_();
  }
}
