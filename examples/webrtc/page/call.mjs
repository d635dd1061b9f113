/* global WebSocketRelay */
import { playVideo, openCamera } from './media.mjs';
import { negotiate } from './negotiate.mjs';
import { addLine, find, make, showState } from './page.mjs';
import { closedForGood, wait } from './seat.mjs';

/** Close codes of the relay: another connection has taken this client's place; the server has ended the call. */
const [REPLACED, UNREGISTERED] = [4501, 4502];
const CALL_AGAIN = { button: 'Call someone else', act: () => location.reload() };

// For peers in different networks: { iceServers: [{ urls: 'stun:…' }, { urls: 'turn:…', username, credential }] }
const peer = new RTCPeerConnection();
const hungUp = new AbortController();
let signaling;
let data;

peer.addEventListener('connectionstatechange', show);
// The other side hears of it even if the server is away.
addEventListener('pagehide', () => peer.close());
peer.ontrack = ({ streams: [stream] }) => {
  playVideo(find('#theirs'), stream, find('#sound'));
  show();
};

signal();

/**
 * Signals for as long as the call lasts. The call itself does not need the server: it goes on while that is restarted. Signals
 * wait until it is back.
 */
async function signal() {
  setSignaling('asking');
  const call = await findOther();
  if (!call) return;
  setSignaling('connecting');
  const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: call.id, token: call.token });
  hungUp.signal.addEventListener('abort', () => relay.close());
  relay.on('error', ({ message }) => console.info(message));
  relay.on('open', () => setSignaling('connected'));
  negotiate(peer, relay.createChannel(call.otherId), call.polite);
  // This makes the two sides negotiate.
  openText();
  const code = await closedForGood(relay, ({ willReconnect }) => willReconnect && setSignaling('away'));
  if (code === UNREGISTERED) hangUp();
  setSignaling(code === REPLACED ? 'replaced' : 'forgotten');
}

/** Resolves when another page has come, or to undefined when this page has hung up. */
async function findOther() {
  while (!hungUp.signal.aborted) {
    try {
      const response = await fetch('call', { method: 'POST', signal: hungUp.signal });
      if (!response.ok) throw new Error(response.statusText);
      setSignaling('waiting');
      return await response.json();
    } catch {
      setSignaling('away');
      await wait(1_000);
    }
  }
}

function openText() {
  // Both sides open it, so that neither has to wait for the other's.
  data = peer.createDataChannel('text', { negotiated: true, id: 0 });
  data.onopen = show;
  data.onmessage = (event) => addLine(find('.log'), make('li', 'theirs', event.data));
  data.onclose = hangUp;
}

function hangUp() {
  if (hungUp.signal.aborted) return;
  hungUp.abort();
  peer.close();
  find('#mine').srcObject?.getTracks().forEach((track) => track.stop());
  for (const video of document.querySelectorAll('video')) video.hidden = true;
  show();
}

find('form').onsubmit = (event) => {
  event.preventDefault();
  const input = find('input');
  if (!input.value || data?.readyState !== 'open') return;
  data.send(input.value);
  addLine(find('.log'), make('li', 'mine', input.value));
  input.value = '';
};

find('#camera').onclick = async ({ target }) => {
  target.disabled = true;
  try {
    const stream = await openCamera();
    Object.assign(find('#mine'), { srcObject: stream, hidden: false });
    target.hidden = true;
    // This makes the two sides negotiate again.
    for (const track of stream.getTracks()) peer.addTrack(track, stream);
    show();
  } catch (error) {
    target.textContent = error.message;
    target.disabled = false;
  }
};

function setSignaling(state) {
  signaling = state;
  show();
}

/** Shows the state of the call, which depends on that of the peer and on that of its signaling. */
function show() {
  const isOver = hungUp.signal.aborted;
  const isOpen = !isOver && data?.readyState === 'open';
  if (isOver) showState('left', { status: 'Call ended', title: 'The other person has left.', ...CALL_AGAIN });
  else if (isOpen) showState('connected', inCall());
  else if (signaling === 'waiting') showState('waiting', { status: 'Waiting', title: 'Nobody to call yet.', text: 'Open this page in a second tab: the two connect by themselves.', secondTab: true });
  else if (signaling === 'away') showState('away', { text: 'Calls cannot begin until it is back. This page tries again by itself.' });
  else if (signaling === 'forgotten') showState('left', { status: 'Call ended', title: 'The server no longer knows this call.', ...CALL_AGAIN });
  else if (signaling === 'replaced') showState('replaced', { title: 'Another tab has taken this call.', text: '', ...CALL_AGAIN });
  else if (signaling === 'asking') showState('connecting', { title: 'Looking for someone to call…' });
  else showState('connecting', { title: 'Someone is here.', text: 'Connecting the two browsers…' });
  find('#camera').hidden = !isOpen || !find('#mine').hidden;
  find('#sound').hidden ||= !isOpen;
}

/** What is said about the server in a call, which goes on without it. */
const SERVER = {
  away: { word: ' while the server is away', text: 'The server is away, perhaps for a restart. The call goes on. A camera that is turned on now is seen when it is back.' },
  replaced: { word: ', another tab signals' },
  forgotten: { word: ' without the server', text: 'The server no longer knows this call, which goes on as it is.' },
};

function inCall() {
  const { connectionState } = peer;
  const { word = '', text } = SERVER[signaling] ?? {};
  const status = (connectionState === 'connected' ? 'Connected' : 'Connection lost') + word;
  const theirs = find('#theirs');
  theirs.hidden = !theirs.srcObject || connectionState === 'failed';
  if (connectionState === 'failed') return { status, title: 'The connection is lost.', text: text ?? 'It comes back by itself if the other page is still there.', ...CALL_AGAIN };
  if (!theirs.hidden) return { status };
  return { status, title: 'You are connected.', text: text ?? (find('#mine').hidden ? 'Both cameras are off. Text goes straight from browser to browser.' : 'The other camera is off.') };
}
