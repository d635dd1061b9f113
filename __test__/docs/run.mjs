// Runs code blocks of the documents as their reader would: in a folder of their own, with the package as it is packed.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import { root } from '../../scripts/process.mjs';
import { newContext } from '../browser/browser.mjs';

const HARNESS = fileURLToPath(new URL('programs.cjs', import.meta.url));
/** Milliseconds for a program to listen, and to end. */
const PATIENCE = 60_000;

/** Makes a folder where the packed package is installed, and beside it what this repository has of other packages. */
export function installPackage() {
  const folder = mkdtempSync(join(tmpdir(), 'docs-'));
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, 'websocket-relay'), { recursive: true });
  const [{ filename }] = JSON.parse(npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder]));
  execFileSync('tar', ['-xzf', join(folder, filename), '-C', join(modules, 'websocket-relay'), '--strip-components=1']);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.') && name !== 'websocket-relay') symlinkSync(join(root, 'node_modules', name), join(modules, name), 'junction');
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function npm(args) {
  const { npm_execpath: cli } = process.env;
  const [program, ...more] = cli ? [process.execPath, cli] : ['npm'];
  return execFileSync(program, [...more, ...args], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** A block with free ports in place of those that it names. */
const onFreePorts = (code) => code.replace(/(\bport: |\blisten\()\d{2,5}\b/g, '$10');

/** What fragments find there. Each stands in a scope of its own, so it may use these names again. */
const PRELUDES = {
  server: `
    const express = require('express');
    const RelayServer = require('websocket-relay');
    const app = express();
    const relayServer = new RelayServer({ port: 0, host: '127.0.0.1' });
    const client1 = relayServer.registerClient();
    const client2 = relayServer.registerClient();
    relayServer.registerRelayChannel(client1.id, client2.id);
    const room = [client1.id, client2.id];`,
  node: `
    const RelayServer = require('websocket-relay');
    const WebSocketRelay = require('websocket-relay/client');
    const relayServer = new RelayServer({ port: 0, host: '127.0.0.1' });
    const [{ id: clientId, token }, { id: targetId }] = [relayServer.registerClient(), relayServer.registerClient()];
    relayServer.registerRelayChannel(clientId, targetId);
    await require('node:events').once(relayServer, 'listening');
    const address = '127.0.0.1:' + relayServer.address().port;
    const relay = new WebSocketRelay(address, { clientId, token });
    const channel = relay.createChannel(targetId);
    relayServer.once('close', () => relay.close());`,
};

/** The text of a program, and the file name that makes it a module or a script. */
function programOf(code, kind) {
  const made = 'relayServer: typeof relayServer === "undefined" ? undefined : relayServer, server: typeof server === "undefined" ? undefined : server';
  const ready = `require(${JSON.stringify(HARNESS)}).ready({ ${made} })`;
  if (PRELUDES[kind]) return ['main.cjs', `(async () => { ${PRELUDES[kind]}\n await (async () => {\n${code}\n})(); ${ready}; })();`];
  const isModule = /^\s*import\b|^await\b/m.test(code);
  if (!isModule) return ['main.cjs', `${onFreePorts(code)}\n;${ready};`];
  const required = `(await import('node:module')).createRequire(import.meta.url)`;
  return ['main.mjs', `${onFreePorts(code)}\n;${ready.replace('require', required)};`];
}

/**
 * Runs a block in Node. It has to listen, do what it does without an error or a warning of the relay's, and end when it is
 * closed, or by itself.
 * @param {string} folder where the package is installed
 * @param {string} code
 * @param {object} options
 * @param {string} [options.kind] `program`, `tabs`, `server` or `node`
 * @param {string} [options.prints] what its output has to contain
 * @param {(address: string) => Promise<void>} [options.visit] called with the address where it listens
 */
export async function runProgram(folder, code, { kind = 'program', prints, visit } = {}) {
  const [name, text] = programOf(code, kind);
  const own = mkdtempSync(join(folder, 'block-'));
  writeFileSync(join(own, name), text);
  const child = spawn(process.execPath, [name], { cwd: own, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: { ...process.env, PORT: '0' } });
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE);
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (errors += chunk));
  const ended = once(child, 'close');
  try {
    const ready = await Promise.race([once(child, 'message'), ended.then(() => undefined)]);
    if (ready && visit) await visit(`http://localhost:${ready[0].port}`);
    while (prints && !output.includes(prints) && child.exitCode === null && child.signalCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
    // Not at once: what it does when it listens may fail as well.
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 100))]);
    if (child.connected) child.send('close', () => {});
    const [code, signal] = await ended;
    assert.ok(ready, `it never listened, and ended with ${code ?? signal}:\n${errors}`);
    assert.deepEqual([code, signal], [0, null], `it did not end well:\n${errors}`);
    assert.doesNotMatch(errors, /WEBSOCKET_RELAY_|ERR_/);
    if (prints) assert.ok(output.includes(prints), `it did not print ${prints}, but:\n${output}`);
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
  }
}

/** Opens the page of a program in two tabs, and says something in each that the other has to show. */
export async function talkInTabs(t, browser, address) {
  const context = await newContext(t, browser);
  const tabs = [await context.newPage(), await context.newPage()];
  const say = async (from, to, text) => {
    await from.fill('input', text);
    await from.press('input', 'Enter');
    await to.waitForFunction((text) => document.body.innerText.includes(text), text);
  };
  // Before that the browser would submit the form itself.
  const ready = (tab) => tab.waitForFunction(() => document.forms[0]?.onsubmit);
  await Promise.all(tabs.map((tab) => tab.goto(address)));
  await Promise.all(tabs.map(ready));
  await say(tabs[0], tabs[1], 'hello from the first');
  await tabs[1].reload();
  await ready(tabs[1]);
  await say(tabs[1], tabs[0], 'hello from the second');
  await context.close();
}

/**
 * Runs a block in a page, in a real browser, with a relay and another client that sends back what it gets.
 * @param {'client' | 'page'} kind whether `relay` and `channel` are there already
 */
export async function runInPage(t, browser, code, kind) {
  const context = await newContext(t, browser);
  const { address, me, target, connected } = await startEcho(t, code, kind);
  const page = await context.newPage();
  const failed = new Promise((_, reject) => page.once('pageerror', reject));
  failed.catch(() => {});
  const done = async () => {
    await page.goto(`http://${address}/?client=${me.id}&target=${target.id}&token=${me.token}`);
    await connected;
    await page.waitForFunction(() => globalThis.isDone);
    if (kind === 'client') await page.evaluate(() => globalThis.echo());
  };
  await Promise.race([done(), failed]);
}

/** A page whose script is the block. Errors of it reach the page's console. */
function pageOf(code, kind) {
  const made = kind === 'client' ? 'const relay = new WebSocketRelay(address, { clientId, token }); const channel = relay.createChannel(targetId);' : '';
  const ready = kind === 'client' ? 'await new Promise((resolve) => relay.once("open", resolve));' : '';
  return `<!doctype html><meta charset="utf-8"><script src="/websocket_relay.min.js"></script><script type="module">
    const query = new URLSearchParams(location.search);
    const address = location.host;
    const [clientId, targetId, token] = [Number(query.get('client')), Number(query.get('target')), query.get('token')];
    ${made}${ready}
    ${kind === 'client' ? 'globalThis.echo = () => new Promise((resolve) => { channel.once("message", resolve); channel.send("are you there?"); });' : ''}
    await (async () => {\n${code}\n})();
    globalThis.isDone = true;
  </script>`;
}

async function startEcho(t, code, kind) {
  const server = createServer(({ url }, response) => {
    const path = url.replace(/\?.*/, '');
    if (path === '/') response.setHeader('content-type', 'text/html').end(pageOf(code, kind));
    else if (path === '/token') response.end(me.token);
    else if (path === '/websocket_relay.min.js') response.setHeader('content-type', 'text/javascript').end(readFileSync(join(root, 'dist/websocket_relay.min.js')));
    else response.writeHead(204).end();
  });
  const relayServer = new RelayServer({ server });
  t.after(async () => {
    await relayServer.close();
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `127.0.0.1:${server.address().port}`;
  const [me, target] = [relayServer.registerClient(), relayServer.registerClient()];
  relayServer.registerRelayChannel(me.id, target.id);
  const connected = new Promise((resolve) => relayServer.on('connection', (id) => id === me.id && resolve()));
  const relay = new WebSocketRelay(address, { clientId: target.id, token: target.token });
  t.after(() => relay.close());
  const channel = relay.createChannel(me.id);
  channel.on('message', (message) => channel.send(message));
  return { address, me, target, connected };
}
