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

/** Signals for as long as the call lasts. The call itself does not need the server: it goes on when that is restarted. */
async function signal() {
  let renew;
  setSignaling('asking');
  for (let call = await findOther(); call; call = await findOther(call.callId)) {
    setSignaling('connecting');
    const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: call.id, token: call.token });
    hungUp.signal.addEventListener('abort', () => relay.close());
    relay.on('error', ({ message }) => console.info(message));
    relay.on('open', () => setSignaling('connected'));
    const channel = relay.createChannel(call.otherId);
    if (renew) {
      renew(channel);
    } else {
      renew = negotiate(peer, channel, call.polite);
      // This makes the two sides negotiate.
      openText();
    }
    const code = await closedForGood(relay, () => setSignaling('away'));
    if (code === UNREGISTERED) hangUp();
    if (code === REPLACED) return setSignaling('replaced');
  }
}

/** Resolves when another page has come: the other page of a call, if it has begun. Undefined if this page has hung up. */
async function findOther(callId) {
  const query = new URLSearchParams(callId && { id: callId });
  while (!hungUp.signal.aborted) {
    try {
      const response = await fetch(`call?${query}`, { method: 'POST', signal: hungUp.signal });
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
  else if (signaling === 'replaced') showState('replaced', { title: 'Another tab has taken this call.', text: '', ...CALL_AGAIN });
  else if (signaling === 'asking') showState('connecting', { title: 'Looking for someone to call…' });
  else showState('connecting', { title: 'Someone is here.', text: 'Connecting the two browsers…' });
  find('#camera').hidden = !isOpen || !find('#mine').hidden;
  find('#sound').hidden ||= !isOpen;
}

function inCall() {
  const { connectionState } = peer;
  const more = { away: ', server away', waiting: ', server restarted', replaced: ', but another tab signals' }[signaling] ?? '';
  const status = (connectionState === 'connected' ? 'Connected' : 'Connection lost') + more;
  const theirs = find('#theirs');
  theirs.hidden = !theirs.srcObject || connectionState === 'failed';
  if (connectionState === 'failed') return { status, title: 'The connection is lost.', text: 'It comes back by itself if the other page is still there.', ...CALL_AGAIN };
  if (!theirs.hidden) return { status };
  return { status, title: 'You are connected.', text: find('#mine').hidden ? 'Both cameras are off. Text goes straight from browser to browser.' : 'The other camera is off.' };
}
