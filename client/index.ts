/**
 * The client of websocket-relay: `websocket-relay/client`.
 *
 * `relay` keeps the connection, `channel` is what the application talks through. Under them, without socket or timer:
 * `outbox` (what is sent and not accepted), `inbox` (what came and waits for a listener), `backoff` (when to connect
 * again), `codec` (frames), `codes` (errors and close codes); by the clock: `watch` (is the connection dead?) and `alarm`;
 * `wake` (the page is back); and `options`, `emitter` (events), `check` (parameters), `address` (URLs), `session` (its
 * name), `websocket` (what differs in Node), `later` (microtasks), `lists`.
 * The other entries are `browser`, a script that sets a global, and `commonjs`, for `require`. `package/` holds what ships
 * as it stands.
 */

export { WebSocketRelay, WebSocketRelay as default } from './relay.js';
export type { CloseInfo, OpenInfo, RelayEvents } from './relay.js';
export type { Authentication, RelayOptions } from './options.js';
export type { SendCallback } from './outbox.js';
export { RelayChannel } from './channel.js';
export type { ChannelEvents } from './channel.js';
export type { RelayError } from './codes.js';
export type { Listener } from './emitter.js';
export type { WebSocketConstructor, WebSocketLike } from './websocket.js';
