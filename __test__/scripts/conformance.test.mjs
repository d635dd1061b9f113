import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groups, judged, table } from '../../conformance/report.mjs';

const result = (behavior, behaviorClose = 'OK') => ({ behavior, behaviorClose });

test('cases are counted by group and verdict, and what was not run has failed', () => {
  const chosen = [
    { number: 1, title: 'One', cases: 3 },
    { number: 10, title: 'Ten', cases: 4 },
  ];
  const { rows, notes } = judged(chosen, {
    '1.1.1': result('OK'),
    '1.1.2': result('NON-STRICT'),
    '1.1.3': result('INFORMATIONAL', 'INFORMATIONAL'),
    '10.1.10': result('FAILED'),
    '10.1.2': result('OK', 'UNCLEAN'),
    '10.1.3': result('OK', 'WRONG CODE'),
  });
  assert.deepEqual(rows, [
    { title: '1 One', cases: 3, ok: 1, nonStrict: 1, informational: 1, failed: 0 },
    { title: '10 Ten', cases: 4, ok: 0, nonStrict: 0, informational: 0, failed: 4 },
    { title: 'All', cases: 7, ok: 1, nonStrict: 1, informational: 1, failed: 4 },
  ]);
  assert.deepEqual(notes, ['Non-strict: 1.1.2', 'Informational: 1.1.3', 'Failed: 10.1.2, 10.1.3, 10.1.10', 'Not run: 1']);
  assert.equal(table(rows.slice(0, 1)), '       cases  OK  non-strict  informational  failed\n1 One      3   1           1              1       0');
});

test('301 cases are run', () => {
  assert.equal(judged(groups, {}).rows.at(-1).cases, 301);
});
