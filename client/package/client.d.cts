import client = require('./types/index.js');

declare const WebSocketRelay: typeof client.WebSocketRelay & {
  readonly default: typeof client.WebSocketRelay;
  readonly WebSocketRelay: typeof client.WebSocketRelay;
  readonly RelayChannel: typeof client.RelayChannel;
};

type WebSocketRelay = client.WebSocketRelay;

declare namespace WebSocketRelay {
  type RelayChannel = client.RelayChannel;
  type Authentication = client.Authentication;
  type ChannelEvents = client.ChannelEvents;
  type CloseInfo = client.CloseInfo;
  type Listener<Args extends unknown[]> = client.Listener<Args>;
  type OpenInfo = client.OpenInfo;
  type RelayError = client.RelayError;
  type RelayEvents = client.RelayEvents;
  type RelayOptions = client.RelayOptions;
  type SendCallback = client.SendCallback;
  type WebSocketConstructor = client.WebSocketConstructor;
  type WebSocketLike = client.WebSocketLike;
}

export = WebSocketRelay;
