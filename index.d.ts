/// <reference types="node" />
import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, Server as HttpServer } from 'node:http';
import type { Http2SecureServer, Http2Server, Http2ServerRequest } from 'node:http2';
import type { Server as HttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';

/**
 * A WebSocket relay server: on a port of its own, on an http server that there is, or by hand. It runs on threads of
 * its own: however busy the JavaScript thread is, messages flow.
 *
 * @example
 * const RelayServer = require('websocket-relay');
 * const relayServer = new RelayServer({ port: 4000 });
 * const client1 = relayServer.registerClient();
 * const client2 = relayServer.registerClient();
 * relayServer.registerRelayChannel(client1.id, client2.id);
 */
declare class RelayServer extends EventEmitter<RelayServer.Events> {
  /**
   * @param options where to listen, and the bounds
   * @param callback called once, on `'listening'`
   * @throws TypeError or RangeError naming the option that is wrong and what was given (`code`:
   *   `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`; `ERR_INVALID_ARG_VALUE` when more than one of `port`, `server` and
   *   `noServer` is given)
   * @throws Error saying what is wrong with certificate or key; see {@link RelayServer.setSecureContext}
   */
  constructor(options: RelayServer.Options, callback?: () => void);

  /**
   * Where the server listens; `null` before `'listening'`, after `'close'`, with `noServer`, and for an http server on
   * a pipe. With `server` it is that server's address.
   */
  address(): RelayServer.AddressInfo | null;

  /**
   * Whether a request is for this relay: whether its path is `options.path`, or there is none. May be replaced by a
   * function of one's own; on a port of its own the relay does not ask it.
   */
  shouldHandle(request: IncomingMessage | Http2ServerRequest): boolean;

  /**
   * Answers a request to upgrade that an http server has read, and takes its connection: for `noServer`. It does not
   * ask `shouldHandle()`. A request that does not open a WebSocket is refused, and so is each one after `close()` (503).
   *
   * @param request the three arguments of the event `'upgrade'`; over HTTP/2 a request that `'connect'` gave, and its
   *   `stream`
   * @param socket is the relay's from here on: plain TCP connections leave Node at once, and `socket` is destroyed; others
   *   stay open as long as the relay's connection
   * @param head the bytes behind the request
   * @throws Error with `code` `ERR_SOCKET_TAKEN` when a relay has this socket already
   */
  handleUpgrade(request: IncomingMessage | Http2ServerRequest, socket: Duplex, head?: Uint8Array): void;

  /**
   * Registers a client. Ids count up from 0 and are never given again; the token is 32 hex digits from the system's
   * CSPRNG.
   *
   * @throws TypeError or RangeError for options that are wrong
   */
  registerClient(options?: RelayServer.RegisterOptions): RelayServer.RegisteredClient;

  /**
   * Ends a client's registration: its connection is closed with 4502, its mailbox, its channels and what it has waiting
   * for others are forgotten, and those who shared a channel are told that it left.
   *
   * @throws Error with `name` `ClientNotFoundException`
   */
  unregisterClient(clientId: number): void;

  /**
   * Gives a client another token, which is returned; the one before opens nothing any more. A connection goes on. If the
   * registration ends by itself, it does so after `expiresIn`, or after as long as was said last, counted from now.
   *
   * @throws Error with `name` `ClientNotFoundException`
   */
  refreshToken(clientId: number, options?: { expiresIn?: number | undefined }): string;

  /**
   * Ends a client's connection. It stays registered, and what it has not received waits for its next connection. The
   * client of this package comes back by itself, unless the code is 4500 or above.
   *
   * @param code 1000 (the default), or 3000 to 4999
   * @param reason at most 123 bytes of UTF-8
   * @returns whether it was connected
   * @throws Error with `name` `ClientNotFoundException`
   */
  disconnectClient(clientId: number, code?: number, reason?: string): boolean;

  /**
   * Whether a client is connected and authenticated.
   *
   * @throws Error with `name` `ClientNotFoundException`
   */
  isConnected(clientId: number): boolean;

  /** The registered clients, by id. Each is looked up when its turn comes; those that are gone by then are left out. */
  clients(): IterableIterator<RelayServer.Client>;

  /** What the server counts. Counting costs next to nothing and is always on. */
  stats(): RelayServer.Stats;

  /**
   * Lets two clients talk to each other. A client may have a channel to itself.
   *
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) when an id is nobody's (a
   *   TypeError or RangeError of that name when it cannot be an id), or `ClientsAlreadyHaveChannel`
   *   (`ERR_CHANNEL_EXISTS`)
   */
  registerRelayChannel(clientId1: number, clientId2: number): void;

  /**
   * Greets new connections with another certificate; those that there are go on. For renewal without a restart.
   *
   * @param options all of what TLS is to be spoken with from now on, also what stays as it was
   * @throws Error that says what is wrong with certificate or key (`code`: `ERR_TLS_CERT`, `ERR_TLS_KEY`,
   *   `ERR_TLS_PASSPHRASE`, `ERR_TLS_MISMATCH`, `ERR_TLS_CA`), and nothing has changed; or that the server was made
   *   without (`ERR_TLS_NOT_SECURE`)
   */
  setSecureContext(options: RelayServer.SecureContext): void;

  /**
   * Lets all clients of a room talk to each other. Channels that exist already stay. No client gets a channel to itself.
   * If an id is wrong, nothing has changed.
   *
   * @returns how many channels are new
   * @throws Error with `name` `ClientNotFoundException`
   */
  registerRelayChannels(clientIds: Iterable<number>): number;
  /**
   * Lets a client that joins a room talk to each of the others. The cost grows with the number of `clientIds`, not with
   * the number of pairs among them. `clientId` may be one of `clientIds`; it gets no channel to itself.
   *
   * @param clientId the client that joins
   * @param clientIds the clients that it may talk to
   * @returns how many channels are new
   * @throws Error with `name` `ClientNotFoundException`
   */
  registerRelayChannels(clientId: number, clientIds: Iterable<number>): number;

  /**
   * Ends the channel between two clients, and drops what waits in it. If it is registered again, nothing is delivered
   * twice.
   *
   * @throws Error with `name` `ClientNotFoundException` or `ClientsHaveNoChannel` (`ERR_CHANNEL_NOT_FOUND`)
   */
  unregisterRelayChannel(clientId1: number, clientId2: number): void;

  /**
   * Closes every connection of the relay (code 1001) and frees its port; an http server that it is attached to stays
   * open, without the relay's listeners. May be called at any time, and again.
   *
   * @param callback called when done, with the error that kept the server from listening, if one did
   */
  close(callback: (error?: Error) => void): void;
  /**
   * Drains: takes no more messages, lets what waits for the clients that are connected go out,
   * and closes each connection then (code 1012). Clients of this package come back by themselves, spread over
   * `retryAfter`, and send what was not accepted again. Without `timeout` it is `close()`, which also cuts short a `close()`
   * with a timeout.
   */
  close(options: RelayServer.CloseOptions, callback: (error?: Error) => void): void;
  /** As with a callback, as a promise. */
  close(options?: RelayServer.CloseOptions): Promise<void>;

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;

  /** Keeps the process alive while the server listens on its own port, and while its connections last. The default. */
  ref(): this;
  /** Lets the process exit although the server listens, or connections that were taken over last. */
  unref(): this;
}

declare namespace RelayServer {
  export { RelayServer };
  export { RelayServer as default };

  export interface CloseOptions {
    /** After so many milliseconds every connection is cut, whatever it is doing. */
    timeout?: number | undefined;
    /** Over how many milliseconds clients are asked to spread their coming back. Default: 5,000. */
    retryAfter?: number | undefined;
  }

  /** PEM, as text or as bytes. */
  export type Pem = string | NodeJS.ArrayBufferView | ArrayBuffer;

  /** What TLS is spoken with, as `https.createServer()` takes it. */
  export interface SecureContext {
    /** The server's certificate, and behind it those that lead to its root. An array has one such chain for each key. */
    cert: Pem | readonly Pem[];
    /** The private key: PKCS#8, PKCS#1 or SEC 1; PKCS#8 may be encrypted. */
    key: Pem | readonly Pem[];
    /** What the key is encrypted with. */
    passphrase?: string | undefined;
    /** Authorities: they complete a chain that misses some and, with `requestCert`, say whose clients are let in. */
    ca?: Pem | readonly Pem[] | undefined;
    /** Whether clients must have a certificate of one of `ca`. Default: `false`. */
    requestCert?: boolean | undefined;
  }

  type Optional<T> = { [Name in keyof T]?: T[Name] | undefined };

  /** Exactly one of `port`, `server` and `noServer`, and anything of the rest. */
  export type Options = PortOptions | ServerOptions | NoServerOptions;

  /** A port of its own. It also answers `GET /health`: 200, and 503 while closing. */
  export interface PortOptions extends SharedOptions, Optional<SecureContext> {
    /** The port, 0 to 65535; 0 is a free one, which `address()` tells. A string of digits will do. */
    port: number | string;
    server?: undefined;
    noServer?: false | undefined;
    /** The host name or IP address to listen on; a link-local one with its interface, `fe80::1%eth0`. Default: all addresses of
     * this machine. */
    host?: string | undefined;
    /** Whether `GET /metrics` gives what is counted, for Prometheus. Default: `false`. */
    metrics?: boolean | undefined;
    /** Whether `GET /websocket_relay.min.js` gives the client for browsers. Default: `true`. */
    serveClient?: boolean | undefined;
    /** The largest HTTP head of a connection, in bytes, at least 1,024 (431 above it). Default: 16,384. */
    maxHeaderSize?: number | undefined;
  }

  /** The port of an http server that there is. Its requests, also those for the client, stay its own. */
  export interface ServerOptions extends SharedOptions {
    /**
     * The server whose upgrades are taken; those for other paths are left to others, or get a 404. One of `node:http2` needs
     * `allowHTTP1: true` or `settings: { enableConnectProtocol: true }`, or no browser opens a WebSocket with it.
     */
    server: HttpServer | HttpsServer | Http2Server | Http2SecureServer;
    port?: undefined;
    noServer?: false | undefined;
  }

  /** No port: each connection comes by `handleUpgrade()`. */
  export interface NoServerOptions extends SharedOptions {
    noServer: true;
    port?: undefined;
    server?: undefined;
  }

  /**
   * All limits are integers, at least 1 unless said otherwise; what they may be at most is in the error that a
   * value above it throws.
   */
  export interface SharedOptions {
    /** The only path where WebSockets are opened, as in a URL, without a query; what is not ASCII may be percent-encoded.
     * Default: every path. */
    path?: string | undefined;
    /**
     * The pages that may open WebSockets, as browsers name them in `Origin`; others get 403. Strings are compared
     * without JavaScript. Where it is set, a request without `Origin` is refused unless a function allows it. Default: any.
     */
    allowedOrigins?: AllowedOrigin | AllowedOrigin[] | OriginFunction | undefined;
    /**
     * Whether a client may connect, as in `ws`: returned, or a promise of it, or given to the callback. It is asked of the
     * JavaScript thread before each WebSocket is opened, while the client still waits; without an answer within
     * `headersTimeout` it is refused (503).
     */
    verifyClient?: VerifyClient | undefined;
    /**
     * Which proxies are believed when `X-Forwarded-For` says for whom they come, and `X-Forwarded-Proto` by what: all, so
     * many in a row, or those with these addresses (`'10.0.0.1'`, `'10.0.0.0/8'`, `'loopback'`, `'linklocal'`, `'uniquelocal'`). Default: `false`.
     */
    trustProxy?: boolean | number | string | string[] | undefined;
    /** Whether registered clients may talk without a registered channel. Default: `false`. */
    authorizeAllChannels?: boolean | undefined;
    /** When it is aborted the server closes, as by `close()`. It may be that of many servers. */
    signal?: AbortSignal | undefined;
    /** How many threads of its own the server runs on, at most 64. One carries hundreds of thousands of messages a second;
     * more help when the thread `websocket-relay` is busy all the time and there are cores to spare. Default: 1. */
    threads?: number | undefined;

    /** The largest message, in bytes of its JSON string. Default: 1,048,576 (1 MiB). */
    maxPayload?: number | undefined;
    /** The largest frame before authentication, in bytes, at least 128. Default: 16,384. */
    maxUnauthenticatedPayload?: number | undefined;
    /** How long a connection may take to authenticate, in milliseconds. Default: 10,000. */
    authTimeout?: number | undefined;
    /** How long the HTTP head of a connection may take, a TLS handshake included, in milliseconds. Default: 5,000. */
    headersTimeout?: number | undefined;
    /** How long a message that has begun may take, as the heartbeats find it, in milliseconds. Default: 120,000. */
    messageTimeout?: number | undefined;
    /** The offence that closes a connection; ten messages without a channel of a reliable client are one. Default: 10. */
    maxOffences?: number | undefined;
    /** Messages that wait from one sender for one recipient. Default: 10,000. */
    maxQueuedMessages?: number | undefined;
    /** Bytes of messages that wait from one sender for one recipient. Default: 4,194,304 (4 MiB). */
    maxQueuedBytes?: number | undefined;
    /** Bytes that wait for one recipient, 64 for each message and 320 for each sender included. Default: 67,108,864 (64 MiB). */
    maxMailboxBytes?: number | undefined;
    /** Bytes that wait for all recipients, 64 for each message and 320 for each sender to each of them included, bytes that
     * sockets have not taken, and 64 for each notice of expired messages above 64 that a client has not confirmed. The last
     * eighth is for recipients that are connected and keep up. Default: 536,870,912 (512 MiB). */
    maxTotalBytes?: number | undefined;
    /** Channels that one client may open by sending, with `authorizeAllChannels`. Default: 10,000. */
    maxOpenedChannels?: number | undefined;
    /** How long a message may wait for its recipient, in milliseconds, at least 0. Then it is dropped and its sender is told,
     * unless it is on its way. 0 is any time. Default: 0. */
    messageTtl?: number | undefined;
    /** Messages from one sender that are on their way to a recipient that acknowledges. Default: 256. */
    maxInFlightMessages?: number | undefined;
    /** Bytes of those; one message may exceed it. Default: 1,048,576 (1 MiB). */
    maxInFlightBytes?: number | undefined;
    /** How long a full queue of a connected recipient holds a sender back, in milliseconds. Default: 20,000. */
    holdTimeout?: number | undefined;
    /** The time between two heartbeats, in milliseconds. Default: 25,000. */
    pingInterval?: number | undefined;
    /** How long the answer to a heartbeat may take, in milliseconds. Default: 20,000. */
    pingTimeout?: number | undefined;
    /** Connections at one time, those not yet authenticated included. Default: 100,000. */
    maxConnections?: number | undefined;
    /** Connections from one address at one time, at least 0; an IPv6 one counts with its /64. 0 is any number. Default: 0. */
    maxConnectionsPerAddress?: number | undefined;
    /** New connections from one address in a second, at least 0. 0 is any number. Default: 0. */
    connectionRate?: number | undefined;
    /** New connections from one address at once, at least 0. 0 is as many as in a second. Default: 0. */
    connectionBurst?: number | undefined;
    /** Messages from one client in a second, over all its connections, at least 0. 0 is any number. Default: 0. */
    rateLimit?: number | undefined;
    /** Messages from one client at once, at least 0. 0 is as many as in a second. Default: 0. */
    rateLimitBurst?: number | undefined;
    /** Authentications from one address that may fail in a minute, at least 0. 0 is any number. Default: 0. */
    maxAuthFailuresPerAddress?: number | undefined;
    /** Authentications as one client that may fail in a minute, at least 0. 0 is any number. Default: 0. */
    maxAuthFailuresPerClient?: number | undefined;
    /** How long a connection that is being closed may take to answer, and `close()` in all, in milliseconds. Default: 5,000. */
    closeTimeout?: number | undefined;
    /** Bytes written to one connection at a time; one message may exceed it. What its socket does not take at once
     * counts against `maxTotalBytes`. Default: 262,144. */
    maxWriteAhead?: number | undefined;
    /** Events that wait for a busy JavaScript thread, at least 16. Default: 65,536. */
    maxQueuedEvents?: number | undefined;
  }

  export interface RegisterOptions {
    /**
     * After how many milliseconds the registration ends, unless `refreshToken()` is called before. Default: never.
     */
    expiresIn?: number | undefined;
    /** Anything, kept with the registration: events and `clients()` have it. It goes to no client. */
    data?: unknown;
  }

  /** What there is to know of a client. */
  export interface Client {
    id: number;
    connected: boolean;
    /** Messages for it that it has not received. */
    queuedMessages: number;
    /** Their bytes, 64 for each message and 320 for each sender of some included. */
    queuedBytes: number;
    /** What was given when it was registered. */
    data: unknown;
  }

  /** What the server counts, some of it now and some of it since it was made. */
  export interface Stats {
    /** Now: open connections, those not yet authenticated included. */
    connections: number;
    /** Now: registered clients. */
    registered: number;
    /** Now: registered channels. */
    channels: number;
    /** Now: messages that wait for their recipients. */
    queuedMessages: number;
    /** Now: what counts against `maxTotalBytes`. */
    queuedBytes: number;
    /** Ever: messages that were taken. */
    relayedMessages: number;
    /** Ever: bytes of those, as JSON strings. */
    relayedBytes: number;
    /** Ever: messages that were refused for good or, as `ERR_MESSAGE_EXPIRED`, have expired, by code. */
    rejected: Record<string, number>;
    /** Ever: mistakes of clients, by code, those included that `'error'` was not told. */
    offences: Record<string, number>;
    /**
     * Ever: clients that were not let in, by reason: `maxConnections`, `maxConnectionsPerAddress`, `connectionRate`,
     * `headersTimeout`, `maxHeaderSize`, `allowedOrigins`, `verifyClient`, `undecided`, `closing`, `taken`, `maxAuthFailuresPerAddress`,
     * `maxAuthFailuresPerClient`.
     */
    turnedAway: Record<string, number>;
    /** Ever: WebSockets that were not ended by their clients, by close code; 1006 are those that broke off. */
    closed: Record<string, number>;
    /** Ever: events that a busy JavaScript thread could not take. */
    eventsDropped: number;
    /** Ever: bugs of the server, each of which cost one connection, or events, at most and was an `'error'` with `ERR_INTERNAL`. */
    panics: number;
  }

  /** An origin, such as `'https://example.com'`, or a RegExp that is searched for in it. */
  export type AllowedOrigin = string | RegExp;

  /** Whether the page may connect; `origin` is `undefined` for who is no page. */
  export type OriginFunction = (origin: string | undefined, info: ClientInfo) => boolean | Promise<boolean>;

  /**
   * Returns whether a client may connect, or, if it has two parameters, calls the second one with it. `code` is an HTTP
   * status from 300 to 599. Default: 401.
   */
  export type VerifyClient = (
    info: ClientInfo,
    callback: (result: boolean, code?: number, message?: string, headers?: OutgoingHttpHeaders) => void,
    // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- who calls back returns nothing
  ) => boolean | Promise<boolean> | void;

  /** Who wants to connect. */
  export interface ClientInfo {
    /** The page's origin, if it is one. */
    origin: string | undefined;
    /** Whether the client's connection is TLS: see `trustProxy`. */
    secure: boolean;
    /** The address that counts as the client's: see `trustProxy`. */
    remoteAddress: string | undefined;
    /** The request: Node's own with `server` and `noServer`, and on a port of the relay's own, or over HTTP/2, what there
     * is of it. */
    req: ClientRequest | IncomingMessage;
  }

  /** What there is of a request on a port of the relay's own, or over HTTP/2. */
  export interface ClientRequest {
    method: 'GET' | 'CONNECT';
    httpVersion: '1.1' | '2.0';
    url: string;
    /** By lower-case name. */
    headers: IncomingHttpHeaders;
    socket: { remoteAddress: string | undefined; encrypted: boolean };
  }

  export interface RegisteredClient {
    id: number;
    /** 32 lower-case hex digits. Only this client should ever see it. */
    token: string;
  }

  export interface AddressInfo {
    address: string;
    family: 'IPv4' | 'IPv6';
    port: number;
  }

  /** What a client did wrong. `String(error)` is its message alone. */
  export interface RelayError extends Error {
    /**
     * Stable, where the message may change: `ERR_INVALID_JSON`, `ERR_UNRECOGNIZED_MESSAGE`, `ERR_INCORRECT_TOKEN`,
     * `ERR_NOT_AUTHENTICATED`, `ERR_ALREADY_AUTHENTICATED`, `ERR_CHANNEL_NOT_REGISTERED`, `ERR_QUEUE_FULL`,
     * `ERR_INVALID_ACKNOWLEDGEMENT`, `ERR_MESSAGE_TOO_BIG`, `ERR_BINARY_MESSAGE`, `ERR_INVALID_UTF8`, `ERR_WEBSOCKET_PROTOCOL`; or, of the server
     * itself, `ERR_EVENTS_DROPPED`, `ERR_UPGRADE_TAKEN`, `ERR_INTERNAL`.
     */
    code: string;
    /** Who it was, if it had authenticated. */
    clientId?: number;
  }

  export interface Events {
    /** The port is open: its own, or that of the http server. With `noServer`, soon after the relay was made. */
    listening: [];
    /** A client authenticated. `data` is what was given when it was registered. */
    connection: [clientId: number, data?: unknown];
    /**
     * A client is gone: the WebSocket close code (1006 when the connection broke off) and reason. What cannot be printed in a
     * reason of the client's is escaped, as in `\n`, `\x1b` and `\u202e`.
     */
    disconnect: [clientId: number, code: number, reason: string, data?: unknown];
    /** A registration has ended by itself; `undelivered` messages for the client are dropped. */
    expired: [clientId: number, undelivered: number, data?: unknown];
    /** So many messages from one client for another waited for longer than `messageTtl` and are dropped. */
    messagesExpired: [senderId: number, recipientId: number, messages: number];
    /**
     * The port could not be opened: an error as Node's own servers emit it, which throws if nobody listens; every
     * error of an http server that it is attached to is passed on like that. Or
     * a client did something wrong: a {@link RelayError}, emitted only if somebody listens. Its message can be printed: what
     * cannot in a client's text is escaped.
     */
    error: [error: NodeJS.ErrnoException | RelayError];
    /** Every connection has ended and its own port is free; threads, descriptors and messages are given back. */
    close: [];
  }
}

export = RelayServer;
