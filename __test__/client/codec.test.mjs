// The client's codec against the vectors that it shares with the server's.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { importSource } from './server.mjs';

const { encode, decode } = await importSource('codec');
const vectors = JSON.parse(readFileSync(new URL('../vectors/frames.json', import.meta.url), 'utf8'));

for (const { name, frame, means } of vectors.client) {
  test(`says ${name}`, () => {
    const { targetId, raw } = means.relay ?? {};
    assert.equal(encode(means.relay ? { relay: { targetId, message: JSON.parse(raw) } } : means), frame);
  });
}

for (const { name, frame, senderId, raw } of vectors.server) {
  test(`hears ${name}`, () => {
    assert.deepEqual(decode(frame), { relay: { senderId, message: JSON.parse(raw) } });
  });
}

for (const { name, frame } of vectors.ignored) {
  test(`hears no message in ${name}`, () => assert.ok(!decode(frame)?.relay));
}

test('passes over what is no text', () => {
  for (const data of [undefined, null, Buffer.from('{}'), new ArrayBuffer(2), new Blob(['{}'])]) {
    assert.ok(!decode(data)?.relay);
  }
});

test('passes over what nests a hundred thousand deep', () => {
  assert.ok(!decode('['.repeat(1e5) + ']'.repeat(1e5)).relay);
});

test('hears the last of a repeated member, and members it does not know', () => {
  const { relay } = decode('{"relay":5,"new":[1],"relay":{"senderId":1,"senderId":2,"message":"x","offset":7}}');
  assert.deepEqual([relay.senderId, relay.message], [2, 'x']);
});
