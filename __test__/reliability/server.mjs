// The harness's server, in a process of its own so that its memory is its own.
import { once } from 'node:events';
import RelayServer from 'websocket-relay';

/** How often memory is measured, in milliseconds. */
const MEASURED_EVERY = 100;

const [{ options, channels }] = await once(process, 'message');
const server = new RelayServer({ port: 0, host: '127.0.0.1', ...options });
const errors = {};
server.on('error', ({ code }) => (errors[code] = (errors[code] ?? 0) + 1));
await once(server, 'listening');
const clients = channels.map((registered) => {
  const pair = [server.registerClient(), server.registerClient()];
  if (registered) server.registerRelayChannel(pair[0].id, pair[1].id);
  return pair;
});
const { address: host, port } = server.address();
const rss = [process.memoryUsage.rss()];
setInterval(() => rss.push(process.memoryUsage.rss()), MEASURED_EVERY);
process.send({ target: { host, port }, clients });

process.on('message', async ({ channel, close }) => {
  if (channel) server.registerRelayChannel(...channel);
  if (!close) return;
  await server.close();
  process.send({ errors, rss }, () => process.exit());
});
// Whoever started it is gone.
process.on('disconnect', () => process.exit());
