// Formats the results as a table: the median of each figure, its spread, and its ratio to the floor.
import { short, summary } from './statistics.mjs';

/** Returns the figures of a scenario: its own, and others of the same runs. */
export function figuresOf(scenario) {
  const { id, title, unit, figure, also = [] } = scenario;
  return [{ id, title, unit, figure }, ...also];
}

/** Returns the medians of one figure at one point, by measured peer. */
export function medians(results, scenario, point, figure, peers) {
  const found = peers.map((peer) => {
    const runs = results.find((cell) => cell.scenario === scenario.id && cell.point === point.label && cell.peer === peer.id)?.runs ?? [];
    // Only a store has some of the figures.
    const values = runs.map((run) => run[figure]).filter((value) => value !== undefined);
    return values.length > 0 ? [peer, summary(values)] : null;
  });
  return new Map(found.filter(Boolean));
}

function cell({ median, min, max }, base) {
  const spread = min === max ? '' : ` (${short(min)}–${short(max)})`;
  const ratio = base && base.median > 0 ? `<br>${short(median / base.median)} ×` : '';
  return `**${short(median)}**${spread}${ratio}`;
}

const row = (cells) => `| ${cells.join(' | ')} |`;

export function table(results, scenarios, peers) {
  const columns = peers.filter((peer) => results.some((cell) => cell.peer === peer.id && cell.runs.length > 0));
  const lines = scenarios.flatMap((scenario) =>
    scenario.points.flatMap((point) =>
      figuresOf(scenario).map(({ title, unit, figure }) => {
        const found = medians(results, scenario, point, figure, columns);
        if (found.size === 0) return null;
        const baseOf = (peer) => found.get(columns.find(({ id }) => id === (peer.base ?? 'floor')));
        const name = scenario.axis ? `${title}: ${point.label} ${scenario.axis}` : title;
        const cells = columns.map((peer) => (found.has(peer) ? cell(found.get(peer), peer.id === 'floor' ? null : baseOf(peer)) : '–'));
        return row([`${name}<br>${unit}`, ...cells]);
      }),
    ),
  );
  const head = row(['', ...columns.map(({ title }) => title)]);
  return [head, row(['---', ...columns.map(() => '---')]), ...lines.filter(Boolean)].join('\n');
}

export function document(results, scenarios, peers, machine, notes) {
  const facts = `Node ${process.version}, ${machine.system}, ${machine.cpu}, ${machine.cores} cores; ${machine.rounds} rounds.`;
  const shown = scenarios.filter(({ id }) => results.some((cell) => cell.scenario === id));
  const text = 'Median (minimum–maximum) of the rounds, and below it the ratio to the floor, or of a relay with a store to the same one without.';
  return [facts, '', text, '', table(results, shown, peers), '', ...notes.map((note) => `- ${note}`), ''].join('\n');
}
