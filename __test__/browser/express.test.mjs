// The Express example, in two tabs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { launchBrowser, LOOKS, until } from './browser.mjs';
import { assertResumed, inState, newOutageContext, notice, RECONNECTING, recordOpens, startRestartable } from './examples.mjs';

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

for (const [look, options] of Object.entries(LOOKS)) {
  test(`two tabs talk before, during and after a restart of the server (${look})`, async (t) => {
    const context = await newOutageContext(t, browser, options);
    await recordOpens(context);
    const server = await startRestartable(t, 'express');
    const first = await open(context, server.address);
    await notice(first, 'The other tab is not here. What you write waits for it.');
    await say(first, 'Are you there?');
    const second = await open(context, server.address);
    await hears(second, ['Are you there?']);
    await first.getByText('The other tab is here').waitFor();
    await first.screenshot({ path: `test-results/express-${look}.png` });
    assert.ok(await first.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');

    await server.kill();
    await Promise.all([first, second].map((page) => notice(page, RECONNECTING)));
    await say(first, 'Written while the server was away');
    await first.getByText('Waiting for the server', { exact: true }).last().waitFor();
    await first.screenshot({ path: `test-results/express-${look}-away.png`, animations: 'disabled' });
    assert.ok(await first.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
    await server.start();
    await Promise.all([first, second].map((page) => page.getByText('The other tab is here').waitFor()));
    await hears(second, ['Are you there?', 'Written while the server was away']);
    await until(first, () => !document.querySelector('.mine small'));
    await say(second, 'Back again.');
    await hears(first, ['Back again.']);
    await assertResumed([first, second], 1);
  });
}

test('what waits for a tab survives the death of the server, and tabs keep their seats', async (t) => {
  const context = await newOutageContext(t, browser);
  const server = await startRestartable(t, 'express');
  const first = await open(context, server.address);
  await say(first, 'Are you there?');
  await taken(first, 1);
  await server.kill();
  await server.start();
  const second = await open(context, server.address);
  await hears(second, ['Are you there?']);
  await second.reload();
  await inState(second, 'connected');
  await say(first, 'And now?');
  await hears(second, ['And now?']);
});

test('a server that dies again and again loses and doubles nothing', async (t) => {
  const context = await newOutageContext(t, browser);
  await recordOpens(context);
  const server = await startRestartable(t, 'express');
  const pages = [await open(context, server.address), await open(context, server.address)];
  const said = [[], []];
  const sayNext = async (side) => {
    said[side].push(`${said[side].length} from ${side}`);
    await say(pages[side], said[side].at(-1));
  };
  for (let round = 0; round < 3; round++) {
    await Promise.all([sayNext(0), sayNext(1)]);
    await server.kill();
    await Promise.all(pages.map((page) => inState(page, 'reconnecting')));
    await Promise.all([sayNext(0), sayNext(1)]);
    await server.start();
    await Promise.all(pages.map((page) => inState(page, 'connected')));
  }
  await Promise.all([sayNext(0), sayNext(1)]);
  await hears(pages[1], said[0]);
  await hears(pages[0], said[1]);
  await assertResumed(pages, 3);
});

test('a tab keeps its seat when it is reloaded', async (t) => {
  const context = await newOutageContext(t, browser);
  const { address } = await startRestartable(t, 'express');
  const [first, second] = [await open(context, address), await open(context, address)];
  await first.reload();
  await inState(first, 'connected');
  await say(second, 'Welcome back');
  await hears(first, ['Welcome back']);
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

/** Waits for the last of these messages, and checks that the page has got each of them once and in order. */
async function hears(page, texts) {
  await page.locator('.theirs').filter({ hasText: texts.at(-1) }).first().waitFor();
  assert.deepEqual(await page.locator('.theirs').allTextContents(), texts);
}

/** Waits until the server has taken all messages of a page. */
async function taken(page, count) {
  await until(page, (count) => document.querySelectorAll('.mine').length === count && !document.querySelector('.mine small'), count);
}
