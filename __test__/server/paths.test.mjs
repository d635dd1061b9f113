// `path` matches the request target that clients send for it, however the option is written.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { upgradeRequest } from './raw.mjs';
import { listen, statusOf } from './support.mjs';

const own = async (t, options) => {
  const relay = await listen(t, options);
  return relay.address().port;
};
const attached = async (t, options) => {
  const web = http.createServer().listen(0, '127.0.0.1');
  await once(web, 'listening');
  const relay = new RelayServer({ server: web, ...options });
  t.after(async () => {
    await relay.close();
    web.close().closeAllConnections();
  });
  return web.address().port;
};

/** Returns the status of a request for exactly this target. */
async function statusAt(port, target) {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(upgradeRequest(target));
  const [chunk] = await once(socket, 'data');
  socket.destroy();
  return Number(String(chunk).slice(9, 12));
}

for (const [way, open] of Object.entries({ 'its own port': own, 'an http server': attached })) {
  for (const [path, at, not] of [
    ['/relé', ['/rel%C3%A9', '/rel%c3%a9?a', '/%72el%C3%A9'], ['/rel%E9', '/rele', '/rel%C3%A9/']],
    ['/rel%C3%A9', ['/rel%C3%A9', '/rel%c3%a9'], ['/rel%25C3%25A9']],
    ['/日本/🦀', ['/%E6%97%A5%E6%9C%AC/%F0%9F%A6%80'], ['/%E6%97%A5%E6%9C%AC%2F%F0%9F%A6%80']],
    ['/a b ', ['/a%20b%20'], ['/a+b', '/a%20b']],
    ['/a%2Fb', ['/a%2Fb', '/a%2fb'], ['/a/b', '/a%252Fb']],
    ['/a/../b/./c', ['/b/c'], ['/a/../b/./c', '/a/b/c']],
    ['/~a@b', ['/~a@b', '/%7Ea%40b'], ['/~a@B']],
    ['/50%', ['/50%', '/50%25'], ['/50']],
    ['//a', ['//a', 'http://localhost//a'], ['/a']],
    ['/relay', ['/relay', 'http://localhost/relay?a=b', 'WS://localhost:80/relay'], ['http://localhost/relays', 'http://localhost', '/x/http://localhost/relay', '*']],
    ['/', ['/', '/?a', 'http://localhost', 'http://localhost?a'], ['/a', '//']],
  ]) {
    test(`${way}: matches exactly the targets of ${path}`, async (t) => {
      const port = await open(t, { path });
      for (const target of at) assert.equal(await statusAt(port, target), 101, target);
      for (const target of not) assert.equal(await statusAt(port, target), 404, target);
      // As a client makes it of the path, except for trailing spaces, which no URL has.
      const url = `ws://127.0.0.1:${port}${path.replace(/ $/, '%20')}`;
      assert.equal(await statusOf({ url }), 101);
    });
  }
}

test('rejects a path that no URL can have', () => {
  for (const path of ['relay', '', '?a', '/a?b', '/a#b', '/a\tb', '/a\n', '/a\0', '/\x7f', 'http://localhost/relay', '\\relay', 5]) {
    assert.throws(() => new RelayServer({ noServer: true, path }), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /^options\.path must be a path/ });
  }
});
