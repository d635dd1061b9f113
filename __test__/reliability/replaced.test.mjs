// A page that was replaced stays replaced when the server is killed and started again.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Connection } from '../server/support.mjs';
import { Random } from './random.mjs';
import { freePort, RelayProcess } from './relay.mjs';

const [A, B, C] = ['a', 'b', 'c'].map((digit) => digit.repeat(16));

/** A server with a store, in its own process, and a client. `again()` kills the server and starts it. */
async function open(t, durability) {
  const folder = await mkdtemp(join(tmpdir(), 'websocket-relay-'));
  const options = { port: await freePort(new Random(Math.random())), store: { path: join(folder, 'relay.db'), durability } };
  const relay = new RelayProcess({ entry: 'port', options, clients: 1 });
  const { url, clients: [client] } = await relay.listening;
  t.after(async () => {
    await relay.kill();
    await rm(folder, { recursive: true });
  });

  /** Connects as a page. Resolves to its connection and, unless it was sent away, the frame `authenticated`. */
  async function connect(session, number, epoch) {
    const connection = await Connection.open({ url });
    const { id, token } = client;
    connection.send({ authentication: { clientId: id, token, version: 2, session, connection: number, epoch } });
    const answer = await Promise.race([connection.text(), connection.closed]);
    return { connection, answer: typeof answer === 'string' ? JSON.parse(answer).authenticated : answer };
  }

  async function again() {
    await relay.kill();
    relay.start();
    await relay.listening;
  }
  return { connect, again };
}

/** The page is told that it was replaced, whatever the number of its connection. */
async function staysReplaced(connect, session, last) {
  for (const number of [last - 1, last, last + 1]) {
    const { answer } = await connect(session, number);
    assert.equal(answer.code, 4501, `connection ${number} of a page that was replaced: ${JSON.stringify(answer)}`);
  }
}

for (const durability of ['written', 'synced']) {
  describe(`a page that was replaced stays replaced (${durability})`, () => {
    test('by a page that is away when it comes back', async (t) => {
      const { connect, again } = await open(t, durability);
      const first = await connect(A, 5);
      const { answer: { epoch } } = await connect(B, 1);
      assert.equal((await first.connection.closed).code, 4501);
      await again();
      await staysReplaced(connect, A, 5);
      assert.equal((await connect(B, 2, epoch)).answer.resumed, true);
    });

    test('by a page that is there again', async (t) => {
      const { connect, again } = await open(t, durability);
      await connect(A, 5);
      const { answer: { epoch } } = await connect(B, 1);
      await again();
      const { connection, answer: { resumed } } = await connect(B, 2, epoch);
      assert.equal(resumed, true);
      await staysReplaced(connect, A, 5);
      connection.send({ ping: {} });
      assert.equal(await connection.text(), '{"pong":{}}');
    });

    test('across several starts', async (t) => {
      const { connect, again } = await open(t, durability);
      await connect(A, 5);
      await again();
      await connect(B, 7);
      await again();
      await connect(C, 1);
      await again();
      await staysReplaced(connect, A, 5);
      await staysReplaced(connect, B, 7);
    });

    test('and so does an older connection of the same page', async (t) => {
      const { connect, again } = await open(t, durability);
      const { answer: { epoch } } = await connect(A, 5);
      await again();
      assert.equal((await connect(A, 4, epoch)).answer.code, 4501);
      assert.equal((await connect(A, 6, epoch)).answer.resumed, true);
    });
  });
}
