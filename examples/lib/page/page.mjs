// What the pages of the examples share: how they say what state they are in.

/** What a page says in each state in which it is not connected. */
const STATES = {
  connecting: { status: 'Connecting…' },
  // It has no seat yet.
  away: {
    status: 'Waiting for the server',
    title: 'The server is away.',
    text: 'Nothing can be sent until it is back. This page reconnects by itself.',
  },
  // It has a seat, which the server will still know.
  reconnecting: {
    status: 'Waiting for the server',
    title: 'The server is away, perhaps for a restart.',
    text: 'What you write waits in this tab and is sent when the server is back. The page reconnects by itself.',
  },
  full: {
    status: 'Waiting for a seat',
    title: 'Every seat is taken.',
    text: 'This page takes the next one that becomes free.',
  },
  replaced: {
    status: 'Replaced',
    title: 'Another tab has taken this seat.',
    text: 'A seat belongs to one tab at a time.',
    button: 'Take another seat',
  },
};

export const find = (selector, root = document) => root.querySelector(selector);

export function make(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/**
 * Shows a state: its word at the top, and a notice if there is something to explain.
 *
 * @param {string} state one of `STATES`, or `connected`. Messages can be sent if it is `connected` or `reconnecting`
 * @param {object} [more] replaces what `STATES` says, and adds `act`, which the notice's button calls
 * @param {HTMLElement} [root] the part of the page that is in this state
 */
export function showState(state, more, root = document.body) {
  const { status, ...notice } = { ...STATES[state], ...more };
  root.dataset.state = state;
  setText(find('[role=status]', root), status);
  // Only the button: what was typed stays, and so does the focus.
  find('form button', root).disabled = !['connected', 'reconnecting'].includes(state);
  showNotice(notice, root);
}

/** Shows a notice with a title, a text, and either a button or a link to a second tab; hides it if there is no title. */
export function showNotice({ title = '', text = '', button, act, secondTab = false }, root = document.body) {
  const notice = find('.notice', root);
  const scroll = keepEnd(find('.log', root));
  notice.hidden = !title;
  setText(find('b', notice), title);
  setText(find('span', notice), text);
  Object.assign(find('button', notice), { hidden: !button, textContent: button ?? '', onclick: act ?? null });
  find('a', notice).hidden = !secondTab;
  scroll();
}

/** Sends a message, and marks its line as long as it waits in this page: the server has neither taken nor refused it. */
export async function send(channels, text, line) {
  const note = make('small', 'waits', 'Waiting for the server');
  line.append(note);
  const sendTo = (channel) => new Promise((resolve) => channel.send(text, (error) => resolve(!error)));
  const taken = await Promise.all(channels.map(sendTo));
  if (taken.includes(true)) note.remove();
  else Object.assign(note, { className: 'lost', textContent: 'May not have arrived' });
}

/** Adds a line to a log, and scrolls to it if the end was in view. Returns the line. */
export function addLine(log, line) {
  const scroll = keepEnd(log, line.classList.contains('mine'));
  log.append(line);
  if (log.children.length > 500) log.firstElementChild.remove();
  scroll();
  return line;
}

/** Returns a function that scrolls to a log's end if the end is in view now. */
function keepEnd(log, always = false) {
  const isAtEnd = always || log.scrollHeight - log.scrollTop - log.clientHeight < 50;
  return () => isAtEnd && (log.scrollTop = log.scrollHeight);
}

// A text that is set again is read aloud again.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
