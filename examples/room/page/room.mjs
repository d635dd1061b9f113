/* global WebSocketRelay */
const find = (selector) => document.querySelector(selector);

show('waiting', 'Looking for a seat');
const response = await fetch('seat', { method: 'POST' });
if (response.ok) enter(await response.json());
else show('left', 'Every seat is taken.');

function enter({ id, token, name, others }) {
  const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: id, token });
  relay.on('open', () => show('connected', `You are ${name}`));
  relay.on('close', ({ willReconnect }) => {
    if (willReconnect) show('waiting', 'Connecting again…');
    else show('left', 'Your seat is gone.');
  });
  relay.on('error', (error) => console.info(error.message));

  const channels = others.map((other) => {
    const channel = relay.createChannel(other.id);
    const chip = make('li', '', other.name);
    find('ul').append(chip);
    channel.on('message', (text) => write('theirs', text, other.name));
    channel.on('join', () => {
      chip.className = 'here';
      write('news', `${other.name} is here`);
    });
    channel.on('leave', () => {
      chip.className = '';
      write('news', `${other.name} has left`);
    });
    return channel;
  });

  find('form').onsubmit = (event) => {
    event.preventDefault();
    const input = find('input');
    if (!input.value) return;
    // To those who are there: for the others it would wait.
    for (const channel of channels) if (channel.online) channel.send(input.value);
    write('mine', input.value);
    input.value = '';
  };
}

function show(state, text) {
  document.body.dataset.state = state;
  find('[role=status]').textContent = text;
  find('input').disabled = find('form button').disabled = state !== 'connected';
}

function write(kind, text, name) {
  const line = make('li', kind);
  if (name) line.append(make('b', '', name));
  line.append(make('span', '', text));
  find('ol').append(line);
  find('ol').scrollTop = find('ol').scrollHeight;
}

function make(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}
