// The server of the harness, in its own process, so that its memory can be measured.
import { once } from 'node:events';
import { EchoClient, open } from './entries.mjs';

/** How often memory is measured, in milliseconds. */
const MEASURED_EVERY = 100;

const [{ entry, options, channels }] = await once(process, 'message');
const { server, url, ca } = await open(entry, options);
const echoClient = new EchoClient(entry, url);
const errors = {};
server.on('error', ({ code }) => (errors[code] = (errors[code] ?? 0) + 1));
const clients = channels.map((registered) => {
  const pair = [server.registerClient(), server.registerClient()];
  if (registered) server.registerRelayChannel(pair[0].id, pair[1].id);
  return pair;
});
const rss = [process.memoryUsage.rss()];
setInterval(() => rss.push(process.memoryUsage.rss()), MEASURED_EVERY);
process.send({ url, ca, clients });

process.on('message', async ({ channel, close }) => {
  if (channel) server.registerRelayChannel(...channel);
  if (!close) return;
  const { sent, echoed } = await echoClient.leave();
  await server.close();
  process.send({ errors, rss, echoClient: { sent, echoed } }, () => process.exit());
});
// The parent has ended.
process.on('disconnect', () => process.exit());
