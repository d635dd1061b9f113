// Summarizes the report of Autobahn|Testsuite by groups of cases.

/** The group that takes most of the time. */
export const LIMITS = 9;

/** The groups that are run. 8, 11, 12 and 13 test extensions and HTTP features that the server does not have. */
export const groups = [
  { number: 1, title: 'Framing', cases: 16 },
  { number: 2, title: 'Pings and pongs', cases: 11 },
  { number: 3, title: 'Reserved bits', cases: 7 },
  { number: 4, title: 'Opcodes', cases: 10 },
  { number: 5, title: 'Fragmentation', cases: 20 },
  { number: 6, title: 'UTF-8', cases: 145 },
  { number: 7, title: 'Closing', cases: 37 },
  { number: LIMITS, title: 'Limits', cases: 54 },
  { number: 10, title: 'Automatic fragmentation', cases: 1 },
];

const VERDICTS = { OK: 'ok', 'NON-STRICT': 'nonStrict', INFORMATIONAL: 'informational' };

/** Returns a row for each group and one for all, and a line for each verdict other than OK. A case that was not run has failed. */
export function summarize(chosen, results) {
  const found = Object.entries(results).map(([id, result]) => ({ id, verdict: verdictOf(result) }));
  found.sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
  const rows = chosen.map(({ number, title, cases }) => {
    const inGroup = found.filter(({ id }) => id.startsWith(`${number}.`));
    const count = (wanted) => inGroup.filter(({ verdict }) => verdict === wanted).length;
    const counts = { ok: count('ok'), nonStrict: count('nonStrict'), informational: count('informational') };
    const failed = cases - counts.ok - counts.nonStrict - counts.informational;
    return { title: `${number} ${title}`, cases, ...counts, failed };
  });
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  const all = Object.fromEntries(['cases', 'ok', 'nonStrict', 'informational', 'failed'].map((key) => [key, sum(key)]));
  const list = (title, wanted) => {
    const ids = found.filter(({ verdict }) => verdict === wanted).map(({ id }) => id);
    return ids.length > 0 ? [`${title}: ${ids.join(', ')}`] : [];
  };
  const missing = all.cases - found.length;
  const notes = [
    ...list('Non-strict', 'nonStrict'),
    ...list('Informational', 'informational'),
    ...list('Failed', 'failed'),
    ...(missing > 0 ? [`Not run: ${missing}`] : []),
  ];
  return { rows: [...rows, { title: 'All', ...all }], notes };
}

/** The verdict of a case; a bad verdict on its close handshake makes it a failure. */
function verdictOf({ behavior, behaviorClose }) {
  return behaviorClose in VERDICTS ? (VERDICTS[behavior] ?? 'failed') : 'failed';
}

/** Formats rows as a text table. */
export function table(rows) {
  const headings = { title: '', cases: 'cases', ok: 'OK', nonStrict: 'non-strict', informational: 'informational', failed: 'failed' };
  const keys = Object.keys(headings);
  const lines = [headings, ...rows].map((row) => keys.map((key) => String(row[key])));
  const widths = keys.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const pad = (text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column]));
  return lines.map((line) => line.map(pad).join('  ')).join('\n');
}
