// Uses of the client's types that must compile, and others that must not. Compiled by __test__/client/package.test.mjs.
import { RelayChannel, WebSocketRelay } from 'websocket-relay/client';
import type {
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
} from 'websocket-relay/client';

const authentication: Authentication = { clientId: 0, token: 'x' };
const relay = new WebSocketRelay('localhost:4000', authentication);
new WebSocketRelay('localhost:4000', authentication, () => undefined);
new WebSocketRelay('localhost:4000', { ...authentication, WebSocket: undefined }, null);

const options: RelayOptions = {
  reliable: true,
  reconnection: true,
  reconnectionDelay: 1,
  reconnectionDelayMax: 2,
  randomizationFactor: 0,
  reconnectionAttempts: Infinity,
};
new WebSocketRelay('localhost:4000', authentication, options);
new WebSocketRelay('localhost:4000', authentication, () => undefined, options);
new WebSocketRelay('localhost:4000', { ...authentication, ...options }, null, null);
new WebSocketRelay('localhost:4000', { clientId: 0, token: () => 'x' });
new WebSocketRelay('localhost:4000', { clientId: 0, token: async () => Promise.resolve('x') });
// @ts-expect-error a token is a string
new WebSocketRelay('localhost:4000', { clientId: 0, token: () => 5 });
// @ts-expect-error there is no such option
new WebSocketRelay('localhost:4000', authentication, { reconnect: true });
// @ts-expect-error options come last
new WebSocketRelay('localhost:4000', authentication, options, () => undefined);

// @ts-expect-error the second parameter is required
new WebSocketRelay('localhost:4000');
// @ts-expect-error the token is required
new WebSocketRelay('localhost:4000', { clientId: 0 });
// @ts-expect-error an id is a number
new WebSocketRelay('localhost:4000', { clientId: '0', token: 'x' });
// @ts-expect-error a port is not an address
new WebSocketRelay(4000, authentication);
// @ts-expect-error a callback is a function
new WebSocketRelay('localhost:4000', authentication, 'callback');
// @ts-expect-error channels are created by createChannel()
new RelayChannel();

const channel: RelayChannel = relay.createChannel(1);
// @ts-expect-error an id is a number
relay.createChannel('1');

channel.send('hello');
const callback: SendCallback = (error) => error?.code.trim();
const sent: number = channel.send('hello', callback);
channel.send('hello', () => undefined);
const amount: number = channel.bufferedAmount;
const online: boolean = channel.online;
// @ts-expect-error a page cannot set it
channel.online = true;
// @ts-expect-error a callback is a function
channel.send('hello', 'callback');
channel
  .on('delivered', (seq) => seq.toFixed())
  .on('expired', (first, last) => [first.toFixed(), last.toFixed()])
  .on('join', () => undefined)
  .on('leave', () => undefined)
  .on('drain', () => undefined);
channel.emitQueuedMessages();
// @ts-expect-error messages are strings
channel.send(5);
// @ts-expect-error a message is required
channel.send();

const same: RelayChannel = channel
  .on('message', (message) => message.toUpperCase())
  .once('open', () => undefined)
  .addListener('message', (message: string) => message)
  .off('message', console_)
  .removeListener('message', console_)
  .removeAllListeners('message')
  .removeAllListeners();
function console_(message: string): void {
  void message;
}
// @ts-expect-error there is no such event
channel.on('close', () => undefined);
// @ts-expect-error a message is a string
channel.on('message', (message: number) => message);
// @ts-expect-error 'open' has no arguments
channel.on('open', (value: string) => value);

relay.on('open', () => undefined);
relay.on('open', (info: OpenInfo) => [info.resumed]);
relay.on('close', (info: CloseInfo) => [info.code.toFixed(), info.reason.trim(), info.willReconnect]);
relay.on('error', (error: RelayError) => error.targetId?.toFixed());
relay.on('error', (error: RelayError) => [error.code.trim(), error.message, error.stack]);
relay.on('error', (error: Error) => error.message);
// @ts-expect-error there is no such event
relay.on('message', () => undefined);
// @ts-expect-error a code is a number
relay.on('close', ({ code }) => code.trim());
relay.on('connectError', (error: RelayError) => [error.code.trim(), error.message.trim(), error.cause]);
// @ts-expect-error it has an error, not a code
relay.on('connectError', (code: number) => code.toFixed());

const emitted: boolean = channel.emit('message', 'x');
// @ts-expect-error a message is a string
channel.emit('message', 1);
const count: number = channel.listenerCount('message');
const names: (keyof ChannelEvents)[] = channel.eventNames();
const listeners: Listener<RelayEvents['close']>[] = relay.listeners('close');

relay.close();
relay.close(4000, 'bye');
// @ts-expect-error a code is a number
relay.close('bye');

class OwnSocket implements WebSocketLike {
  readonly readyState = 0;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  send(text: string): void {
    void text;
  }
  close(): void {
    void this;
  }
}
const constructor: WebSocketConstructor = OwnSocket;
new WebSocketRelay('localhost:4000', { ...authentication, WebSocket: constructor });
// @ts-expect-error not a WebSocket
new WebSocketRelay('localhost:4000', { ...authentication, WebSocket: Date });

export { amount, count, emitted, listeners, names, online, same, sent };
