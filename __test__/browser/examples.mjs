// Servers of the examples that tests can stop and start again, and what the pages share.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { exampleEnvironment, until } from './browser.mjs';

/** Starts the server of an example. It is killed when the test ends. */
export async function startRestartable(t, name) {
  const file = fileURLToPath(new URL(`../../examples/${name}/server.mjs`, import.meta.url));
  const env = exampleEnvironment();
  let child;
  const end = (signal) => {
    const exited = once(child, 'exit');
    child.kill(signal);
    return exited;
  };
  const server = {
    store: env.STORE,
    address: undefined,
    /** Listens on the same port, and opens the same store, each time. */
    async start() {
      const PORT = server.address ? new URL(server.address).port : '0';
      child = spawn(process.execPath, [file], { env: { ...env, PORT }, stdio: ['ignore', 'pipe', 'ignore'] });
      const { value: line } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
      assert.ok(line, 'the server prints its address');
      [server.address] = /http:[^\s,]+/.exec(line);
    },
    /** Ends the server as a crash would. */
    async kill() {
      await end('SIGKILL');
    },
    /** Ends the server as Ctrl-C does. */
    async stop() {
      assert.deepEqual(await end('SIGINT'), [0, null]);
    },
  };
  await server.start();
  t.after(() => child.kill('SIGKILL'));
  return server;
}

/** A context whose browser may print that the server is away or full. Other errors in its pages fail the test. */
export async function newOutageContext(t, browser, options) {
  const context = await browser.newContext(options);
  const errors = [];
  context.on('console', (message) => message.type() === 'error' && !/net::ERR_|status of 503/.test(message.text()) && errors.push(message.text()));
  context.on('weberror', (error) => errors.push(error.error().stack));
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, [], 'errors in the pages');
  });
  return context;
}

/** Waits until all panes of a page are in a state. */
export function inState(page, state) {
  return until(page, (state) => {
    const states = Array.from(document.querySelectorAll('[data-state]'), ({ dataset }) => dataset.state);
    return states.length > 0 && states.every((one) => one === state);
  }, state);
}

/** Waits until the visible notice of a page says exactly this. */
export function notice(page, text) {
  return until(page, (text) => Array.from(document.querySelectorAll('.notice:not([hidden]) p'), (element) => element.innerText.trim().replace(/\s+/g, ' ')).includes(text), text);
}

/** What a page says that has no seat, and one that has. */
export const AWAY = 'The server is away. Nothing can be sent until it is back. This page reconnects by itself.';
export const RECONNECTING =
  'The server is away, perhaps for a restart. What you write waits in this tab and is sent when the server is back. The page reconnects by itself.';

/** Keeps the pages of a context able to tell how their relays opened: `opened` is what `'open'` told, for each time. */
export async function recordOpens(context) {
  await context.addInitScript(() => {
    globalThis.opened = [];
    let Relay;
    Object.defineProperty(globalThis, 'WebSocketRelay', {
      get: () => Relay,
      set(value) {
        Relay = class extends value {
          constructor(...options) {
            super(...options);
            this.on('open', ({ resumed }) => globalThis.opened.push(resumed));
          }
        };
      },
    });
  });
}

/** Checks that pages have gone on where they were each time that their server was restarted, without a reload. */
export async function assertResumed(pages, restarts, each = 1) {
  const opens = [false, ...Array(restarts).fill(true)];
  for (const page of pages) {
    // A reload would have begun a new list.
    assert.deepEqual(await page.evaluate(() => globalThis.opened), opens.flatMap((resumed) => Array(each).fill(resumed)));
  }
}
