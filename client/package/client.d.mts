export { WebSocketRelay as default, WebSocketRelay, RelayChannel } from './types/index.js';
export type {
  Authentication,
  ChannelEvents,
  CloseInfo,
  Listener,
  RelayError,
  RelayEvents,
  WebSocketConstructor,
  WebSocketLike,
} from './types/index.js';
