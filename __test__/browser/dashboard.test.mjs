// The dashboard of examples/: figures of its own relay, and figures that the test makes up.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchBrowser, LOOKS, newContext, startExample, until } from './browser.mjs';

const DAY = 86_400;

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

test('shows the figures of a busy relay', async (t) => {
  const context = await newContext(t, browser, LOOKS.light);
  const page = await context.newPage();
  await page.goto(await startExample(t, 'dashboard'));
  const shown = (name) => page.evaluate((name) => document.querySelector(`[data-figure=${name}] output`).textContent, name);
  const changed = (name, from) => until(page, ([name, from]) => document.querySelector(`[data-figure=${name}] output`).textContent !== from, [name, from]);
  await page.locator('[data-state=live]').waitFor();
  for (const name of ['rate', 'queued']) {
    const first = await shown(name);
    await changed(name, first);
    await changed(name, await shown(name));
  }
  assert.match(await shown('connections'), /^1[12]$/);
  await until(page, () => document.querySelector('[data-figure=rate] output').textContent !== '0');
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`shows what the relay counts (${look})`, async (t) => {
    const context = await newContext(t, browser, options);
    const page = await context.newPage();
    const none = { connections: 0, registered: 0, channels: 0, queuedMessages: 0, queuedBytes: 0, relayedMessages: 0, relayedBytes: 0, rejected: {}, offences: {}, turnedAway: {}, closed: {}, eventsDropped: 0 };
    let answered = 0;
    let away = false;
    await page.route('**/stats', (route) => {
      if (away) return route.fulfill({ status: 200, body: 'gateway' });
      const n = answered++;
      const stats = { connections: 1000 + n, registered: 4321, channels: 8642, queuedMessages: 70 + 50 * (n % 3), queuedBytes: 9000, relayedMessages: 3000 * n, relayedBytes: 2 ** 20 * 1.5 };
      const mistakes = { rejected: { ERR_CHANNEL_NOT_REGISTERED: 3 }, offences: { ERR_INVALID_JSON: 12 }, turnedAway: { connectionRate: 5 }, closed: { 4001: 6 }, eventsDropped: 1 };
      return route.fulfill({ json: n === 0 ? { time: 0, ...none } : { time: 2000 * n, ...none, ...stats, ...mistakes } });
    });
    await page.clock.install();
    await page.goto(await startExample(t, 'dashboard'));
    await page.getByText('Nothing so far').waitFor();
    const text = (name) => page.locator(`[data-figure=${name}]`).innerText();
    const shows = (connections) => until(page, (connections) => document.querySelector('[data-figure=connections] output').textContent === connections, connections);
    await page.clock.runFor(1_000);
    await shows('1,001');
    assert.match(await text('connections'), /of 4,321 clients, with 8,642 channels/);
    assert.match(await text('rate'), /^Messages per second\s+1,500\s+3,000 in all, 1\.5 MiB/);
    assert.match(await text('queued'), /^Queued messages\s+120\s+8\.8 KiB/);
    const rows = await page.locator('tr').allInnerTexts();
    assert.deepEqual(rows.map((row) => row.split(/\s*\n\s*|\t/).join(' ')), [
      'Messages rejected ERR_CHANNEL_NOT_REGISTERED 3',
      'Mistakes of clients ERR_INVALID_JSON 12',
      'Clients turned away connectionRate 5',
      'Connections closed 4001 6',
      'Events dropped 1',
    ]);
    for (let n = 2; n < 70; n++) {
      await page.clock.runFor(1_000);
      await shows((1000 + n).toLocaleString('en'));
    }
    const labels = (selector) => page.locator(`[data-figure=rate] ${selector}`).allTextContents();
    assert.deepEqual(await labels('figcaption'), ['messages/s']);
    assert.deepEqual(await labels('.values li'), ['2,000', '1,000', '0']);
    const [first, middle, now] = (await labels('.times li')).map(seconds);
    // The clock may pass midnight.
    assert.deepEqual([now - middle, middle - first].map((difference) => (difference + DAY) % DAY), [30, 30]);
    await page.screenshot({ path: `test-results/dashboard-${look}.png` });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
    const color = () => page.locator('[data-figure=rate] output').evaluate((output) => getComputedStyle(output).color);
    const fresh = await color();
    away = true;
    await page.clock.runFor(1_000);
    const seen = seconds(/^The server is away, last seen (\S+)$/.exec(await page.getByText('The server is away').textContent())[1]);
    assert.equal(seconds((await labels('.times li')).at(-1)), seen, 'the chart ends when the server was last seen');
    assert.notEqual(await color(), fresh, 'stale figures are dimmed');
    await page.screenshot({ path: `test-results/dashboard-${look}-away.png` });
    away = false;
    await page.clock.runFor(1_000);
    await page.getByText('Live').waitFor();
    assert.equal(await color(), fresh);
  });
}

/** The seconds of a day that a clock shows. */
function seconds(text) {
  const [hours, minutes, rest] = text.split(':').map(Number);
  return hours * 3_600 + minutes * 60 + rest;
}
