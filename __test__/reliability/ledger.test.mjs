// The ledger detects each kind of violation, and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ledger } from './ledger.mjs';
import { compose, recognize } from './messages.mjs';

/** A ledger with a page on each side, and accepted messages of the sender. */
function ledger(accepted = 5, options = {}) {
  const book = new Ledger(options);
  book.openSender();
  book.openListener();
  send(book, 0, accepted);
  return book;
}

function send(book, page, count) {
  for (let i = 0; i < count; i += 1) book.accept(page, book.send(page));
}

function hear(book, listener, page, ...numbers) {
  for (const n of numbers) book.hear(listener, page, n);
}

function score(book) {
  book.close();
  const { lost, doubled, reordered, repeated } = book;
  return { lost, doubled, reordered, repeated };
}

const GOOD = { lost: 0, doubled: 0, reordered: 0, repeated: 0 };

test('accepts each message once and in order', () => {
  const book = ledger();
  hear(book, 0, 0, 1, 2, 3);
  assert.equal(book.isComplete, false);
  hear(book, 0, 0, 4, 5);
  assert.equal(book.isComplete, true);
  assert.deepEqual(score(book), GOOD);
});

test('counts missing messages as lost', () => {
  const book = ledger();
  hear(book, 0, 0, 1, 3, 4);
  assert.deepEqual(score(book), { ...GOOD, lost: 2 });
  assert.match(book.violations.join('\n'), /never got 0 2\n.*never got 0 5$/);
});

test('counts repeated messages as doubled', () => {
  const book = ledger();
  hear(book, 0, 0, 1, 1, 2, 3, 4, 2, 5);
  assert.deepEqual(score(book), { ...GOOD, doubled: 2 });
});

test('counts late messages as reordered', () => {
  const book = ledger();
  hear(book, 0, 0, 1, 3, 2, 4, 5);
  assert.deepEqual(score(book), { ...GOOD, reordered: 1 });
});

test('does not expect rejected messages, and does not allow them', () => {
  const book = ledger(3);
  book.refuse(0, book.send(0));
  send(book, 0, 1);
  hear(book, 0, 0, 1, 2, 3, 5);
  assert.deepEqual(score(book), GOOD);
  hear(book, 0, 0, 4);
  assert.equal(book.doubled, 1);
});

test('allows a reloaded page to receive unacknowledged messages again, without gaps', () => {
  const again = ledger();
  hear(again, 0, 0, 1, 2, 3);
  again.openListener();
  hear(again, 1, 0, 2, 3, 4, 5);
  assert.deepEqual(score(again), { ...GOOD, repeated: 2 });

  const gap = ledger();
  hear(gap, 0, 0, 1, 2);
  gap.openListener();
  hear(gap, 1, 0, 4, 5);
  assert.deepEqual(score(gap), { ...GOOD, lost: 1 });

  const swap = ledger();
  hear(swap, 0, 0, 1, 2);
  swap.openListener();
  hear(swap, 1, 0, 2, 4, 3, 5);
  assert.deepEqual(score(swap), { ...GOOD, reordered: 1, repeated: 1 });
});

test('allows a reloaded page to receive any of what another had received, when the server was killed', () => {
  const killed = ledger(7, { isServerKilled: true });
  hear(killed, 0, 0, 1, 2, 3, 4, 5);
  killed.openListener();
  hear(killed, 1, 0, 2, 4, 6, 7);
  assert.deepEqual(score(killed), { ...GOOD, repeated: 2 });

  const gap = ledger(5, { isServerKilled: true });
  hear(gap, 0, 0, 1, 2);
  gap.openListener();
  hear(gap, 1, 0, 1, 3, 5);
  assert.deepEqual(score(gap), { ...GOOD, lost: 1, repeated: 1 });

  const swap = ledger(5, { isServerKilled: true });
  hear(swap, 0, 0, 1, 2, 3);
  swap.openListener();
  hear(swap, 1, 0, 3, 1, 4, 5);
  assert.deepEqual(score(swap), { ...GOOD, reordered: 1, repeated: 1 });

  const older = ledger(5, { isServerKilled: true });
  older.openListener();
  hear(older, 0, 0, 1);
  hear(older, 1, 0, 2, 3);
  hear(older, 0, 0, 4, 5);
  assert.deepEqual(score(older), { ...GOOD, lost: 2 });
});

test('expects accepted messages of a page that is gone, and allows others, all before its successor', () => {
  const may = ledger(3);
  may.send(0);
  may.send(0);
  may.openSender();
  send(may, 1, 2);
  hear(may, 0, 0, 1, 2, 3, 4);
  hear(may, 0, 1, 1, 2);
  assert.deepEqual(score(may), GOOD);

  const must = ledger(3);
  must.openSender();
  send(must, 1, 2);
  hear(must, 0, 0, 1, 2);
  hear(must, 0, 1, 1, 2);
  assert.deepEqual(score(must), { ...GOOD, lost: 1 });

  const after = ledger(3);
  after.send(0);
  after.openSender();
  send(after, 1, 2);
  hear(after, 0, 0, 1, 2, 3);
  hear(after, 0, 1, 1);
  hear(after, 0, 0, 4);
  hear(after, 0, 1, 2);
  assert.deepEqual(score(after), { ...GOOD, reordered: 1 });
});

test('allows a page without a reply from the server to arrive late, as a whole', () => {
  const book = ledger(0);
  book.send(0);
  book.send(0);
  book.openSender();
  send(book, 1, 3);
  hear(book, 0, 1, 1, 2);
  hear(book, 0, 0, 1, 2);
  hear(book, 0, 1, 3);
  book.openListener();
  hear(book, 1, 0, 1, 2);
  hear(book, 1, 1, 3);
  assert.deepEqual(score(book), { ...GOOD, repeated: 3 });
  assert.equal(book.late, 1);
});

test('recognizes a message by its text, and detects any change', () => {
  const text = compose('7.1', 12);
  assert.deepEqual(recognize(text), { page: '7.1', n: 12 });
  assert.equal(recognize(`${text}.`), null);
  assert.equal(recognize(text.slice(0, -1)), null);
  assert.equal(recognize('nonsense'), null);
});
