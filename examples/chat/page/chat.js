/* global WebSocketRelay */
'use strict';

const sideBySide = location.pathname === '/side-by-side';
const view = sideBySide ? 'side-by-side' : 'tabs';
const MAX_SHOWN = 500;
const RETRY = 1_000;

/** One side of a conversation: a client of its own, and what is on the page for it. */
class Pane {
  #index;
  #group;
  #element = document.querySelector('template').content.cloneNode(true).firstElementChild;
  #log = this.#find('.log');
  #input = this.#find('textarea');
  #seat;
  #channel;

  constructor(index, group) {
    this.#index = index;
    this.#group = group;
    document.querySelector('main').append(this.#element);
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

  /** Takes a seat, the one this tab had before if it can, and connects. Lost connections are the relay's own business. */
  async join() {
    this.#show('connecting', 'Connecting…');
    try {
      this.#seat = await this.#takeSeat();
    } catch (error) {
      this.#retry(error.message);
      return;
    }
    const { me, other } = this.#seat;
    this.#introduce();

    const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: me.id, token: me.token });
    this.#channel = relay.createChannel(other.id);
    this.#channel.on('open', () => this.#show('open', 'Connected'));
    this.#channel.on('message', (text) => this.#add(other.name, text, 'theirs'));
    for (const change of ['open', 'join', 'leave']) this.#channel.on(change, () => this.#showPresence());
    relay.on('error', (error) => console.info(error.message));
    relay.on('close', ({ willReconnect }) => {
      if (willReconnect) this.#show('lost', 'Connecting again…');
      // Another page has the seat, or the server was started anew and knows nobody.
      else this.#retry('Connection lost');
    });
  }

  #retry(why) {
    this.#show('lost', why);
    this.#find('.presence').textContent = '';
    this.#find('.hint').hidden = true;
    setTimeout(() => this.join(), RETRY);
  }

  async #takeSeat() {
    const memory = `${view} ${this.#index}`;
    const query = new URLSearchParams({ group: this.#group, key: sessionStorage.getItem(memory) ?? '' });
    const response = await fetch(`/seat?${query}`, { method: 'POST' }).catch(() => {
      throw new Error('The server is away');
    });
    if (!response.ok) throw new Error('Every seat is taken');
    const seat = await response.json();
    sessionStorage.setItem(memory, seat.key);
    return seat;
  }

  #introduce() {
    const { me, other } = this.#seat;
    this.#element.dataset.name = me.name;
    this.#element.setAttribute('aria-label', me.name);
    this.#find('.avatar').textContent = me.name[0];
    this.#find('h2').textContent = sideBySide ? me.name : `You are ${me.name}`;
    this.#input.placeholder = `Message ${other.name}`;
    this.#input.setAttribute('aria-label', `Message ${other.name}`);
    this.#find('.hint p').textContent = `${other.name} is not here. What you write waits for her.`;
    if (!sideBySide) document.title = `${me.name} – websocket-relay`;
  }

  #showPresence() {
    const isHere = this.#channel.online;
    this.#find('.presence').textContent = `${this.#seat.other.name} is ${isHere ? 'here' : 'away'}`;
    this.#element.classList.toggle('accompanied', isHere);
    this.#find('.hint').hidden = isHere || sideBySide;
  }

  #show(state, text) {
    this.#element.dataset.connection = state;
    this.#find('.connection').textContent = text;
    this.#find('button').disabled = state !== 'open';
  }

  #send() {
    const text = this.#input.value;
    if (text.trim() === '' || this.#element.dataset.connection !== 'open') return;
    this.#channel.send(text);
    this.#add('You', text, 'mine');
    this.#input.value = '';
    this.#input.focus();
  }

  #add(name, text, whose) {
    const log = this.#log;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 50;
    const time = new Date();
    const who = make('span', 'unseen', `${name}: `);
    const when = make('time', '', time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
    when.dateTime = time.toISOString();
    const item = make('li', whose);
    item.append(who, make('p', '', text), when);
    log.append(item);
    if (log.children.length > MAX_SHOWN) log.firstElementChild.remove();
    if (atEnd || whose === 'mine') log.scrollTop = log.scrollHeight;
  }

  #find(selector) {
    return this.#element.querySelector(selector);
  }
}

function make(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/** The two panes of one page talk with each other and with nobody else, so they are a group of their own. */
function ownGroup() {
  let group = sessionStorage.getItem('group');
  if (!group) sessionStorage.setItem('group', (group = Math.random().toString(36).slice(2)));
  return group;
}

async function start() {
  document.body.dataset.view = view;
  document.querySelector(`a[data-view="${view}"]`).setAttribute('aria-current', 'page');
  // A page that "Back" brings back from the browser's memory has lost its connection and maybe its seat.
  addEventListener('pageshow', (event) => event.persisted && location.reload());
  if (!sideBySide) return new Pane(0, '').join();
  const panes = [0, 1].map((index) => new Pane(index, ownGroup()));
  // One after the other, so that Ada sits on the left.
  for (const pane of panes) await pane.join();
}

start();
