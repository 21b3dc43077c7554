/** What the page of `-display web` does, in the browser. */

export const SCRIPT = String.raw`
import RFB from "/novnc/core/rfb.js";

const token = new URLSearchParams(location.search).get('token') ?? '';
const address = (path) => 'ws://' + location.host + path + '?token=' + encodeURIComponent(token);
const find = (query) => document.querySelector(query);
const say = (text) => { find('#message').textContent = text; };

// ---- the screen

const rfb = new RFB(find('#screen'), address('/screen'), { shared: true });
rfb.scaleViewport = true;
rfb.showDotCursor = true;
rfb.addEventListener('connect', () => { document.body.dataset.connected = 'yes'; rfb.focus(); });
rfb.addEventListener('disconnect', () => { delete document.body.dataset.connected; say('disconnected'); });

// ---- control

const control = new WebSocket(address('/control'));
const waiting = new Map();
let last = 0;

function run(command, argument = '') {
  return new Promise((resolve) => {
    const id = ++last;
    waiting.set(id, resolve);
    control.send(JSON.stringify({ id, command, argument }));
  });
}

/** Runs a command of a button, and shows what went wrong. */
async function press(command, argument) {
  say(command === 'savevm' ? 'saving ...' : '');
  const { error } = await run(command, argument);
  say(error ?? '');
  rfb.focus();
}

control.addEventListener('open', showSnapshots);
control.addEventListener('close', () => { find('#state').textContent = 'disconnected'; });
control.addEventListener('message', ({ data }) => {
  const message = JSON.parse(data);
  if (message.event === 'state') find('#state').textContent = message.state;
  else if (message.event === 'serial') print('#serial', message.text);
  else if (message.event === 'snapshots') showSnapshots();
  else {
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  }
});

for (const name of ['pause', 'resume', 'reset']) find('#' + name).addEventListener('click', () => press(name));
find('#cad').addEventListener('click', () => press('keys', 'ctrl-alt-delete'));
find('#save').addEventListener('submit', (event) => {
  event.preventDefault();
  press('savevm', find('#tag').value);
});

// ---- snapshots

async function showSnapshots() {
  const { snapshots = [] } = await run('snapshots');
  find('#snapshots tbody').replaceChildren(...snapshots.map(row));
}

function row({ tag, bytes, date, picture }) {
  const line = document.createElement('tr');
  line.dataset.tag = tag;
  const cells = ['', tag, new Date(date).toLocaleString(), (bytes / 2 ** 20).toFixed(1) + ' MiB'];
  for (const text of cells) line.insertCell().textContent = text;
  if (picture !== undefined) {
    const image = document.createElement('img');
    image.src = picture;
    image.alt = '';
    line.cells[0].append(image);
  }
  line.addEventListener('click', () => press('loadvm', tag));
  return line;
}

// ---- serial port and monitor

const MOST = 100000;

function print(where, text) {
  const pre = find(where + ' pre');
  pre.textContent = (pre.textContent + text.replaceAll('\r', '')).slice(-MOST);
  pre.scrollTop = pre.scrollHeight;
}

function onLine(where, take) {
  find(where + ' form').addEventListener('submit', (event) => {
    event.preventDefault();
    const input = find(where + ' input');
    take(input.value);
    input.value = '';
  });
}

onLine('#serial', (line) => run('serial', line + '\r'));
onLine('#monitor', async (line) => {
  print('#monitor', '(qemu) ' + line + '\n');
  const { text = '', error } = await run('monitor', line);
  print('#monitor', error === undefined ? text : error + '\n');
});

for (const button of document.querySelectorAll('nav button')) {
  button.addEventListener('click', () => {
    for (const other of document.querySelectorAll('nav button')) {
      other.setAttribute('aria-pressed', String(other === button));
      find('#' + other.dataset.tab).hidden = other !== button;
    }
  });
}
`;
