// Property tests with random server frames and application messages. `RUNS=100000` runs more cases. A failure prints the
// seed and the smallest input that fails.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import fc from 'fast-check';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import { PING, settled, World } from './model.mjs';
import { importSource } from './server.mjs';

const { encode, decode } = await importSource('codec');
const numRuns = Number(process.env.RUNS ?? 1000);

/** Any JavaScript string: a sequence of 16-bit units, which need not be valid UTF-16. */
const unit = fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0xd7f0, max: 0xe010 }), fc.constantFrom(0, 10, 34, 92, 0x2028, 0xfeff));
const string = fc.string({ unit: unit.map((code) => String.fromCharCode(code)), maxLength: 200 });
const id = fc.oneof(fc.nat(5), fc.maxSafeNat());

/** The frames that the client knows and their members. */
const FRAMES = {
  relay: ['senderId', 'message', 'offset', 'seq', 'session'],
  authenticated: ['epoch', 'resumed', 'pingInterval', 'pingTimeout'],
  accepted: ['targetId', 'seq'],
  hold: ['targetId', 'seq', 'retryAfter'],
  rejected: ['targetId', 'seq', 'code', 'message', 'last', 'notice'],
  delivered: ['targetId', 'seq'],
  presence: ['clientId', 'online'],
  error: ['code', 'message'],
  ping: [],
  pong: [],
};
const odd = fc.oneof(fc.jsonValue(), fc.constantFrom(-1, 1.5, 2 ** 31, 2 ** 53, 1e308, '1', 'x', true, false, null, [], [1], { toString: 1, valueOf: 1 }, { toJSON: 1 }));
const value = fc.oneof({ weight: 6, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: string }, { weight: 1, arbitrary: odd });
/** Sessions of which several frames may be, and texts that are nearly sessions. */
const session = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(undefined, ...Array.from({ length: 12 }, (_, n) => n.toString(16).repeat(16))) }, { weight: 1, arbitrary: fc.stringMatching(/^[\da-fA-F]{15,17}$/) }, { weight: 1, arbitrary: odd });
const valueOf = (member) => (member === 'session' ? session : value);
const known = Object.entries(FRAMES).map(([name, members]) =>
  fc.record(Object.fromEntries(members.map((member) => [member, valueOf(member)]))).map((frame) => ({ [name]: frame })),
);
/** A relay frame without a mistake. */
const relayed = fc.record({ senderId: fc.nat(2), message: string, offset: fc.nat(9), seq: fc.nat(9), session }, { requiredKeys: ['senderId', 'message'] }).map((relay) => ({ relay }));
/** A frame, two frames in one object, or a known name with another value. */
const object = fc.oneof(
  relayed,
  ...known,
  fc.tuple(fc.oneof(...known), fc.oneof(...known)).map(([one, two]) => ({ ...one, ...two })),
  fc.dictionary(fc.oneof(fc.constantFrom(...Object.keys(FRAMES)), fc.string()), odd, { maxKeys: 4 }),
);
/** The data of a WebSocket message: nearly valid frames, other JSON, other text, and data that is not text. */
const data = fc.oneof(
  { weight: 8, arbitrary: object.map((frame) => JSON.stringify(frame)) },
  { weight: 1, arbitrary: fc.json() },
  // JSON has no infinite numbers, but this is parsed as one.
  { weight: 1, arbitrary: object.map((frame) => JSON.stringify(frame).replaceAll(/(?<=:)\d/g, '1e999')) },
  { weight: 1, arbitrary: string },
  { weight: 1, arbitrary: fc.constantFrom(undefined, null, new ArrayBuffer(2), Buffer.from('{"relay":{}}')) },
);

const isId = (value) => Number.isSafeInteger(value) && value >= 0;

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

test('decode returns what JSON.parse does, or nothing', () => {
  fc.assert(
    fc.property(data, (text) => {
      const frame = decode(text);
      if (frame !== undefined) assert.deepEqual(frame, parsed(text));
      if (frame?.relay) {
        const { senderId, message, offset, seq, session } = frame.relay;
        assert.ok(isId(senderId) && typeof message === 'string' && (offset == null || isId(offset)) && (seq == null || isId(seq)));
        assert.ok(session == null || (typeof session === 'string' && session.length === 16), session);
      }
    }),
    { numRuns },
  );
});

test('every string survives encoding and decoding', () => {
  fc.assert(
    fc.property(id, id, id, string, (targetId, offset, seq, message) => {
      const encoded = JSON.parse(encode({ relay: { targetId, message } }));
      assert.deepEqual(encoded, { relay: { targetId, message } });
      // The server forwards the JSON of the message unchanged.
      const relay = { senderId: targetId, offset, message, seq, session: '9f86d081884c7d65' };
      assert.deepEqual(decode(encode({ relay })), { relay });
    }),
    { numRuns },
  );
});

test('the client never throws, whatever the server sends, and goes on', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(data, { maxLength: 3 }), fc.array(string, { maxLength: 5 }), fc.array(data, { maxLength: 20 }), fc.boolean(), async (before, messages, frames, reliable) => {
      const world = new World();
      const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x' }, { reliable });
      const wrong = [];
      const emitted = [];
      relay.on('error', ({ code, message }) => typeof code === 'string' || wrong.push(message));
      relay.on('open', ({ resumed }) => typeof resumed === 'boolean' || wrong.push(resumed));
      for (const name of ['delivered', 'expired']) relay.createChannel(1).on(name, (...numbers) => numbers.every(isId) || wrong.push(numbers));
      relay.createChannel(1).on('message', (message) => typeof message === 'string' || wrong.push(message));
      world.socket.open();
      await settled();
      for (const frame of before) world.socket.onmessage({ data: frame });
      if (reliable) world.socket.receive({ authenticated: { epoch: 'e', resumed: false, ...PING } });
      for (const message of messages) relay.createChannel(1).send(message);
      for (const frame of frames) world.socket.onmessage({ data: frame });
      await settled();
      relay.createChannel(77).on('message', (message) => emitted.push(message));
      world.socket.receive({ relay: { senderId: 77, message: 'still here', offset: 1 } });
      assert.deepEqual(emitted, ['still here']);
      // No frame makes a timer fire again and again without a delay.
      await world.advance(1000);
      assert.ok(world.sockets.length <= 2, `${world.sockets.length} connections in a second`);
      assert.deepEqual([wrong, world.uncaught], [[], []]);
    }),
    { numRuns: Math.ceil(numRuns / 5) },
  );
});

/** What happens to a page: a message of a sender's session comes, listeners come and go, the connection is lost, or the server's store. */
const happening = fc.oneof(
  { weight: 12, arbitrary: fc.record({ session: fc.nat(2), seq: fc.integer({ min: 1, max: 6 }), isNamed: fc.boolean() }) },
  { weight: 2, arbitrary: fc.constantFrom('listen', 'once', 'leave', 'leave') },
  { weight: 1, arbitrary: fc.constantFrom('lost connection', 'lost store') },
);

test('however often and in whichever order messages come, each is emitted once, in order, and none is acknowledged before', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 60 }), async (happenings) => {
      const world = new World();
      const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x' });
      const channel = relay.createChannel(1);
      const last = {};
      const hear = (text) => {
        const [session, seq] = text.split(' ');
        assert.ok(Number(seq) > (last[session] ?? 0), `${text} after ${last[session]}`);
        last[session] = Number(seq);
      };
      let epoch = 0;
      let [sent, named] = [[], undefined];
      const connect = async () => {
        world.socket.open();
        await settled();
        [sent, named] = [[], undefined];
        world.socket.onsent = ({ received }) => {
          // What is below the last that was emitted of its session is a repetition.
          for (const [session, seq] of received ? sent.slice(0, received.offset) : []) assert.ok(last[session] >= seq, `acknowledged ${session} ${seq}`);
        };
        world.socket.receive({ authenticated: { epoch: String(epoch), resumed: true, ...PING } });
      };
      await connect();
      for (const what of [...happenings, 'listen']) {
        if (['listen', 'once', 'leave'].includes(what)) {
          channel.removeAllListeners('message');
          if (what !== 'leave') channel[what === 'once' ? 'once' : 'on']('message', hear);
        } else if (typeof what === 'string') {
          if (what === 'lost store') epoch++;
          world.socket.end();
          await world.advance(1000);
          await connect();
        } else {
          const session = String(what.session).repeat(16);
          const isNamed = what.isNamed || session !== named;
          named = session;
          const offset = sent.push([session, what.seq]);
          world.socket.receive({ relay: { senderId: 1, message: `${session} ${what.seq}`, offset, seq: what.seq, ...(isNamed && { session }) } });
        }
        await settled();
      }
      await world.advance(50);
      for (const [session, seq] of sent) assert.ok(last[session] >= seq, `${session} ${seq} is missing`);
      assert.equal(world.socket.sent.findLast(({ received }) => received)?.received.offset ?? 0, sent.length);
      assert.deepEqual(world.uncaught, []);
    }),
    { numRuns: Math.ceil(numRuns / 2) },
  );
});

/** Any close reason, including those that ask for a wait. */
const waitRequest = fc.tuple(fc.oneof(fc.nat(10_000), fc.constantFrom('-5', '1e9', '99999999999', '0x10', ' 5', '')), fc.constantFrom(' ms to wait: x', ' ms to wait: ', ' ms to wait', ' ms', ' seconds', ''));
const reason = fc.oneof(waitRequest.map((parts) => parts.join('')), string);

test('only close codes 1012 and 1013 can lengthen the delay, and nothing shortens it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.integer({ min: 1000, max: 4499 }), fc.constantFrom(1012, 1013, undefined)), fc.oneof(reason, fc.constantFrom(undefined, null)), fc.nat(8), async (code, text, attempts) => {
      const world = new World(() => 0);
      const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x' });
      relay.on('connectError', () => {}).on('error', () => {});
      for (let attempt = 0; attempt < attempts; attempt++) {
        world.socket.end();
        await world.advance(5000);
      }
      const { now } = world;
      const closed = new Promise((resolve) => relay.on('close', resolve));
      world.socket.onclose({ code, reason: text });
      const { willReconnect, ...info } = await closed;
      assert.deepEqual([typeof info.code, typeof info.reason], ['number', 'string']);
      if (!willReconnect) return assert.ok([1003, 1007, 1009].includes(code), `${code}`);
      const [, requested = 0] = (code === 1012 || code === 1013) && /^(\d+) ms to wait: /.exec(text ?? '') || [];
      const own = Math.min(code === 1013 || code === 4003 ? 5000 : 1000 * 2 ** attempts, 5000);
      const wait = Math.min(Number(requested), 3_600_000) + own;
      await world.advance(wait - 1);
      assert.equal(world.sockets.length, attempts + 1, `after ${world.now - now} ms`);
      await world.advance(1);
      assert.equal(world.sockets.length, attempts + 2, `after ${world.now - now} ms`);
    }),
    { numRuns: Math.ceil(numRuns / 5), examples: [[4001, '172 messages were too many', 0], [1012, '-60000 ms to wait: x', 3], [1013, '2000 ms to wait: x', 0], [1012, '9999999999999 ms to wait: x', 0]] },
  );
});

test('every string arrives unchanged through a server, reliable or not', async (t) => {
  const server = new RelayServer({ port: 0, host: '127.0.0.1', authorizeAllChannels: true });
  t.after(() => server.close());
  await once(server, 'listening');
  for (const reliable of [true, false]) {
    const [one, two] = [server.registerClient(), server.registerClient()].map(
      ({ id, token }) => new WebSocketRelay(`127.0.0.1:${server.address().port}`, { clientId: id, token }, { reliable }),
    );
    t.after(() => [one, two].forEach((relay) => relay.close()));
    const targetId = Array.from(server.clients()).at(-1).id;
    const emitted = [];
    let onCount = () => {};
    two.createChannel(targetId - 1).on('message', (message) => onCount(emitted.push(message)));
    await fc.assert(
      fc.asyncProperty(fc.array(string, { minLength: 1, maxLength: 20 }), async (messages) => {
        emitted.length = 0;
        const all = new Promise((resolve) => (onCount = (count) => count === messages.length && resolve()));
        for (const message of messages) one.createChannel(targetId).send(message);
        await all;
        assert.deepEqual(emitted, messages);
      }),
      { numRuns: Math.ceil(numRuns / 10) },
    );
  }
});
