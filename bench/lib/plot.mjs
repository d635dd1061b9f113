// Draws SVG plots for light and dark backgrounds, with logarithmic scales: bars for one point, lines for several.
import { short } from './statistics.mjs';

const WIDTH = 720;
/** Upper bound of the average width of a character. */
const CHARACTER = 7.5;
const COLOURS = ['#8a8f98', '#d9480f', '#f59f00', '#1c7ed6', '#12b886', '#ae3ec9', '#e64980', '#5c940d', '#495057'];
const STYLE = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.faint { fill: #59636e; font-size: 11px; }
.grid { stroke: #59636e; stroke-opacity: .25; }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc; } .faint { fill: #9198a1; } .grid { stroke: #9198a1; } }
</style>`;

const escape = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

const svg = (height, title, parts) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escape(title)}">
${STYLE}
${[text(16, 24, title, 'title'), ...parts].join('\n')}
</svg>
`;

const text = (x, y, content, kind = '', anchor = 'start') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${kind}" text-anchor="${anchor}">${escape(content)}</text>`;

const line = (x1, y1, x2, y2) =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" class="grid"/>`;

/** Formats a number with three significant digits. */
const plain = (number) => Number(number.toPrecision(3)).toLocaleString('en');

/** Returns a function that maps values to positions on a logarithmic axis. */
function scale(values, from, to) {
  const [least, most] = [Math.log10(Math.min(...values)), Math.log10(Math.max(...values))];
  return (value) => from + ((Math.log10(value) - least) / (most - least || 1)) * (to - from);
}

/** Returns 1, 2 and 5 times powers of ten, from below all values to above all values. */
function ticks(values) {
  const all = [];
  for (let power = Math.floor(Math.log10(Math.min(...values))); power <= Math.log10(Math.max(...values)) + 1; power += 1) {
    all.push(...[1, 2, 5].map((digit) => digit * 10 ** power));
  }
  const first = all.findLastIndex((tick) => tick <= Math.min(...values));
  const last = all.findIndex((tick) => tick >= Math.max(...values));
  return all.slice(Math.max(first, 0), last + 1);
}

/** Returns the width of the longest title. */
const widthOf = (titled) => Math.max(...titled.map(({ title }) => title.length)) * CHARACTER;

/** `rows` are `{ title, colour, median, min, max }`. */
export function bars(title, unit, rows) {
  const left = Math.max(230, 24 + widthOf(rows));
  const right = WIDTH - 70;
  const marks = ticks(rows.flatMap(({ median }) => [median, median * 0.6]));
  const x = scale(marks, left, right);
  const bottom = 56 + rows.length * 30;
  const grid = marks.filter((_, at) => marks.length < 9 || at % 3 === (marks.length - 1) % 3);
  return svg(bottom + 28, title, [
    text(16, 42, `${unit}; logarithmic, less is better`, 'faint'),
    ...grid.flatMap((mark) => [line(x(mark), 50, x(mark), bottom), text(x(mark), bottom + 16, plain(mark), 'faint', 'middle')]),
    ...rows.flatMap(({ title: name, colour, median, min, max }, at) => {
      const y = 56 + at * 30;
      const spread = [Math.max(min, marks[0]), Math.min(max, marks.at(-1))].map(x);
      return [
        text(left - 8, y + 17, name, '', 'end'),
        `<rect x="${left}" y="${y + 3}" width="${Math.max(1, x(median) - left).toFixed(1)}" height="20" rx="3" fill="${colour}"/>`,
        line(spread[0], y + 13, spread[1], y + 13),
        text(Math.max(x(median), spread[1]) + 6, y + 17, short(median)),
      ];
    }),
  ]);
}

/** `series` are `{ title, colour, points: [{ x, label, median }] }`. */
export function lines(title, unit, axis, series) {
  const [left, right, top, bottom] = [64, WIDTH - Math.max(250, 50 + widthOf(series)), 60, 320];
  const points = series.flatMap((one) => one.points);
  const [xs, ys] = [points.map((point) => point.x), ticks(points.map(({ median }) => median))];
  const [x, y] = [scale(xs, left, right), scale(ys, bottom, top)];
  const places = [...new Map(points.map((point) => [point.x, point.label]))];
  return svg(bottom + 50, title, [
    text(16, 42, `${unit}; logarithmic, less is better`, 'faint'),
    ...ys.flatMap((mark) => [line(left, y(mark), right, y(mark)), text(left - 6, y(mark) + 4, plain(mark), 'faint', 'end')]),
    ...places.map(([place, label]) => text(x(place), bottom + 18, label, 'faint', 'middle')),
    text((left + right) / 2, bottom + 38, axis, 'faint', 'middle'),
    ...series.flatMap(({ title: name, colour, points: own }, at) => [
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${own.map((point) => `${x(point.x).toFixed(1)},${y(point.median).toFixed(1)}`).join(' ')}"/>`,
      ...own.map((point) => `<circle cx="${x(point.x).toFixed(1)}" cy="${y(point.median).toFixed(1)}" r="3.5" fill="${colour}"/>`),
      `<rect x="${right + 16}" y="${top + at * 24 - 10}" width="12" height="12" rx="2" fill="${colour}"/>`,
      text(right + 34, top + at * 24, name),
    ]),
  ]);
}

export const colourOf = (index) => COLOURS[index % COLOURS.length];
