// Runs one attack while healthy clients communicate, and judges the outcome.
import { setTimeout as pause } from 'node:timers/promises';
import { attacks } from './attacks.mjs';
import { start } from './remote.mjs';

const MIB = 2 ** 20;

/**
 * Pairs of healthy clients, and milliseconds of communication before and after the attack. Where latencies are judged, the relay
 * and the healthy clients have priority over the attacker, which in reality has its own machines, and the engine over JavaScript,
 * which in reality has its own core. A short attack is repeated: otherwise one pause of the machine would dominate the p99.
 */
const FORMS = {
  quick: { pairs: 4, calm: 300, atLeast: 0 },
  long: {
    ...{ pairs: 100, calm: 3000, atLeast: 3000 },
    priorities: { relay: 10, engine: 15, healthy: 20 },
  },
};

/** Memory allowed in any case, for JavaScript and the allocator. */
const SLACK = 32 * MIB;

/** Milliseconds until unused memory is returned to the system, which is done every five seconds. */
const RETURNS_WITHIN = 20_000;

/** AddressSanitizer keeps freed memory for a while, and pads allocations. */
const isMemoryJudged = !process.env.ASAN_OPTIONS;

/**
 * Runs an attack by name. `wrong` lists the problems; `p99` has the latencies of healthy clients in milliseconds, `before`, `during`
 * and `after` the attack.
 *
 * With `isElsewhere`, another server on this machine is attacked, with a lower priority than that of the healthy clients, so that
 * `p99` shows the influence of the machine.
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
    // A new process is slow at first.
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

/** Polls until a condition holds, or for a time in milliseconds. Returns the last value. */
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
  if (lost + doubled + reordered > 0) wrong.push(`healthy clients lost ${lost} messages, ${doubled} arrived twice and ${reordered} out of order`);
  if (closed > 0 && !interrupts) wrong.push(`${closed} connections of healthy clients were closed`);
  const found = seen.split('.').reduce((value, key) => value?.[key], after) ?? 0;
  if (found < count) wrong.push(`stats().${seen} is ${found}, not ${count}`);
  if (error && !after.errors[error]) wrong.push(`no error ${error} was emitted`);
  const [most, end] = [after.peak.rss - before.rss, after.rss - before.rss];
  if (isMemoryJudged && most > grows(size) + SLACK) {
    wrong.push(`memory grew by ${mib(most)}, more than ${mib(grows(size) + SLACK)}`);
  }
  if (form === 'long') {
    if (end > SLACK) wrong.push(`memory stays ${mib(end)} higher`);
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

/** Formats a latency, which is absent if no message arrived. */
export function shown(latency) {
  return latency?.toFixed(1) ?? '–';
}

function mib(bytes) {
  return `${Math.round(bytes / MIB)} MiB`;
}
