// A reliable relay in a simulated page, with a server and a clock that the test controls.
import { settled, World } from '../model.mjs';

export const AUTHENTICATED = { clientId: 0, epoch: 'e1', resumed: false, pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_048_576 };

/** Returns a relay, its world and the list of its events, with helpers. */
export function start(options, more) {
  const world = new World(more?.chance);
  const events = [];
  const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x', ...options });
  for (const name of ['open', 'close', 'error']) {
    relay.on(name, (info) => events.push(name === 'error' ? `error ${info.code}` : name === 'open' ? `open ${info.resumed}` : `close ${info.code} ${info.willReconnect}`));
  }
  // Without a listener they would be printed.
  relay.on('connectError', () => {});
  /** Opens and authenticates the newest socket. */
  const connect = async (members) => {
    world.socket.open();
    await settled();
    world.socket.receive({ authenticated: { ...AUTHENTICATED, ...members } });
    await settled();
  };
  /** The relay frames of the newest socket, as `targetId:message:seq`, with `!` if they say `first`. */
  const relayed = () => world.socket.sent.filter(({ relay }) => relay).map(({ relay: { targetId, message, seq, first } }) => `${targetId}:${message}:${seq}${first ? '!' : ''}`);
  const received = () => world.socket.sent.filter((frame) => frame.received).map((frame) => frame.received);
  const relayTo = (offset, message = String(offset), senderId = 1) => world.socket.receive({ relay: { senderId, message, offset } });
  return { world, relay, events, connect, relayed, received, relayTo };
}

/** Returns a callback that records its calls. */
export function spy() {
  const calls = [];
  return Object.assign((error) => calls.push(error?.code ?? 'ok'), { calls });
}
