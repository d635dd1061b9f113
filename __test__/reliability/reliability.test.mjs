// The promise of reliable delivery, on a bad network: nothing lost, doubled or reordered. torture.mjs does the same at length.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { run } from './harness.mjs';
import { failures, row } from './score.mjs';

/** The last one is new each time: if it fails, its number brings the run back. */
const SEEDS = [1, 2, randomInt(2 ** 31)];

describe('while connections fail', { concurrency: SEEDS.length + 1 }, () => {
  for (const seed of SEEDS) {
    test(`100 pairs lose, double and swap nothing (seed ${seed})`, async (t) => {
      const result = await run({ seed, pairs: 100, messages: 20_000, milliseconds: 4000, together: 4 });
      t.diagnostic(JSON.stringify(row(result)));
      assert.equal(failures(result).join('\n'), '');
    });
  }
  const seed = randomInt(2 ** 31);
  test(`so do 60 over TLS (seed ${seed})`, async (t) => {
    const result = await run({ seed, pairs: 60, messages: 12_000, milliseconds: 4000, together: 4, tls: true });
    t.diagnostic(JSON.stringify(row(result)));
    assert.equal(failures(result).join('\n'), '');
  });
});
