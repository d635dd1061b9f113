export { WebSocketRelay as default, WebSocketRelay, RelayChannel } from './types/index.js';
export type {
  Authentication,
  ChannelEvents,
  CloseInfo,
  Listener,
  OpenInfo,
  RelayError,
  RelayEvents,
  RelayOptions,
  SendCallback,
  WebSocketConstructor,
  WebSocketLike,
} from './types/index.js';
