/** Milliseconds that a chart shows. */
const SPAN = 60_000;
/** Milliseconds without a value that a chart shows as a gap. */
const GAP = 3_000;
const [WIDTH, HEIGHT] = [600, 100];

/** A line chart of the last minute, with its unit above, values at the side and times below. */
export class Chart {
  #element = document.querySelector('template').content.cloneNode(true).firstElementChild;
  #points = [];

  constructor(section, unit) {
    this.#find('figcaption').textContent = unit;
    this.#find('svg').setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    section.append(this.#element);
  }

  /** Adds a value, unless it is undefined, and moves the chart so that its right edge is `time`. */
  add(time, value) {
    if (value !== undefined) this.#points.push({ time, value });
    this.#points = this.#points.filter((point) => time - point.time <= SPAN);
    const top = niceTop(Math.max(0, ...this.#points.map((point) => point.value)));
    const x = (point) => (((point.time - time + SPAN) / SPAN) * WIDTH).toFixed(1);
    const y = (point) => ((1 - point.value / top) * HEIGHT).toFixed(1);
    const lines = pieces(this.#points).map((piece) => ({
      line: `M${piece.map((point) => `${x(point)},${y(point)}`).join('L')}`,
      bottom: `L${x(piece.at(-1))},${HEIGHT}L${x(piece[0])},${HEIGHT}Z`,
    }));
    this.#find('.line').setAttribute('d', lines.map(({ line }) => line).join(''));
    this.#find('.area').setAttribute('d', lines.map(({ line, bottom }) => line + bottom).join(''));
    this.#find('.grid').setAttribute('d', [0, 0.5, 1].map((part) => `M0,${part * HEIGHT}H${WIDTH}`).join(''));
    this.#label('.values', [top, top / 2, 0].map(number));
    this.#label('.times', [SPAN, SPAN / 2, 0].map((ago) => clock(time - ago)));
  }

  #label(selector, texts) {
    this.#find(selector).replaceChildren(...texts.map((textContent) => Object.assign(document.createElement('li'), { textContent })));
  }

  #find(selector) {
    return this.#element.querySelector(selector);
  }
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export const number = (value) => value.toLocaleString('en');

/** Returns the least of 2, 4, 10, 20, 40, 100 and so on that leaves some room above a value: half of it is round too. */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 10, 20, 40].map((factor) => factor * power).find((top) => top >= value * 1.05);
}

/** Splits points where there is a gap between them. */
function pieces(points) {
  const found = [];
  for (const [n, point] of points.entries()) {
    if (n === 0 || point.time - points[n - 1].time > GAP) found.push([]);
    found.at(-1).push(point);
  }
  return found;
}
