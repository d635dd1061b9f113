// The client's codec, tested with the vectors that it shares with the server.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { importSource } from './server.mjs';

const { encode, decode } = await importSource('codec');
const vectors = JSON.parse(readFileSync(new URL('../vectors/frames.json', import.meta.url), 'utf8'));

for (const { name, frame, means } of vectors.client) {
  test(`encodes ${name}`, () => {
    const { targetId, raw } = means.relay ?? {};
    assert.equal(encode(means.relay ? { relay: { targetId, message: JSON.parse(raw) } } : means), frame);
  });
}

for (const { name, frame, senderId, raw } of vectors.server) {
  test(`decodes ${name}`, () => {
    assert.deepEqual(decode(frame), { relay: { senderId, message: JSON.parse(raw) } });
  });
}

for (const { name, frame } of vectors.ignored) {
  test(`finds no message in ${name}`, () => assert.ok(!decode(frame)?.relay));
}

test('ignores data that is not text', () => {
  for (const data of [undefined, null, Buffer.from('{}'), new ArrayBuffer(2), new Blob(['{}'])]) {
    assert.ok(!decode(data)?.relay);
  }
});

test('ignores frames nested a hundred thousand deep', () => {
  assert.ok(!decode('['.repeat(1e5) + ']'.repeat(1e5)).relay);
});

test('uses the last of a repeated member and ignores unknown members', () => {
  const { relay } = decode('{"relay":5,"new":[1],"relay":{"senderId":1,"senderId":2,"message":"x","offset":7}}');
  assert.deepEqual([relay.senderId, relay.message], [2, 'x']);
});
