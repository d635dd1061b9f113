// The URL that `host:port` becomes in pages, frames and workers of every origin.
import assert from 'node:assert/strict';
import test from 'node:test';
import { importSource } from './server.mjs';

const { toUrl } = await importSource('address');

/** The URL that `address` becomes with the given globals. */
function urlIn(globals, address = 'example:443') {
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });
  try {
    return toUrl(address);
  } finally {
    for (const name of Object.keys(globals)) delete globalThis[name];
  }
}

// As in Chromium 156 and Firefox 153.
const PAGES = [
  ['a page', { location: { protocol: 'https:', origin: 'https://a' }, origin: 'https://a', isSecureContext: true }],
  ['a page whose script has a variable `origin`', { location: { protocol: 'https:', origin: 'https://a' }, origin: { x: 1 }, isSecureContext: true }],
  ['a sandboxed page', { location: { protocol: 'https:', origin: 'https://a' }, origin: 'null', isSecureContext: true }],
  ['a blob: worker', { location: { protocol: 'blob:', origin: 'https://a' }, origin: 'https://a', isSecureContext: true }],
  ['a blob: frame', { location: { protocol: 'blob:', origin: 'https://a' }, origin: 'https://a', isSecureContext: true }],
  ['an about:srcdoc frame', { location: { protocol: 'about:', origin: 'null', ancestorOrigins: ['https://a'] }, origin: 'https://a', isSecureContext: true }],
  ['a sandboxed about:srcdoc frame', { location: { protocol: 'about:', origin: 'null', ancestorOrigins: ['https://a'] }, origin: 'null', isSecureContext: true }],
  ['a data: frame', { location: { protocol: 'data:', origin: 'null', ancestorOrigins: ['https://a'] }, origin: 'null', isSecureContext: false }],
  ['a data: frame in a sandboxed one', { location: { protocol: 'data:', origin: 'null', ancestorOrigins: ['null', 'https://a'] }, origin: 'null', isSecureContext: false }],
];

for (const [name, globals] of PAGES) {
  test(`${name} connects over TLS if it was loaded over https, without if over http`, () => {
    assert.equal(urlIn(globals), 'wss://example:443');
    // Pages of http://localhost are secure contexts too.
    const plain = JSON.parse(JSON.stringify(globals).replaceAll('https:', 'http:'));
    assert.equal(urlIn(plain), 'ws://example:443');
  });
}

test('a data: worker in a secure context connects over TLS, except to its own machine', () => {
  const worker = { location: { protocol: 'data:', origin: 'null' }, origin: 'null', isSecureContext: true };
  assert.equal(urlIn(worker), 'wss://example:443');
  assert.equal(urlIn({ ...worker, isSecureContext: false }), 'ws://example:443');
  for (const address of ['localhost', 'localhost:4000', 'LOCALHOST:4000/relay', '127.0.0.1:4000', '[::1]:4000', 'localhost?room=1']) {
    assert.equal(urlIn(worker, address), `ws://${address}`);
  }
  for (const address of ['localhost.example:4000', '127.0.0.1.example', 'example:4000/localhost']) assert.equal(urlIn(worker, address), `wss://${address}`);
});

test('a page of another scheme connects without TLS, even in a secure context', () => {
  for (const protocol of ['file:', 'app:', 'capacitor:', 'chrome-extension:', 'http:']) {
    assert.equal(urlIn({ location: { protocol, origin: 'null' }, origin: 'null', isSecureContext: true }), 'ws://example:443', protocol);
  }
});

test('connects without TLS outside of pages', () => {
  assert.equal(urlIn({}), 'ws://example:443');
  assert.equal(urlIn({ location: undefined, origin: undefined }), 'ws://example:443');
});
