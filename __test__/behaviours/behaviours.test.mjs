// Each behaviour has the outcome recorded from 0.3.3, or one that differences.json lists with a reason.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import behaviours from './behaviours.mjs';
import { play } from './player.mjs';

const read = (file) => JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8'));
const recorded = read('recorded-0.3.3.json');
const intended = Object.assign({}, ...read('differences.json').map((difference) => difference.behaviours));

test('records every behaviour and nothing else', () => {
  const names = behaviours.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, 'each name once');
  assert.deepEqual(Object.keys(recorded), names, 'npm run record makes it anew');
  assert.ok(names.length >= 200);
});

test('gives each difference a reason', () => {
  const names = read('differences.json').flatMap((difference) => Object.keys(difference.behaviours));
  assert.equal(new Set(names).size, names.length, 'each has one reason');
  for (const { why } of read('differences.json')) assert.match(why, /^[A-Z].*\.$/);
  for (const name of names) assert.notDeepEqual(intended[name], recorded[name], name);
});

test('behaves as 0.3.3 except for the listed differences', async (t) => {
  const outcomes = await play('websocket-relay', behaviours);
  for (const { name } of behaviours) assert.deepEqual(outcomes[name], intended[name] ?? recorded[name], name);
  const differences = Object.keys(intended).length;
  t.diagnostic(`${behaviours.length} behaviours: ${behaviours.length - differences} as ever, ${differences} that differ as intended`);
});
