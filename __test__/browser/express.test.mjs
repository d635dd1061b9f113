// The Express example, in two tabs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { launchBrowser, LOOKS } from './browser.mjs';
import { AWAY, inState, newOutageContext, notice, startRestartable } from './examples.mjs';

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

for (const [look, options] of Object.entries(LOOKS)) {
  test(`two tabs talk before and after a restart of the server (${look})`, async (t) => {
    const context = await newOutageContext(t, browser, options);
    const server = await startRestartable(t, 'express');
    const first = await open(context, server.address);
    await notice(first, 'The other tab is not here. What you write waits for it.');
    await say(first, 'Are you there?');
    const second = await open(context, server.address);
    await hears(second, 'Are you there?');
    await first.getByText('The other tab is here').waitFor();
    await first.screenshot({ path: `test-results/express-${look}.png` });
    assert.ok(await first.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');

    await server.stop();
    await Promise.all([first, second].map((page) => notice(page, AWAY)));
    await first.screenshot({ path: `test-results/express-${look}-away.png` });
    assert.ok(await first.getByRole('button', { name: 'Send' }).isDisabled());
    await server.start();
    await Promise.all([first, second].map((page) => page.getByText('The other tab is here').waitFor()));
    await say(second, 'Back again.');
    await hears(first, 'Back again.');
  });
}

test('a tab keeps its seat when it is reloaded', async (t) => {
  const context = await newOutageContext(t, browser);
  const { address } = await startRestartable(t, 'express');
  const [first, second] = [await open(context, address), await open(context, address)];
  await first.reload();
  await inState(first, 'connected');
  await say(second, 'Welcome back');
  await hears(first, 'Welcome back');
});

test('a tab whose seat another one takes says so, and takes another seat', async (t) => {
  const context = await newOutageContext(t, browser);
  const { address } = await startRestartable(t, 'express');
  const page = await open(context, address);
  const { id, token } = await page.evaluate(() => JSON.parse(sessionStorage.getItem('express')));
  const relay = new WebSocketRelay(`${address}relay`, { clientId: id, token });
  t.after(() => relay.close());
  await notice(page, 'Another tab has taken this seat. A seat belongs to one tab at a time.');
  await page.getByRole('button', { name: 'Take another seat' }).click();
  await page.getByText('The other tab is here').waitFor();
});

async function open(context, address) {
  const page = await context.newPage();
  await page.goto(address);
  await inState(page, 'connected');
  return page;
}

async function say(page, text) {
  await page.getByRole('textbox').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

async function hears(page, text) {
  await page.locator('.theirs').filter({ hasText: text }).waitFor();
}
