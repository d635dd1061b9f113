// A real Firefox, any that is installed, over WebDriver BiDi: playwright's own is not to be had from a registry.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const PREFERENCES = {
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.enabled': false,
  // A call on one machine, maybe without a network, with a camera that is none.
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
};

/** Has what the tests need of playwright's browsers: `newPage()`, whose pages `goto()`, `evaluate()` and `close()`. */
export async function launchFirefox(path) {
  const profile = mkdtempSync(join(tmpdir(), 'firefox-'));
  const preferences = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`);
  writeFileSync(join(profile, 'user.js'), preferences.join(''));
  const child = spawn(path, ['--headless', '--no-remote', '--remote-debugging-port=0', '--profile', profile], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, MOZ_CRASHREPORTER_DISABLE: '1' },
  });
  const exited = once(child, 'exit');
  const bidi = await connect(await address(child, exited));
  await bidi.call('session.new', { capabilities: {} });
  await bidi.call('session.subscribe', { events: ['log.entryAdded'] });
  return {
    /** @param script is run in the page before any script of its own */
    async newPage(script) {
      const { context } = await bidi.call('browsingContext.create', { type: 'tab' });
      await bidi.call('script.addPreloadScript', { functionDeclaration: `() => { (${script})(); }`, contexts: [context] });
      return {
        goto: (url) => bidi.call('browsingContext.navigate', { context, url, wait: 'complete' }),
        evaluate: (action, argument) => evaluate(bidi, context, action, argument),
        close: () => bidi.call('browsingContext.close', { context }),
      };
    },
    async close() {
      // It may be gone before it has answered.
      await bidi.call('browser.close', {}).catch(() => {});
      await exited;
      rmSync(profile, { recursive: true, force: true });
      assert.deepEqual(bidi.errors, [], 'errors in the pages of Firefox');
    },
  };
}

async function address(child, exited) {
  const lines = createInterface({ input: child.stderr });
  const found = (async () => {
    for await (const line of lines) {
      const [, url] = /WebDriver BiDi listening on (ws:\S+)/.exec(line) ?? [];
      if (url) return `${url}/session`;
    }
  })();
  const url = await Promise.race([found, exited.then(() => undefined)]);
  // What it prints from here on must not fill the pipe.
  child.stderr.resume();
  assert.ok(url, 'Firefox says where it listens');
  return url;
}

async function connect(url) {
  const socket = new WebSocket(url);
  const pending = new Map();
  const errors = [];
  let calls = 0;
  socket.on('message', (data) => {
    const { id, type, result, message, method, params } = JSON.parse(data);
    if (method === 'log.entryAdded' && params.level === 'error') errors.push(params.text);
    const { resolve, reject } = pending.get(id) ?? {};
    pending.delete(id);
    if (type === 'success') resolve?.(result);
    else if (type === 'error') reject?.(new Error(message));
  });
  // Nobody waits for the answers of a Firefox that is gone.
  socket.on('close', () => {
    for (const { reject } of pending.values()) reject(new Error('Firefox is gone'));
  });
  await once(socket, 'open');
  const call = (method, params) =>
    new Promise((resolve, reject) => {
      pending.set(++calls, { resolve, reject });
      socket.send(JSON.stringify({ id: calls, method, params }));
    });
  return { call, errors };
}

/** Values cross as JSON. */
async function evaluate(bidi, context, action, argument) {
  const { result, exceptionDetails } = await bidi.call('script.callFunction', {
    functionDeclaration: `async () => JSON.stringify(await (${action})(${JSON.stringify(argument)}))`,
    target: { context },
    awaitPromise: true,
    arguments: [],
  });
  if (exceptionDetails) throw new Error(exceptionDetails.text);
  return result.type === 'string' ? JSON.parse(result.value) : undefined;
}
