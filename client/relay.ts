/** The relay: keeps a connection to the server, authenticates, and sends and receives messages for the channels. */

import { Acknowledgements } from './acknowledgements.js';
import { toUrl, withoutSecrets } from './address.js';
import { Alarm } from './alarm.js';
import { backoff, MAX_WAIT, requestedWait } from './backoff.js';
import { RelayChannel } from './channel.js';
import * as check from './check.js';
import { type ClientFrame, decode, encode, milliseconds, type ServerFrame } from './codec.js';
import { CLOSE_ERRORS, FIRST_FINAL, isOverload, isTemporary, queueFull, relayClosed, relayError } from './codes.js';
import { Emitter } from './emitter.js';
import type { RelayEvents } from './events.js';
import { Inbox } from './inbox.js';
import { type Authentication, type RelayOptions, type Settings, settingsOf } from './options.js';
import { Outbox, type SendCallback } from './outbox.js';
import { type Peer, settle } from './peer.js';
import { newSession } from './session.js';
import { type Transport, WebSocketTransport } from './transport.js';
import { onWake } from './wake.js';
import { Watchdog } from './watchdog.js';

const enum State {
  /** Waiting to reconnect. */
  Waiting,
  /** Closed for good. The last connection may still be closing. */
  Closed,
  Connecting,
  /** Authentication and outstanding messages were sent, and no answer came yet. From this state on messages are sent. */
  Authenticating,
  Open,
}

/** The heartbeat of a server that does not tell its own, in milliseconds. */
const PING_INTERVAL = 25_000;
const PING_TIMEOUT = 20_000;
/** The most clients that are kept because the server mentioned them. Those with a channel are always kept. */
const MAX_PEERS = 65_536;
/** How many refused tokens in a row a function may replace by another one. After one more the relay is closed. */
const MAX_REFUSALS = 5;
/** Connection failures in a row that are printed if nobody listens. */
const PRINTED_FAILURES = 3;

/** A connection to a relay server. It is made at once and kept until the relay is closed. */
export class WebSocketRelay extends Emitter<RelayEvents> {
  readonly #url: string;
  readonly #settings: Settings;
  readonly #reliable: boolean;
  readonly #peers = new Map<number, Peer>();
  /** Identifies this object, so that the server can tell its messages from those of an earlier page. */
  readonly #session = newSession();
  /** Identifies the life of the mailbox on the server in which offsets count. */
  #epoch: string | undefined;
  #state = State.Connecting;
  /** Counts connections. The server ignores an older one that reaches it late. */
  #connection = 0;
  /** The number of the last expiry notice. The server may repeat notices. */
  #lastNotice = 0;
  /** Reconnection attempts since a connection was last open. */
  #attempts = 0;
  /** Tokens that were refused since then. */
  #refusals = 0;
  /** Failures since then that were printed. */
  #failures = 0;
  /** The server asked not to reconnect before this time. */
  #notBefore = 0;
  readonly #inboxSize = { characters_: 0 };
  /** The server mentioned too many peers on this connection. No new ones are added, so that no message overtakes another. */
  #lacksPeers = false;
  #stopListening: (() => void) | undefined;
  readonly #reconnect: Alarm;
  readonly #watchdog: Watchdog;
  readonly #transport: Transport;
  readonly #acknowledgements = new Acknowledgements((frame) => this.#transport.send_(encode(frame)));

  /**
   * Connects to a relay server.
   *
   * @param address - `host:port`, which means `ws://host:port` or, on a page loaded over https and in its workers and frames,
   *   `wss://host:port`; or a URL that starts with `ws://`, `wss://`, `http://` (for `ws://`) or `https://` (for `wss://`)
   * @param authentication - the client that connects; may contain options
   * @param callback - called once, when first connected, before the `'open'` listeners. Optional
   * @param options - how to connect
   * @throws Error if `address`, `authentication`, its `clientId` or its `token` is missing
   * @throws TypeError if a parameter or an option has the wrong type
   * @throws RangeError if the `clientId` or an option is a number out of range
   * @throws RelayError `ERR_NO_WEBSOCKET` if no WebSocket class is available
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
      // Without the argument of 'open': callbacks often expect an error first.
      if (callback) this.once('open', () => callback.call(this));
    }
    this.#url = toUrl(address);
    this.#settings = settingsOf({ ...authentication, ...(callback as RelayOptions | null | undefined), ...options });
    this.#reliable = this.#settings.reliable;
    const wake = (): void => this.#wake();
    this.#reconnect = new Alarm(() => this.#connect(), wake);
    const waitingSince = (): number => {
      let since = Infinity;
      this.#peers.forEach(({ outbox_: outbox }) => (since = Math.min(since, outbox.waitingSince_)));
      return since;
    };
    this.#watchdog = new Watchdog(waitingSince, () => this.#ended(1006, 'no answer'), wake);
    this.#transport = new WebSocketTransport(
      () => new this.#settings.WebSocket(this.#url),
      {
        opened_: () => void this.#authenticate(),
        received_: (data) => {
          this.#process(decode(data) ?? {});
          this.#acknowledgements.flushIfDue_();
        },
        ended_: (code, reason, cause) => this.#ended(code, reason, cause),
      },
      // The plain protocol has no ping that a page could send.
      this.#reliable ? this.#watchdog : undefined,
    );
    this.#connect();
    if (this.#reliable) this.#stopListening = onWake(wake);
  }

  /**
   * Returns the channel with another client, the same object each time.
   *
   * @param targetClientId - the id of the other client: an integer from 0 to 2^53 − 1
   * @throws TypeError if `targetClientId` is not a number
   * @throws RangeError if it is a number but no such integer
   */
  createChannel(targetClientId: number): RelayChannel {
    check.id(targetClientId, 'targetClientId');
    const peer = this.#peer(targetClientId);
    if (peer.channel_) return peer.channel_;
    const channel = new RelayChannel(peer, (message, callback) => this.#send(targetClientId, message, callback));
    peer.channel_ = channel;
    // Later, so that the application can add listeners first.
    if (this.#state === State.Open) queueMicrotask(() => this.#state === State.Open && channel.emit('open'));
    return channel;
  }

  /**
   * Closes the relay for good; a last `'close'` follows. The callbacks of outstanding messages get an `ERR_CLOSED`. May be
   * called at any time and more than once. While a connection is being made, `'close'` has the code 1006, as with any
   * WebSocket.
   *
   * @param code - 1000 (the default) or a number from 3000 to 4999
   * @param reason - at most 123 bytes of UTF-8; empty by default
   * @throws whatever `WebSocket.close` throws for an invalid code or reason
   */
  close(code = 1000, reason = ''): void {
    if (this.#state === State.Closed) return;
    this.#acknowledgements.flush_();
    const isClosing = this.#transport.close_(code, reason);
    this.#finish();
    if (!isClosing) this.emit('close', { code, reason, willReconnect: false });
  }

  #connect(): void {
    this.#transport.open_();
    this.#state = State.Connecting;
    this.#connection++;
  }

  async #authenticate(): Promise<void> {
    const connection = this.#connection;
    const { clientId, token: given } = this.#settings;
    let token = '';
    let failure: { cause: unknown } | undefined;
    try {
      token = typeof given === 'function' ? await given() : given;
      check.ofType('string', token, 'token');
    } catch (cause) {
      failure = { cause };
    }
    // Meanwhile the connection may have ended, or the relay may have been closed.
    if (connection !== this.#connection || this.#state !== State.Connecting) return;
    if (failure) {
      this.emit('error', relayError('ERR_TOKEN', 'no token', failure));
      this.#ended(1006, 'no token', undefined, true);
      return;
    }
    const resumption = { version: 2, session: this.#session, connection, epoch: this.#epoch, receipts: true, presence: true } as const;
    this.#write({ authentication: { clientId, token, ...(this.#reliable && resumption) } });
    this.#state = this.#reliable ? State.Authenticating : State.Open;
    this.#peers.forEach((peer, id) => this.#flush(id, peer));
    if (!this.#reliable) this.#opened(false);
  }

  #process({ authenticated, relay, accepted, hold, rejected, delivered, presence, error, ping, pong }: ServerFrame): void {
    if (error) this.emit('error', relayError(error.code, error.message));
    if (authenticated && this.#state === State.Authenticating) this.#authenticated(authenticated);
    // Before authentication the server says nothing else.
    if (this.#state !== State.Open) return;
    if (pong) this.#watchdog.answered_();
    // A server that pings but does not read gets no answer.
    if (ping && !this.#transport.isClogged_) this.#write({ pong: {} });
    if (relay) this.#relayed(relay);
    if (presence) {
      const peer = this.#peer(presence.clientId, true);
      if (peer) this.#setOnline(presence.clientId, peer, presence.online);
    }
    // Where a server answers, a frame has one of these.
    const answer = accepted ?? hold ?? rejected ?? delivered;
    const peer = answer && this.#peers.get(answer.targetId);
    if (!peer) return;
    const outbox = peer.outbox_;
    if (accepted) settle(peer, outbox.accepted_(accepted.seq));
    if (hold) outbox.refused_(hold.seq, Math.min(milliseconds(hold.retryAfter, 0), MAX_WAIT));
    if (rejected) this.#rejected(peer, rejected);
    if (delivered && outbox.delivered_(delivered.seq)) peer.channel_?.emit('delivered', delivered.seq);
  }

  #authenticated({ epoch, resumed, pingInterval, pingTimeout }: NonNullable<ServerFrame['authenticated']>): void {
    this.#state = State.Open;
    this.#attempts = this.#refusals = this.#failures = 0;
    this.#lacksPeers = false;
    this.#peers.forEach(({ inbox_: inbox }) => (epoch === this.#epoch ? inbox.resume_() : inbox.restart_()));
    this.#epoch = epoch;
    if (!resumed) this.#lastNotice = 0;
    this.#watchdog.watch_(milliseconds(pingInterval, PING_INTERVAL) + milliseconds(pingTimeout, PING_TIMEOUT));
    this.#opened(resumed);
  }

  #relayed(relay: NonNullable<ServerFrame['relay']>): void {
    const peer = this.#peer(relay.senderId, true);
    const channel = peer?.channel_;
    // Through the inbox even if there is a listener, so that the message does not overtake one that waits.
    const isTaken = peer?.inbox_.add_(relay, !!channel?.listenerCount('message'));
    if (isTaken) channel?.emitQueuedMessages();
    // With an offset the server keeps the message.
    else if (!relay.offset) this.emit('error', queueFull(relay.senderId));
  }

  #rejected(peer: Peer, { targetId, seq, code, message, last, notice }: NonNullable<ServerFrame['rejected']>): void {
    if (notice && last && notice > this.#lastNotice) {
      this.#lastNotice = notice;
      peer.channel_?.emit('expired', seq, last);
    }
    // None for expired messages, which are no longer outstanding.
    const callbacks = peer.outbox_.refused_(seq);
    if (!callbacks.length) return;
    const error = relayError(code, message, { targetId });
    settle(peer, callbacks, error);
    this.emit('error', error);
  }

  #opened(resumed: boolean): void {
    // Not those that a listener creates, which emit 'open' themselves.
    const channels = Array.from(this.#peers.values(), ({ channel_: channel }) => channel);
    this.emit('open', { resumed });
    for (const channel of channels) if (this.#state === State.Open) channel?.emit('open');
  }

  /** Ends the connection, or the attempt to make one, and decides what follows. `isReported`: an `'error'` was emitted already. */
  #ended(code: number, reason: string, cause?: unknown, isReported?: boolean): void {
    const { reconnection, reconnectionAttempts, token } = this.#settings;
    const wasOpen = this.#state === State.Open;
    const wasClosed = this.#state === State.Closed;
    this.#transport.abandon_();
    this.#acknowledgements.clear_();
    this.#peers.forEach(({ outbox_: outbox }) => outbox.restart_());
    const willReconnect =
      !wasClosed && this.#reliable && reconnection && isTemporary(code, typeof token === 'function' && this.#refusals < MAX_REFUSALS) && this.#attempts < reconnectionAttempts;
    const message = wasOpen ? reason || 'no connection' : `cannot connect to ${withoutSecrets(this.#url)}${reason && `: ${reason}`}`;
    const details = cause ? { cause } : undefined;
    if (willReconnect) {
      this.#scheduleReconnect(code, reason);
      if (!wasOpen && !isReported) {
        const isHeard = this.emit('connectError', relayError('ERR_CONNECTION', message, details));
        // Without a reason, a browser has printed a line of its own. Other runtimes have no `location`.
        if (!isHeard && (reason || typeof location === 'undefined') && this.#failures++ < PRINTED_FAILURES) console.warn(`websocket-relay: ${message}; trying again`);
      }
    } else if (!wasClosed) {
      this.#finish();
      const error = CLOSE_ERRORS[code];
      if (error) this.emit('error', relayError(error, code === 1006 ? message : reason || message, details));
    }
    this.emit('close', { code, reason, willReconnect });
    this.#peers.forEach((peer, id) => this.#setOnline(id, peer, false));
  }

  #scheduleReconnect(code: number, reason: string): void {
    this.#state = State.Waiting;
    const requested = requestedWait(code, reason);
    const isFull = isOverload(code);
    const wait = requested + backoff(this.#settings, isFull ? Infinity : this.#attempts, Math.random());
    this.#notBefore = Date.now() + (isFull ? wait : requested);
    this.#reconnect.start_(wait);
    this.#attempts++;
    if (code >= FIRST_FINAL) this.#refusals++;
  }

  /** The page is back, or the machine has slept: reconnects at once, or checks that the connection still works. */
  #wake(): void {
    if (this.#state === State.Waiting) {
      // A wait that the server asked for is not shortened.
      if (Date.now() >= this.#notBefore) this.#reconnect.fire_();
    } else if (this.#state !== State.Closed) {
      const isOpen = this.#state === State.Open;
      if (this.#watchdog.expectAnswer_(isOpen) && isOpen) this.#write({ ping: {} });
    }
  }

  /** Enters the state `Closed`. */
  #finish(): void {
    this.#state = State.Closed;
    this.#reconnect.stop_();
    this.#stopListening?.();
    this.#peers.forEach((peer) => {
      peer.inbox_.resume_();
      settle(peer, peer.outbox_.clear_(), relayClosed());
    });
  }

  /** Returns what is kept about another client. Undefined only if the server mentioned it and there are too many. */
  #peer(id: number): Peer;
  #peer(id: number, isMentioned: true): Peer | undefined;
  #peer(id: number, isMentioned?: true): Peer | undefined {
    const known = this.#peers.get(id);
    if (known) return known;
    this.#lacksPeers ||= !!isMentioned && this.#peers.size >= MAX_PEERS;
    if (this.#lacksPeers) {
      if (isMentioned) return undefined;
      // Messages from this client may have been skipped.
      queueMicrotask(() => this.#fetch());
    }
    const acknowledge = (offset: number, message: string): void => {
      // Offsets of an older connection may be acknowledged only after the server has sent them again on this one.
      if (this.#state === State.Open) this.#acknowledgements.add_(id, offset, message);
    };
    const peer: Peer = {
      inbox_: new Inbox(this.#inboxSize, acknowledge, () => this.#fetch()),
      outbox_: new Outbox(() => this.#flush(id, peer)),
      isOnline_: false,
    };
    this.#peers.set(id, peer);
    return peer;
  }

  #setOnline(id: number, peer: Peer, isOnline: boolean): void {
    if (peer.isOnline_ !== isOnline) {
      peer.isOnline_ = isOnline;
      peer.channel_?.emit(isOnline ? 'join' : 'leave');
    }
    if (!isOnline && !peer.channel_ && peer.inbox_.isUnused_) this.#peers.delete(id);
  }

  /** There is room for messages that were skipped. The server sends them again on a new connection. */
  #fetch(): void {
    if (this.#state === State.Open) this.#ended(1006, 'making room');
  }

  #send(targetId: number, message: string, callback: SendCallback | null | undefined): number {
    // A plain message must not go to a closing WebSocket, which would drop it silently.
    if (this.#state === State.Closed || (!this.#reliable && this.#transport.isClosing_)) throw relayClosed();
    const peer = this.#peer(targetId);
    // Plain messages leave the outbox at once and wait in the WebSocket.
    const seq = !this.#reliable && this.#transport.isClogged_ ? 0 : peer.outbox_.add_(message, callback);
    if (seq) {
      this.#flush(targetId, peer);
    } else {
      const error = queueFull(targetId);
      queueMicrotask(() => {
        this.emit('error', error);
        callback?.(error);
      });
    }
    return seq;
  }

  /** Sends the messages of a channel that were not sent on this connection. */
  #flush(targetId: number, peer: Peer): void {
    if (this.#state < State.Authenticating) return;
    for (const { message, ...more } of peer.outbox_.unsent_()) this.#write({ relay: { targetId, message, ...(this.#reliable && more) } });
    // A plain server accepts nothing explicitly.
    if (!this.#reliable) settle(peer, peer.outbox_.clear_());
  }

  #write(frame: ClientFrame): void {
    this.#acknowledgements.flush_();
    this.#transport.send_(encode(frame));
  }
}
