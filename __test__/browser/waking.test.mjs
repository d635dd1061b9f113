/* global WebSocketRelay */
// A page detects a silently dead connection as soon as the browser reports that the page is back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import RelayServer from '../../index.js';
import { chromiumOptions } from '../../scripts/chromium.mjs';
import { installedFirefox } from '../../scripts/firefox.mjs';
import { Proxy } from '../reliability/proxy.mjs';
import { Random } from '../reliability/random.mjs';
import { servePages, until } from './browser.mjs';
import { launchFirefox } from './firefox.mjs';

const firefoxPath = installedFirefox();
let browser, firefox;
before(async () => {
  // Playwright disables the back/forward cache.
  browser = await chromium.launch({ ...(await chromiumOptions()), ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  if (firefoxPath) firefox = await launchFirefox(firefoxPath);
});
after(() => Promise.all([browser?.close(), firefox?.close()]));

async function inChromium(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  return { page, setOffline: (offline) => context.setOffline(offline), open: () => context.newPage() };
}

async function inFirefox(t) {
  const page = await firefox.newPage('() => {}');
  t.after(async () => {
    // Firefox reports connections that are open when their page is closed.
    await page.evaluate(() => window.end());
    await page.close();
  });
  return { page, open: () => firefox.newPage('() => {}') };
}

/** Runs in the page. */
function talk({ address, me, other }) {
  const relay = new WebSocketRelay(address, { clientId: me.id, token: me.token });
  window.state = { got: [], opened: 0, closed: [], shown: [] };
  relay.on('open', () => window.state.opened++);
  relay.on('close', ({ code, reason }) => window.state.closed.push(`${code} ${reason}`));
  relay.createChannel(other.id).on('message', (message) => window.state.got.push(message));
  window.end = () =>
    new Promise((resolve) => {
      relay.on('close', ({ willReconnect }) => willReconnect || resolve());
      relay.close();
    });
  addEventListener('pageshow', ({ persisted }) => window.state.shown.push(persisted));
}

/** Each kills the connection and then makes the page notice that it is back. */
const WAKINGS = {
  'goes offline and online': async ({ setOffline, kill }) => {
    await setOffline(true);
    kill();
    await setOffline(false);
  },
  // In headless Chromium every page is visible.
  'gets a visibilitychange event': async ({ page, kill }) => {
    kill();
    await page.evaluate(() => void document.dispatchEvent(new Event('visibilitychange', { bubbles: true })));
  },
  'was behind another tab': async ({ page, open, kill }) => {
    const other = await open();
    await until(page, () => document.hidden);
    kill();
    await other.close();
    await until(page, () => !document.hidden);
  },
  'sleeps without any event': async ({ page, kill }) => {
    kill();
    await page.evaluate(() => {
      const now = Date.now.bind(Date);
      // Less than the heartbeat of the server allows.
      Date.now = () => now() + 600_000;
    });
  },
};

const noFirefox = !firefoxPath && 'no Firefox is installed';
for (const [name, launch, skip, kinds] of [
  ['Chromium', inChromium, false, ['goes offline and online', 'gets a visibilitychange event', 'sleeps without any event']],
  ['Firefox', inFirefox, noFirefox, ['was behind another tab', 'sleeps without any event']],
]) {
  // Tabs of one window would affect each other.
  describe(name, { concurrency: launch === inChromium }, () => {
    for (const kind of kinds) {
      test(`a page in ${name} that ${kind} replaces a dead connection`, { skip }, async (t) => {
        const { page, kill, channel, ...rest } = await prepare(t, launch);
        await until(page, () => window.state.opened === 1);
        channel.send('1');
        await until(page, () => window.state.got.length === 1);
        await WAKINGS[kind]({ page, kill, ...rest });
        channel.send('2');
        await until(page, () => window.state.opened === 2 && window.state.got.length === 2);
        assert.deepEqual(await page.evaluate(() => window.state), { got: ['1', '2'], opened: 2, closed: ['1006 no answer'], shown: [] });
      });
    }

    test(`a page in ${name} that wakes keeps a working connection`, { skip }, async (t) => {
      const { page, channel, proxy } = await prepare(t, launch);
      await until(page, () => window.state.opened === 1);
      for (let time = 1; time <= 20; time++) {
        await page.evaluate(() => void dispatchEvent(new Event('online')));
        channel.send(String(time));
        await until(page, (times) => window.state.got.length === times, time);
      }
      assert.deepEqual(await page.evaluate(() => [window.state.opened, window.state.closed]), [1, []]);
      assert.equal(proxy.accepted, 1);
    });
  });
}

test('a page in Chromium reconnects when it is restored from the back/forward cache', async (t) => {
  const { page, url, channel, kill } = await prepare(t, inChromium);
  await until(page, () => window.state.opened === 1);
  channel.send('1');
  await until(page, () => window.state.got.length === 1);
  await page.goto(`${url}/other`);
  kill();
  channel.send('2');
  await page.evaluate(() => history.back());
  await page.waitForFunction(() => window.state?.got.length === 2, undefined, { polling: 20 });
  const { got, shown, opened } = await page.evaluate(() => window.state);
  assert.deepEqual([got, shown, opened], [['1', '2'], [true], 2]);
});

/** Returns a page with a relay behind a faulty network, and a channel to it. */
async function prepare(t, launch) {
  // Created first, so that it is closed first.
  const there = await launch(t);
  // No heartbeat may detect the dead connection.
  const server = new RelayServer({ port: 0, host: '127.0.0.1', pingInterval: 3_600_000 });
  t.after(() => server.close());
  await once(server, 'listening');
  const { address: host, port } = server.address();
  const [me, other] = [server.registerClient(), server.registerClient()];
  server.registerRelayChannel(me.id, other.id);
  const { default: Relay } = await import('websocket-relay/client');
  const sender = new Relay(`${host}:${port}`, { clientId: other.id, token: other.token });
  t.after(() => sender.close());
  const url = await servePages(t, { '/': '<script src="websocket_relay.min.js"></script>', '/other': '' });
  const proxy = new Proxy({ host, port }, new Random(1));
  const address = await proxy.listen();
  t.after(() => proxy.close());
  await there.page.goto(url);
  await there.page.evaluate(talk, { address, me, other });
  return { ...there, url, proxy, kill: () => proxy.strike('swallow'), channel: sender.createChannel(me.id) };
}
