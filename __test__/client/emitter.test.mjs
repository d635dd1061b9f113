// The client's emitter works like Node's, except for listeners that throw and for errors without a listener.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import test from 'node:test';
import { importSource } from './server.mjs';

const { Emitter } = await importSource('emitter');

test('works like Node\'s EventEmitter, also while listeners change it', () => {
  for (let seed = 1; seed <= 1000; seed++) {
    assert.deepEqual(play(new Emitter(), seed), play(new EventEmitter().setMaxListeners(0), seed), `seed ${seed}`);
  }
});

/** Makes random calls on an emitter, also from within its listeners. Returns a log of everything that happened. */
function play(emitter, seed) {
  const random = (below) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const log = [];
  let budget = 60;
  const listeners = Array.from({ length: 4 }, (_, index) => function (...args) {
    assert.equal(this, emitter);
    log.push(`listener ${index} of ${args.join()}`);
    if (random(2)) move();
  });
  const moves = ['on', 'on', 'addListener', 'once', 'once', 'off', 'removeListener', 'removeAllListeners', 'emit', 'emit', 'emit'];
  const move = () => {
    if (budget-- <= 0) return;
    const name = moves[random(moves.length)];
    const event = ['a', 'b'][random(2)];
    log.push(`${name} ${event}`);
    if (name === 'emit') log.push(`emitted ${event} ${emitter.emit(event, event, budget)}`);
    else if (name === 'removeAllListeners') assert.equal(random(2) ? emitter[name](event) : random(4) ? emitter : emitter[name](), emitter);
    else assert.equal(emitter[name](event, listeners[random(4)]), emitter);
    log.push(`has ${['a', 'b'].map((e) => [emitter.listenerCount(e), ...emitter.listeners(e).map((l) => listeners.indexOf(l))])}`);
    log.push(`names ${emitter.eventNames().toSorted()}`);
  };
  while (budget > 0) move();
  return log;
}

test('refuses a listener that is not a function', () => {
  for (const add of ['on', 'addListener', 'once']) {
    for (const wrong of [undefined, null, 'f', {}]) {
      assert.throws(() => new Emitter()[add]('a', wrong), { name: 'TypeError', message: /^listener must be a function, not / });
    }
  }
});

test('works with events.once', async () => {
  const emitter = new Emitter();
  const args = once(emitter, 'a');
  emitter.emit('a', 1, 2);
  assert.deepEqual(await args, [1, 2]);
  assert.equal(emitter.listenerCount('a'), 0);
});

test('an error thrown by a listener surfaces as uncaught and does not stop other listeners', (t) => {
  const uncaught = catchMicrotasks(t);
  const emitter = new Emitter();
  const calls = [];
  const error = new Error('of the first listener');
  emitter.once('a', () => {
    throw error;
  });
  emitter.on('a', (value) => calls.push(value));
  assert.equal(emitter.emit('a', 1), true);
  assert.equal(emitter.emit('a', 2), true);
  assert.deepEqual(calls, [1, 2]);
  assert.deepEqual(uncaught, [error]);
});

test('prints an error without a listener and does not throw it', (t) => {
  const print = t.mock.method(console, 'error', () => {});
  const emitter = new Emitter();
  const error = new Error('x');
  assert.equal(emitter.emit('error', error), false);
  assert.deepEqual(print.mock.calls[0].arguments, [error]);
  emitter.on('error', () => {});
  assert.equal(emitter.emit('error', error), true);
  assert.equal(print.mock.callCount(), 1);
});

/** Runs microtasks at once. Returns the list of the errors that they throw. */
function catchMicrotasks(t) {
  const uncaught = [];
  t.mock.method(globalThis, 'queueMicrotask', (task) => {
    try {
      task();
    } catch (error) {
      uncaught.push(error);
    }
  });
  return uncaught;
}
