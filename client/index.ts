/**
 * The client of websocket-relay: `websocket-relay/client`.
 *
 * `relay` is the connection, `channel` what the application talks through. Under them `codec` (frames), `codes`
 * (errors), `emitter` (events), `check` (parameters), `address` (URLs), `websocket` (what differs in Node) and `lists`.
 * The other entries are `browser`, a script that sets a global, and `commonjs`, for `require`. `package/` holds what ships
 * as it stands.
 */

export { WebSocketRelay, WebSocketRelay as default } from './relay.js';
export type { Authentication, CloseInfo, RelayEvents } from './relay.js';
export { RelayChannel } from './channel.js';
export type { ChannelEvents } from './channel.js';
export type { RelayError } from './codes.js';
export type { Listener } from './emitter.js';
export type { WebSocketConstructor, WebSocketLike } from './websocket.js';
