// Connecting to `host:port` from a page loaded over https, its workers and its frames, where browsers require TLS.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { after, before, test } from 'node:test';
import RelayServer from '../../index.js';
import { makeCertificate } from '../tls/certificates.mjs';
import { launchBrowser, until } from './browser.mjs';

// Not a loopback address, to which a secure page may connect without TLS.
const HOST = 'relay.test';
const script = readFileSync(new URL('../../dist/websocket_relay.min.js', import.meta.url));

let browser;
before(async () => (browser = await launchBrowser(['--ignore-certificate-errors', `--host-resolver-rules=MAP ${HOST} 127.0.0.1`])));
after(() => browser?.close());

/** Runs in the page. Starts scripts that each connect as a client of their own and report the result to the page. */
function open({ address, clients, origin }) {
  window.results = {};
  addEventListener('message', ({ data }) => (window.results[data.name] = data.result));
  const connect = (name) => {
    const { id, token } = clients.shift();
    return `const report = (result) => REPORT({ name: ${JSON.stringify(name)}, result }, '*');
      const relay = new WebSocketRelay(${JSON.stringify(address)}, { clientId: ${id}, token: '${token}' });
      relay.on('open', () => report('open')).on('connectError', ({ message }) => report(message));`;
  };
  const inWorker = (name) => `importScripts('${origin}/websocket_relay.min.js');${connect(name).replace(/REPORT\((.*), '\*'\)/, 'postMessage($1)')}`;
  const inFrame = (name) => `<script src="${origin}/websocket_relay.min.js"></script><script>${connect(name).replace('REPORT', 'parent.postMessage')}</script>`;
  const url = (text, type) => URL.createObjectURL(new Blob([text], { type }));
  const work = (name, source) => (new Worker(source).onmessage = ({ data }) => (window.results[data.name] = data.result));
  const frame = (members) => document.body.append(Object.assign(document.createElement('iframe'), members));

  new Function('REPORT', connect('page'))(postMessage.bind(window));
  work('blob: worker', url(inWorker('blob: worker'), 'text/javascript'));
  work('data: worker', `data:text/javascript,${encodeURIComponent(inWorker('data: worker'))}`);
  frame({ srcdoc: inFrame('srcdoc') });
  frame({ srcdoc: inFrame('sandboxed srcdoc'), sandbox: 'allow-scripts' });
  frame({ src: url(inFrame('blob: frame'), 'text/html') });
  frame({ src: url(inFrame('sandboxed blob: frame'), 'text/html'), sandbox: 'allow-scripts' });
  frame({ src: `data:text/html,${encodeURIComponent(inFrame('data: frame'))}` });
}

test('connects over TLS from pages, workers and frames', async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  const { cert, key } = makeCertificate();
  const pages = createServer({ cert, key }, ({ url }, response) => {
    const isScript = url === '/websocket_relay.min.js';
    response.writeHead(200, { 'content-type': `${isScript ? 'text/javascript' : 'text/html'}; charset=utf-8` });
    response.end(isScript ? script : '<body><script src="websocket_relay.min.js"></script>');
  });
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  t.after(() => pages.close());
  const server = new RelayServer({ port: 0, host: '127.0.0.1', cert, key });
  t.after(() => server.close());
  await once(server, 'listening');

  const page = await context.newPage();
  const origin = `https://localhost:${pages.address().port}`;
  await page.goto(origin);
  const clients = Array.from({ length: 8 }, () => server.registerClient()).map(({ id, token }) => ({ id, token }));
  await page.evaluate(open, { address: `${HOST}:${server.address().port}`, clients, origin });
  await until(page, () => Object.keys(window.results).length === 8);
  const names = ['page', 'blob: worker', 'data: worker', 'srcdoc', 'sandboxed srcdoc', 'blob: frame', 'sandboxed blob: frame', 'data: frame'];
  assert.deepEqual(await page.evaluate(() => window.results), Object.fromEntries(names.map((name) => [name, 'open'])));
});
