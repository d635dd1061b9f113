import { addLine, find, make, send, showState } from './page.mjs';
import { keepSeat } from './seat.mjs';

let channel;

keepSeat(() => fetch('seat', { method: 'POST' }), enter, show, 'express');

function enter({ otherId }, relay, wasForgotten) {
  if (wasForgotten) write('news', 'The server no longer knew this tab and gave it a new seat. Messages that still waited may be lost.');
  channel = relay.createChannel(otherId);
  channel.on('message', (text) => write('theirs', text));
  channel.on('join', () => show('connected'));
  channel.on('leave', () => document.body.dataset.state === 'connected' && show('connected'));
}

find('form').onsubmit = (event) => {
  event.preventDefault();
  const input = find('input');
  if (!input.value || find('form button').disabled) return;
  send([channel], input.value, write('mine', input.value));
  input.value = '';
};

function show(state, goOn) {
  if (state !== 'connected') showState(state, { act: goOn });
  else if (channel.online) showState(state, { status: 'The other tab is here' });
  else showState(state, { status: 'Connected', title: 'The other tab is not here.', text: 'What you write waits for it.', secondTab: true });
}

function write(kind, text) {
  return addLine(find('.log'), make('li', kind, text));
}
