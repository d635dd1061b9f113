// Every way to require the client, in a CommonJS module.
import WebSocketRelay = require('websocket-relay/client');

const relay: WebSocketRelay = new WebSocketRelay('localhost:4000', { clientId: 0, token: 'x' });
const channel: WebSocketRelay.RelayChannel = relay.createChannel(1);
const info: WebSocketRelay.CloseInfo = { code: 1000, reason: '', willReconnect: false };
const { WebSocketRelay: Named, RelayChannel, default: Default } = WebSocketRelay;
const classes: (typeof Named)[] = [WebSocketRelay, Named, Default];
const isChannel: boolean = channel instanceof RelayChannel;
// @ts-expect-error there is no such export
void WebSocketRelay.createRelay;

export { classes, info, isChannel };
