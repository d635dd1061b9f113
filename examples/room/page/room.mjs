import { addLine, find, make, send, showNotice, showState } from './page.mjs';
import { keepSeat } from './seat.mjs';

/** Milliseconds in which the others come back after this page does, when the server was away. */
const RETURN = 5_000;
let me = '';
/** The channels with those who are here, or were when the server went away. */
const present = new Set();

// By name, so that everyone is who they were if the server has lost its store.
keepSeat(() => fetch(`seat?name=${me}`, { method: 'POST' }), enter, show, 'room');

function enter({ id: myId, names }, relay, wasForgotten) {
  me = names[myId];
  if (wasForgotten) write('news', `The server no longer knew this tab and gave it a new seat. You are ${me}.`);
  find('ul').replaceChildren();
  present.clear();
  names.forEach((name, id) => id !== myId && meet(name, relay.createChannel(id), relay));
}

function meet(name, channel, relay) {
  const chip = make('li', '', name);
  find('ul').append(chip);
  const leave = () => {
    // While this page is not connected, it cannot know whether others are.
    if (!isConnected() || channel.online || !present.delete(channel)) return;
    write('news', `${name} has left`);
    showWhoHears();
  };
  channel.on('message', (text) => write('theirs', text, name));
  channel.on('join', () => {
    chip.className = 'here';
    if (!present.has(channel)) write('news', `${name} is here`);
    present.add(channel);
    showWhoHears();
  });
  channel.on('leave', () => {
    chip.className = '';
    leave();
  });
  relay.on('open', () => setTimeout(leave, RETURN));
}

find('form').onsubmit = (event) => {
  event.preventDefault();
  const input = find('input');
  if (!input.value || find('form button').disabled) return;
  // To those who are here: for the others it would wait.
  send([...present], input.value, write('mine', input.value));
  input.value = '';
};

function show(state, goOn) {
  // To a page that is alone the server makes no difference.
  if (state === 'reconnecting' && present.size === 0) state = 'away';
  showState(state, { act: goOn, ...(state === 'connected' && { status: `You are ${me}` }) });
  if (state === 'connected') showWhoHears();
}

/** Says so if nobody would hear a message. */
function showWhoHears() {
  const isAlone = present.size === 0;
  showNotice(isAlone ? { title: 'Nobody else is here.', text: 'Open this page in more tabs: each one is another person.', secondTab: true } : {});
  find('form button').disabled = isAlone;
}

function isConnected() {
  return document.body.dataset.state === 'connected';
}

function write(kind, text, name) {
  const line = make('li', kind);
  if (name) line.append(make('b', '', name));
  line.append(make('span', '', text));
  return addLine(find('.log'), line);
}
