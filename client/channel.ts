/** A channel: sends messages to another client and receives its messages. */

import * as check from './check.js';
import { Emitter, type Listener } from './emitter.js';
import type { Inbox } from './inbox.js';
import type { Outbox, SendCallback } from './outbox.js';

/** The events of a {@link RelayChannel} and their listeners' arguments. */
export interface ChannelEvents {
  /**
   * A message from the other client. Each is emitted once, in the order of sending. Messages wait while there is no
   * listener: up to 10,000 messages of 4,194,304 characters from each client, and 16,777,216 characters from all clients, a
   * message counting as 128 more. Further ones stay on the server until there is room; if the relay is not `reliable`, they
   * are dropped with an `ERR_QUEUE_FULL`.
   */
  message: [message: string];
  /** The relay is connected to the server. Also emitted soon after a channel is created on a connected relay. */
  open: [];
  /**
   * The application of the other client has received all messages up to the one for which `send()` returned this number,
   * except for those that expired.
   */
  delivered: [seq: number];
  /**
   * The server has dropped the messages with these numbers. It had accepted them, but they were not received within its
   * `messageTtl`.
   */
  expired: [first: number, last: number];
  /** The other client is connected: `online` is now true. */
  join: [];
  /** The other client, or this one, is no longer connected: `online` is now false. */
  leave: [];
  /** `bufferedAmount` is back at 0: everything sent was accepted or rejected. */
  drain: [];
}

/** What a channel and its relay share. */
export interface ChannelState {
  readonly inbox_: Inbox;
  readonly outbox_: Outbox;
  isOnline_: boolean;
}

type Send = (message: string, callback?: SendCallback | null) => number;

/** A bidirectional channel with another client, created by {@link WebSocketRelay.createChannel}. */
export class RelayChannel extends Emitter<ChannelEvents> {
  readonly #state: ChannelState;
  readonly #send: Send;
  #isEmitting = false;

  /** Internal: applications call `relay.createChannel(id)`. */
  constructor(state: ChannelState, send: Send) {
    super();
    this.#state = state;
    this.#send = send;
  }

  /**
   * The number of characters (UTF-16 units, as in `message.length`) that were sent and neither accepted nor rejected yet. At
   * most 4,194,304; always 0 if the relay is not `reliable`.
   */
  get bufferedAmount(): number {
    return this.#state.outbox_.characters_;
  }

  /** Whether the server says that the other client is connected. False while this client is not connected. */
  get online(): boolean {
    return this.#state.isOnline_;
  }

  /**
   * Sends a message to the other client. If the connection is lost, it is sent again until the server has it. At most 10,000
   * messages of 4,194,304 characters in all may be outstanding. A message beyond that is not taken: its callback and an
   * `'error'` of the relay get an `ERR_QUEUE_FULL`.
   *
   * If the relay is not `reliable`, the message is sent once, when the connection is open. It is not taken if the WebSocket
   * has more than 16,777,216 bytes to send.
   *
   * @param callback - called once: without an error when the server has stored the message (not `reliable`: when it was
   *   passed to the WebSocket), or with the error that explains why it was not
   * @returns the number of the message, counted from 1, which `'delivered'` refers to if the relay is `reliable`; 0 if the
   *   message was not taken
   * @throws TypeError if `message` is not a string or `callback` is not a function
   * @throws RelayError `ERR_CLOSED` if the relay is closed
   */
  send(message: string, callback?: SendCallback | null): number {
    check.ofType('string', message, 'message');
    check.optionalCallback(callback);
    return this.#send(message, callback);
  }

  /**
   * Emits the messages that were received before there was a `'message'` listener, oldest first. Does nothing without one.
   *
   * There is no need to call it: the messages are emitted soon after a `'message'` listener is added, and before the next
   * message. It emits them at once.
   */
  emitQueuedMessages(): void {
    // A listener may call this. Going on from there would give the later listeners the messages out of order.
    if (this.#isEmitting) return;
    const inbox = this.#state.inbox_;
    this.#isEmitting = true;
    // A listener may remove itself. Then the rest waits for another one.
    while (inbox.length_ && this.listenerCount('message')) {
      const message = inbox.take_();
      if (message !== undefined) this.emit('message', message);
    }
    this.#isEmitting = false;
    if (this.listenerCount('message')) inbox.drained_();
  }

  override on<Name extends keyof ChannelEvents>(event: Name, listener: Listener<ChannelEvents[Name]>): this {
    queueMicrotask(() => this.emitQueuedMessages());
    return super.on(event, listener);
  }
}
