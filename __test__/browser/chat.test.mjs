// The chat of examples/, used as a person would; test-results/ keeps a picture of each.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exampleEnvironment, launchBrowser, LOOKS, newContext, until } from './browser.mjs';
import { assertResumed, inState, newOutageContext, notice, RECONNECTING, recordOpens, startRestartable } from './examples.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

for (const [look, options] of Object.entries(LOOKS)) {
  test(`two tabs chat (${look})`, async (t) => {
    const { open } = await startChat(t, options);
    const ada = await open();
    assert.equal(await ada.locator('h2').textContent(), 'You are Ada');
    await ada.getByRole('link', { name: 'Open the second tab' }).waitFor();
    await say(ada, 'Is anybody there?');

    const grace = await open();
    assert.equal(await grace.locator('h2').textContent(), 'You are Grace');
    await hears(grace, 'Is anybody there?');
    await say(grace, 'I am. <b>Your</b> message\nwas waiting for me.');
    await hears(ada, 'I am. <b>Your</b> message\nwas waiting for me.');
    await ada.getByText('Grace is here').waitFor();
    await picture(ada, `${look}-ada`);
    await picture(grace, `${look}-grace`);
  });

  test(`two clients on one page chat (${look})`, async (t) => {
    const { open } = await startChat(t, options);
    const page = await open('side-by-side');
    const [ada, grace] = ['Ada', 'Grace'].map((name) => page.getByRole('region', { name, exact: true }));
    await say(ada, 'From the left.');
    await hears(grace, 'From the left.');
    await say(grace, 'From the right.');
    await hears(ada, 'From the right.');
    await picture(page, `${look}-side-by-side`);
  });
}

test('a reloaded tab keeps its seat, and a reopened one gets the messages that waited', async (t) => {
  const { open } = await startChat(t);
  const [ada, grace] = [await open(), await open()];
  await ada.reload();
  await connected(ada);
  assert.equal(await ada.locator('h2').textContent(), 'You are Ada');
  await say(ada, 'Back again');
  await hears(grace, 'Back again');

  await grace.close();
  await ada.getByText('Grace is away').waitFor();
  await say(ada, 'While you were away');
  const again = await open();
  assert.equal(await again.locator('h2').textContent(), 'You are Grace');
  await hears(again, 'While you were away');
});

test('a third tab and a fourth talk with each other', async (t) => {
  const { open } = await startChat(t);
  const [first, second, third, fourth] = [await open(), await open(), await open(), await open()];
  await say(third, 'To the fourth');
  await say(first, 'To the second');
  await hears(fourth, 'To the fourth');
  await hears(second, 'To the second');
  await say(fourth, 'To the third');
  await hears(third, 'To the third');
  assert.equal(await first.locator('.theirs').count(), 0);
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`what tabs write while their server is dead arrives once, when it is back (${look})`, async (t) => {
    const { open, server } = await startRestartableChat(t, options);
    const ada = await open();
    await notice(ada, 'Grace is not here. What you write waits for her.');
    const grace = await open();
    await hidden(ada);
    await server.kill();
    await Promise.all([ada, grace].map((page) => notice(page, RECONNECTING)));
    assert.doesNotMatch(await ada.locator('main').innerText(), /waits for her|Grace is/);
    await say(ada, 'Written without a server');
    await say(grace, 'So was this');
    await ada.locator('.mine').getByText('Waiting for the server').waitFor();
    await ada.getByRole('textbox').fill('Half a sentence');
    await picture(ada, `${look}-away`);

    await server.start();
    await Promise.all([ada, grace].map(connected));
    await hears(grace, 'Written without a server');
    await hears(ada, 'So was this');
    await until(ada, () => !document.querySelector('.mine small'));
    await ada.getByRole('textbox').press('Enter');
    await hears(grace, 'Half a sentence');
    assert.deepEqual(await grace.locator('.theirs p').allTextContents(), ['Written without a server', 'Half a sentence']);
    assert.equal(await ada.locator('h2').textContent(), 'You are Ada');
    assert.equal(await ada.locator('.news').count(), 0);
    await assertResumed([ada, grace], 1);
  });
}

test('a tab that is opened after a crash gets the messages that waited, and a reloaded one its seat', async (t) => {
  const { open, server } = await startRestartableChat(t);
  const ada = await open();
  await say(ada, 'Are you there?');
  await until(ada, () => !document.querySelector('.mine small'));
  await server.kill();
  await server.start();
  const grace = await open();
  await hears(grace, 'Are you there?');
  await ada.reload();
  await connected(ada);
  assert.equal(await ada.locator('h2').textContent(), 'You are Ada');
  await say(grace, 'Here I am');
  await hears(ada, 'Here I am');
});

test('both sides of one page go on after a crash', async (t) => {
  const { open, server } = await startRestartableChat(t);
  const page = await open('side-by-side');
  const [ada, grace] = ['Ada', 'Grace'].map((name) => page.getByRole('region', { name, exact: true }));
  await server.kill();
  await inState(page, 'reconnecting');
  await say(ada, 'From the left.');
  await picture(page, 'side-by-side-away');
  await server.start();
  await connected(page);
  await hears(grace, 'From the left.');
  await say(grace, 'From the right.');
  await hears(ada, 'From the right.');
  await assertResumed([page], 1, 2);
  await page.reload();
  await connected(page);
  await say(ada, 'Once more.');
  await hears(grace, 'Once more.');
});

test('tabs whose server has lost its store get new seats, and say so', async (t) => {
  const { open, server } = await startRestartableChat(t);
  const [ada, grace] = [await open(), await open()];
  await server.kill();
  for (const end of ['', '-wal', '-shm']) await rm(server.store + end, { force: true });
  await server.start();
  await Promise.all([ada, grace].map((page) => page.getByText('The server no longer knew this tab and gave it a new seat.').waitFor()));
  await Promise.all([ada, grace].map(connected));
  await say(ada, 'As if nothing had happened');
  await hears(grace, 'As if nothing had happened');
});

test('when every seat is taken, a tab says so', async (t) => {
  const context = await newOutageContext(t, browser);
  const server = await startRestartable(t, 'chat');
  const page = await context.newPage();
  await page.route('**/seat?*', (route) => route.fulfill({ status: 503 }));
  await page.goto(server.address);
  await notice(page, 'Every seat is taken. This page takes the next one that becomes free.');
  await page.unroute('**/seat?*');
  await inState(page, 'connected');
});

function hidden(page) {
  return page.locator('.notice').waitFor({ state: 'hidden' });
}

/** Starts the chat as a server that can be killed; returns it, and a function that opens a tab of the chat. */
async function startRestartableChat(t, look) {
  const context = await newOutageContext(t, browser, look);
  await recordOpens(context);
  const server = await startRestartable(t, 'chat');
  const open = async (path = '') => {
    const page = await context.newPage();
    await page.goto(server.address + path);
    await connected(page);
    return page;
  };
  return { open, server };
}

/** Starts the chat; returns a function that opens a tab of it. */
async function startChat(t, look) {
  const context = await newContext(t, browser, look);
  const server = spawn(process.execPath, ['examples/chat/server.mjs'], {
    cwd: root,
    env: exampleEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(async () => {
    server.kill('SIGINT');
    assert.deepEqual(await once(server, 'exit'), [0, null], 'Ctrl-C ends it cleanly');
  });
  const { value: line } = await createInterface({ input: server.stdout })[Symbol.asyncIterator]().next();
  assert.ok(line, 'the server says where it is');
  const [address] = /http:\S+/.exec(line);
  const open = async (path = '') => {
    const page = await context.newPage();
    await page.goto(address + path);
    await connected(page);
    return page;
  };
  return { open };
}

/** Resolves when every pane of the page is connected. */
async function connected(page) {
  await page.locator('main:has([data-state]):not(:has([data-state]:not([data-state="connected"])))').waitFor();
  await page.getByRole('button', { name: 'Send', disabled: false }).last().waitFor();
}

/** Types and sends in a page, or in one of its panes. */
async function say(place, text) {
  const field = place.getByRole('textbox');
  await field.fill(text);
  await field.press('Enter');
  await place.locator('.mine p').last().filter({ hasText: text }).waitFor();
}

async function hears(place, text) {
  const heard = place.locator('.theirs p').last().filter({ hasText: text });
  await heard.waitFor();
  assert.equal(await heard.textContent(), text);
}

async function picture(page, name) {
  await page.screenshot({ path: `${root}test-results/chat-${name}.png`, animations: 'disabled' });
}
