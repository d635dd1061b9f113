// Connects the client of this package, for tests of the server.
import WebSocketRelay from 'websocket-relay/client';

/** Connects a client to the relay's own port. Closed when the test ends. */
export function openClient(test, server, { id, token }, options) {
  const relay = new WebSocketRelay(`127.0.0.1:${server.address().port}`, { clientId: id, token }, options);
  relay.on('error', () => {});
  test.after(() => relay.close());
  return relay;
}

/** Resolves to the arguments of the next event, also of 'error'. */
export function happened(emitter, name) {
  return new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));
}
