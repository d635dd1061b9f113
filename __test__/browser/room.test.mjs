// The room of examples/, with five pages in it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchBrowser, LOOKS, newContext, startExample, until } from './browser.mjs';

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

/** Opens the room, and returns what has one more page enter it. */
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

test('five pages hear each other; one leaves, and another takes its seat', async (t) => {
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

  present = [...present, { page: await enter(), name: 'Barbara' }];
  await everybody(present);
  await say(present[4].page, 'I am new here.');
  for (const { page, name } of present.slice(0, 4)) assert.equal((await hears(page, name === 'Ada' ? 5 : 6)).at(-1), 'Barbara: I am new here.');
  await say(present[1].page, 'Welcome!');
  assert.deepEqual(await hears(present[4].page, 1), ['Alan: Welcome!']);
  await hears(present[0].page, 6);
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`a room looks well (${look})`, async (t) => {
    const enter = await openRoom(t, options);
    const [ada, alan] = [await enter(), await enter()];
    for (const page of [alan, ada]) await say(page, 'A few words that are long enough for more than one line on a small screen.');
    for (const page of [ada, alan]) await hears(page, 1);
    await ada.screenshot({ path: `test-results/room-${look}.png` });
    assert.ok(await ada.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
  });
}

test('every seat is given once, and a ninth page is told so', async (t) => {
  const address = await startExample(t, 'room');
  const seats = Array.from({ length: 8 }, () => fetch(`${address}seat`, { method: 'POST' }));
  const ids = (await Promise.all((await Promise.all(seats)).map((response) => response.json()))).map(({ id }) => id);
  assert.equal(new Set(ids).size, 8);
  assert.equal((await fetch(`${address}seat`, { method: 'POST' })).status, 503);
});

async function say(page, text) {
  await page.getByRole('textbox').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Waits until exactly these others are there. */
async function sees(page, names) {
  const present = (names) => Array.from(document.querySelectorAll('.here'), ({ textContent }) => textContent).join() === names;
  await until(page, present, names.sort().join());
}

/** Waits for so many messages of others, and resolves to all there are. */
async function hears(page, count) {
  await page.locator('.theirs').nth(count - 1).waitFor();
  return page.locator('.theirs').evaluateAll((lines) => lines.map((line) => `${line.firstChild.textContent}: ${line.lastChild.textContent}`));
}
