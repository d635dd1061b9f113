// The documented API: it stands in the README by its names, and its example runs as it stands in docs/.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser, newContext, servePages } from '../browser/browser.mjs';
import { blocksOf } from './blocks.mjs';

const root = new URL('../../', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');

let browser;
before(async () => (browser = await launchBrowser()));
after(() => browser?.close());

/** Headings of the README of 0.3.3, with the lines that must follow them. */
const DOCUMENTED = {
  'Server': [],
  'Class: RelayServer': [],
  'new RelayServer(options, [callback])': ['* `options` Object', '`port` Number', '`authorizeAllChannels` Boolean', '* `callback` Function'],
  'options.authorizeAllChannels': ['Default `false`'],
  'server.close([callback])': ['calls callback when done'],
  "Event: 'error'": ['`function (error) { }`'],
  'Client': [],
  'Class: WebSocketRelay': [],
  'new WebSocketRelay(address, authentication, [callback])': ['* `address` String', '* `authentication` Object', '`clientId` Number', '`token` String', '* `callback` Function'],
  'authentication.clientId': [],
  'authentication.token': [],
  'relay.createChannel(targetClientId)': ['* `targetClientId` Number'],
  'Class: RelayChannel': [],
  'channel.send(message)': ['* `message` String'],
  'channel.emitQueuedMessages()': [],
  "Event: 'message'": ['`function (message) { }`'],
  "Event: 'open'": ['`function () { }`'],
  'Testing': ['npm test'],
  'Compiling Client Code': ['`npm run compile`'],
};

for (const [heading, lines] of Object.entries(DOCUMENTED)) {
  test(`the README documents ${heading}`, () => {
    const [, ...sections] = readme.split(/^#+ /m);
    const section = sections.find((one) => one.startsWith(`${heading}\n`));
    assert.ok(section, 'there is such a heading');
    for (const line of lines) assert.ok(section.includes(line), line);
  });
}

test('the README has at most 300 lines', () => assert.ok(readme.split('\n').length <= 301));

test('the pages of the documented example say hello world to each other', async (t) => {
  const documented = (path, mark) => blocksOf(path).find((block) => block.mark === `documented: ${mark}`).code;
  const context = await newContext(t, browser);
  const { port, tokens } = await startServer(t, documented('docs/server-api.md', 'server'));
  const page = (id) => {
    const html = documented('docs/client-api.md', `page ${id}`);
    assert.match(html, new RegExp(`clientId: ${id}\\b`));
    const hello = documented('docs/client-api.md', 'both pages');
    return html.replace('localhost:4000', `localhost:${port}`).replace(/[0-9a-f]{32}/, tokens[id]) + hello;
  };
  const address = await servePages(t, { '/first': page(0), '/second': page(1) });
  const heard = ['/first', '/second'].map(async (path) => {
    const page = await context.newPage();
    const logged = page.waitForEvent('console');
    await page.goto(address + path);
    return (await logged).text();
  });
  assert.deepEqual(await Promise.all(heard), ['hello world', 'hello world']);
});

/** Runs the documented server, on a port that is free, and reads the tokens that it prints. */
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
  throw new Error(`The documented server ended: ${await once(server, 'exit')}`);
}
