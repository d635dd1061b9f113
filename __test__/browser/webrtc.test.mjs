// The call of examples/, between two Chromiums and, where there is one, with Firefox.
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { installedFirefox } from '../../scripts/firefox.mjs';
import { launchBrowser, LOOKS, newContext, startExample, until } from './browser.mjs';
import { assertResumed, newOutageContext, notice, recordOpens, startRestartable } from './examples.mjs';
import { launchFirefox } from './firefox.mjs';

const CALL_ARGS = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--allow-loopback-in-peer-connection',
  // Names under .local instead of addresses: another browser would have to ask the network for them.
  '--disable-features=WebRtcHideLocalIpsWithMdns',
];
const SERVER_AWAY = 'The server is away, perhaps for a restart. The call goes on. A camera that is turned on now is seen when it is back.';
const MESSAGES = 100;
const ROUNDS = 10;

const firefoxPath = installedFirefox();
let chromium, firefox;
before(async () => {
  chromium = await launchBrowser(CALL_ARGS);
  if (firefoxPath) firefox = await launchFirefox(firefoxPath);
});
after(() => Promise.all([chromium?.close(), firefox?.close()]));

const pairs = {
  'Chromium and Chromium': { open: [inChromium, inChromium] },
  'Chromium and Firefox': { open: [inChromium, inFirefox], skip: !firefoxPath && 'no Firefox is installed' },
  'Firefox and Chromium': { open: [inFirefox, inChromium], skip: !firefoxPath && 'no Firefox is installed' },
};

for (const [names, { open, skip }] of Object.entries(pairs)) {
  test(`${names} exchange ${MESSAGES} messages both ways`, { skip }, async (t) => {
    const pages = await call(t, open);
    await Promise.all(pages.map((page, side) => say(page, numbered(side, 0, MESSAGES))));
    await heardAll(pages, MESSAGES);
  });

  // Between Chromium 156 and Firefox 153 offers that cross stand still now and then: Chromium's taking back of its own does
  // not end.
  const skipCrossing = skip || (open.includes(inFirefox) && 'not with Firefox, with which offers that cross can stall');
  test(`${names} negotiate at once, ${ROUNDS} times, and lose nothing`, { skip: skipCrossing }, async (t) => {
    const pages = await call(t, open);
    const before = await Promise.all(pages.map(crossed));
    for (let round = 0; round < ROUNDS; round++) {
      // What a page signals waits until both have offered: so the offers cross for certain.
      await Promise.all(pages.map((page) => page.evaluate(() => globalThis.probe.offerAndHold())));
      await Promise.all(pages.map((page) => page.evaluate(() => globalThis.probe.release())));
      const each = MESSAGES / ROUNDS;
      await Promise.all(pages.map((page, side) => say(page, numbered(side, round * each, each))));
      await Promise.all(pages.map((page) => page.evaluate(() => globalThis.probe.settled())));
    }
    await heardAll(pages, MESSAGES);
    const counts = (await Promise.all(pages.map(crossed))).map((count, side) => count - before[side]);
    // The polite side took its own offer back each time, the other one never.
    assert.deepEqual(counts.sort((a, b) => a - b), [0, ROUNDS]);
  });

  test(`${names} turn on their cameras at once, and see each other; one leaves`, { skip: skipCrossing }, async (t) => {
    const pages = await call(t, open);
    await Promise.all(pages.map((page) => page.evaluate(() => document.querySelector('#camera').click())));
    await Promise.all(pages.map((page) => until(page, () => document.querySelector('#theirs').videoWidth > 0)));
    await pages[1].close();
    await until(pages[0], () => document.body.dataset.state === 'left');
    assert.equal(await pages[0].evaluate(() => document.querySelector('#mine').srcObject.active), false, 'its camera is off');
  });
}

for (const [look, options] of Object.entries(LOOKS)) {
  test(`a call fits the screen (${look})`, async (t) => {
    const pages = await call(t, [inChromium, inChromium], options);
    await say(pages[0], ['Do you see me?']);
    await say(pages[1], ['Not yet. Turn on your camera.', 'https://example.org/a-very-long-address-that-has-to-be-broken-somewhere']);
    await until(pages[0], () => document.querySelectorAll('li').length === 3);
    await pages[0].screenshot({ path: `test-results/webrtc-${look}-text.png` });
    await Promise.all(pages.map((page) => page.locator('#camera').click()));
    await Promise.all(pages.map((page) => until(page, () => document.querySelector('#theirs').videoWidth > 0)));
    await pages[0].screenshot({ path: `test-results/webrtc-${look}-video.png` });
    assert.ok(await pages[0].evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
  });
}

test('a page that waits says what to do, also when the server is away', async (t) => {
  const context = await newOutageContext(t, chromium);
  const server = await startRestartable(t, 'webrtc');
  const page = await context.newPage();
  await page.goto(server.address);
  const waiting = 'Nobody to call yet. Open this page in a second tab: the two connect by themselves.';
  await notice(page, waiting);
  await page.getByRole('link', { name: 'Open a second tab' }).waitFor();
  await server.kill();
  await notice(page, 'The server is away. Calls cannot begin until it is back. This page tries again by itself.');
  await server.start();
  await notice(page, waiting);
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`a call goes on while its server is dead, and negotiates again afterwards (${look})`, async (t) => {
    const { pages, server } = await restartableCall(t, options);
    await server.kill();
    await Promise.all(pages.map((page) => notice(page, `You are connected. ${SERVER_AWAY}`)));
    await pages[0].screenshot({ path: `test-results/webrtc-${look}-away.png`, animations: 'disabled' });
    await server.start();
    await Promise.all(pages.map((page) => page.getByText('Connected', { exact: true }).waitFor()));
    await pages[0].locator('#camera').click();
    await plays(pages[1]);

    await server.kill();
    await Promise.all(pages.map((page) => page.getByText('Connected while the server is away').waitFor()));
    await Promise.all(pages.map((page, side) => say(page, numbered(side, 0, 1))));
    await heardAll(pages, 1);
    await plays(pages[1]);
    await pages[1].screenshot({ path: `test-results/webrtc-${look}-away-video.png`, animations: 'disabled' });
    assert.ok(await pages[1].evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
    await server.start();
    await Promise.all(pages.map((page) => page.getByText('Connected', { exact: true }).waitFor()));
    await plays(pages[1]);
    // Only with signaling does the other side see this camera.
    await pages[1].locator('#camera').click();
    await plays(pages[0]);
    assert.deepEqual(await Promise.all(pages.map((page) => page.evaluate(() => globalThis.probe.peers))), [1, 1], 'the call is the same one');
    await assertResumed(pages, 2);
  });
}

test('a call goes on when its server is restarted in good order', { skip: process.platform === 'win32' && 'Windows has no signals' }, async (t) => {
  const { pages, server } = await restartableCall(t);
  await server.stop();
  await Promise.all(pages.map((page) => page.getByText('Connected while the server is away').waitFor()));
  await server.start();
  await Promise.all(pages.map((page) => page.getByText('Connected', { exact: true }).waitFor()));
  await pages[0].locator('#camera').click();
  await plays(pages[1]);
  await assertResumed(pages, 1);
});

test('cameras that are turned on while the server is dead are seen when it is back', async (t) => {
  const { pages, server } = await restartableCall(t);
  await server.kill();
  await Promise.all(pages.map((page) => page.getByText('Connected while the server is away').waitFor()));
  await Promise.all(pages.map((page) => page.locator('#camera').click()));
  await Promise.all(pages.map((page) => page.locator('#mine').waitFor()));
  await server.start();
  await Promise.all(pages.map(plays));
  await assertResumed(pages, 1);
});

test('a call goes on when the server has lost its store, and says so', async (t) => {
  const { pages, server } = await restartableCall(t);
  await server.kill();
  for (const end of ['', '-wal', '-shm']) await rm(server.store + end, { force: true });
  await server.start();
  await Promise.all(pages.map((page) => notice(page, 'You are connected. The server no longer knows this call, which goes on as it is.')));
  await Promise.all(pages.map((page, side) => say(page, numbered(side, 0, 1))));
  await heardAll(pages, 1);
});

test('a page notices that the other has left while the server is away', async (t) => {
  const context = await newOutageContext(t, chromium);
  const server = await startRestartable(t, 'webrtc');
  const pages = [await context.newPage(), await context.newPage()];
  for (const page of pages) await page.goto(server.address);
  await Promise.all(pages.map((page) => page.getByText('You are connected.').waitFor()));
  await server.kill();
  await pages[1].close();
  await notice(pages[0], 'The other person has left.');
  await pages[0].screenshot({ path: 'test-results/webrtc-left.png' });
});

test('a video plays on a page that nobody has clicked on, muted until its sound is turned on', async (t) => {
  const address = await startExample(t, 'webrtc');
  const [caller, page] = [await inChromium(t), await inChromium(t)];
  // What a test evaluates in a page counts as a click: this page has to tell of itself.
  await page.addInitScript(() => {
    addEventListener('playing', ({ target }) => target.id === 'theirs' && console.log('playing', target.muted ? 'muted' : 'aloud'), true);
  });
  const playing = page.waitForEvent('console', (message) => message.text().startsWith('playing'));
  await page.goto(address);
  await caller.goto(address);
  await caller.locator('#camera').click();
  assert.equal((await playing).text(), 'playing muted');
  await page.getByRole('button', { name: 'Turn on the sound' }).click();
  await until(page, () => {
    const { paused, muted, currentTime } = document.querySelector('#theirs');
    return !paused && !muted && currentTime > 0;
  });
  assert.equal(await page.locator('#sound').isVisible(), false);
});

/** Two pages in a call whose server can be killed. */
async function restartableCall(t, look) {
  const context = await newOutageContext(t, chromium, look);
  await recordOpens(context);
  const server = await startRestartable(t, 'webrtc');
  const pages = [await context.newPage(), await context.newPage()];
  for (const page of pages) {
    await page.addInitScript(probe);
    await page.goto(server.address);
  }
  await Promise.all(pages.map((page) => page.getByText('You are connected.').waitFor()));
  return { pages, server };
}

/** Waits until the other side's video goes on from where it is now. */
async function plays(page) {
  const at = await page.evaluate(() => document.querySelector('#theirs').currentTime);
  await until(page, (at) => document.querySelector('#theirs').currentTime > at, at);
}

/** Opens the example in two pages and waits until they are connected. */
async function call(t, open, look) {
  const pages = await Promise.all(open.map((openPage) => openPage(t, look)));
  const address = await startExample(t, 'webrtc');
  await pages[0].goto(address);
  await until(pages[0], () => document.body.dataset.state === 'waiting');
  await pages[1].goto(address);
  await Promise.all(pages.map((page) => until(page, () => document.body.dataset.state === 'connected')));
  return pages;
}

async function inChromium(t, look) {
  const page = await (await newContext(t, chromium, look)).newPage();
  await page.addInitScript(probe);
  return page;
}

async function inFirefox(t) {
  const page = await firefox.newPage(probe);
  t.after(() => page.close().catch(() => {}));
  return page;
}

const crossed = (page) => page.evaluate(() => globalThis.probe.takenBack);

const numbered = (side, from, count) => Array.from({ length: count }, (_, n) => `${from + n} from side ${side}`);

/** Types texts into the page's form. */
function say(page, texts) {
  return page.evaluate((texts) => {
    for (const text of texts) {
      document.querySelector('input').value = text;
      document.querySelector('form').requestSubmit();
    }
  }, texts);
}

/** Each page has heard all of the other, once and in order. */
async function heardAll(pages, count) {
  for (const [side, page] of pages.entries()) {
    const last = numbered(1 - side, 0, count).at(-1);
    await until(page, (last) => document.querySelector('ol').textContent.includes(last), last);
    const heard = await page.evaluate(() => Array.from(document.querySelectorAll('.theirs'), ({ textContent }) => textContent));
    assert.deepEqual(heard, numbered(1 - side, 0, count));
  }
}

/** Runs in a page before its own scripts: finds its peer connection, and can hold back what it signals. */
function probe() {
  let peer, held;
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    if (held) held.push(() => send.call(this, data));
    else send.call(this, data);
  };
  const signaling = (state) =>
    new Promise((resolve) => {
      const look = () => peer.signalingState === state && resolve();
      peer.addEventListener('signalingstatechange', look);
      look();
    });
  globalThis.probe = {
    peers: 0,
    takenBack: 0,
    async offerAndHold() {
      held = [];
      peer.restartIce();
      await signaling('have-local-offer');
    },
    release() {
      const messages = held;
      held = undefined;
      for (const send of messages) send();
    },
    settled: () => signaling('stable'),
  };
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...options) {
      super(...options);
      globalThis.probe.peers++;
      peer = this;
    }
    setRemoteDescription(description) {
      if (description.type === 'offer' && this.signalingState === 'have-local-offer') globalThis.probe.takenBack++;
      return super.setRemoteDescription(description);
    }
  };
}
