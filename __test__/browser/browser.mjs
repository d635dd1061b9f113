// A real browser for the tests of this folder, and a web server for their pages.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { chromiumOptions } from '../../scripts/chromium.mjs';

/** What pages are looked at in; test-results/ keeps the pictures. */
export const LOOKS = {
  light: { viewport: { width: 1100, height: 720 }, colorScheme: 'light' },
  dark: { viewport: { width: 1100, height: 720 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 780 }, colorScheme: 'light' },
};

export async function launchBrowser(moreArgs = []) {
  const { args, ...options } = await chromiumOptions();
  return chromium.launch({ ...options, args: [...args, ...moreArgs] });
}

/** Where the servers of this process keep their stores. */
const stores = mkdtempSync(join(tmpdir(), 'examples-'));
process.once('exit', () => rmSync(stores, { recursive: true, force: true, maxRetries: 5 }));
let storeCount = 0;

/** Returns the environment of an example's server: any free port, and a store of its own. */
export function exampleEnvironment() {
  return { ...process.env, PORT: '0', STORE: join(stores, `${++storeCount}.db`) };
}

/** Starts the server of an example, which Ctrl-C is to end cleanly; resolves to its address. */
export async function startExample(t, name) {
  const file = fileURLToPath(new URL(`../../examples/${name}/server.mjs`, import.meta.url));
  const env = exampleEnvironment();
  const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'exit'), [0, null], 'Ctrl-C ends it cleanly');
  });
  const { value: line } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  assert.ok(line, 'the server says where it is');
  return /http:\S+/.exec(line)[0];
}

/**
 * Pages that share nothing with those of other tests. When the test ends, any error in one of them fails it.
 * Made before the servers of the test, as what is made first is closed first: pages complain of servers that go.
 */
export async function newContext(t, browser, options) {
  const context = await browser.newContext(options);
  const errors = [];
  context.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  context.on('weberror', (error) => errors.push(error.error().stack));
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, [], 'errors in the pages');
  });
  return context;
}

/** Serves `pages`, HTML by path, and beside them the script that the package ships for browsers. */
export async function servePages(t, pages) {
  const script = readFileSync(new URL('../../dist/websocket_relay.min.js', import.meta.url));
  const files = {
    '/websocket_relay.min.js': ['text/javascript', script],
    '/favicon.ico': ['image/x-icon', ''],
    ...Object.fromEntries(Object.entries(pages).map(([path, html]) => [path, ['text/html', html]])),
  };
  const server = createServer(({ url }, response) => {
    const [type, body] = files[url] ?? ['text/plain', undefined];
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': `${type}; charset=utf-8` }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

/** Resolves when a condition is met in the page, of any browser and visible or not; what it needs is in the argument. */
export function until(page, condition, argument) {
  return page.evaluate(
    async ([condition, argument]) => {
      const isMet = new Function('argument', `return (${condition})(argument)`);
      while (!isMet(argument)) await new Promise((resolve) => setTimeout(resolve, 20));
    },
    [String(condition), argument],
  );
}
