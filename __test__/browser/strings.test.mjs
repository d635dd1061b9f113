/* global WebSocketRelay */
// Every JavaScript string arrives in the other page unchanged and in order.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import RelayServer from '../../index.js';
import { launchBrowser, newContext, servePages } from './browser.mjs';

const COUNT = 600;

/** Runs in the page. Both pages create the same list, so each knows what the other sends. */
function messages(count) {
  const everyUnit = Array.from({ length: 0x10000 }, (_, unit) => String.fromCharCode(unit));
  const kinds = [
    () => '',
    () => '\0',
    () => '\u2028\u2029\u0085\ufeff',
    () => '"\\/\b\f\n\r\t\u007f</script>',
    () => '\ud800',
    () => '\udfff',
    () => 'a\udc00\ud800b',
    () => '👩‍👩‍👧‍👦 🏳️‍🌈 é é ไทย العربية 漢字',
    () => '__proto__',
    () => '{"relay":{"targetId":0,"message":"not me"}}',
    (n) => everyUnit.slice((n * 256) % 0x10000, ((n * 256) % 0x10000) + 256).join(''),
    (n) => `${n}`.repeat(n),
  ];
  const list = Array.from({ length: count }, (_, n) => kinds[n % kinds.length](n));
  list[1] = 'x'.repeat(2 ** 20);
  list[count - 1] = 'é\ud800"'.repeat(2 ** 18);
  return list;
}

/** Runs in the page: sends the list and resolves to the differences between it and the received messages. */
function exchange({ address, me, other, count }) {
  const list = messages(count);
  const channel = new WebSocketRelay(address, { clientId: me.id, token: me.token }).createChannel(other.id);
  list.forEach((message) => channel.send(message));
  return new Promise((resolve) => {
    const wrong = [];
    let n = 0;
    channel.on('message', (message) => {
      if (message !== list[n]) wrong.push({ n, length: message.length, start: escape(message.slice(0, 20)) });
      if (++n === count) resolve(wrong);
    });
  });
}

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

test(`${COUNT} strings of every kind arrive unchanged in both directions`, async (t) => {
  const context = await newContext(t, browser);
  await context.addInitScript({ content: `${messages}\n${exchange}\nwindow.exchange = exchange;` });
  const page = await servePages(t, { '/': '<script src="websocket_relay.min.js"></script>' });

  // As JSON the longest string exceeds the default of 1 MiB.
  const relayServer = new RelayServer({ port: 0, maxPayload: 8 * 2 ** 20 });
  t.after(() => relayServer.close());
  await once(relayServer, 'listening');
  const address = `127.0.0.1:${relayServer.address().port}`;
  const clients = [relayServer.registerClient(), relayServer.registerClient()];
  relayServer.registerRelayChannel(clients[0].id, clients[1].id);

  const results = clients.map(async (me, index) => {
    const tab = await context.newPage();
    await tab.goto(page);
    return tab.evaluate((options) => exchange(options), { address, me, other: clients[1 - index], count: COUNT });
  });
  assert.deepEqual(await Promise.all(results), [[], []]);
});
