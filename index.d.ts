/// <reference types="node" />
import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, Server as HttpServer } from 'node:http';
import type { Http2SecureServer, Http2Server, Http2ServerRequest } from 'node:http2';
import type { Server as HttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';

/**
 * A WebSocket relay server: on its own port, attached to an http server, or fed with connections by `handleUpgrade()`.
 * It runs on its own threads, so messages are relayed however busy the JavaScript thread is.
 *
 * @example
 * ```js
 * const RelayServer = require('websocket-relay');
 * const relayServer = new RelayServer({ port: 4000 });
 * const client1 = relayServer.registerClient();
 * const client2 = relayServer.registerClient();
 * relayServer.registerRelayChannel(client1.id, client2.id);
 * ```
 */
declare class RelayServer extends EventEmitter<RelayServer.Events> {
  /**
   * @param options where to listen, and the limits
   * @param callback called once, on `'listening'`
   * @throws TypeError or RangeError that names the invalid option and the value received. `code` is
   *   `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, or `ERR_INVALID_ARG_VALUE` for options that exclude each other
   * @throws Error if the certificate or key cannot be used; see {@link RelayServer.setSecureContext}. A store that cannot
   *   be opened is an `'error'` event
   */
  constructor(options: RelayServer.Options, callback?: () => void);

  /**
   * Returns the address the server listens on; with `server`, that server's address. `null` before `'listening'`, after
   * `'close'`, with `noServer`, and if the http server listens on a pipe.
   */
  address(): RelayServer.AddressInfo | null;

  /**
   * Returns whether a request is for this relay: its path is `options.path`, or that option is not set. May be
   * overridden to attach by other rules. On its own port the relay does not call it.
   */
  shouldHandle(request: IncomingMessage | Http2ServerRequest): boolean;

  /**
   * Serves or rejects an upgrade request that an http server has read, and takes over its connection. For `noServer`.
   * Does not call `shouldHandle()`. Requests that do not open a WebSocket are rejected, and after `close()` all are
   * (503).
   *
   * @param request the first argument of the `'upgrade'` event; over HTTP/2, the request of the `'connect'` event
   * @param socket the second argument; over HTTP/2, the request's `stream`. It belongs to the relay from here on: a
   *   plain TCP socket is destroyed, because its connection leaves Node, and any other stays open as long as the
   *   connection
   * @param head the third argument: bytes received behind the request
   * @throws Error with `code` `ERR_SOCKET_TAKEN` if a relay already handles this socket
   */
  handleUpgrade(request: IncomingMessage | Http2ServerRequest, socket: Duplex, head?: Uint8Array): void;

  /**
   * Registers a client. Without `options.id` the id is the one above the highest that was ever used, from 0 on; without
   * `options.token` the token is 32 hex digits from the system's CSPRNG. With a store it returns when the client is stored.
   *
   * @throws TypeError or RangeError if an option is invalid
   * @throws Error with `name` `ClientExistsException` (`code` `ERR_CLIENT_EXISTS`) if `options.id` is registered
   * @throws Error with `code` `ERR_CLIENT_IDS_EXHAUSTED` if 2^53 - 1 was used as an id and `options.id` is not given
   * @throws Error with a `code` that begins with `ERR_STORE_` if the store cannot keep the client
   */
  registerClient(options?: RelayServer.RegisterOptions): RelayServer.RegisteredClient;

  /**
   * Registers many clients in one step, or none if it throws. With a store it is one transaction.
   *
   * @param count how many, at most 100,000
   * @param options `expiresIn` is in milliseconds, for each of them
   * @returns the clients, with ascending ids
   * @throws TypeError or RangeError if an argument is invalid, and the errors of {@link RelayServer.registerClient}
   */
  registerClients(count: number, options?: { expiresIn?: number | undefined }): RelayServer.RegisteredClient[];

  /**
   * Unregisters a client: closes its connection with 4502, deletes its mailbox, its channels and the messages it has
   * sent that are not delivered, and tells the clients that shared a channel with it.
   *
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client
   */
  unregisterClient(clientId: number): void;

  /**
   * Gives a client a new token and returns it. The old token no longer authenticates; an open connection stays open. If
   * the registration expires, its time starts again: `expiresIn` if given, else the last one given.
   *
   * @param options `expiresIn` is in milliseconds; `token` is the new token, 32 lower-case hex digits. Default: random
   * @throws TypeError or RangeError if an option is invalid
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client
   */
  refreshToken(clientId: number, options?: RelayServer.RefreshOptions): string;

  /**
   * Closes a client's connection. The client stays registered, and its undelivered messages wait for its next
   * connection. The client of this package reconnects unless the code is 4500 or above.
   *
   * @param code 1000, or 3000 to 4999. Default: 1000
   * @param reason at most 123 bytes of UTF-8. Default: empty
   * @returns whether the client was connected
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client
   */
  disconnectClient(clientId: number, code?: number, reason?: string): boolean;

  /**
   * Returns whether a client is connected and authenticated.
   *
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client
   */
  isConnected(clientId: number): boolean;

  /**
   * Iterates over the registered clients, by id. Each is looked up when the iteration reaches it; clients unregistered
   * by then are skipped.
   */
  clients(): IterableIterator<RelayServer.Client>;

  /** Returns the server's counters. Counting is always on and costs next to nothing. */
  stats(): RelayServer.Stats;

  /**
   * Registers a channel, so that two clients can send each other messages. A client may have a channel to itself.
   *
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client, a
   *   TypeError or RangeError of that name if the value cannot be an id, or `ClientsAlreadyHaveChannel`
   *   (`ERR_CHANNEL_EXISTS`)
   */
  registerRelayChannel(clientId1: number, clientId2: number): void;

  /**
   * Replaces the TLS certificate for new connections; open ones keep theirs. For renewal without a restart.
   *
   * @param options the complete TLS options, including those that stay the same
   * @throws Error if the certificate or key cannot be used (`code`: `ERR_TLS_CERT`, `ERR_TLS_KEY`,
   *   `ERR_TLS_PASSPHRASE`, `ERR_TLS_MISMATCH`, `ERR_TLS_CA`), in which case nothing has changed, or if the server was
   *   created without TLS (`ERR_TLS_NOT_SECURE`)
   */
  setSecureContext(options: RelayServer.SecureContext): void;

  /**
   * Registers the channels between all clients of a room. Existing channels stay. No client gets a channel to itself.
   * If an id is invalid, nothing changes.
   *
   * @returns how many channels are new
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client
   */
  registerRelayChannels(clientIds: Iterable<number>): number;
  /**
   * Registers the channels between a client that joins a room and the clients in it. The cost grows with the number of
   * `clientIds`, not with the number of pairs among them. If `clientIds` contains `clientId`, it gets no channel to
   * itself.
   *
   * @param clientId the client that joins
   * @param clientIds the clients in the room
   * @returns how many channels are new
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) if there is no such client
   */
  registerRelayChannels(clientId: number, clientIds: Iterable<number>): number;

  /**
   * Unregisters the channel between two clients and drops its undelivered messages. If it is registered again, nothing
   * is delivered twice.
   *
   * @throws Error with `name` `ClientNotFoundException` (`code` `ERR_CLIENT_NOT_FOUND`) or `ClientsHaveNoChannel`
   *   (`ERR_CHANNEL_NOT_FOUND`)
   */
  unregisterRelayChannel(clientId1: number, clientId2: number): void;

  /**
   * Closes the relay's connections (code 1001) and frees its port. An attached http server stays open and loses the
   * relay's listeners. May be called at any time, and repeatedly.
   *
   * @param callback called when the server has closed, with the error that kept it from listening, if there was one
   */
  close(callback: (error?: Error) => void): void;
  /**
   * Drains the server: accepts no more messages, delivers those that wait for connected clients, then closes each
   * connection (code 1012). Clients of this package reconnect after a random delay of up to `retryAfter`, and resend
   * what was not accepted. Without `timeout` it is the same as `close()`, which also cuts an earlier `close()` with a
   * timeout short.
   */
  close(options: RelayServer.CloseOptions, callback: (error?: Error) => void): void;
  /** As with a callback, but returns a promise. */
  close(options?: RelayServer.CloseOptions): Promise<void>;

  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * Keeps the process alive while the server listens on its own port and while connections are open. This is the
   * default.
   */
  ref(): this;
  /** Allows the process to exit while the server listens or has connections. */
  unref(): this;
}

declare namespace RelayServer {
  export { RelayServer };
  export { RelayServer as default };

  export interface CloseOptions {
    /** Milliseconds after which all remaining connections are cut. Default: close at once, without draining. */
    timeout?: number | undefined;
    /** Milliseconds over which clients spread their reconnects. Default: 5,000. */
    retryAfter?: number | undefined;
  }

  /** PEM, as text or bytes. */
  export type Pem = string | NodeJS.ArrayBufferView | ArrayBuffer;

  /** The TLS options, which are those of `https.createServer()`. */
  export interface SecureContext {
    /** The server's certificate, followed by the intermediate ones. An array has one such chain for each key. */
    cert: Pem | readonly Pem[];
    /** The private key: PKCS#8, PKCS#1 or SEC 1. Only PKCS#8 may be encrypted. */
    key: Pem | readonly Pem[];
    /** The passphrase of an encrypted key. */
    passphrase?: string | undefined;
    /** CA certificates. They complete a chain without intermediates and, with `requestCert`, verify the clients. */
    ca?: Pem | readonly Pem[] | undefined;
    /** Whether clients must present a certificate issued by one of `ca`. Default: `false`. */
    requestCert?: boolean | undefined;
  }

  /** Where a server keeps its clients, channels and undelivered messages, so that a restart loses none. */
  export interface StoreOptions {
    /**
     * The file, an SQLite database. It is created if it does not exist; its directory must exist. A relative path is
     * resolved when the server is created. Files beside it begin with the same name. Only one server can use it at a time.
     */
    path: string | URL;
    /**
     * What an accepted message survives: the end of the process (`'written'`), or a loss of power, too (`'synced'`: each
     * commit waits for the disk). Default: `'written'`.
     */
    durability?: 'written' | 'synced' | undefined;
  }

  type Optional<T> = { [Name in keyof T]?: T[Name] | undefined };

  /** Exactly one of `port`, `server` and `noServer`, plus any of the others. */
  export type Options = PortOptions | ServerOptions | NoServerOptions;

  /** A port of the relay's own. It also answers `GET /health`: 200, or 503 while closing. */
  export interface PortOptions extends SharedOptions, Optional<SecureContext> {
    /** The port, from 0 to 65535; 0 picks a free one, which `address()` returns. May be a string of digits. */
    port: number | string;
    server?: undefined;
    noServer?: false | undefined;
    /**
     * The host name or IP address to listen on. A link-local address needs its interface: `fe80::1%eth0`. Default: all
     * addresses.
     */
    host?: string | undefined;
    /** Whether `GET /metrics` returns the counters in Prometheus' format. Default: `false`. */
    metrics?: boolean | undefined;
    /** Whether `GET /websocket_relay.min.js` returns the browser client. Default: `true`. */
    serveClient?: boolean | undefined;
    /** Largest HTTP head of a request, in bytes, at least 1,024; above it the response is 431. Default: 16,384. */
    maxHeaderSize?: number | undefined;
  }

  /**
   * The port of an existing http server, which still answers all other requests, including those for the browser
   * client.
   */
  export interface ServerOptions extends SharedOptions {
    /**
     * The server to attach to. Upgrade requests for other paths are left to its other listeners, and answered with 404
     * if there are none. A server of `node:http2` needs `allowHTTP1: true` or
     * `settings: { enableConnectProtocol: true }`; without, no browser can open a WebSocket.
     */
    server: HttpServer | HttpsServer | Http2Server | Http2SecureServer;
    port?: undefined;
    noServer?: false | undefined;
  }

  /** No port: each connection is passed to `handleUpgrade()`. */
  export interface NoServerOptions extends SharedOptions {
    noServer: true;
    port?: undefined;
    server?: undefined;
  }

  /**
   * The options of all three ways to listen. Limits are integers of at least 1 unless stated otherwise; the error for a
   * value above the maximum states it.
   */
  export interface SharedOptions {
    /**
     * The only path that opens WebSockets, as in a URL but without a query. Non-ASCII characters may be
     * percent-encoded. Default: every path.
     */
    path?: string | undefined;
    /**
     * The origins whose pages may open WebSockets, compared with the `Origin` header; others are rejected with 403.
     * Strings are compared without the JavaScript thread. If set, requests without `Origin` are rejected unless a
     * function allows them. Default: any origin.
     */
    allowedOrigins?: AllowedOrigin | AllowedOrigin[] | OriginFunction | undefined;
    /**
     * Decides whether a client may connect, with the signature of `ws`: returns a boolean or a promise, or calls back.
     * It is called on the JavaScript thread before a WebSocket opens, if the client is still there. Without a decision
     * within `headersTimeout` the request is rejected (503).
     */
    verifyClient?: VerifyClient | undefined;
    /**
     * The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` headers are trusted: all (`true`), that many in a
     * row, or those with these addresses (`'10.0.0.1'`, `'10.0.0.0/8'`, `'loopback'`, `'linklocal'`, `'uniquelocal'`).
     * Default: `false`.
     */
    trustProxy?: boolean | number | string | string[] | undefined;
    /** Whether all registered clients may send each other messages without a registered channel. Default: `false`. */
    authorizeAllChannels?: boolean | undefined;
    /**
     * A file that keeps clients, channels and undelivered messages, as its path or with more options. If it cannot be
     * opened, the server emits an `'error'` and closes, as for a port in use. Default: they are kept in memory.
     */
    store?: string | URL | StoreOptions | undefined;
    /** Closes the server when aborted, as `close()` does. One signal may close many servers. */
    signal?: AbortSignal | undefined;
    /** Threads that the server runs on, at most 64. One relays hundreds of thousands of messages a second. More help
     * if the thread `websocket-relay` is always busy and cores are idle. Default: 1. */
    threads?: number | undefined;

    /** Largest message, in bytes of its JSON string. Default: 1,048,576 (1 MiB). */
    maxPayload?: number | undefined;
    /** Largest frame before authentication, in bytes, at least 128. Default: 16,384. */
    maxUnauthenticatedPayload?: number | undefined;
    /** Time for a connection to authenticate, in milliseconds. Default: 10,000. */
    authTimeout?: number | undefined;
    /** Time for a connection to send its HTTP head, including the TLS handshake, in milliseconds. Default: 5,000. */
    headersTimeout?: number | undefined;
    /** Time for a message to arrive completely once it has begun, in milliseconds; checked at each heartbeat.
     * Default: 120,000. */
    messageTimeout?: number | undefined;
    /** Offences after which a connection is closed. Ten messages of a reliable client without a channel count as one.
     * Default: 10. */
    maxOffences?: number | undefined;
    /** Undelivered messages from one sender to one recipient. Default: 10,000. */
    maxQueuedMessages?: number | undefined;
    /** Bytes of undelivered messages from one sender to one recipient. Default: 4,194,304 (4 MiB). */
    maxQueuedBytes?: number | undefined;
    /** Bytes of undelivered messages to one recipient, plus 64 for each message and 320 for each sender.
     * Default: 67,108,864 (64 MiB). */
    maxMailboxBytes?: number | undefined;
    /** Bytes of undelivered messages to all recipients, plus 64 for each message and 320 for each pair of sender and
     * recipient, plus bytes that sockets have not accepted, plus 64 for each unconfirmed notice of expired messages
     * beyond a client's first 64. The last eighth is reserved for recipients that are connected and keep up.
     * Default: 536,870,912 (512 MiB). */
    maxTotalBytes?: number | undefined;
    /** Channels that one client may open by sending, with `authorizeAllChannels`. Default: 10,000. */
    maxOpenedChannels?: number | undefined;
    /** Time that a message may wait for its recipient, in milliseconds. An expired message is dropped and its sender
     * told, unless it is being delivered. 0: no limit. Default: 0. */
    messageTtl?: number | undefined;
    /** Unacknowledged messages in flight from one sender to one reliable client. Default: 256. */
    maxInFlightMessages?: number | undefined;
    /** Bytes of such messages; a single message may exceed it. Default: 1,048,576 (1 MiB). */
    maxInFlightBytes?: number | undefined;
    /** Longest time that a sender is held back by a connected recipient whose queue is full, in milliseconds.
     * Default: 20,000. */
    holdTimeout?: number | undefined;
    /** Pause between two heartbeats, in milliseconds. A ping is sent after each pause, and `pingTimeout` later the next pause
     * begins, so by default there is one every 45 seconds. Default: 25,000. */
    pingInterval?: number | undefined;
    /** Time for a client to answer a heartbeat, in milliseconds. Default: 20,000. */
    pingTimeout?: number | undefined;
    /** Open connections, including those that have not authenticated. Default: 100,000. */
    maxConnections?: number | undefined;
    /** Open connections from one address; IPv6 addresses count by their /64. 0: no limit. Default: 0. */
    maxConnectionsPerAddress?: number | undefined;
    /** New connections from one address per second. 0: no limit. Default: 0. */
    connectionRate?: number | undefined;
    /** New connections from one address at once. 0: as many as `connectionRate`. Default: 0. */
    connectionBurst?: number | undefined;
    /** Messages from one client per second, over all its connections. 0: no limit. Default: 0. */
    rateLimit?: number | undefined;
    /** Messages from one client at once. 0: as many as `rateLimit`. Default: 0. */
    rateLimitBurst?: number | undefined;
    /** Failed authentications from one address per minute. 0: no limit. Default: 0. */
    maxAuthFailuresPerAddress?: number | undefined;
    /** Failed authentications as one client per minute. 0: no limit. Default: 0. */
    maxAuthFailuresPerClient?: number | undefined;
    /** Time for a client to complete a close handshake, and for `close()` to complete, in milliseconds.
     * Default: 5,000. */
    closeTimeout?: number | undefined;
    /** Bytes written to one connection ahead of its socket; a single message may exceed it. What the socket does not
     * accept at once counts against `maxTotalBytes`. Default: 262,144. */
    maxWriteAhead?: number | undefined;
    /** Events that wait for a busy JavaScript thread, at least 16. Default: 65,536. */
    maxQueuedEvents?: number | undefined;
  }

  export interface RegisterOptions {
    /**
     * The client's id: a free integer from 0 to 2^53 - 1, such as your own user id. An id is free if no client is
     * registered with it now. Default: the one above the highest that was ever used.
     */
    id?: number | undefined;
    /**
     * The client's token: 32 lower-case hex digits that nobody can guess, such as
     * `crypto.randomBytes(16).toString('hex')`. The server keeps only its SHA-256. Default: a random one.
     */
    token?: string | undefined;
    /** Milliseconds after which the registration expires, unless `refreshToken()` is called. Default: never. */
    expiresIn?: number | undefined;
    /**
     * Any value, passed to events and returned by `clients()`. It is never sent to a client. With a store it must be one
     * that `JSON.stringify()` can write; after a restart it is what `JSON.parse()` returns.
     */
    data?: unknown;
  }

  export interface RefreshOptions {
    /** Milliseconds after which the registration expires. Default: as long as before. */
    expiresIn?: number | undefined;
    /** The new token: 32 lower-case hex digits that nobody can guess. Default: a random one. */
    token?: string | undefined;
  }

  /** The state of a client. */
  export interface Client {
    id: number;
    connected: boolean;
    /** Undelivered messages to it. */
    queuedMessages: number;
    /** Their bytes, plus 64 for each message and 320 for each sender. */
    queuedBytes: number;
    /** The value given at registration. */
    data: unknown;
  }

  /** Gauges, and counters since the server was created. */
  export interface Stats {
    /** Gauge: open connections, including those that have not authenticated. */
    connections: number;
    /** Gauge: registered clients. */
    registered: number;
    /** Gauge: registered channels. */
    channels: number;
    /** Gauge: undelivered messages. */
    queuedMessages: number;
    /** Gauge: bytes that count against `maxTotalBytes`. */
    queuedBytes: number;
    /** Counter: accepted messages. */
    relayedMessages: number;
    /** Counter: their bytes, as JSON strings. */
    relayedBytes: number;
    /** Counter: messages rejected for good, and those that expired (`ERR_MESSAGE_EXPIRED`), by code. */
    rejected: Record<string, number>;
    /** Counter: clients' offences, by code, including those not reported as `'error'`. */
    offences: Record<string, number>;
    /**
     * Counter: rejected connections, by reason: `maxConnections`, `maxConnectionsPerAddress`, `connectionRate`,
     * `headersTimeout`, `maxHeaderSize`, `allowedOrigins`, `verifyClient`, `undecided`, `closing`, `taken`,
     * `maxAuthFailuresPerAddress`, `maxAuthFailuresPerClient`.
     */
    turnedAway: Record<string, number>;
    /** Counter: WebSockets that were not closed by their clients, by close code; 1006 if the connection broke off. */
    closed: Record<string, number>;
    /** Counter: events dropped because the JavaScript thread was busy. */
    eventsDropped: number;
    /**
     * Counter: bugs of the server. Each ended at most one connection, or lost events, and was reported as an `'error'`
     * with `ERR_INTERNAL`.
     */
    panics: number;
    /** What the store has done; `null` without one. */
    store: StoreStats | null;
  }

  export interface StoreStats {
    /** Counter: messages that were written to the store. */
    committed: number;
    /** Counter: messages that were received before they had to be written, and never were. */
    skipped: number;
    /** Gauge: bytes of messages, overhead included, that wait to be written or received. */
    pendingBytes: number;
    /** Gauge: how long the last commit took, in milliseconds. */
    lastCommitMs: number;
  }

  /** An origin, such as `'https://example.com'`, or a RegExp to search for in it. */
  export type AllowedOrigin = string | RegExp;

  /** Returns whether the origin may connect. `origin` is `undefined` if the client is not a page. */
  export type OriginFunction = (origin: string | undefined, info: ClientInfo) => boolean | Promise<boolean>;

  /**
   * Returns whether a client may connect, or, if declared with two parameters, calls the second one with the decision.
   * `code` is an HTTP status from 300 to 599. Default: 401.
   */
  export type VerifyClient = (
    info: ClientInfo,
    callback: (result: boolean, code?: number, message?: string, headers?: OutgoingHttpHeaders) => void,
    // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- a function with a callback returns nothing
  ) => boolean | Promise<boolean> | void;

  /** What is known about a client that wants to connect. */
  export interface ClientInfo {
    /** The page's origin, if the client is a page. */
    origin: string | undefined;
    /** Whether the client uses TLS. Proxies tell it if `trustProxy` trusts them. */
    secure: boolean;
    /** The client's address, as `trustProxy` determines it. */
    remoteAddress: string | undefined;
    /**
     * The request: Node's own with `server` and `noServer`; on the relay's own port and over HTTP/2, a {@link
     * ClientRequest}.
     */
    req: ClientRequest | IncomingMessage;
  }

  /** A request on the relay's own port, or over HTTP/2. */
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
    /** 32 lower-case hex digits. Reveal it to this client only. */
    token: string;
  }

  export interface AddressInfo {
    address: string;
    family: 'IPv4' | 'IPv6';
    port: number;
  }

  /** A client's mistake, or a failure of the server. `String(error)` is its message alone. */
  export interface RelayError extends Error {
    /**
     * Stable, unlike the message: `ERR_INVALID_JSON`, `ERR_UNRECOGNIZED_MESSAGE`, `ERR_INCORRECT_TOKEN`,
     * `ERR_NOT_AUTHENTICATED`, `ERR_ALREADY_AUTHENTICATED`, `ERR_CHANNEL_NOT_REGISTERED`, `ERR_QUEUE_FULL`,
     * `ERR_INVALID_ACKNOWLEDGEMENT`, `ERR_MESSAGE_TOO_BIG`, `ERR_BINARY_MESSAGE`, `ERR_INVALID_UTF8`,
     * `ERR_WEBSOCKET_PROTOCOL`; or, for failures of the server, `ERR_EVENTS_DROPPED`, `ERR_UPGRADE_TAKEN`,
     * `ERR_INTERNAL`; or, for the store:
     *
     * - `ERR_STORE_NOT_FOUND`: the directory of the file does not exist
     * - `ERR_STORE_ACCESS`: the file or its directory must not be read or written
     * - `ERR_STORE_FORMAT`: the file is something else
     * - `ERR_STORE_VERSION`: a newer version of this package has written it
     * - `ERR_STORE_LOCKED`: another server uses it
     * - `ERR_STORE_DAMAGED`: it is damaged
     * - `ERR_STORE_TOO_LARGE`: it holds more messages than `maxTotalBytes` allows
     * - `ERR_STORE_FULL`: the disk is full; the server goes on and tries again
     * - `ERR_STORE_IO`: reading or writing failed; the server closes
     * - `ERR_STORE_CLOSED`: only thrown by methods that change something: the server has closed, and its store with it
     */
    code: string;
    /** The client, if it had authenticated. */
    clientId?: number;
  }

  export interface Events {
    /** The server listens; with `server`, the http server does. With `noServer`, emitted in the next tick. */
    listening: [];
    /** A client has authenticated. `data` is the value given at registration. */
    connection: [clientId: number, data?: unknown];
    /**
     * A client's connection has ended, with this WebSocket close code (1006 if it broke off) and reason. Unprintable
     * characters in a client's reason are escaped, as in `\n`, `\x1b` and `\u202e`.
     */
    disconnect: [clientId: number, code: number, reason: string, data?: unknown];
    /** A registration has expired. `undelivered` messages to the client were dropped. */
    expired: [clientId: number, undelivered: number, data?: unknown];
    /** Messages from one client to another waited longer than `messageTtl` and were dropped. */
    messagesExpired: [senderId: number, recipientId: number, messages: number];
    /**
     * The port could not be opened: an error as Node's servers emit it, which throws if there is no listener. Errors of
     * an attached http server are passed on in the same way, and so is a store that could not be opened. A store that
     * fails later is a {@link RelayError}, or a process warning if there is no listener. Or a client made a mistake: a {@link RelayError}, emitted
     * only if there is a listener. Its message is safe to print: unprintable characters in a client's text are escaped.
     */
    error: [error: NodeJS.ErrnoException | RelayError];
    /**
     * The server has closed: all connections have ended, its own port is free, and its threads, descriptors and
     * messages are released.
     */
    close: [];
  }
}

export = RelayServer;
