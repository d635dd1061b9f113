// A process with some pairs of clients, and the bad network between them and the server.
import { once, setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { Ledger } from './ledger.mjs';
import { Proxy } from './proxy.mjs';
import { Random } from './random.mjs';
import { Side } from './side.mjs';

/** Relative frequency of each fault. Half-open connections take long to detect, so they are rarer. */
const FAULTS = { cut: 8, reset: 8, stall: 6, chop: 8, swallow: 1, swallowUp: 1, swallowDown: 1, deafen: 1, orphan: 2 };

/** Milliseconds without any arrival after which nothing more is expected. */
const PATIENCE = 60_000;

/** Number of problems after which a run is not worth going on with. */
const HOPELESS = 100;

/** Faults end when at most this share of clients still has messages to send. */
const REST = 0.1;

/** Number of pairs with violations that are described. */
const DESCRIBED = 5;

// The parent has ended.
process.on('disconnect', () => process.exit());
const [plan] = await once(process, 'message');
/** Whether the server is killed now and then. Until that ends, so that it hits something, messages are sent. */
let isKilled = plan.kills > 0;
const sides = [];
process.on('message', () => {
  isKilled = false;
  for (const side of sides) side.wake();
});
const random = new Random(plan.seed);
let latest = Date.now();
let arrived = 0;
const faults = Object.fromEntries(Object.keys(FAULTS).map((name) => [name, 0]));
const pairs = await Promise.all(plan.pairs.map(makePair));
sides.push(...pairs.flatMap((pair) => pair.sides));
const proxies = pairs.flatMap((pair) => pair.proxies);
const gaveUp = await Promise.race([everything(), hopeless()]);
process.send({ result: result(gaveUp) }, () => process.exit());

async function everything() {
  const calm = new AbortController();
  setMaxListeners(0, calm.signal);
  const storms = groups(proxies, plan.together).map((group, index) => storm(group, random.fork(`storm ${index}`), calm.signal));
  let busy = sides.length;
  const runs = sides.map(async (side) => {
    await side.run();
    busy -= 1;
    if (busy <= sides.length * REST) calm.abort();
  });
  await Promise.all([...runs, ...storms]);
  await Promise.all(sides.map((side) => side.heardAll()));
  // A duplicate would arrive on a new connection, before one last message.
  for (const proxy of proxies) proxy.strike('reset');
  await Promise.all(sides.map((side) => side.finish()));
  return null;
}

async function hopeless() {
  for (;;) {
    await pause(1000);
    if (Date.now() - latest > PATIENCE) return `Nothing arrived for ${PATIENCE / 1000} seconds.`;
    if (sum(sides, ({ problems }) => problems.length) > HOPELESS) return 'Given up, because of the problems.';
  }
}

/**
 * Applies faults to one connection after the other, with pauses. Waits while nothing gets through: on a busy machine,
 * connections might be cut faster than they are made.
 */
async function storm(group, own, signal) {
  let before = -1;
  while (!signal.aborted) {
    await pause(own.between(...plan.faultEvery), undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    if (arrived === before) continue;
    before = arrived;
    const fault = own.weighted(FAULTS);
    faults[fault] += 1;
    own.pick(group).strike(fault);
  }
}

async function makePair({ clients, reliable, late }) {
  const ids = clients.map(({ id }) => id);
  const own = random.fork(`pair ${ids}`);
  const ledgers = [0, 1].map(() => new Ledger({ isServerKilled: plan.kills > 0 }));
  const pair = { ids, ledgers, sides: [], proxies: [] };
  const changed = () => {
    for (const side of pair.sides) side.wake();
  };
  const progress = () => {
    latest = Date.now();
    arrived += 1;
    changed();
  };
  let asked = !late;
  const refused = () => {
    if (asked) return;
    asked = true;
    setTimeout(() => process.send({ channel: ids }), own.between(0, 300));
  };
  for (const [index, client] of clients.entries()) {
    const url = new URL(plan.url);
    // A plain client has no guarantee when its connection fails, so its connection gets no faults.
    if (reliable[index]) {
      const proxy = new Proxy({ host: url.hostname, port: url.port }, own.fork(`proxy ${index}`));
      url.host = await proxy.listen();
      pair.proxies.push(proxy);
    }
    const { messages, milliseconds, reloads, takeovers, absences } = plan;
    pair.sides.push(
      new Side(
        {
          ...{ client, peer: clients[1 - index], reliable: reliable[index], url: url.href, ca: plan.ca, messages, milliseconds, reloads, takeovers, absences },
          ...{ out: ledgers[index], in: ledgers[1 - index], changed, progress, refused, goesOn: () => isKilled },
        },
        own.fork(`side ${index}`),
      ),
    );
  }
  return pair;
}

function groups(list, size) {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, index) => list.slice(index * size, (index + 1) * size));
}

function result(gaveUp) {
  const waiting = gaveUp ? sides.map(({ waitsFor }) => waitsFor).filter(Boolean) : [];
  for (const side of sides) side.close();
  const ledgers = pairs.flatMap((pair) => pair.ledgers);
  for (const ledger of ledgers) ledger.close();
  const totals = (list, ...names) => Object.fromEntries(names.map((name) => [name, sum(list, (item) => item[name])]));
  const problems = sides.flatMap((side) => side.problems);
  if (gaveUp) problems.unshift(gaveUp, ...waiting);
  return {
    ...totals(ledgers, 'arrivals', 'repeated', 'late', 'lost', 'doubled', 'reordered'),
    ...totals(
      sides.map((side) => side.counts),
      ...['connections', 'refusals', 'reloads', 'takeovers', 'absences', 'resumptions'],
    ),
    faults,
    excused: sum(pairs, (pair) => Number(pair.ledgers[0].isExcused)),
    problems: problems.length,
    details: [...problems.slice(0, DESCRIBED), ...pairs.map(describe).filter(Boolean).slice(0, DESCRIBED)],
  };
}

function sum(list, of) {
  return list.reduce((total, item) => total + of(item), 0);
}

/** Returns the problems of a pair with the last faults of its connections, or nothing. */
function describe({ ids, ledgers, proxies }) {
  const violations = ledgers.flatMap((ledger, index) =>
    ledger.violations.map((text) => `  from ${ids[index]} to ${ids[1 - index]}, ${text}`),
  );
  if (violations.length === 0) return '';
  const last = proxies.map(({ faults }, index) => `  last faults of its connection ${index}: ${faults.join(', ')}`);
  return [`clients ${ids.join(' and ')}`, ...violations, ...last].join('\n');
}
