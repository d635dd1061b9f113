import { addLine, find, make, send, showState } from './page.mjs';
import { keepSeat } from './seat.mjs';

const sideBySide = location.pathname === '/side-by-side';
const view = sideBySide ? 'side-by-side' : 'tabs';

/** One side of a conversation: a client of its own, and the part of the page that shows it. */
class Pane {
  #index;
  #group;
  #element = find('template').content.cloneNode(true).firstElementChild;
  #log = this.#find('.log');
  #input = this.#find('textarea');
  #seat;
  #channel;
  /** Resolves when the pane has a seat. */
  seated;
  #setSeated;

  constructor(index, group) {
    this.#index = index;
    this.#group = group;
    this.seated = new Promise((resolve) => (this.#setSeated = resolve));
    find('main').append(this.#element);
    this.#find('form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
  }

  /** Takes a seat, if possible the one that this tab had before, and keeps it. */
  join() {
    keepSeat(() => this.#askForSeat(), (...seat) => this.#enter(...seat), (...state) => this.#show(...state));
  }

  #askForSeat() {
    const query = new URLSearchParams({ group: this.#group, key: sessionStorage.getItem(this.#memory) ?? '' });
    return fetch(`/seat?${query}`, { method: 'POST' });
  }

  get #memory() {
    return `${view} ${this.#index}`;
  }

  #enter(seat, relay, wasForgotten) {
    this.#seat = seat;
    sessionStorage.setItem(this.#memory, seat.key);
    this.#introduce();
    if (wasForgotten) this.#addNews('The server no longer knew this tab and gave it a new seat. Messages that still waited may be lost.');
    this.#channel = relay.createChannel(seat.otherId);
    this.#channel.on('message', (text) => this.#add(seat.otherName, text, 'theirs'));
    for (const change of ['join', 'leave']) this.#channel.on(change, () => this.#isOpen && this.#show('connected'));
    this.#setSeated();
  }

  #introduce() {
    const { name, otherName } = this.#seat;
    this.#element.dataset.name = name;
    this.#element.setAttribute('aria-label', name);
    this.#find('.avatar').textContent = name[0];
    this.#find('h2').textContent = sideBySide ? name : `You are ${name}`;
    this.#input.placeholder = `Message ${otherName}`;
    this.#input.setAttribute('aria-label', `Message ${otherName}`);
    if (!sideBySide) document.title = `${name} – websocket-relay`;
  }

  #show(state, goOn) {
    const isAlone = state === 'connected' && !this.#channel.online;
    const name = this.#seat?.otherName;
    showState(
      state,
      {
        act: goOn,
        ...(state === 'connected' && { status: 'Connected' }),
        ...(isAlone && { title: `${name} is not here.`, text: 'What you write waits for her.', secondTab: !sideBySide }),
      },
      this.#element,
    );
    this.#find('.presence').textContent = state === 'connected' ? `${name} is ${isAlone ? 'away' : 'here'}` : '';
  }

  get #isOpen() {
    return this.#element.dataset.state === 'connected';
  }

  #send() {
    const text = this.#input.value;
    if (text.trim() === '' || this.#find('form button').disabled) return;
    send([this.#channel], text, this.#add('You', text, 'mine'));
    this.#input.value = '';
    this.#input.focus();
  }

  #add(name, text, whose) {
    const time = new Date();
    const when = make('time', '', time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
    when.dateTime = time.toISOString();
    const item = make('li', whose);
    item.append(make('span', 'unseen', `${name}: `), make('p', '', text), when);
    return addLine(this.#log, item);
  }

  #addNews(text) {
    addLine(this.#log, make('li', 'news', text));
  }

  #find(selector) {
    return find(selector, this.#element);
  }
}

/** The two panes of one page talk to each other and to no other page, so they are a group of their own. */
function ownGroup() {
  let group = sessionStorage.getItem('group');
  if (!group) sessionStorage.setItem('group', (group = Math.random().toString(36).slice(2)));
  return group;
}

document.body.dataset.view = view;
find(`a[data-view="${view}"]`).setAttribute('aria-current', 'page');
// A page that "Back" brings back has lost its connection, and maybe its seat.
addEventListener('pageshow', (event) => event.persisted && location.reload());
const panes = sideBySide ? [0, 1].map((index) => new Pane(index, ownGroup())) : [new Pane(0, '')];
for (const pane of panes) {
  pane.join();
  // One after the other, so that Ada sits on the left.
  await pane.seated;
}
