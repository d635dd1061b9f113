// Judges and formats the result of a run.
const MIB = 2 ** 20;

/** The expected error: channels are registered only after a message was rejected. */
const FORESEEN = ['ERR_CHANNEL_NOT_REGISTERED'];

/** Returns the problems of a result, one line each. */
export function failures(result) {
  const { entry, kills, killsLeft, durability, lost, doubled, reordered, problems, details, errors, echoClient } = result;
  const rss = peak(result);
  const wrong = [];
  if (lost + doubled + reordered > 0) wrong.push(`lost ${lost}, doubled ${doubled}, reordered ${reordered}`);
  if (problems > 0) wrong.push(`${problems} other problems`);
  // No client of the harness commits an offence.
  for (const [code, count] of Object.entries(errors)) {
    if (!FORESEEN.includes(code)) wrong.push(`the server complained ${count} times of ${code}`);
  }
  if (echoClient.echoed < echoClient.sent) wrong.push(`beside it, ${echoClient.sent - echoClient.echoed} of ${echoClient.sent} echoes were lost`);
  if (killsLeft > 0) wrong.push(`the server was killed ${kills} times only; it was to be killed ${kills + killsLeft} times`);
  if (rss > result.rssBound) wrong.push(`the server took ${mib(rss)} of memory; it may take ${mib(result.rssBound)}`);
  return wrong.length === 0 ? [] : [`seed ${result.seed}, entry ${entry}, store ${durability ?? 'none'}:`, ...wrong, ...details];
}

/** The columns of the scorecard, computed from a result. */
const COLUMNS = {
  seed: ({ seed }) => seed,
  entry: ({ entry }) => entry,
  store: ({ durability }) => durability ?? 'none',
  kills: ({ kills }) => kills,
  messages: ({ arrivals }) => arrivals,
  faults: ({ faults }) => Object.values(faults).reduce((sum, count) => sum + count),
  reconnects: ({ connections, clients }) => connections - clients,
  resumed: ({ resumptions }) => resumptions,
  reloads: ({ reloads }) => reloads,
  'take-overs': ({ takeovers }) => takeovers,
  absences: ({ absences }) => absences,
  refusals: ({ refusals }) => refusals,
  lost: ({ lost }) => lost,
  doubled: ({ doubled }) => doubled,
  reordered: ({ reordered }) => reordered,
  'repeated for another page': ({ repeated }) => repeated,
  'pairs excused': ({ excused }) => excused,
  seconds: ({ milliseconds }) => Math.round(milliseconds / 1000),
  'server RSS: start, peak, end': (result) => [result.rss[0], peak(result), result.rss.at(-1)].map(mib).join(', '),
};

/** Returns a row of the scorecard. */
export function row(result) {
  return Object.fromEntries(Object.entries(COLUMNS).map(([name, of]) => [name, of(result)]));
}

function peak({ rss }) {
  return rss.reduce((max, bytes) => Math.max(max, bytes), 0);
}

function mib(bytes) {
  return `${Math.round(bytes / MIB)} MiB`;
}
