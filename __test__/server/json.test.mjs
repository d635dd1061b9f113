// JSON of any form and length is read as `JSON.parse` reads it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { Random } from '../reliability/random.mjs';
import { Connection, listen, pair } from './support.mjs';

const { shapes } = JSON.parse(readFileSync(new URL('../vectors/shapes.json', import.meta.url), 'utf8'));
const MAX_NESTING = 128;
const CODES = {
  invalid: 'ERR_INVALID_JSON',
  unrecognized: 'ERR_UNRECOGNIZED_MESSAGE',
  elsewhere: 'ERR_CHANNEL_NOT_REGISTERED',
  wrong: 'ERR_INCORRECT_TOKEN',
};

/** Returns what a text from client 0 means, which has a channel to client 1: a code of CODES, or the message. */
function meaning(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return { code: CODES.invalid };
  }
  if (depthOf(text) > MAX_NESTING) return { code: CODES.invalid };
  const authentication = member(value, 'authentication');
  if (isId(member(authentication, 'clientId')) && typeof member(authentication, 'token') === 'string') return { code: CODES.wrong };
  const relay = member(value, 'relay');
  const [target, message] = [member(relay, 'targetId'), member(relay, 'message')];
  if (!isId(target) || typeof message !== 'string') return { code: CODES.unrecognized };
  return target === 1 ? { message } : { code: CODES.elsewhere };
}

const isId = (value) => Number.isSafeInteger(value) && value >= 0;
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const member = (value, name) => (isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined);

function depthOf(json) {
  let [depth, deepest] = [0, 0];
  for (const [token] of json.matchAll(/"(?:\\.|[^"\\])*"|[[\]{}]/gs)) {
    if (token === '[' || token === '{') deepest = Math.max(deepest, (depth += 1));
    else if (token === ']' || token === '}') depth -= 1;
  }
  return deepest;
}

/** Generates unusual JSON, and text that is almost JSON. */
class Writer {
  #random;

  constructor(random) {
    this.#random = random;
  }

  text() {
    const relay = this.#object([['targetId', () => this.#number()], ['message', () => this.#string()]]);
    const frame = this.#object([['relay', () => (this.#random.chance(0.9) ? relay : this.#value(2))]]);
    return this.#random.chance(0.3) ? this.#spoiled(frame) : frame;
  }

  /** An object with these members and perhaps others, in random order, perhaps with duplicates. */
  #object(known) {
    const members = known.filter(() => this.#random.chance(0.95)).map(([name, value]) => [name, value()]);
    while (this.#random.chance(0.4)) {
      const name = this.#random.pick(['', 'a', '__proto__', 'constructor', 'toString', 'relay', 'targetId', 'message', '\ud800', 'authentication', '\0']);
      members.splice(this.#random.between(0, members.length), 0, [name, this.#value(2)]);
    }
    return `${this.#space()}{${members.map(([name, value]) => this.#space() + this.#quoted(name) + this.#space() + ':' + value).join(',')}${this.#space()}}${this.#space()}`;
  }

  #value(depth) {
    const kinds = ['null', 'true', 'false', this.#number(), this.#string()];
    if (depth > 0) kinds.push(`[${this.#value(depth - 1)},${this.#value(depth - 1)}]`, `{${this.#quoted('targetId')}:${this.#value(depth - 1)}}`);
    const deep = this.#random.pick([...Array(20).fill(0), 100, 126, 200]);
    return this.#space() + '['.repeat(deep) + this.#random.pick(kinds) + ']'.repeat(deep) + this.#space();
  }

  #number() {
    const digits = () => Array.from({ length: this.#random.between(1, 4) }, () => this.#random.between(0, 9)).join('');
    const likely = [...Array(30).fill('1'), '1.0', '1e0', '10E-1', '0.1e+1', '-0', '0', '2', '1.5', '-1', '9007199254740991', '9007199254740992', '1e400', '1e-400', '1.00000000000000000001'];
    const strange = ['01', '+1', '.5', '1.', '1e', '-', '0x1', 'NaN', 'Infinity', `${digits()}.${digits()}e${digits()}`, `-${digits()}E-${digits()}`, digits()];
    return this.#space() + this.#random.pick(this.#random.chance(0.85) ? likely : strange) + this.#space();
  }

  #string() {
    return this.#space() + this.#quoted(Array.from({ length: this.#random.between(0, 8) }, () => this.#character()).join('')) + this.#space();
  }

  #character() {
    return this.#random.pick(['a', '0', ' ', '"', '\\', '/', '\n', '\0', '\u001f', '\u007f', 'é', '\u2028', '\ufeff', '\uffff', '😀', '\ud83d', '\ude00', '{', ']']);
  }

  /** A JSON string, with each character written or escaped at random. */
  #quoted(text) {
    const escaped = (character) =>
      Array.from({ length: character.length }, (_, n) => {
        const digits = character.charCodeAt(n).toString(16).padStart(4, '0');
        return `\\u${this.#random.chance(0.5) ? digits : digits.toUpperCase()}`;
      }).join('');
    const written = (character) => (this.#random.chance(0.2) ? escaped(character) : JSON.stringify(character).slice(1, -1));
    return `"${Array.from(text, written).join('')}"`;
  }

  #space() {
    return this.#random.chance(0.9) ? '' : this.#random.pick([' ', '\n', '\r\n', '\t', '   ', '\t \n', this.#random.chance(0.1) ? '\v' : '', this.#random.chance(0.1) ? '\u00a0' : '']);
  }

  /** Removes, doubles or inserts something. */
  #spoiled(text) {
    const at = this.#random.between(0, text.length);
    const other = this.#random.pick(['', text.slice(at, at + 3), ',', '"', '\\', '{', '}', ']', ':', 'x', '\0', '\ufeff', '0', 'e', '-']);
    // Not in the middle of a character.
    return (text.slice(0, at) + other + text.slice(at + this.#random.between(0, 2))).toWellFormed();
  }
}

/** Sends texts at once. Returns the outcome of each, from the order of the errors and of the messages. */
async function outcomes(t, texts) {
  const server = await listen(t, { maxOffences: 1_000_000, maxQueuedEvents: 1_000_000 });
  const errors = [];
  server.on('error', ({ code }) => errors.push(code));
  const [one, two] = await Promise.all(pair(server).map((client) => Connection.open(server, client)));
  const end = `the end of ${texts.length}`;
  for (const text of [...texts, JSON.stringify({ relay: { targetId: 1, message: end } }), '[]']) one.send(text);
  const messages = [];
  for (let message; (message = (await two.relayed()).message) !== end; ) messages.push(message);
  // Errors arrive in order too. The last one follows the last message.
  const expected = texts.map(meaning).filter(({ code }) => code).length + 1;
  while (errors.length < expected) await new Promise((resolve) => server.once('error', resolve));
  one.socket.terminate();
  two.socket.terminate();
  return { errors: errors.slice(0, -1), messages };
}

function expectedOf(texts) {
  const all = texts.map(meaning);
  return {
    errors: all.filter(({ code }) => code).map(({ code }) => code),
    messages: all.filter(({ code }) => !code).map(({ message }) => message),
  };
}

test('reads random JSON as JSON.parse does', async (t) => {
  const seed = Number(process.env.SEED ?? 1);
  const writer = new Writer(new Random(seed));
  const texts = Array.from({ length: Number(process.env.TEXTS ?? 5000) }, () => writer.text()).filter((text) => meaning(text).code !== CODES.wrong);
  const expected = expectedOf(texts);
  t.diagnostic(`seed ${seed}, ${texts.length} texts: ${expected.messages.length} messages, ${expected.errors.length} mistakes`);
  for (const kind of ['invalid', 'unrecognized', 'elsewhere']) assert.ok(expected.errors.includes(CODES[kind]), kind);
  assert.ok(expected.messages.length > texts.length / 10);
  assert.deepEqual(await outcomes(t, texts), expected);
});

test('reads texts of every form and length', async (t) => {
  const long = (length) => ({ before, repeat, after }) => before + repeat.repeat(length / repeat.length) + after;
  for (const length of [64, 250_000]) {
    const chosen = shapes.filter(({ means }) => means !== 'wrong');
    const texts = chosen.map(long(length));
    chosen.forEach(({ name, means }, n) => assert.equal(meaning(texts[n]).code, CODES[means], `${name}, ${length}`));
    assert.deepEqual(await outcomes(t, texts), expectedOf(texts));
  }
});
