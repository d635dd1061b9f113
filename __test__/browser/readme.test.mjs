// What the README shows, run as it stands there: its server, and its two pages in a browser.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser, newContext, servePages } from './browser.mjs';

const root = new URL('../../', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');
const blocks = (language) => Array.from(readme.matchAll(/```(\w+)\n([^]*?)```/g)).filter(([, name]) => name === language).map(([, , code]) => code);

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

test('the pages of the README say hello world to each other', async (t) => {
  const context = await newContext(t, browser);
  const { port, tokens } = await startServer(t, blocks('javascript')[0]);
  const [first, second, hello] = blocks('html');
  const page = (html, id) => {
    assert.match(html, new RegExp(`clientId: ${id}\\b`));
    return html.replace('localhost:4000', `localhost:${port}`).replace(/[0-9a-f]{32}/, tokens[id]) + hello;
  };
  const address = await servePages(t, { '/first': page(first, 0), '/second': page(second, 1) });
  const heard = ['/first', '/second'].map(async (path) => {
    const page = await context.newPage();
    const logged = page.waitForEvent('console');
    await page.goto(address + path);
    return (await logged).text();
  });
  assert.deepEqual(await Promise.all(heard), ['hello world', 'hello world']);
});

/** Runs the README's server, on a port that is free, and reads the tokens that it prints. */
async function startServer(t, code) {
  assert.ok(code.includes('{ port: 4000 }'));
  const onFreePort = code.replace('4000', '0') + `relayServer.on('listening', () => console.log('port', relayServer.address().port));`;
  const server = spawn(process.execPath, ['--eval', onFreePort], { cwd: fileURLToPath(root), stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => server.kill());
  const found = { tokens: {} };
  for await (const line of createInterface({ input: server.stdout })) {
    const [name, value] = line.split(' ');
    if (name === 'port') return { ...found, port: Number(value) };
    found.tokens[name] = value;
  }
  throw new Error(`The README's server ended: ${await once(server, 'exit')}`);
}
