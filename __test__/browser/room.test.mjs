// The room of examples/, with five pages in it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { launchBrowser, LOOKS, newContext, startExample, until } from './browser.mjs';
import { assertResumed, AWAY, inState, newOutageContext, notice, RECONNECTING, recordOpens, startRestartable } from './examples.mjs';

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

/** Opens the room, and returns a function that opens one more page in it. */
async function openRoom(t, options) {
  const context = await newContext(t, browser, options);
  const address = await startExample(t, 'room');
  return async () => {
    const page = await context.newPage();
    await page.goto(address);
    await page.locator('[data-state=connected]').waitFor();
    return page;
  };
}

/** Opens a room of this many pages, whose server can be killed. */
async function openRestartableRoom(t, count, options) {
  const context = await newOutageContext(t, browser, options);
  await recordOpens(context);
  const server = await startRestartable(t, 'room');
  const pages = [];
  for (let n = 0; n < count; n++) {
    pages.push(await context.newPage());
    await pages[n].goto(server.address);
    await inState(pages[n], 'connected');
  }
  return { pages, server };
}

test('five pages hear each other, and a newcomer hears nothing of what was said before', async (t) => {
  const enter = await openRoom(t);
  const pages = [await enter(), await enter(), await enter(), await enter(), await enter()];
  const names = ['Ada', 'Alan', 'Barbara', 'Donald', 'Edsger'];
  const everybody = (present) => Promise.all(present.map(({ page }) => sees(page, present.filter((one) => one.page !== page).map(({ name }) => name))));
  let present = pages.map((page, n) => ({ page, name: names[n] }));
  await everybody(present);

  for (const { page, name } of present) await say(page, `This is ${name}.`);
  const said = (except) => names.filter((name) => name !== except).map((name) => `${name}: This is ${name}.`);
  for (const { page, name } of present) assert.deepEqual((await hears(page, 4)).sort(), said(name));

  const [left] = present.splice(2, 1);
  await left.page.close();
  await everybody(present);
  await present[0].page.getByText('Barbara has left').waitFor();
  await say(present[0].page, 'She has left.');
  for (const { page } of present.slice(1)) assert.equal((await hears(page, 5)).at(-1), 'Ada: She has left.');

  // Barbara may still come back.
  present = [...present, { page: await enter(), name: 'Grace' }];
  await everybody(present);
  await say(present[4].page, 'I am new here.');
  for (const { page, name } of present.slice(0, 4)) assert.equal((await hears(page, name === 'Ada' ? 5 : 6)).at(-1), 'Grace: I am new here.');
  await say(present[1].page, 'Welcome!');
  assert.deepEqual(await hears(present[4].page, 1), ['Alan: Welcome!']);
  await hears(present[0].page, 6);
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`a room fits the screen (${look})`, async (t) => {
    const enter = await openRoom(t, options);
    const [ada, alan] = [await enter(), await enter()];
    for (const page of [alan, ada]) await say(page, 'A few words that are long enough for more than one line on a small screen.');
    for (const page of [ada, alan]) await hears(page, 1);
    await ada.screenshot({ path: `test-results/room-${look}.png` });
    assert.ok(await ada.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
  });
}

test('gives each seat once, and 503 to a ninth page', async (t) => {
  const address = await startExample(t, 'room');
  const seats = Array.from({ length: 8 }, () => fetch(`${address}seat`, { method: 'POST' }));
  const ids = (await Promise.all((await Promise.all(seats)).map((response) => response.json()))).map(({ id }) => id);
  assert.equal(new Set(ids).size, 8);
  assert.equal((await fetch(`${address}seat`, { method: 'POST' })).status, 503);
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`what is said while the server is dead is heard once by all, when it is back (${look})`, async (t) => {
    const { pages, server } = await openRestartableRoom(t, 3, options);
    await sees(pages[0], ['Alan', 'Barbara']);
    const log = (page) => page.locator('.log li').allTextContents();
    const logs = await Promise.all(pages.map(log));
    await server.kill();
    await Promise.all(pages.map((page) => notice(page, RECONNECTING)));
    await Promise.all(pages.map((page) => sees(page, [])));
    assert.deepEqual(await Promise.all(pages.map(log)), logs);
    await say(pages[0], 'Is everyone here?');
    await pages[0].locator('.mine').getByText('Waiting for the server').waitFor();
    await pages[0].screenshot({ path: `test-results/room-${look}-away.png`, animations: 'disabled' });
    assert.ok(await pages[0].evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');

    await server.start();
    await Promise.all(pages.map((page) => inState(page, 'connected')));
    await sees(pages[0], ['Alan', 'Barbara']);
    await pages[2].getByText('You are Barbara', { exact: true }).waitFor();
    for (const page of pages.slice(1)) assert.deepEqual(await hears(page, 1), ['Ada: Is everyone here?']);
    await say(pages[0], 'Is everyone back?');
    for (const page of pages.slice(1)) assert.deepEqual(await hears(page, 2), ['Ada: Is everyone here?', 'Ada: Is everyone back?']);
    await until(pages[0], () => !document.querySelector('.mine small'));
    await assertResumed(pages, 1);

    await pages[1].reload();
    await pages[1].getByText('You are Alan', { exact: true }).waitFor();
    await say(pages[1], 'So am I.');
    assert.deepEqual(await hears(pages[0], 1), ['Alan: So am I.']);
  });
}

test('a room goes on when its server is restarted in good order', { skip: process.platform === 'win32' && 'Windows has no signals' }, async (t) => {
  const { pages, server } = await openRestartableRoom(t, 2);
  await sees(pages[0], ['Alan']);
  await server.stop();
  await Promise.all(pages.map((page) => notice(page, RECONNECTING)));
  await say(pages[0], 'Are you back?');
  await server.start();
  assert.deepEqual(await hears(pages[1], 1), ['Ada: Are you back?']);
  await assertResumed(pages, 1);
});

test('a member that is not back after a restart has left', async (t) => {
  const { pages, server } = await openRestartableRoom(t, 3);
  await sees(pages[0], ['Alan', 'Barbara']);
  await server.kill();
  await pages[1].close();
  await inState(pages[0], 'reconnecting');
  await server.start();
  await sees(pages[0], ['Barbara']);
  await pages[0].getByText('Alan has left').waitFor();
  assert.equal(await pages[0].getByText('Barbara has left').count(), 0);
});

test('a page that is alone cannot send while the server is dead', async (t) => {
  const { pages, server } = await openRestartableRoom(t, 1);
  await server.kill();
  await notice(pages[0], AWAY);
  assert.ok(await pages[0].getByRole('button', { name: 'Send' }).isDisabled());
});

test('a page that is alone says so, and cannot send', async (t) => {
  const enter = await openRoom(t);
  const ada = await enter();
  await notice(ada, 'Nobody else is here. Open this page in more tabs: each one is another person.');
  assert.ok(await ada.getByRole('button', { name: 'Send' }).isDisabled());
  await enter();
  await ada.locator('.notice').waitFor({ state: 'hidden' });
  await say(ada, 'Hello');
});

test('a page that finds the room full waits for a seat', async (t) => {
  const context = await newOutageContext(t, browser);
  const address = await startExample(t, 'room');
  const relays = [];
  t.after(() => relays.forEach((relay) => relay.close()));
  for (let n = 0; n < 8; n++) {
    const { id, token } = await (await fetch(`${address}seat`, { method: 'POST' })).json();
    relays.push(new WebSocketRelay(`${address}relay`, { clientId: id, token }));
    await new Promise((resolve) => relays[n].once('open', resolve));
  }
  const page = await context.newPage();
  await page.goto(address);
  await notice(page, 'Every seat is taken. This page takes the next one that becomes free.');
  await page.screenshot({ path: 'test-results/room-full.png' });
  relays[4].close();
  await page.getByText('You are Edsger').waitFor();
});

test('a page whose seat another tab takes says so, and takes another one', async (t) => {
  const enter = await openRoom(t);
  const page = await enter();
  await enter();
  await sees(page, ['Alan']);
  const before = await page.locator('.log li').allTextContents();
  const { id, token } = await page.evaluate(() => JSON.parse(sessionStorage.getItem('room')));
  const relay = new WebSocketRelay(`${new URL(page.url()).origin}/relay`, { clientId: id, token });
  t.after(() => relay.close());
  await notice(page, 'Another tab has taken this seat. A seat belongs to one tab at a time.');
  assert.deepEqual(await page.locator('.log li').allTextContents(), before, 'nobody has left');
  await page.screenshot({ path: 'test-results/room-replaced.png' });
  await page.getByRole('button', { name: 'Take another seat' }).click();
  await page.getByText('You are Barbara').waitFor();
});

async function say(page, text) {
  await page.getByRole('textbox').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Waits until exactly these others are here. */
async function sees(page, names) {
  const present = (names) => Array.from(document.querySelectorAll('.here'), ({ textContent }) => textContent).join() === names;
  await until(page, present, names.sort().join());
}

/** Waits for `count` messages of others, and resolves to all of them. */
async function hears(page, count) {
  await page.locator('.theirs').nth(count - 1).waitFor();
  return page.locator('.theirs').evaluateAll((lines) => lines.map((line) => `${line.firstChild.textContent}: ${line.lastChild.textContent}`));
}
