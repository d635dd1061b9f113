// Runs one attack while healthy pairs talk, and says what became of everybody.
import { setTimeout as pause } from 'node:timers/promises';
import { attacks } from './attacks.mjs';
import { start } from './remote.mjs';

const MIB = 2 ** 20;

/**
 * Pairs of healthy clients, and how long they talk before and after the attack, in milliseconds. Where latencies are judged, the
 * relay and the healthy go before the attacker, who elsewhere has machines of his own, and the relay's engine before its
 * JavaScript, which elsewhere has a core of its own. And an attack that is over sooner is repeated: one pause of the machine would else be more than a hundredth of all
 * that was measured.
 */
const FORMS = {
  quick: { pairs: 4, calm: 300, atLeast: 0 },
  long: {
    ...{ pairs: 100, calm: 3000, atLeast: 3000 },
    priorities: { relay: 10, engine: 15, healthy: 20 },
  },
};

/** What memory may be taken in any case: JavaScript takes some, and the allocator keeps some. */
const SLACK = 32 * MIB;

/** Milliseconds in which memory that is needed no more goes back to the system: it is looked at every five seconds. */
const RETURNS_WITHIN = 20_000;

/** AddressSanitizer keeps what is freed for a while, and puts something around whatever is there. */
const isMemoryJudged = !process.env.ASAN_OPTIONS;

/**
 * Runs an attack by its name. `wrong` is a list of what is wrong, empty when all is well; `p99` has the latencies of the healthy in
 * milliseconds, `before`, `during` and `after`, which say as much of the machine.
 *
 * With `isElsewhere` all is the same, but another server on this machine is attacked, one that goes behind that of the healthy:
 * `p99` is what the machine makes of it.
 */
export async function run(name, form, { isElsewhere = false } = {}) {
  const { tls = false, interrupts = false, options = () => ({}), grows = () => 0, seen, error, ...sizes } = attacks[name];
  const [{ pairs, calm, atLeast, priorities = {} }, size] = [FORMS[form], sizes[form]];
  const [relay, healthy] = ['relay', 'healthy'].map((name) => start(`${name}.mjs`, { priority: priorities[name] }));
  const target = isElsewhere ? start('relay.mjs') : relay;
  const attacker = start('attacker.mjs', { methods: { relay: target.call, healthy: healthy.call } });
  try {
    const settings = { options: options(size, pairs), tls, pairs };
    const place = await relay.call('open', { ...settings, engine: priorities.engine });
    const { port } = isElsewhere ? await target.call('open', settings) : place;
    await healthy.call('connect', { ...place, onlyReliable: interrupts });
    // What is new is slow at first.
    await pause(calm);
    await healthy.call('mark');
    await pause(calm);
    const before = await target.call('rest');
    await target.call('forgetPeak');
    await healthy.call('mark');
    const attacked = await attacker.call('run', { name, form, atLeast, port, pairs }).catch((reason) => ({ reason }));
    await healthy.call('mark');
    await pause(calm);
    const talk = await healthy.call('finish');
    const latencies = await healthy.call('latencies');
    const isBack = ({ rss }) => rss - before.rss <= SLACK;
    const after = await settled(() => target.call('rest'), isBack, form === 'long' ? RETURNS_WITHIN : 0);
    return judge({ name, form, size, grows, seen, error, interrupts, before, attacked, talk, after, latencies });
  } catch (reason) {
    return { row: { attack: name, alive: relay.isAlive() }, wrong: [String(reason.stack)], p99: {} };
  } finally {
    await Promise.all([relay, healthy, attacker, target].map((process) => process.end()));
  }
}

/** Looks until it is so, or for so many milliseconds; what was seen last. */
async function settled(look, isSo, milliseconds) {
  const end = performance.now() + milliseconds;
  let seen = await look();
  while (!isSo(seen) && performance.now() < end) {
    await pause(500);
    seen = await look();
  }
  return seen;
}

function judge({ name, form, size, grows, seen, error, interrupts, before, attacked, talk, after, latencies }) {
  const { reason, sent, count, took, times } = attacked;
  const { lost, doubled, reordered, closed } = talk;
  const wrong = [];
  if (reason) wrong.push(reason.message);
  if (lost + doubled + reordered > 0) wrong.push(`the healthy lost ${lost}, got ${doubled} twice and ${reordered} in another order`);
  if (closed > 0 && !interrupts) wrong.push(`${closed} connections of the healthy were closed`);
  const found = seen.split('.').reduce((value, key) => value?.[key], after) ?? 0;
  if (found < count) wrong.push(`stats().${seen} is ${found}, not ${count}`);
  if (error && !after.errors[error]) wrong.push(`no error ${error} was told`);
  const [most, end] = [after.peak.rss - before.rss, after.rss - before.rss];
  if (isMemoryJudged && most > grows(size) + SLACK) {
    wrong.push(`memory grew by ${mib(most)}; it may by ${mib(grows(size) + SLACK)}`);
  }
  if (form === 'long') {
    if (end > SLACK) wrong.push(`memory is ${mib(end)} above what it was`);
    if (took && took.ms > took.max) wrong.push(`${took.what} after ${Math.round(took.ms)} ms, not ${took.max}`);
  }
  const p99 = Object.fromEntries(['before', 'during', 'after'].map((when, index) => [when, latencies[index].p99]));
  const row = {
    attack: name,
    sent: times > 1 ? `${sent}, ${times} times` : sent,
    alive: true,
    healthy: talk.sent,
    'lost, doubled, reordered': [lost, doubled, reordered].join(', '),
    'p99 before, during, after (ms)': Object.values(p99).map(shown).join(', '),
    'RSS before, peak, after': [before.rss, after.peak.rss, after.rss].map(mib).join(', '),
    [`seen in stats()`]: `${seen}: ${found}`,
    error: error ?? '',
    took: took ? `${took.what} after ${Math.round(took.ms)} ms` : '',
  };
  return { row, wrong, p99 };
}

/** A latency; none when nothing arrived meanwhile. */
export function shown(latency) {
  return latency?.toFixed(1) ?? '–';
}

function mib(bytes) {
  return `${Math.round(bytes / MIB)} MiB`;
}
