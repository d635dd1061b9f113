// The server of the harness, in its own process, so that its memory can be measured and it can be killed.
import { once } from 'node:events';
import { EchoClient, open } from './entries.mjs';

/** How often memory is measured, in milliseconds. */
const MEASURED_EVERY = 100;

const [order] = await once(process, 'message');
const { server, url, ca } = await open(order.entry, order.options);
const echoClient = new EchoClient(order.entry, url);
const errors = {};
server.on('error', ({ code }) => (errors[code] = (errors[code] ?? 0) + 1));
process.on('message', ({ channels, close }) => {
  if (channels) register(channels);
  if (close) void end();
});
// The parent has ended.
process.on('disconnect', () => process.exit());
process.send({ place: { url, ca, clients: registerAll(order.clients) } });
report();
setInterval(report, MEASURED_EVERY);

/** Registers a number of clients, or clients with these ids and tokens. */
function registerAll(clients) {
  if (Array.isArray(clients)) return clients.map((client) => server.registerClient(client));
  return server.registerClients(clients);
}

function register(channels) {
  // Some may exist: this process or an earlier one could not confirm them.
  for (const channel of channels) server.registerRelayChannels(channel);
  process.send({ confirmed: channels.length });
}

function report(more, sent) {
  const { relayedMessages, store } = server.stats();
  process.send({ report: { errors, rss: process.memoryUsage.rss(), relayedMessages, store, ...more } }, sent);
}

async function end() {
  const { sent, echoed } = await echoClient.leave();
  await server.close();
  report({ echoClient: { sent, echoed } }, () => process.exit());
}
