// A real browser for the tests of this folder, and a web server for their pages.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { chromiumOptions } from '../../scripts/chromium.mjs';

export async function launchBrowser() {
  return chromium.launch(await chromiumOptions());
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
