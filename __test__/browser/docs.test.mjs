// The call in docs/webrtc.md, its server and its page as they stand there.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { codeIn, freePort, makeFolder } from '../docs/services.mjs';
import { launchBrowser, until } from './browser.mjs';

const require = createRequire(import.meta.url);
const [serverCode] = codeIn('webrtc.md', 'javascript');
const [pageCode] = codeIn('webrtc.md', 'html');

let browser;
before(async () => {
  browser = await launchBrowser([
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--allow-loopback-in-peer-connection',
    '--disable-features=WebRtcHideLocalIpsWithMdns',
  ]);
});
after(() => browser?.close());

test('the call of the WebRTC page connects, shows video, and survives a restart of its server', async (t) => {
  const { folder } = makeFolder(t);
  // The variables of a module are not global, and this is all that the test needs of them.
  writeFileSync(join(folder, 'index.html'), pageCode.replace('join();\n', 'Object.assign(globalThis, { peer, chat });\n  join();\n'));
  const port = await freePort();
  const stop = await startServer(folder, port);
  let stopNext;
  t.after(() => stopNext?.());
  const context = await browser.newContext();
  t.after(() => context.close());
  const pages = await Promise.all([0, 1].map((side) => openSide(context, port, side)));
  const each = (run, argument) => Promise.all(pages.map((page) => run(page, argument)));

  await each((page) => until(page, () => globalThis.chat.readyState === 'open'));
  await pages[0].locator('button').click();
  await until(pages[1], () => document.querySelector('video').videoWidth > 0);

  await stop();
  const relayServer = (stopNext = await startServer(folder, port)).relayServer;
  // Both with their new tokens: the old ones are refused.
  const seats = new Set();
  await new Promise((resolve) => relayServer.on('connection', (id) => seats.add(id).size === 2 && resolve()));
  assert.deepEqual(await each((page) => page.evaluate(() => globalThis.peer.connectionState)), ['connected', 'connected']);

  // Both turn their cameras on at once, by the new relay.
  await each((page) => page.locator('button').click());
  await each((page) => until(page, () => document.querySelector('video').videoWidth > 0));
});

async function startServer(folder, port) {
  process.env.PORT = port;
  const code = serverCode.replace(`'public'`, JSON.stringify(folder));
  const { server, relayServer } = new Function('require', `${code}\nreturn { server, relayServer };`)(require);
  await once(relayServer, 'listening');
  const stop = async () => {
    await relayServer.close();
    server.close();
    server.closeAllConnections();
  };
  return Object.assign(stop, { relayServer });
}

async function openSide(context, port, side) {
  const page = await context.newPage();
  await page.goto(`http://localhost:${port}/?call=test&side=${side}`);
  return page;
}
