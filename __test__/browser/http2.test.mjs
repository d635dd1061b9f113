/* global WebSocketRelay */
// A page loaded over HTTP/2 opens WebSockets on the same connection (RFC 8441) if the server allows it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { after, before, test } from 'node:test';
import RelayServer from '../../index.js';
import { makeCertificate } from '../tls/certificates.mjs';
import { launchBrowser, newContext } from './browser.mjs';

let browser;
before(async () => (browser = await launchBrowser(['--ignore-certificate-errors'])));
after(() => browser?.close());

/** Runs in the page: sends a text to another tab and resolves to the text from there. */
function greet({ me, other, text }) {
  const channel = new WebSocketRelay(`${location.origin}/relay`, { clientId: me.id, token: me.token }).createChannel(other.id);
  channel.send(text);
  return new Promise((resolve) => channel.on('message', resolve));
}

for (const [name, options, isConnect] of [
  ['over HTTP/2', { allowHTTP1: false, settings: { enableConnectProtocol: true } }, true],
  ['over HTTP/2 if HTTP/1.1 is possible too', { allowHTTP1: true, settings: { enableConnectProtocol: true } }, true],
  ['over HTTP/1.1 if the server does not allow WebSockets over HTTP/2', { allowHTTP1: true }, false],
]) {
  test(`two tabs talk ${name}`, async (t) => {
    const context = await newContext(t, browser, { ignoreHTTPSErrors: true });
    await context.addInitScript({ content: `${greet}\nwindow.greet = greet;` });
    const { cert, key } = makeCertificate();
    const script = readFileSync(new URL('../../dist/websocket_relay.min.js', import.meta.url));
    const web = http2.createSecureServer({ cert, key, ...options }, (request, response) => {
      const isScript = request.url === '/websocket_relay.min.js';
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8');
      response.end(isScript ? script : '<link rel="icon" href="data:,"><script src="websocket_relay.min.js"></script>');
    });
    const protocols = [];
    web.on('stream', (stream, headers) => headers[':method'] === 'CONNECT' && protocols.push(headers[':protocol']));
    const relay = new RelayServer({ server: web, path: '/relay' });
    const sessions = new Set();
    web.on('session', (session) => sessions.add(session));
    t.after(async () => {
      await relay.close();
      sessions.forEach((session) => session.destroy());
      web.close();
    });
    await once(web.listen(0, '127.0.0.1'), 'listening');
    const clients = [relay.registerClient(), relay.registerClient()];
    relay.registerRelayChannel(clients[0].id, clients[1].id);
    const received = clients.map(async (me, n) => {
      const tab = await context.newPage();
      await tab.goto(`https://127.0.0.1:${web.address().port}/`);
      return tab.evaluate((options) => greet(options), { me, other: clients[1 - n], text: `from ${n}` });
    });
    assert.deepEqual(await Promise.all(received), ['from 1', 'from 0']);
    assert.deepEqual(protocols, isConnect ? ['websocket', 'websocket'] : []);
    assert.deepEqual(relay.stats().turnedAway, {});
  });
}
