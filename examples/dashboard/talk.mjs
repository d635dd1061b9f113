import WebSocketRelay from 'websocket-relay/client';

const CLIENTS = 12;

/** Starts clients that talk, more and less in turn; the last of them is mostly away. Returns the function that stops them. */
export function talk(relayServer) {
  const address = `localhost:${relayServer.address().port}/relay`;
  const clients = Array.from({ length: CLIENTS }, () => relayServer.registerClient());
  const ids = clients.map(({ id }) => id);
  relayServer.registerRelayChannels(ids);

  const connect = ({ id, token }) => {
    const relay = new WebSocketRelay(address, { clientId: id, token });
    relay.on('error', (error) => console.error(error.message));
    const channels = ids.filter((other) => other !== id).map((other) => relay.createChannel(other));
    for (const channel of channels) channel.on('message', () => {});
    return { relay, channels };
  };

  const absent = clients.pop();
  const present = clients.map(connect);
  let visit;
  let ticks = 0;
  const timer = setInterval(() => {
    ticks++;
    // It is there for two seconds of ten, and finds the messages that have waited.
    if (ticks % 100 === 80) visit = connect(absent);
    if (ticks % 100 === 0) visit = void visit?.relay.close();
    for (const { channels } of present) {
      const often = 0.5 + 0.4 * Math.sin(ticks / 60);
      for (const channel of channels) if (Math.random() < often) channel.send('hello');
    }
  }, 100);

  return () => {
    clearInterval(timer);
    for (const { relay } of visit ? [...present, visit] : present) relay.close();
  };
}
