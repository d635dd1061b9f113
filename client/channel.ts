/** One channel: what the application sends to, and hears from, one other client. */

import * as check from './check.js';
import { Emitter, type Listener } from './emitter.js';

/** The events of a {@link RelayChannel} and what their listeners are called with. */
export interface ChannelEvents {
  /** A message of the other client, in the order of sending. */
  message: [message: string];
  /** The relay has a connection with the server. Of a channel made later, soon after it was made. */
  open: [];
}

/** A channel in both directions with another client, made by {@link WebSocketRelay.createChannel}. */
export class RelayChannel extends Emitter<ChannelEvents> {
  readonly #queue: string[];
  readonly #send: (message: string) => void;
  #emitting = false;

  /**
   * Not for applications, which call `relay.createChannel(id)`.
   *
   * @param queue - where the relay puts the messages of the other client, oldest first
   * @param send - sends a message to the other client
   */
  constructor(queue: string[], send: (message: string) => void) {
    super();
    this.#queue = queue;
    this.#send = send;
  }

  /**
   * Sends a message to the other client. Before the connection is open the message is kept, and sent in order as soon
   * as it is.
   *
   * @throws TypeError if `message` is not a string
   * @throws RelayError `ERR_CLOSED` if the relay is closed, or closing
   * @throws RelayError `ERR_QUEUE_FULL` if 10,000 messages wait for the connection already
   */
  send(message: string): void {
    check.ofType('string', message, 'message');
    this.#send(message);
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
    while (this.#queue.length && this.listenerCount('message')) this.emit('message', this.#queue.shift() as string);
    this.#emitting = false;
  }

  override on<Name extends keyof ChannelEvents>(event: Name, listener: Listener<ChannelEvents[Name]>): this {
    queueMicrotask(() => this.emitQueuedMessages());
    return super.on(event, listener);
  }
}
