/**
 * The client of websocket-relay: `websocket-relay/client`.
 *
 * | module | |
 * |---|---|
 * | `relay` | the public class: keeps a connection, sends and receives for the channels |
 * | `channel`, `events`, `options`, `codes` | the rest of the public API: channels, events, options, errors and close codes |
 * | `transport` | carries frames, over one WebSocket after the other |
 * | `peer`, `inbox`, `outbox`, `acknowledgements` | what is kept about another client, its messages and ours |
 * | `watchdog`, `wake`, `backoff` | is the connection dead, is the page back, when to reconnect |
 * | `codec`, `session`, `address` | frames, session ids, URLs |
 * | `emitter`, `alarm`, `check`, `printable` | events, timers, parameter checks, escaping |
 * | `websocket`, `websocket.node`, `globals.native`, `hidden`, `hidden.native` | the WebSocket API, what it takes to print a text, and what replaces them in Node and React Native |
 *
 * The other entries are `browser`, a script that sets a global, and `commonjs`, for `require`. `package/` is shipped as it
 * is.
 */

export { WebSocketRelay, WebSocketRelay as default } from './relay.js';
export type { CloseInfo, OpenInfo, RelayEvents } from './events.js';
export type { Authentication, RelayOptions } from './options.js';
export type { SendCallback } from './outbox.js';
export { RelayChannel } from './channel.js';
export type { ChannelEvents } from './channel.js';
export type { RelayError } from './codes.js';
export type { Listener } from './emitter.js';
export type { WebSocketConstructor, WebSocketLike } from './websocket.js';
