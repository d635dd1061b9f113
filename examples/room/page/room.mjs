import { addLine, find, make, showNotice, showState } from './page.mjs';
import { keepSeat } from './seat.mjs';

let me = '';
let channels = [];

// By name, so that everyone is who they were when the server is restarted.
keepSeat(() => fetch(`seat?name=${me}`, { method: 'POST' }), enter, show, 'room');

function enter({ name, others }, relay, wasForgotten) {
  if (wasForgotten) write('news', `The server no longer knew this tab and gave it a new seat. You are ${name}.`);
  me = name;
  find('ul').replaceChildren();
  channels = others.map((other) => {
    const channel = relay.createChannel(other.id);
    const chip = make('li', '', other.name);
    find('ul').append(chip);
    let wasHere = false;
    channel.on('message', (text) => write('theirs', text, other.name));
    channel.on('join', () => {
      chip.className = 'here';
      if (!wasHere) write('news', `${other.name} is here`);
      wasHere = true;
      showWhoHears();
    });
    channel.on('leave', () => {
      chip.className = '';
      // While this page is not connected, it cannot know whether others are.
      if (!isConnected()) return;
      wasHere = false;
      write('news', `${other.name} has left`);
      showWhoHears();
    });
    return channel;
  });
}

find('form').onsubmit = (event) => {
  event.preventDefault();
  const input = find('input');
  if (!input.value) return;
  // To those who are here: for the others it would wait.
  for (const channel of channels) if (channel.online) channel.send(input.value);
  write('mine', input.value);
  input.value = '';
};

function show(state, goOn) {
  showState(state, { act: goOn, ...(state === 'connected' && { status: `You are ${me}` }) });
  if (state === 'connected') showWhoHears();
}

/** Says so if nobody would hear a message. */
function showWhoHears() {
  const isAlone = !channels.some(({ online }) => online);
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
  addLine(find('.log'), line);
}
