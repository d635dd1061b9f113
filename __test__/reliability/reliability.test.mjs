// The promise of reliable delivery, on a bad network: nothing lost, doubled or reordered. torture.mjs does the same at length.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { ENTRIES } from './entries.mjs';
import { run } from './harness.mjs';
import { failures, row } from './score.mjs';

/** The last one is new each time: if it fails, its number brings the run back. */
const SEEDS = [1, 2, randomInt(2 ** 31)];

async function holds(t, options) {
  const result = await run({ milliseconds: 4000, together: 4, ...options });
  t.diagnostic(JSON.stringify(row(result)));
  assert.equal(failures(result).join('\n'), '');
}

describe('while connections fail', { concurrency: SEEDS.length }, () => {
  for (const seed of SEEDS) {
    test(`100 pairs lose, double and swap nothing (seed ${seed})`, (t) => holds(t, { seed, pairs: 100, messages: 20_000 }));
  }
});

describe('while connections fail that came in by other entries', { concurrency: 3 }, () => {
  const seed = randomInt(2 ** 31);
  for (const entry of ENTRIES.filter((entry) => entry !== 'port')) {
    test(`${entry}: 30 pairs lose, double and swap nothing (seed ${seed})`, (t) => holds(t, { entry, seed, pairs: 30, messages: 6000 }));
  }
});
