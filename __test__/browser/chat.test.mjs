// The chat of examples/, used as a person would; test-results/ keeps a picture of each.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser, LOOKS, newContext } from './browser.mjs';
import { AWAY, inState, newOutageContext, notice, startRestartable } from './examples.mjs';

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

test('while its server is away a tab promises nothing, and after a restart both go on', async (t) => {
  const context = await newOutageContext(t, browser);
  const server = await startRestartable(t, 'chat');
  const open = async () => {
    const page = await context.newPage();
    await page.goto(server.address);
    await connected(page);
    return page;
  };
  const ada = await open();
  await notice(ada, 'Grace is not here. What you write waits for her.');
  const grace = await open();
  await hidden(ada);
  await server.stop();
  await notice(ada, AWAY);
  assert.doesNotMatch(await ada.locator('main').innerText(), /waits for her|Grace is/);
  assert.ok(await ada.getByRole('button', { name: 'Send' }).isDisabled());
  await ada.getByRole('textbox').fill('Half a sentence');
  await picture(ada, 'away');

  await server.start();
  await Promise.all([ada, grace].map(connected));
  assert.equal(await ada.locator('h2').textContent(), 'You are Ada');
  assert.equal(await grace.locator('h2').textContent(), 'You are Grace');
  await ada.getByText('The server no longer knew this tab and gave it a new seat.').waitFor();
  await ada.getByRole('textbox').press('Enter');
  await hears(grace, 'Half a sentence');
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

/** Starts the chat; returns a function that opens a tab of it. */
async function startChat(t, look) {
  const context = await newContext(t, browser, look);
  const server = spawn(process.execPath, ['examples/chat/server.mjs'], {
    cwd: root,
    env: { ...process.env, PORT: '0' },
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
