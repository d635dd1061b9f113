/** The connection with the server, again and again: authenticates, sends for the channels, hands them what arrives. */

import { toUrl } from './address.js';
import { Alarm } from './alarm.js';
import { backoff } from './backoff.js';
import { RelayChannel } from './channel.js';
import * as check from './check.js';
import { type ClientFrame, decode, encode, type ServerFrame } from './codec.js';
import { CLOSE_ERRORS, FINAL, FIRST_FINAL, LATER, relayError, type RelayError, TOKEN_EXPIRED } from './codes.js';
import { callSafely, Emitter } from './emitter.js';
import { Inbox } from './inbox.js';
import { type Authentication, type RelayOptions, type Settings, settingsOf } from './options.js';
import { type Callbacks, MAX_MESSAGES, Outbox, type SendCallback } from './outbox.js';
import type { Peer } from './peer.js';
import { printable } from './printable.js';
import { Watch } from './watch.js';
import type { WebSocketLike } from './websocket.js';

/** What `'open'` listeners of a relay are called with. */
export interface OpenInfo {
  /**
   * Whether this connection goes on where the last one of this object ended. If it is not the first and this is false,
   * the server has lost its store, or another page was this client meanwhile: messages may be missing.
   */
  resumed: boolean;
}

/** How a connection ended: what `'close'` listeners are called with. */
export interface CloseInfo {
  /** The WebSocket close code, 1006 if the connection was lost or never came about. */
  code: number;
  /** The text that came with it or, in Node, what is known of a failure. Often empty. What cannot be printed is escaped. */
  reason: string;
  /** Whether the relay will connect again. If not, this is the last event and the relay is closed for good. */
  willReconnect: boolean;
}

/** The events of a {@link WebSocketRelay} and what their listeners are called with. */
export interface RelayEvents {
  /** Connected and authenticated (not `reliable`: connected). What was sent before is on its way. */
  open: [info: OpenInfo];
  /** A connection has ended, or did not come about. */
  close: [info: CloseInfo];
  /** Something went wrong; printed with `console.error` if nobody listens. If it ended the relay, `close` follows. */
  error: [error: RelayError];
}

const enum State {
  /** Without a connection, until it is time for the next. */
  Waiting,
  /** For good; the last connection may still be closing. */
  Closed,
  Connecting,
  /** What is outstanding was sent behind the authentication; there is no answer yet. From here on messages go out. */
  Authenticating,
  Open,
}

/** Milliseconds for a connection to open and be authenticated. */
const CONNECT_TIMEOUT = 20_000;
/** Milliseconds for the server to answer a close. */
const CLOSE_TIMEOUT = 5_000;
/** An acknowledgement is sent for so many characters, of which each message counts a 32nd more, or after milliseconds. */
const ACKNOWLEDGE_SIZE = 2 ** 18;
const ACKNOWLEDGE_AFTER = 50;

/** A relay server, to which this keeps a connection from when it is made until it is closed. */
export class WebSocketRelay extends Emitter<RelayEvents> {
  readonly #url: string;
  readonly #settings: Settings;
  readonly #reliable: boolean;
  readonly #peers = new Map<number, Peer>();
  /** Stands for this object: the server tells its messages from those of the page before by it. */
  readonly #session = newSession();
  /** The life of the mailbox on the server, in which its offsets count. */
  #epoch: string | undefined;
  #state = State.Connecting;
  /** Counts the connections: a server that hears of an older one late knows it by that. */
  #connection = 0;
  #socket: WebSocketLike | undefined;
  /** The number of the last notice of expired messages, which the server may repeat. */
  #notice = 0;
  /** Attempts to connect again since a connection was open. */
  #attempts = 0;
  readonly #reconnect: Alarm;
  readonly #watch: Watch;
  /** By sender, what is to be acknowledged; and how much that is. */
  readonly #received = new Map<number, number>();
  #receivedSize = 0;
  readonly #acknowledge: Alarm;

  /**
   * Connects to a relay server.
   *
   * @param address - `host:port`, which is `ws://host:port` or, on a page loaded over https, `wss://host:port`;
   *   or a URL that starts with `ws://`, `wss://`, `http://` (for `ws://`) or `https://` (for `wss://`)
   * @param authentication - who connects; options may stand here too
   * @param callback - called once, when connected for the first time, before the listeners of `'open'`. May be left out
   * @param options - how to connect
   * @throws Error if `address`, `authentication`, its `clientId` or its `token` is missing
   * @throws TypeError if a parameter or an option is of the wrong type
   * @throws RangeError if the `clientId` or an option is a number that it must not be
   * @throws RelayError `ERR_NO_WEBSOCKET` if there is no WebSocket to be had
   */
  constructor(address: string, authentication: Authentication, options?: RelayOptions | null);
  constructor(address: string, authentication: Authentication, callback?: (() => void) | null, options?: RelayOptions | null);
  constructor(
    address: string,
    authentication: Authentication,
    callback?: (() => void) | RelayOptions | null,
    options?: RelayOptions | null,
  ) {
    super();
    check.required(address, 'first parameter is required');
    check.required(authentication, 'second parameter is required');
    check.ofType('string', address, 'address');
    if (typeof callback !== 'object') {
      check.optionalCallback(callback);
      // Without what 'open' carries: a callback may take its first argument for an error.
      if (callback) this.once('open', () => callback.call(this));
    }
    this.#url = toUrl(address);
    this.#settings = settingsOf({ ...authentication, ...(callback as RelayOptions | null | undefined), ...options });
    this.#reliable = this.#settings.reliable;
    this.#reconnect = new Alarm(() => this.#connect());
    this.#acknowledge = new Alarm(() => this.#sendAcknowledgements());
    this.#watch = new Watch(() => this.#waitingSince(), () => this.#ended(1006, 'no answer'));
    this.#connect();
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
    const peer = this.#peer(targetClientId);
    if (peer.channel) return peer.channel;
    const channel = new RelayChannel(peer, (message, callback) => this.#send(targetClientId, message, callback));
    peer.channel = channel;
    if (this.#state === State.Open) {
      // Not at once: the application has had no time to listen.
      queueMicrotask(() => {
        if (this.#state === State.Open) channel.emit('open');
      });
    }
    return channel;
  }

  /**
   * Closes the relay for good; a last `'close'` follows. What is outstanding fails to its callbacks with `ERR_CLOSED`.
   * May be called at any time and more than once. While a connection is still being made, `'close'` has the code 1006,
   * as with any WebSocket.
   *
   * @param code - 1000 (the default) or a number from 3000 to 4999
   * @param reason - at most 123 bytes of UTF-8; empty by default
   * @throws what `WebSocket.close` throws for a code or a reason that it does not take
   */
  close(code = 1000, reason = ''): void {
    if (this.#state === State.Closed) return;
    const socket = this.#socket;
    this.#sendAcknowledgements();
    socket?.close(code, reason);
    this.#finish();
    if (!socket) this.emit('close', { code, reason, willReconnect: false });
    else if (this.#reliable) this.#watch.begin(CLOSE_TIMEOUT);
  }

  #connect(): void {
    const { WebSocket } = this.#settings;
    const socket = new WebSocket(this.#url);
    // What an older connection still has to say is passed over: its frames would be answered on this one.
    const ifCurrent =
      <Event>(act: (event: Event) => unknown) =>
      (event: Event): void => {
        if (socket === this.#socket) act(event);
      };
    this.#socket = socket;
    this.#state = State.Connecting;
    this.#connection++;
    socket.onopen = ifCurrent(() => this.#authenticate(socket));
    socket.onmessage = ifCurrent(({ data }: { data: unknown }) => this.#heard(data));
    socket.onclose = ifCurrent(({ code, reason }: CloseInfo) => this.#ended(code, reason));
    socket.onerror = ifCurrent(({ message = '' }: { message?: string }) => {
      // That is the end. A 'close' follows and knows no more or, with some WebSockets of Node, none does.
      socket.onclose = null;
      queueMicrotask(ifCurrent(() => this.#ended(1006, message)) as () => void);
    });
    if (this.#reliable) this.#watch.begin(CONNECT_TIMEOUT);
  }

  async #authenticate(socket: WebSocketLike): Promise<void> {
    const { clientId, token: given } = this.#settings;
    let token: unknown;
    let cause: unknown;
    try {
      token = typeof given === 'function' ? await given() : given;
      check.ofType('string', token, 'token');
    } catch (error) {
      cause = error;
    }
    // Meanwhile the connection may have ended, or the relay have been closed.
    if (socket !== this.#socket || this.#state !== State.Connecting) return;
    if (typeof token !== 'string') {
      this.emit('error', relayError('ERR_TOKEN', 'no token', { cause }));
      this.#ended(1006, 'no token');
      return;
    }
    const resumption = { version: 2, session: this.#session, connection: this.#connection, epoch: this.#epoch, receipts: true, presence: true } as const;
    this.#write({ authentication: { clientId, token, ...(this.#reliable && resumption) } });
    this.#state = this.#reliable ? State.Authenticating : State.Open;
    for (const [id, peer] of this.#peers) this.#flush(id, peer);
    if (!this.#reliable) this.#opened(false);
  }

  #heard(data: unknown): void {
    if (this.#state === State.Closed) return;
    const socket = this.#socket;
    const frame = decode(data) ?? {};
    this.#answer(this.#reliable ? frame : { relay: frame.relay });
    // A listener may have closed the relay.
    if (socket === this.#socket) {
      this.#watch.heard();
      this.#acknowledge.check();
    }
  }

  #answer({ authenticated, relay, accepted, hold, rejected, delivered, presence, error, ping }: ServerFrame): void {
    if (error) this.emit('error', relayError(error.code, error.message));
    if (authenticated && this.#state === State.Authenticating) this.#authenticated(authenticated);
    // Nothing else is said to a client that is not authenticated.
    if (this.#state !== State.Open) return;
    if (ping) this.#write({ pong: {} });
    if (relay) {
      const { inbox, channel } = this.#peer(relay.senderId);
      if (this.#reliable || inbox.length < MAX_MESSAGES) {
        // By way of the inbox even if somebody listens, so that no message overtakes one that waits.
        inbox.add(relay.message, relay.offset);
        channel?.emitQueuedMessages();
      } else {
        this.emit('error', isFull(relay.senderId));
      }
    }
    if (accepted) {
      const peer = this.#peer(accepted.targetId);
      settle(peer, peer.outbox.settled(accepted.seq));
    }
    if (hold) this.#peer(hold.targetId).outbox.refuse(hold.seq, hold.retryAfter ?? 0);
    if (rejected) this.#rejected(rejected);
    if (delivered) {
      const { outbox, channel } = this.#peer(delivered.targetId);
      if (outbox.arrived(delivered.seq)) channel?.emit('delivered', delivered.seq);
    }
    if (presence) setOnline(this.#peer(presence.clientId), presence.online);
  }

  #authenticated({ epoch, resumed, pingInterval, pingTimeout }: NonNullable<ServerFrame['authenticated']>): void {
    this.#state = State.Open;
    this.#attempts = 0;
    for (const { inbox } of this.#peers.values()) {
      if (epoch === this.#epoch) inbox.resume();
      else inbox.restart();
    }
    this.#epoch = epoch;
    if (!resumed) this.#notice = 0;
    this.#watch.begin(pingInterval + pingTimeout);
    this.#opened(resumed);
  }

  #rejected({ targetId, seq, code, message, last, notice }: NonNullable<ServerFrame['rejected']>): void {
    const peer = this.#peer(targetId);
    if (notice > this.#notice) {
      this.#notice = notice;
      peer.channel?.emit('expired', seq, last);
    }
    // What has expired is outstanding no more, so there are none then.
    const callbacks = peer.outbox.refuse(seq);
    if (!callbacks.length) return;
    const error = relayError(code, message, { targetId });
    settle(peer, callbacks, error);
    this.emit('error', error);
  }

  #opened(resumed: boolean): void {
    // Those that a listener makes now open by themselves.
    const channels = Array.from(this.#peers.values(), ({ channel }) => channel);
    this.emit('open', { resumed });
    for (const channel of channels) if (this.#state === State.Open) channel?.emit('open');
  }

  #ended(code: number, reason: string): void {
    const { reconnection, reconnectionAttempts, token } = this.#settings;
    const socket = this.#socket;
    this.#socket = undefined;
    // It may be open, only dead.
    socket?.close();
    this.#watch.clear();
    this.#forgetAcknowledgements();
    for (const { outbox } of this.#peers.values()) outbox.restart();
    const isWelcome = (code < FIRST_FINAL && !FINAL.includes(code)) || (code === TOKEN_EXPIRED && typeof token === 'function');
    const willReconnect =
      this.#state !== State.Closed && this.#reliable && reconnection && isWelcome && this.#attempts < reconnectionAttempts;
    if (willReconnect) {
      this.#state = State.Waiting;
      // A server that restarts begins its reason with the milliseconds that are this client's to wait.
      this.#reconnect.start((parseInt(reason) || 0) + backoff(this.#settings, LATER.includes(code) ? Infinity : this.#attempts, Math.random()));
      this.#attempts++;
      // In a page that is online again there is no need to wait.
      (globalThis as Partial<typeof globalThis>).addEventListener?.('online', this.#reconnect.ring, { once: true });
    } else if (this.#state !== State.Closed) {
      this.#finish();
      const error = CLOSE_ERRORS[code];
      if (error) this.emit('error', relayError(error, reason || 'no connection'));
    }
    this.emit('close', { code, reason: printable(reason), willReconnect });
    for (const peer of this.#peers.values()) setOnline(peer, false);
  }

  /** Becomes closed for good. */
  #finish(): void {
    this.#state = State.Closed;
    this.#reconnect.clear();
    for (const peer of this.#peers.values()) {
      if (this.#reliable) peer.inbox.resume();
      settle(peer, peer.outbox.clear(), isClosed());
    }
  }

  #peer(id: number): Peer {
    let peer = this.#peers.get(id);
    if (!peer) {
      const outbox = new Outbox(() => this.#flush(id, made));
      const inbox = new Inbox((offset, message) => this.#hasReceived(id, offset, message));
      const made: Peer = { inbox, outbox, online: false };
      this.#peers.set(id, (peer = made));
    }
    return peer;
  }

  #waitingSince(): number {
    let since = Infinity;
    for (const { outbox } of this.#peers.values()) since = Math.min(since, outbox.waitingSince);
    return since;
  }

  #send(targetId: number, message: string, callback: SendCallback | null | undefined): number {
    // The socket knows first that the other side is closing. It would drop from then on what it is given, without a word.
    if (this.#state === State.Closed || (!this.#reliable && (this.#socket as WebSocketLike).readyState > 1)) throw isClosed();
    const peer = this.#peer(targetId);
    const seq = peer.outbox.add(message, callback);
    if (seq) {
      this.#flush(targetId, peer);
    } else {
      const error = isFull(targetId);
      queueMicrotask(() => {
        this.emit('error', error);
        callback?.(error);
      });
    }
    return seq;
  }

  /** Sends what this connection has not seen of a channel. */
  #flush(targetId: number, peer: Peer): void {
    if (this.#state < State.Authenticating) return;
    for (const { message, ...more } of peer.outbox.unsent()) this.#write({ relay: { targetId, message, ...(this.#reliable && more) } });
    // Nobody will say more of them.
    if (!this.#reliable) settle(peer, peer.outbox.clear());
  }

  #write(frame: ClientFrame): void {
    this.#sendAcknowledgements();
    this.#socket?.send(encode(frame));
  }

  /** A listener has a message: soon the server may forget it. */
  #hasReceived(senderId: number, offset: number, { length }: string): void {
    // Of what waited since an older connection the server speaks again on the next, before it may hear of it.
    if (this.#state !== State.Open) return;
    this.#received.set(senderId, offset);
    this.#receivedSize += ACKNOWLEDGE_SIZE / 32 + length;
    if (this.#receivedSize >= ACKNOWLEDGE_SIZE) this.#sendAcknowledgements();
    else if (!this.#acknowledge.isSet) this.#acknowledge.start(ACKNOWLEDGE_AFTER);
  }

  #sendAcknowledgements(): void {
    for (const [senderId, offset] of this.#received) this.#socket?.send(encode({ received: { senderId, offset } }));
    this.#forgetAcknowledgements();
  }

  #forgetAcknowledgements(): void {
    this.#received.clear();
    this.#receivedSize = 0;
    this.#acknowledge.clear();
  }
}

/** Tells those who sent them what became of messages, and when none is left that there is room. */
function settle({ outbox, channel }: Peer, callbacks: Callbacks, error?: RelayError): void {
  for (const callback of callbacks) callSafely(() => callback?.(error));
  if (callbacks.length && !outbox.characters) channel?.emit('drain');
}

function setOnline(peer: Peer, online: boolean): void {
  if (peer.online === online) return;
  peer.online = online;
  peer.channel?.emit(online ? 'join' : 'leave');
}

function isFull(targetId: number): RelayError {
  return relayError('ERR_QUEUE_FULL', `queue full for client ${targetId}`, { targetId });
}

function isClosed(): RelayError {
  return relayError('ERR_CLOSED', 'closed');
}

/** 64 bits by chance, in hex. */
function newSession(): string {
  const [bits] = crypto.getRandomValues(new BigUint64Array(1)) as unknown as [bigint];
  return bits.toString(16).padStart(16, '0');
}
