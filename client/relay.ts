/** The connection with the server, again and again: authenticates, sends for the channels, hands them what arrives. */

import { toUrl } from './address.js';
import { Alarm } from './alarm.js';
import { askedWait, backoff, MAX_WAIT } from './backoff.js';
import { RelayChannel } from './channel.js';
import * as check from './check.js';
import { type ClientFrame, decode, encode, type ServerFrame } from './codec.js';
import { CLOSE_ERRORS, FINAL, FIRST_FINAL, LATER, relayError, type RelayError, TOKEN_EXPIRED } from './codes.js';
import { callSafely, Emitter } from './emitter.js';
import { Inbox, MAX_WAITING } from './inbox.js';
import { later } from './later.js';
import { type Authentication, type RelayOptions, type Settings, settingsOf } from './options.js';
import { type Callbacks, Outbox, type SendCallback } from './outbox.js';
import type { Peer } from './peer.js';
import { printable } from './printable.js';
import { newSession } from './session.js';
import { onWake } from './wake.js';
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
  /**
   * A connection did not come about, and the relay tries again: an `ERR_CONNECTION` whose `message` names the address and,
   * where the WebSocket tells it, what went wrong, as in `Unexpected server response: 404`. If nobody listens, the first
   * three in a row are printed with `console.warn`, but for those that a browser prints itself and tells nothing of.
   */
  connectError: [error: RelayError];
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
/** What a server that does not say so in numbers takes for its heartbeat, in milliseconds. */
const PING_INTERVAL = 25_000;
const PING_TIMEOUT = 20_000;
/** Clients that are remembered at most because the server told of them, and no channel was made with them. */
const MAX_PEERS = 65_536;
/** Failures to connect in a row that are printed when nobody listens. */
const PRINTED_FAILURES = 3;

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
  /** Failures to connect since then. */
  #failures = 0;
  /** The server asked not to be connected to before. */
  #notBefore = 0;
  readonly #waiting = { characters: 0 };
  /** There were too many peers on this connection. From then on it makes none, so that no message overtakes one. */
  #lacksPeers = false;
  #forgetWaking: (() => void) | undefined;
  readonly #reconnect: Alarm;
  readonly #watch: Watch;
  /** By sender, what is to be acknowledged; and how much that is. */
  readonly #received = new Map<number, number>();
  #receivedSize = 0;
  readonly #acknowledge: Alarm;

  /**
   * Connects to a relay server.
   *
   * @param address - `host:port`, which is `ws://host:port` or, on a page loaded over https and in its workers and frames,
   *   `wss://host:port`; or a URL that starts with `ws://`, `wss://`, `http://` (for `ws://`) or `https://` (for `wss://`)
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
    const wake = (): void => this.#wake();
    this.#reconnect = new Alarm(() => this.#connect(), wake);
    this.#acknowledge = new Alarm(() => this.#sendAcknowledgements());
    this.#watch = new Watch(() => this.#waitingSince(), () => this.#ended(1006, 'no answer'), wake);
    this.#connect();
    // The plain protocol has no ping that a page could send, and connects once.
    if (this.#reliable) this.#forgetWaking = onWake(wake);
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
      later(() => {
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
    socket.onerror = ifCurrent(({ message, error }: { message?: string; error?: { code?: string } | undefined }) => {
      // That is the end. A 'close' follows and knows no more or, with some WebSockets of Node, none does.
      socket.onclose = null;
      // Of several addresses that all refuse, Node says no more than a code.
      const text = (message ? message : (error?.code ?? '')).trim();
      later(ifCurrent(() => this.#ended(1006, text, error)) as () => void);
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
      this.#ended(1006, 'no token', undefined, true);
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

  #answer({ authenticated, relay, accepted, hold, rejected, delivered, presence, error, ping, pong }: ServerFrame): void {
    if (error) this.emit('error', relayError(error.code, error.message));
    if (authenticated && this.#state === State.Authenticating) this.#authenticated(authenticated);
    // Nothing else is said to a client that is not authenticated.
    if (this.#state !== State.Open) return;
    if (pong) this.#watch.answered();
    // To one that pings and reads nothing there is no answer.
    if (ping && !this.#isClogged) this.#write({ pong: {} });
    if (relay) {
      const { senderId, message, offset } = relay;
      const peer = this.#peer(senderId, true);
      // By way of the inbox even if somebody listens, so that no message overtakes one that waits.
      const isTaken = peer?.inbox.add(message, this.#reliable ? (offset ?? 0) : 0, !!peer.channel?.listenerCount('message'));
      if (isTaken) peer?.channel?.emitQueuedMessages();
      // One with an offset is not lost: the server keeps it.
      else if (!offset || !this.#reliable) this.emit('error', isFull(senderId));
    }
    if (accepted) {
      const peer = this.#peers.get(accepted.targetId);
      if (peer) settle(peer, peer.outbox.settled(accepted.seq));
    }
    if (hold) this.#peers.get(hold.targetId)?.outbox.refuse(hold.seq, Math.min(milliseconds(hold.retryAfter, 0), MAX_WAIT));
    if (rejected) this.#rejected(rejected);
    if (delivered) {
      const { outbox, channel } = this.#peers.get(delivered.targetId) ?? {};
      if (outbox?.arrived(delivered.seq)) channel?.emit('delivered', delivered.seq);
    }
    if (presence) {
      const { clientId, online } = presence;
      const peer = this.#peer(clientId, true);
      if (peer) this.#setOnline(clientId, peer, online);
    }
  }

  #authenticated({ epoch, resumed, pingInterval, pingTimeout }: NonNullable<ServerFrame['authenticated']>): void {
    this.#state = State.Open;
    this.#attempts = this.#failures = 0;
    this.#lacksPeers = false;
    for (const { inbox } of this.#peers.values()) {
      if (epoch === this.#epoch) inbox.resume();
      else inbox.restart();
    }
    this.#epoch = epoch;
    if (!resumed) this.#notice = 0;
    this.#watch.begin(milliseconds(pingInterval, PING_INTERVAL) + milliseconds(pingTimeout, PING_TIMEOUT));
    this.#opened(resumed);
  }

  #rejected({ targetId, seq, code, message, last, notice }: NonNullable<ServerFrame['rejected']>): void {
    const peer = this.#peers.get(targetId);
    if (!peer) return;
    if (notice && last && notice > this.#notice) {
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

  /**
   * The connection is over, or did not come about.
   *
   * @param cause - the error that the WebSocket tells of
   * @param isTold - an `'error'` has told of it already
   */
  #ended(closeCode: number | undefined, text: unknown, cause?: unknown, isTold = false): void {
    // Not every runtime says how a connection ended, or why.
    const code = closeCode ?? 1006;
    const reason = printable(typeof text === 'string' ? text : '');
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
    const why = this.#state === State.Open ? reason || 'no connection' : `cannot connect to ${withoutSecrets(this.#url)}${reason && `: ${reason}`}`;
    if (willReconnect) {
      const isNew = this.#state !== State.Open;
      this.#state = State.Waiting;
      const isLater = LATER.includes(code);
      const asked = askedWait(code, reason);
      const wait = asked + backoff(this.#settings, isLater ? Infinity : this.#attempts, Math.random());
      this.#notBefore = Date.now() + (isLater ? wait : asked);
      this.#reconnect.start(wait);
      this.#attempts++;
      if (isNew && !isTold) this.#tellFailure(why, reason, cause);
    } else if (this.#state !== State.Closed) {
      this.#finish();
      const error = CLOSE_ERRORS[code];
      if (error) this.emit('error', relayError(error, code === 1006 ? why : reason || why, cause ? { cause } : undefined));
    }
    this.emit('close', { code, reason, willReconnect });
    for (const [id, peer] of this.#peers) this.#setOnline(id, peer, false);
  }

  /** Tells that a connection did not come about, though another will be tried. */
  #tellFailure(why: string, reason: string, cause: unknown): void {
    const isHeard = this.emit('connectError', relayError('ERR_CONNECTION', why, cause ? { cause } : undefined));
    // Where there is no reason, a browser has printed a line of its own, and what has no location is none.
    if (!isHeard && (reason || typeof location === 'undefined') && this.#failures++ < PRINTED_FAILURES) console.warn(`websocket-relay: ${why}; trying again`);
  }

  /** The page is back, or the machine has slept: is the connection still there? */
  #wake(): void {
    if (this.#state === State.Waiting) {
      // A wait that the server asked for is not cut short.
      if (Date.now() >= this.#notBefore) this.#reconnect.ring();
    } else if (this.#state !== State.Closed) {
      const isOpen = this.#state === State.Open;
      if (this.#watch.ask(isOpen) && isOpen) this.#write({ ping: {} });
    }
  }

  /** Becomes closed for good. */
  #finish(): void {
    this.#state = State.Closed;
    this.#reconnect.clear();
    this.#forgetWaking?.();
    for (const peer of this.#peers.values()) {
      if (this.#reliable) peer.inbox.resume();
      settle(peer, peer.outbox.clear(), isClosed());
    }
  }

  /** What is known of another client, made if there is nothing yet; of too many that only the server speaks of, nothing. */
  #peer(id: number): Peer;
  #peer(id: number, isForeign: true): Peer | undefined;
  #peer(id: number, isForeign?: true): Peer | undefined {
    let peer = this.#peers.get(id);
    this.#lacksPeers ||= !peer && !!isForeign && this.#peers.size >= MAX_PEERS;
    if (!peer && !(isForeign && this.#lacksPeers)) {
      // What this one may have sent has been passed over.
      if (this.#lacksPeers) later(() => this.#fetch());
      const outbox = new Outbox(() => this.#flush(id, made));
      const inbox = new Inbox(this.#waiting, (offset, message) => this.#hasReceived(id, offset, message), () => this.#fetch());
      const made: Peer = { inbox, outbox, online: false };
      this.#peers.set(id, (peer = made));
    }
    return peer;
  }

  #setOnline(id: number, peer: Peer, online: boolean): void {
    if (peer.online !== online) {
      peer.online = online;
      peer.channel?.emit(online ? 'join' : 'leave');
    }
    // Nobody has asked for it, and there is nothing to remember.
    if (!online && !peer.channel && peer.inbox.isNew) this.#peers.delete(id);
  }

  /** There is room now for messages that there was none for. The server sends them again on a new connection. */
  #fetch(): void {
    if (this.#state === State.Open) this.#ended(1006, 'making room');
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
    // Of a plain message the outbox is rid at once: then it is the socket that it waits in.
    const seq = !this.#reliable && this.#isClogged ? 0 : peer.outbox.add(message, callback);
    if (seq) {
      this.#flush(targetId, peer);
    } else {
      const error = isFull(targetId);
      later(() => {
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

  /** Whether the socket holds more than it should because the other side does not read. */
  get #isClogged(): boolean {
    return (this.#socket?.bufferedAmount ?? 0) > MAX_WAITING;
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

function isFull(targetId: number): RelayError {
  return relayError('ERR_QUEUE_FULL', `queue full for client ${targetId}`, { targetId });
}

function isClosed(): RelayError {
  return relayError('ERR_CLOSED', 'closed');
}

/** A time that a server tells, or what is usual if it is none. */
function milliseconds(value: unknown, usual: number): number {
  return typeof value === 'number' && value >= 0 ? value : usual;
}

/** An address as it can be printed: who connects, and a query with what may be a token, are left out. */
function withoutSecrets(url: string): string {
  return url.replace(/[?#][^]*/, '').replace(/\/\/[^/]*@/, '//');
}
