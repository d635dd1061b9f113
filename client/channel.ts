/** One channel: what the application sends to, and hears from, one other client. */

import * as check from './check.js';
import { Emitter, type Listener } from './emitter.js';
import { later } from './later.js';
import type { SendCallback } from './outbox.js';
import type { Peer } from './peer.js';

/** The events of a {@link RelayChannel} and what their listeners are called with. */
export interface ChannelEvents {
  /**
   * A message of the other client: each once, in the order of sending. Those that no listener has yet wait: 10,000 messages
   * of 4,194,304 characters of each client, and 16,777,216 characters of all, each message counting as 128 more. More stay
   * on the server until there is room or, if the relay is not `reliable`, are dropped with an `ERR_QUEUE_FULL`.
   */
  message: [message: string];
  /** The relay has a connection with the server. Of a channel made later, soon after it was made. */
  open: [];
  /**
   * The application of the other client has all messages up to the one whose `send()` returned this number, but for those
   * that have expired.
   */
  delivered: [seq: number];
  /**
   * The server, which had accepted the messages with these numbers, has dropped them: they were not received within the
   * `messageTtl` that it was given.
   */
  expired: [first: number, last: number];
  /** The other client is connected: `online` is true now. */
  join: [];
  /** The other client is gone, or this one has lost its connection and cannot tell: `online` is false now. */
  leave: [];
  /** `bufferedAmount` is back at 0: all that was sent is accepted, or rejected. */
  drain: [];
}

type Send = (message: string, callback?: SendCallback | null) => number;

/** A channel in both directions with another client, made by {@link WebSocketRelay.createChannel}. */
export class RelayChannel extends Emitter<ChannelEvents> {
  readonly #peer: Peer;
  readonly #send: Send;
  #emitting = false;

  /** Not for applications, which call `relay.createChannel(id)`. */
  constructor(peer: Peer, send: Send) {
    super();
    this.#peer = peer;
    this.#send = send;
  }

  /**
   * How many characters (UTF-16 units, as in `message.length`) were sent and neither accepted nor rejected yet; at most
   * 4,194,304. Always 0 if the relay is not `reliable`.
   */
  get bufferedAmount(): number {
    return this.#peer.outbox.characters;
  }

  /** Whether the other client is connected, as far as the server has told; false while this one is not. */
  get online(): boolean {
    return this.#peer.online;
  }

  /**
   * Sends a message to the other client. Whatever happens to the connection, it is sent again until the server has it.
   * At most 10,000 messages of 4,194,304 characters in all may be outstanding; one more is not taken, which the callback
   * and an `'error'` of the relay say with `ERR_QUEUE_FULL`.
   *
   * If the relay is not `reliable`, the message is sent once, as soon as the connection is open; it is not taken either if
   * the WebSocket holds more than 16,777,216 bytes that the network has not taken.
   *
   * @param callback - called once: without an error when the server has stored the message (not `reliable`: when it was
   *   handed to the WebSocket), or with the error that says why it has not
   * @returns the number of the message, counted from 1, which `'delivered'` refers to; 0 if it was not taken, and always
   *   if the relay is not `reliable`
   * @throws TypeError if `message` is not a string or `callback` no function
   * @throws RelayError `ERR_CLOSED` if the relay is closed
   */
  send(message: string, callback?: SendCallback | null): number {
    check.ofType('string', message, 'message');
    check.optionalCallback(callback);
    return this.#send(message, callback);
  }

  /**
   * Emits the messages that wait for a listener, oldest first: those that came before the channel was made or before it
   * had a `'message'` listener. Without a `'message'` listener they go on waiting.
   *
   * It need not be called: they are emitted of themselves soon after a `'message'` listener is added, or before the next
   * message. Calling it emits them at once.
   */
  emitQueuedMessages(): void {
    // A listener may call this: were it to go on from there, the listeners after it would hear the messages out of order.
    if (this.#emitting) return;
    this.#emitting = true;
    // A listener may take itself off, and then the rest waits for another.
    while (this.#peer.inbox.length && this.listenerCount('message')) this.emit('message', this.#peer.inbox.take());
    this.#emitting = false;
    if (this.listenerCount('message')) this.#peer.inbox.emptied();
  }

  override on<Name extends keyof ChannelEvents>(event: Name, listener: Listener<ChannelEvents[Name]>): this {
    later(() => this.emitQueuedMessages());
    return super.on(event, listener);
  }
}
