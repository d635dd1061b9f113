/** The connection with the server: authenticates, sends for the channels, hands them what arrives. */

import { toUrl } from './address.js';
import { RelayChannel } from './channel.js';
import * as check from './check.js';
import { type ClientFrame, decode, encode } from './codec.js';
import { CLOSE_ERRORS, relayError, type RelayError } from './codes.js';
import { Emitter } from './emitter.js';
import { listOf } from './lists.js';
import type { WebSocketConstructor, WebSocketLike } from './websocket.js';

/** Who connects: the second parameter of {@link WebSocketRelay}. */
export interface Authentication {
  /** The id that the server gave when it registered this client: an integer from 0 to 2^53 − 1. */
  clientId: number;
  /** The token that came with it. */
  token: string;
  /** The WebSocket class to connect with. Default: the global one; in Node without one, that of the package `ws`. */
  WebSocket?: WebSocketConstructor | undefined;
}

/** How a connection ended: what `'close'` listeners are called with. */
export interface CloseInfo {
  /** The WebSocket close code, 1006 if the connection was lost or never came about. */
  code: number;
  /** The text that came with it or, in Node, what is known of a failure. Often empty. */
  reason: string;
}

/** The events of a {@link WebSocketRelay} and what their listeners are called with. */
export interface RelayEvents {
  /** Connected. The authentication, and what was sent before, are on their way. */
  open: [];
  /** The connection has ended, or never came about. Emitted once, and last. */
  close: [info: CloseInfo];
  /** Something went wrong; printed with `console.error` if nobody listens. If it ended the connection, `close` follows. */
  error: [error: RelayError];
}

const enum State {
  Connecting,
  Open,
  /** Closed by the application: what happens from here on is no failure. */
  Closing,
  Closed,
}

/** How many messages may wait: per sender for a listener, and in all for the connection to open. */
const MAX_QUEUED = 10_000;

/** A connection to a relay server. It connects when it is made, and once. */
export class WebSocketRelay extends Emitter<RelayEvents> {
  readonly #socket: WebSocketLike;
  readonly #channels = new Map<number, RelayChannel>();
  /** What each sender's channel, made or yet to be made, has still to emit. */
  readonly #queues = new Map<number, string[]>();
  /** The frames that wait for the connection: the authentication and, behind it, what was sent so early. */
  readonly #outbox: string[] = [];
  readonly #opened: Promise<void>;
  #state = State.Connecting;

  /**
   * Connects to a relay server.
   *
   * @param address - `host:port`, which is `ws://host:port` or, on a page loaded over https, `wss://host:port`;
   *   or a URL that starts with `ws://`, `wss://`, `http://` (for `ws://`) or `https://` (for `wss://`)
   * @param authentication - who connects
   * @param callback - called once, when connected: the first listener of `'open'`
   * @throws Error if `address`, `authentication`, its `clientId` or its `token` is missing
   * @throws TypeError if a parameter is of the wrong type
   * @throws RangeError if `clientId` is a number but no integer from 0 to 2^53 − 1
   * @throws RelayError `ERR_NO_WEBSOCKET` if there is no WebSocket to be had
   */
  constructor(address: string, authentication: Authentication, callback?: (() => void) | null) {
    super();
    check.required(address, 'first parameter is required');
    check.required(authentication, 'second parameter is required');
    const { clientId, token } = authentication;
    check.required(clientId, 'clientId property is required in authentication object');
    check.required(token, 'token property is required in authentication object');
    check.ofType('string', address, 'address');
    check.id(clientId, 'clientId');
    check.ofType('string', token, 'token');
    if (callback !== undefined && callback !== null) {
      check.ofType('function', callback, 'callback');
      this.once('open', callback);
    }

    this.#outbox.push(encode({ authentication: { clientId, token } }));
    const socket = new (authentication.WebSocket ?? WebSocket)(toUrl(address));
    this.#socket = socket;
    this.#opened = new Promise((resolve) => {
      socket.onopen = () => {
        this.#state = State.Open;
        for (const text of this.#outbox.splice(0)) socket.send(text);
        this.emit('open');
        resolve();
      };
    });
    socket.onmessage = ({ data }: { data: unknown }) => this.#received(data);
    socket.onclose = ({ code, reason }: CloseInfo) => this.#ended(code, reason);
    socket.onerror = ({ message = '' }: { message?: string }) => {
      // That is the end. A 'close' follows and knows no more or, with some WebSockets of Node, none does.
      socket.onclose = null;
      queueMicrotask(() => this.#ended(1006, message));
    };
  }

  /**
   * The channel with another client, the same object each time.
   *
   * @param targetClientId - the id of the other client: an integer from 0 to 2^53 − 1
   * @throws TypeError if `targetClientId` is not a number
   * @throws RangeError if it is a number but no such integer
   */
  createChannel(targetClientId: number): RelayChannel {
    check.id(targetClientId, 'targetClientId');
    const known = this.#channels.get(targetClientId);
    if (known) return known;
    const channel = new RelayChannel(listOf(this.#queues, targetClientId), (message) =>
      this.#send({ relay: { targetId: targetClientId, message } }),
    );
    this.#channels.set(targetClientId, channel);
    // Not at once, even if the connection is open already: the application has had no time to listen.
    void this.#opened.then(() => {
      if (this.#state === State.Open) channel.emit('open');
    });
    return channel;
  }

  /**
   * Closes the connection; `'close'` follows once. May be called at any time and more than once. While it is still
   * connecting, nothing is sent of what waits, and `'close'` has the code 1006, as with any WebSocket.
   *
   * @param code - 1000 (the default) or a number from 3000 to 4999
   * @param reason - at most 123 bytes of UTF-8; empty by default
   * @throws what `WebSocket.close` throws for a code or a reason that it does not take
   */
  close(code = 1000, reason = ''): void {
    if (this.#state > State.Open) return;
    this.#socket.close(code, reason);
    this.#state = State.Closing;
  }

  #send(frame: ClientFrame): void {
    const text = encode(frame);
    // The socket knows first that the other side is closing. It would drop from then on what it is given, without a word.
    if (this.#state > State.Open || this.#socket.readyState > 1) throw relayError('ERR_CLOSED', 'no connection');
    if (this.#state === State.Open) this.#socket.send(text);
    // One more than may wait: the authentication is in there too.
    else if (this.#outbox.length > MAX_QUEUED) throw relayError('ERR_QUEUE_FULL', `${MAX_QUEUED} messages wait`);
    else this.#outbox.push(text);
  }

  #received(text: unknown): void {
    const frame = decode(text);
    if (frame) {
      const { senderId, message } = frame.relay;
      const queue = listOf(this.#queues, senderId);
      if (queue.length < MAX_QUEUED) {
        // By way of the queue even if somebody listens, so that no message overtakes one that waits.
        queue.push(message);
        this.#channels.get(senderId)?.emitQueuedMessages();
      } else {
        this.emit('error', relayError('ERR_QUEUE_FULL', `${MAX_QUEUED} messages of client ${senderId} wait`));
      }
    }
  }

  #ended(code: number, reason: string): void {
    const before = this.#state;
    this.#state = State.Closed;
    const error = CLOSE_ERRORS[code];
    if (error && before < State.Closing) this.emit('error', relayError(error, reason || 'no connection'));
    if (before < State.Closed) this.emit('close', { code, reason });
  }
}
