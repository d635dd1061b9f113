const INTERVAL = 1_000;
/** So many figures are drawn: a minute of them. */
const SHOWN = 60;

const find = (selector) => document.querySelector(selector);
const history = { connections: [], rate: [], queued: [] };
let last;

for (;;) {
  try {
    const response = await fetch('stats');
    if (!response.ok) throw new Error(response.statusText);
    draw(await response.json());
    state('live', 'Live');
  } catch {
    state('away', 'The server is away');
  }
  await new Promise((resolve) => setTimeout(resolve, INTERVAL));
}

function draw(stats) {
  // A server that was started anew counts from 0 again.
  const goesOn = last && stats.time > last.time && stats.relayedMessages >= last.relayedMessages;
  const rate = goesOn ? ((stats.relayedMessages - last.relayedMessages) / (stats.time - last.time)) * 1_000 : 0;
  last = stats;
  figure('connections', stats.connections, `of ${number(stats.registered)} clients, with ${number(stats.channels)} channels`);
  figure('rate', Math.round(rate), `${number(stats.relayedMessages)} in all, ${bytes(stats.relayedBytes)}`);
  figure('queued', stats.queuedMessages, `${bytes(stats.queuedBytes)} of memory`);
  find('table').replaceChildren(...troubles(stats));
}

function figure(name, value, note) {
  const section = find(`[data-figure=${name}]`);
  section.querySelector('output').textContent = number(value);
  section.querySelector('p').textContent = note;
  const values = history[name];
  values.push(value);
  if (values.length > SHOWN) values.shift();
  const top = Math.max(1, ...values) * 1.1;
  const points = values.map((one, n) => `${SHOWN - values.length + n},${(40 - (one / top) * 40).toFixed(2)}`);
  const svg = section.querySelector('svg');
  svg.setAttribute('viewBox', `0 0 ${SHOWN - 1} 40`);
  svg.querySelector('.line').setAttribute('d', `M${points.join('L')}`);
  svg.querySelector('.area').setAttribute('d', `M${SHOWN - values.length},40L${points.join('L')}L${SHOWN - 1},40Z`);
}

function troubles({ rejected, offences, turnedAway, closed, eventsDropped }) {
  const rows = [
    ...Object.entries(rejected).map(([code, count]) => ['Messages rejected', code, count]),
    ...Object.entries(offences).map(([code, count]) => ['Mistakes of clients', code, count]),
    ...Object.entries(turnedAway).map(([reason, count]) => ['Clients turned away', reason, count]),
    ...Object.entries(closed).map(([code, count]) => ['Connections closed', code, count]),
    ...(eventsDropped ? [['Events dropped', '', eventsDropped]] : []),
  ];
  if (rows.length === 0) return [row(['Nothing so far'])];
  return rows.map(([kind, code, count]) => row([kind, code, number(count)]));
}

function row(texts) {
  const element = document.createElement('tr');
  element.append(...texts.map((textContent) => Object.assign(document.createElement('td'), { textContent })));
  return element;
}

function state(name, text) {
  document.body.dataset.state = name;
  if (find('[role=status]').textContent !== text) find('[role=status]').textContent = text;
}

function number(value) {
  return value.toLocaleString('en');
}

function bytes(value) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${value.toLocaleString('en', { maximumFractionDigits: 1 })} ${units[unit]}`;
}
