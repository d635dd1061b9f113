// `npm run bench` measures this relay and others in rounds, and writes a table and plots to bench/results/.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { conditions, measure } from './lib/measure.mjs';
import { peers } from './lib/peers.mjs';
import { bars, colourOf, lines } from './lib/plot.mjs';
import { document, figuresOf, medians } from './lib/report.mjs';
import { curves, scenarios, stores } from './lib/scenarios.mjs';
import { setup } from './lib/setup.mjs';
import { short } from './lib/statistics.mjs';

const results = new URL('results/', import.meta.url);
/** Descriptors that a process needs besides those of its connections. */
const SPARE_FILES = 200;
const QUICK = { rounds: 1, share: 0.25, peers: ['floor', 'ours', 'ours-2', 'uws-corked', 'ws'] };

const all = [...scenarios, ...curves, ...stores];

const USAGE = `npm run bench -- [options]
  --quick              one short round of the main servers, within two minutes
  --rounds N           default 5
  --peers A,B          some of: ${peers.map(({ id }) => id).join(', ')}
  --scenarios A,B      some of: ${all.map(({ id }) => id).join(', ')}; "curves" and "stores" stand for those that show how the
                       cost grows, and what a store costs
  --name NAME          of the files in bench/results/; default latest`;

async function main() {
  const { values: options } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      peers: { type: 'string' },
      scenarios: { type: 'string' },
      name: { type: 'string', default: 'latest' },
      help: { type: 'boolean', default: false },
    },
  });
  if (options.help) return console.log(USAGE);
  const rounds = Number(options.rounds ?? (options.quick ? QUICK.rounds : 5));
  const usual = peers.filter(({ isExtra }) => !isExtra).map(({ id }) => id);
  const groups = { curves, stores };
  const wanted = options.scenarios?.replace(/\b(curves|stores)\b/g, (name) => groups[name].map(({ id }) => id).join());
  const chosen = wanted ? choose(all, wanted, 'scenario') : scenarios;
  // Those that only some scenarios are about, too.
  const named = peers.map(({ id }) => id).filter((id) => usual.includes(id) || chosen.some((scenario) => scenario.peers?.includes(id)));
  const chosenPeers = choose(peers, options.peers ?? (options.quick ? QUICK.peers : named).join(), 'peer');

  await setup();
  const machine = { ...conditions(), ...describe(), rounds };
  const notes = notesOn(machine, chosen);
  const present = presentOf(chosenPeers, notes);
  const cells = [];
  for (let round = 1; round <= rounds; round += 1) {
    for (const scenario of chosen) {
      for (const point of scenario.points) {
        if (scenario.axis && connectionsOf(point.plan) > machine.files - SPARE_FILES) {
          addNote(notes, `${label(scenario, point)}: left out, because a process may open only ${machine.files} files here.`);
          continue;
        }
        for (const peer of present.filter((one) => takesPart(one, scenario, options.peers))) {
          const plan = fitted(point.plan, peer, options.quick && !scenario.axis ? QUICK.share : 1, machine);
          const figures = await run(peer, scenario, point, plan, machine, notes);
          console.log(`${round}/${rounds}  ${label(scenario, point)}  ${peer.title}: ${figures ? shown(scenario, figures) : 'failed'}`);
          if (figures) record(cells, scenario, point, peer, figures);
        }
      }
    }
  }
  write(options.name, cells, chosen, present, machine, notes);
  if (notes.some(({ isFailure }) => isFailure)) process.exitCode = 1;
}

function choose(list, names, what) {
  return names.split(',').map((name) => {
    const found = list.find(({ id }) => id === name);
    if (!found) throw new Error(`There is no ${what} "${name}".\n\n${USAGE}`);
    return found;
  });
}

/** Whether a peer is measured in a scenario: some peers have only one, and curves only have some, unless named. */
function takesPart(peer, scenario, isNamed) {
  if (peer.only && !peer.only.includes(scenario.id)) return false;
  // Only a store survives a restart.
  if (!peer.hasStore && ['restart', 'registered'].includes(scenario.points[0].plan.kind)) return false;
  if (peer.isExtra && !isNamed) return Boolean(scenario.peers?.includes(peer.id));
  return isNamed || !scenario.peers || scenario.peers.includes(peer.id);
}

const connectionsOf = ({ clients, idle = 0 }) => clients + idle;

function addNote(notes, text, isFailure = false) {
  if (!notes.some((note) => note.text === text)) notes.push({ text, isFailure });
}

function fitted(plan, { pace = 1 }, share, { files }) {
  if (plan.kind === 'registered') return plan;
  const clients = Math.min(plan.clients, Math.floor((files - SPARE_FILES) / 2) * 2);
  if (plan.kind === 'idle') return { ...plan, clients: Math.min(clients, share < 1 ? 2200 : clients) };
  if (plan.kind === 'latency') return { ...plan, clients, messages: plan.messages * share };
  if (plan.kind !== 'relay') return { ...plan, clients };
  return { ...plan, clients, messages: Math.ceil(plan.messages * share * pace), warmUp: Math.ceil(plan.warmUp * Math.max(share, pace)) };
}

async function run(peer, scenario, point, plan, machine, notes) {
  const { registered, channels } = point;
  try {
    return await measure(peer, plan, { registered, channels, isRealTime: scenario.isRealTime, machine });
  } catch (error) {
    console.error(error.message);
    addNote(notes, `${peer.title}, ${label(scenario, point)}: ${error.message.split('\n')[0]}`, true);
    return null;
  }
}

const label = (scenario, point) => (scenario.axis ? `${scenario.title}, ${point.label} ${scenario.axis}` : scenario.title);

const shown = (scenario, figures) =>
  figuresOf(scenario)
    .filter(({ figure }) => figures[figure] !== undefined)
    .map(({ figure, unit }) => `${short(figures[figure])} ${unit}`)
    .join(', ');

function record(cells, scenario, point, peer, figures) {
  let cell = cells.find((one) => one.scenario === scenario.id && one.point === point.label && one.peer === peer.id);
  if (!cell) cells.push((cell = { scenario: scenario.id, point: point.label, peer: peer.id, runs: [] }));
  cell.runs.push(figures);
}

function describe() {
  const [cpu] = cpus();
  const git = (...args) => execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
  return { system: `Linux ${release()}`, cpu: cpu.model, cores: availableParallelism(), commit: git('rev-parse', '--short', 'HEAD') };
}

/** Returns the peers that can run here, and notes the versions and the missing ones. */
function presentOf(chosenPeers, notes) {
  const versionOf = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;
  const versions = ['ws', 'socket.io'].map((name) => `${name} ${versionOf(name)}`);
  addNote(notes, `Versions: ${versions.join(', ')}.`);
  const present = [];
  for (const peer of chosenPeers) {
    const resolved = peer.resolve ? peer.resolve() : peer;
    const text = resolved ? resolved.note : `${peer.title} is left out: none of its builds loads here.`;
    if (text) addNote(notes, text);
    if (resolved) present.push(resolved);
  }
  return present;
}

function notesOn(machine, chosen) {
  const notes = [];
  if (!machine.isPinned) notes.push('Nothing was pinned: there is only one core, or no taskset.');
  if (chosen.some(({ isRealTime }) => isRealTime)) {
    notes.push(machine.isRealTime ? 'The round trips were measured with real-time priority.' : 'Round trips without real-time priority: not permitted here.');
  }
  return notes.map((text) => ({ text, isFailure: false }));
}

function write(name, cells, chosen, chosenPeers, machine, notes) {
  mkdirSync(results, { recursive: true });
  const save = (ending, content) => writeFileSync(new URL(`${name}${ending}`, results), content);
  const report = document(cells, chosen, chosenPeers, machine, notes.map(({ text }) => text));
  save('.md', report);
  save('.json', `${JSON.stringify({ machine, cells }, null, 1)}\n`);
  for (const scenario of chosen) {
    for (const figure of figuresOf(scenario)) {
      const picture = scenario.axis ? plotLines(scenario, figure, cells, chosenPeers) : plotBars(scenario, figure, cells, chosenPeers);
      if (picture) save(`-${figure.id}.svg`, picture);
    }
  }
  console.log(`\n${report}`);
}

const coloured = (peer) => ({ title: peer.title, colour: colourOf(peers.findIndex(({ id }) => id === peer.id)) });

function plotBars(scenario, { title, unit, figure }, cells, chosenPeers) {
  const found = medians(cells, scenario, scenario.points[0], figure, chosenPeers);
  // Zero has no place on a logarithmic scale.
  const rows = [...found].map(([peer, summary]) => ({ ...coloured(peer), ...summary })).filter(({ median }) => median > 0);
  return rows.length > 0 ? bars(title, unit, rows) : null;
}

function plotLines(scenario, { title, unit, figure }, cells, chosenPeers) {
  const series = chosenPeers.map((peer) => {
    const points = scenario.points.map((point) => ({ x: point.value, label: point.label, median: medians(cells, scenario, point, figure, [peer]).get(peer)?.median }));
    return { ...coloured(peer), points: points.filter(({ median }) => median > 0) };
  });
  const drawn = series.filter(({ points }) => points.length > 0);
  return drawn.length > 0 ? lines(title, unit, scenario.axis, drawn) : null;
}

await main();
