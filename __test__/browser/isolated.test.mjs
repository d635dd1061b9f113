/* global WebSocketRelay */
// A cross-origin isolated page of another origin loads the client from the port of the relay server.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import RelayServer from '../../index.js';
import { launchBrowser, newContext } from './browser.mjs';

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

const bundle = readFileSync(new URL('../../dist/websocket_relay.min.js', import.meta.url));
const integrity = `sha384-${createHash('sha384').update(bundle).digest('base64')}`;

for (const [name, attributes] of Object.entries({ 'without attributes': '', 'with an integrity attribute': `crossorigin integrity="${integrity}"` })) {
  test(`an isolated page loads the client ${name} and connects`, async (t) => {
    const context = await newContext(t, browser);
    const relay = new RelayServer({ port: 0, host: '127.0.0.1' });
    t.after(() => relay.close());
    await once(relay, 'listening');
    const { port } = relay.address();
    const isolated = {
      'content-type': 'text/html; charset=utf-8',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    };
    const html = `<link rel="icon" href="data:,"><script src="http://127.0.0.1:${port}/websocket_relay.min.js" ${attributes}></script>`;
    const web = createServer((request, response) => response.writeHead(200, isolated).end(html)).listen(0, '127.0.0.1');
    t.after(() => web.close().closeAllConnections());
    await once(web, 'listening');
    const page = await context.newPage();
    // Twice: the second time the script is in the cache and is revalidated with 304.
    for (let visit = 0; visit < 2; visit += 1) {
      await page.goto(`http://127.0.0.1:${web.address().port}`);
      const me = relay.registerClient();
      relay.registerRelayChannel(me.id, me.id);
      const received = await page.evaluate(({ address, me }) => {
        const client = new WebSocketRelay(address, { clientId: me.id, token: me.token });
        const channel = client.createChannel(me.id);
        channel.send('to myself');
        return new Promise((resolve) => channel.on('message', (message) => resolve([message, globalThis.crossOriginIsolated])));
      }, { address: `127.0.0.1:${port}`, me });
      assert.deepEqual(received, ['to myself', true]);
    }
  });
}
