/* global WebSocketRelay */
// A page goes offline and online while both sides send: no message is lost, duplicated or reordered.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import RelayServer from '../../index.js';
import { Proxy } from '../reliability/proxy.mjs';
import { Random } from '../reliability/random.mjs';
import { launchBrowser, servePages } from './browser.mjs';

const TIMES = 20;

/** Runs in the page: sends a number every few milliseconds until told to stop, and records what it receives. */
function talk({ address, me, other }) {
  const relay = new WebSocketRelay(address, { clientId: me.id, token: me.token, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  const channel = relay.createChannel(other.id);
  const state = { sent: 0, accepted: 0, got: [], opened: 0, closed: 0 };
  const say = () => channel.send(String(state.sent++), (error) => error ?? state.accepted++);
  const timer = setInterval(say, 5);
  channel.on('message', (message) => state.got.push(message));
  relay.on('open', () => state.opened++);
  relay.on('close', () => state.closed++);
  // Errors without a listener would be printed.
  relay.on('error', () => {});
  window.stop = () => clearInterval(timer);
  window.state = state;
}

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

test(`no message is lost when a page goes offline ${TIMES} times while both sides send`, async (t) => {
  const relayServer = new RelayServer({ port: 0, host: '127.0.0.1', pingInterval: 300, pingTimeout: 700 });
  t.after(() => relayServer.close());
  await once(relayServer, 'listening');
  const { address: host, port } = relayServer.address();
  const clients = [relayServer.registerClient(), relayServer.registerClient()];
  relayServer.registerRelayChannel(clients[0].id, clients[1].id);
  const url = await servePages(t, { '/': '<script src="websocket_relay.min.js"></script>' });

  // The browser's emulation of offline refuses new connections and delays data on open ones. The proxy also breaks them, in a
  // third of the cases silently.
  const proxy = new Proxy({ host, port }, new Random(1));
  const address = await proxy.listen();
  t.after(() => proxy.close());

  const errors = [];
  const contexts = await Promise.all(clients.map(() => browser.newContext()));
  t.after(() => Promise.all(contexts.map((context) => context.close())));
  const pages = await Promise.all(
    contexts.map(async (context, index) => {
      context.on('weberror', (error) => errors.push(error.error().stack));
      const page = await context.newPage();
      await page.goto(url);
      await page.evaluate(talk, { address: index === 0 ? address : `${host}:${port}`, me: clients[index], other: clients[1 - index] });
      return page;
    }),
  );
  const [page, peer] = pages;
  const until = (where, condition, value) => where.waitForFunction(condition, value, { polling: 20, timeout: 60_000 });
  const read = (where) => where.evaluate(() => window.state);

  for (let time = 0; time < TIMES; time += 1) {
    const before = await read(page);
    await until(page, ({ got, accepted }) => window.state.got.length > got + 20 && window.state.accepted > accepted + 20, {
      got: before.got.length,
      accepted: before.accepted,
    });
    await contexts[0].setOffline(true);
    const fault = ['reset', 'swallow', 'stall'][time % 3];
    proxy.strike(fault);
    const offline = await Promise.all(pages.map(read));
    // Both sides go on sending meanwhile.
    await Promise.all(pages.map((where, index) => until(where, (sent) => window.state.sent > sent + 20, offline[index].sent)));
    await contexts[0].setOffline(false);
    if (fault !== 'stall') await until(page, (opened) => window.state.opened > opened, offline[0].opened);
  }

  await Promise.all(pages.map((where) => where.evaluate(() => window.stop())));
  const sent = (await Promise.all(pages.map(read))).map((state) => state.sent);
  await Promise.all([until(page, (count) => window.state.got.length >= count, sent[1]), until(peer, (count) => window.state.got.length >= count, sent[0])]);
  // Messages that would arrive twice do so on a new connection.
  const { opened } = await read(page);
  proxy.strike('reset');
  await until(page, (count) => window.state.opened > count, opened);
  const [here, there] = await Promise.all(pages.map(read));
  const numbers = (count) => Array.from({ length: count }, (_, n) => String(n));
  assert.deepEqual(here.got, numbers(sent[1]));
  assert.deepEqual(there.got, numbers(sent[0]));
  assert.ok(here.closed >= (TIMES * 2) / 3, `${here.closed} connections lost`);
  assert.deepEqual(errors, [], 'errors in the pages');
  t.diagnostic(`${sent.join(' and ')} messages, ${here.closed} connections lost`);
});
