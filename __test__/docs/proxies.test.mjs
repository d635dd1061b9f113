// The proxy configurations in docs/tls-and-proxies.md, each run in front of a relay.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import WebSocket from 'ws';
import { codeIn, freePort, installed, makeFolder, startService } from './services.mjs';

/** Replaces the idle timeout of 60 seconds in the page, so that a test can outlast it. */
const IDLE_SECONDS = 3;

/** A client's own address, which differs from the proxy's. All of 127.0.0.0/8 is loopback on Linux only. */
const CLIENT_ADDRESS = process.platform === 'linux' ? '127.0.0.7' : '127.0.0.1';

/**
 * How to run each configuration: `language` is that of its block in the page, the first of `programs` that is installed
 * runs it, `adapt` makes it runnable in `folder` without root, and `args` start it in the foreground. `closesIdle` says
 * whether the proxy ends idle WebSockets.
 */
const PROXIES = {
  nginx: {
    language: 'nginx',
    programs: ['nginx', '/usr/sbin/nginx'],
    adapt: (text, { folder }) => {
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
      return `pid ${folder}/nginx.pid;\n${text}`.replace('http {', `http {\naccess_log off;\n${temporary.join('\n')}`);
    },
    args: ({ file }) => ['-c', file, '-e', 'stderr', '-g', 'daemon off; error_log stderr;'],
    closesIdle: true,
  },
  HAProxy: {
    language: 'haproxy',
    programs: ['haproxy', '/usr/sbin/haproxy'],
    adapt: (text) => text,
    args: ({ file }) => ['-f', file, '-db'],
    closesIdle: true,
  },
  Caddy: {
    language: 'caddyfile',
    programs: ['caddy'],
    adapt: (text, { folder, port }) => {
      const site = `https://localhost:${port}, https://127.0.0.1:${port} {\n  tls ${folder}/fullchain.pem ${folder}/privkey.pem`;
      return `{\n  admin off\n  auto_https disable_redirects\n}\n${text.replace('example.com {', site)}`;
    },
    args: ({ file }) => ['run', '--adapter', 'caddyfile', '--config', file],
  },
  Apache: {
    language: 'apache',
    programs: ['apache2', '/usr/sbin/apache2', 'httpd'],
    adapt: (text, { folder, port }) => {
      const modules = ['mpm_event', 'authz_core', 'ssl', 'socache_shmcb', 'headers', 'proxy', 'proxy_http'];
      const places = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/libexec/apache2'];
      const place = places.find((path) => existsSync(path));
      return [
        `ServerRoot ${folder}`,
        `PidFile ${folder}/apache.pid`,
        'ServerName localhost',
        `ErrorLog ${folder}/error.log`,
        ...(process.getuid?.() === 0 ? ['User www-data', 'Group www-data'] : []),
        ...modules.map((name) => `LoadModule ${name}_module ${place}/mod_${name}.so`).filter((line) => existsSync(line.split(' ')[2])),
        `Mutex pthread`,
        `Listen ${port}`,
        text,
      ].join('\n');
    },
    args: ({ file }) => ['-f', file, '-DFOREGROUND'],
    closesIdle: true,
  },
};

for (const [name, proxy] of Object.entries(PROXIES)) {
  const program = installed(...proxy.programs);
  const skip = program === undefined && `${name} is not installed`;

  test(`${name}: relays messages both ways, also long ones, and names the client's address`, { skip }, async (t) => {
    const { relayServer, seen, connect, application } = await start(t, proxy, program);
    const [alice, bob] = [relayServer.registerClient(), relayServer.registerClient()];
    relayServer.registerRelayChannel(alice.id, bob.id);
    const toBob = connect(alice).createChannel(bob.id);
    const toAlice = connect(bob).createChannel(alice.id);
    const long = 'x'.repeat(1_000_000);
    for (const [from, to, letter] of [[toBob, toAlice, 'a'], [toAlice, toBob, 'b']]) {
      const messages = [...Array.from({ length: 100 }, (_, index) => `${letter}${index}`), long, 'the last'];
      const received = collect(to, messages.length);
      messages.forEach((message) => from.send(message));
      assert.deepEqual(await received, messages);
    }
    // The client's own address, although it claims another one.
    assert.deepEqual(seen, Array(2).fill({ remoteAddress: CLIENT_ADDRESS, secure: true }));
    assert.equal(await application(), 'the application');
  });

  test(`${name}: an idle connection outlives the proxy's timeout because of the heartbeat`, { skip }, async (t) => {
    const { relayServer, connect } = await start(t, proxy, program, { pingInterval: 500, pingTimeout: 1500 });
    const relay = connect(relayServer.registerClient());
    const closes = [];
    relay.on('close', (info) => closes.push(info));
    await once(relayServer, 'connection');
    await pause(IDLE_SECONDS * 2000);
    assert.deepEqual(closes, []);
    assert.equal(relayServer.stats().connections, 1);
  });

  test(`${name}: without a heartbeat the proxy ends an idle connection`, { skip: skip || (!proxy.closesIdle && 'it has no timeout') }, async (t) => {
    const { relayServer, connect } = await start(t, proxy, program, { pingInterval: 600_000 });
    const relay = connect(relayServer.registerClient(), { reconnection: false });
    relay.on('error', () => {});
    const [info] = await new Promise((resolve) => relay.on('close', (...args) => resolve(args)));
    assert.equal(info.code, 1006);
  });

  test(`${name}: clients come back when the relay has restarted`, { skip }, async (t) => {
    const { relayServer, relayPort, connect, options } = await start(t, proxy, program);
    const clients = [relayServer.registerClient(), relayServer.registerClient()];
    const tokens = clients.map(({ token }) => token);
    const relays = clients.map(({ id }) => connect({ id, token: () => tokens[id] }, { reconnectionDelay: 50, reconnectionDelayMax: 200 }));
    const opened = () => Promise.all(relays.map((relay) => new Promise((resolve) => relay.on('open', resolve))));
    await opened();
    const reopened = opened();
    await relayServer.close();
    // While nothing listens, the proxy answers with 502 or 503.
    await pause(300);
    const next = await listen(t, { ...options, port: relayPort });
    clients.forEach(({ id }) => (tokens[id] = next.registerClient().token));
    next.registerRelayChannel(0, 1);
    await reopened;
    const received = collect(relays[1].createChannel(0), 1);
    relays[0].createChannel(1).send('hello again');
    assert.deepEqual(await received, ['hello again']);
  });
}

/** A relay, an application, and a proxy in front of both; all are stopped when the test ends. */
async function start(t, proxy, program, extra = {}) {
  const seen = [];
  const verifyClient = ({ remoteAddress, secure }) => seen.push({ remoteAddress, secure }) > 0;
  const options = { host: '127.0.0.1', path: '/relay', trustProxy: 1, verifyClient, ...extra };
  const relayServer = await listen(t, { port: 0, ...options });
  const relayPort = relayServer.address().port;
  const web = http.createServer((request, response) => response.end('the application')).listen(0, '127.0.0.1');
  t.after(() => web.close().closeAllConnections());
  await once(web, 'listening');
  const { port, cert } = await startProxy(t, proxy, program, { relayPort, webPort: web.address().port });
  const address = `127.0.0.1:${port}`;

  class ThroughProxy extends WebSocket {
    constructor(url) {
      super(url, { ca: cert, localAddress: CLIENT_ADDRESS, headers: { 'X-Forwarded-For': '203.0.113.9', 'X-Forwarded-Proto': 'http' } });
    }
  }
  const connect = ({ id, token }, more) => {
    const relay = new WebSocketRelay(`wss://${address}/relay`, { clientId: id, token, WebSocket: ThroughProxy, ...more });
    t.after(() => relay.close());
    relay.on('connectError', () => {});
    return relay;
  };
  const application = () => get(`https://${address}/`, cert);
  return { relayServer, relayPort, seen, options, connect, application };
}

async function listen(t, options) {
  const relayServer = new RelayServer(options);
  t.after(() => relayServer.close());
  await once(relayServer, 'listening');
  return relayServer;
}

async function startProxy(t, proxy, program, { relayPort, webPort }) {
  const { folder, cert } = makeFolder(t);
  const port = await freePort();
  const text = codeIn('tls-and-proxies.md', proxy.language)[0]
    .replaceAll('/etc/ssl/example.com', folder)
    .replaceAll('127.0.0.1:4000', `127.0.0.1:${relayPort}`)
    .replaceAll('127.0.0.1:3000', `127.0.0.1:${webPort}`)
    .replaceAll(/\b443\b/g, port)
    .replaceAll(/(timeout(?: tunnel)? )60(s?)/gi, `$1${IDLE_SECONDS}$2`);
  const file = join(folder, 'proxy.conf');
  writeFileSync(file, proxy.adapt(text, { folder, port }));
  await startService(t, program, proxy.args({ file }), { port, env: { XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder } });
  return { port, cert };
}

function get(url, ca) {
  return new Promise((resolve, reject) => {
    https.get(url, { ca, agent: false }, async (response) => resolve((await response.setEncoding('utf8').toArray()).join(''))).on('error', reject);
  });
}

/** The next `count` messages of a channel. */
function collect(channel, count) {
  const messages = [];
  return new Promise((resolve) => {
    channel.on('message', function listener(message) {
      messages.push(message);
      if (messages.length < count) return;
      channel.off('message', listener);
      resolve(messages);
    });
  });
}
