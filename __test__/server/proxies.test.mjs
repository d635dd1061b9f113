// The client's address behind proxies, whatever a client claims.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { WAYS, knock, placeOf, statusOf } from './support.mjs';

const CLIENT = '203.0.113.9';

/** Header values that are not addresses. */
const ODD = ['\xff', '\xc3\xa9', 'unknown', '_hidden', '"', ',', '', '1.2.3', '[::1', '127.0.0.1:x', '1.2.3.4\xa0', 'fe80::1%', 'x'.repeat(4000), ','.repeat(4000)];

for (const [way, { listen: open }] of Object.entries(WAYS)) {
  test(`${way}: uses the address that the proxy adds, whatever the client sent`, async (t) => {
    const seen = [];
    const server = await open(t, { trustProxy: 'loopback', maxConnectionsPerAddress: 1, verifyClient: ({ remoteAddress }) => seen.push(remoteAddress) });
    const first = await knock(server, { headers: { 'x-forwarded-for': CLIENT } });
    assert.equal(first.status, 101);
    for (const odd of ODD) {
      // As nginx and HAProxy do.
      for (const value of [`${odd}, ${CLIENT}`, [odd, CLIENT], [`6.6.6.6,${odd}`, `${CLIENT}:1234`, '']]) {
        seen.length = 0;
        assert.equal(await statusOf(server, { headers: { 'x-forwarded-for': value } }), 429, JSON.stringify(value));
        assert.ok(seen.every((address) => address === CLIENT), `${JSON.stringify(value)}: ${seen}`);
      }
    }
    first.socket.terminate();
  });

  test(`${way}: uses the proxy's own address if it names none, and nothing before it`, async (t) => {
    const seen = [];
    const server = await open(t, { trustProxy: 'loopback', maxConnectionsPerAddress: 1, verifyClient: ({ remoteAddress }) => seen.push(remoteAddress) });
    const first = await knock(server, { headers: { 'x-forwarded-for': '\xff' } });
    assert.equal(first.status, 101);
    assert.deepEqual(seen, ['127.0.0.1']);
    for (const odd of ODD.filter((odd) => /[^,]/.test(odd))) {
      for (const value of [odd, `6.6.6.6, ${odd}`, ['6.6.6.6', odd, ' ,']]) {
        seen.length = 0;
        assert.equal(await statusOf(server, { headers: { 'x-forwarded-for': value } }), 429, JSON.stringify(value));
        assert.ok(seen.every((address) => address === '127.0.0.1'), `${JSON.stringify(value)}: ${seen}`);
      }
    }
    first.socket.terminate();
  });

  test(`${way}: does not take a connection as secure without a trusted header`, async (t) => {
    const isTls = ['an https server', 'an http server with bridged sockets'].includes(way);
    const seen = [];
    const server = await open(t, { trustProxy: 'loopback', verifyClient: ({ secure }) => seen.push(secure) });
    for (const [value, expected] of [
      ['https\xff', isTls],
      [['https', 'http'], false],
      [['http', 'https'], false],
      [['https', 'gopher'], isTls],
      [['', 'https'], true],
      [['https', 'wss'], true],
      ['\thttps\t,http', true],
    ]) {
      assert.equal(await statusOf(server, { headers: { 'x-forwarded-proto': value } }), 101);
      assert.equal(seen.pop(), expected, JSON.stringify(value));
    }
  });
}

test('counts unnamed clients behind a pipe together', { skip: process.platform === 'win32' && 'no such files' }, async (t) => {
  const path = join(tmpdir(), `websocket-relay-proxies-${process.pid}.sock`);
  rmSync(path, { force: true });
  const web = http.createServer().listen(path);
  const server = new RelayServer({ server: web, trustProxy: 1, maxConnectionsPerAddress: 1 });
  t.after(async () => {
    await server.close();
    web.close().closeAllConnections();
  });
  await once(server, 'listening');
  const place = { url: `ws+unix://${path}:/` };
  const first = await knock(place, { headers: { 'x-forwarded-for': 'unknown' } });
  assert.equal(first.status, 101);
  for (const headers of [{}, { 'x-forwarded-for': '\xff' }]) assert.equal(await statusOf(place, { headers }), 429);
  assert.equal(await statusOf(place, { headers: { 'x-forwarded-for': `unknown, ${CLIENT}` } }), 101);
  first.socket.terminate();
});

const hasNginx = spawnSync('nginx', ['-v']).status === 0;

test('works behind nginx', { skip: !(hasNginx && process.platform === 'linux') && 'nginx is not installed' }, async (t) => {
  for (const way of ['its own port', 'an http server', 'an http server with bridged sockets']) {
    const seen = [];
    const server = await WAYS[way].listen(t, {
      ...{ trustProxy: '127.0.0.1', maxConnectionsPerAddress: 1 },
      verifyClient: ({ remoteAddress, secure }) => seen.push([remoteAddress, secure]),
    });
    const { url } = placeOf(server);
    const proxy = await nginx(t, url.replace('ws:', 'http:'));
    // A different address of this machine than nginx uses.
    const localAddress = '127.0.0.2';
    const first = await knock(proxy, { localAddress });
    assert.equal(first.status, 101);
    for (const forwarded of [...ODD.filter((odd) => odd.length < 100), '127.0.0.1', ['127.0.0.1', '\xff']]) {
      const headers = { 'x-forwarded-for': forwarded, 'x-forwarded-proto': ['https', '\xff'] };
      assert.equal(await statusOf(proxy, { headers, localAddress }), 429, `${way} ${JSON.stringify(forwarded)}`);
    }
    assert.ok(seen.every(([address, secure]) => address === localAddress && secure === false), JSON.stringify(seen));
    first.socket.terminate();
  }
});

/** Starts nginx in front of a server. */
async function nginx(t, url) {
  const folder = mkdtempSync(join(tmpdir(), 'websocket-relay-nginx-'));
  const listener = net.createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  writeFileSync(join(folder, 'nginx.conf'), `
    daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass ${new URL(url).origin};
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection Upgrade;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_set_header X-Forwarded-Proto $scheme;
        }
      }
    }`);
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')], { stdio: 'inherit' });
  t.after(async () => {
    child.kill();
    await once(child, 'exit');
    rmSync(folder, { recursive: true });
  });
  const connects = () => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
  while (!(await connects())) assert.equal(child.exitCode, null);
  return { url: `ws://127.0.0.1:${port}${new URL(url).pathname}` };
}
