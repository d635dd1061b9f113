// Reliable delivery over a bad network: nothing is lost, doubled or reordered. torture.mjs does the same at full size.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { ENTRIES } from './entries.mjs';
import { run } from './harness.mjs';
import { failures, row } from './score.mjs';

/** The last seed is random; if it fails, running it again reproduces the run. */
const SEEDS = [1, 2, randomInt(2 ** 31)];

async function holds(t, options) {
  const result = await run({ milliseconds: 4000, together: 4, ...options });
  t.diagnostic(JSON.stringify(row(result)));
  assert.equal(failures(result).join('\n'), '');
}

describe('delivers reliably while connections fail', { concurrency: SEEDS.length }, () => {
  for (const seed of SEEDS) {
    test(`100 pairs (seed ${seed})`, (t) => holds(t, { seed, pairs: 100, messages: 20_000 }));
  }
});

describe('delivers reliably through other entries while connections fail', { concurrency: 3 }, () => {
  const seed = randomInt(2 ** 31);
  for (const entry of ENTRIES.filter((entry) => entry !== 'port')) {
    test(`${entry}: 30 pairs (seed ${seed})`, (t) => holds(t, { entry, seed, pairs: 30, messages: 6000 }));
  }
});

describe('delivers reliably while connections fail and the server is killed', { concurrency: 2 }, () => {
  const seed = randomInt(2 ** 31);
  for (const durability of ['written', 'synced']) {
    test(`${durability}: 50 pairs (seed ${seed})`, (t) => holds(t, { seed, durability, kills: 5, pairs: 50, messages: 8000, pingTimeout: 1500 }));
  }
});
