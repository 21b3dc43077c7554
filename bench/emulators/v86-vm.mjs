// One v86 machine as a process: serial port on standard output, and a monitor on a Unix socket that knows savevm TAG,
// loadvm TAG and quit. v86 has no snapshot files: savevm here is save_state, written and synced to STATE.TAG.
// Plain JavaScript, so that nothing but Node stands between the clock and v86.
//   node v86-vm.mjs JSON     (see v86.ts)
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';

const spec = JSON.parse(process.argv[2]);
const { V86 } = await import(`${spec.v86}/build/libv86.mjs`);

function buffer(path) {
  const bytes = readFileSync(path);
  return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) };
}

const emulator = new V86({
  wasm_path: `${spec.v86}/build/v86.wasm`,
  bios: buffer(spec.bios),
  vga_bios: buffer(spec.vgaBios),
  memory_size: spec.memMiB * 1024 * 1024,
  vga_memory_size: 8 * 1024 * 1024,
  autostart: true,
  disable_speaker: true,
  ...(spec.kernel ? { bzimage: buffer(spec.kernel), initrd: buffer(spec.initrd), cmdline: spec.append } : {}),
  ...(spec.disk ? { hda: buffer(spec.disk) } : {}),
  ...(spec.loadvm ? { initial_state: buffer(`${spec.state}.${spec.loadvm}`) } : {}),
});

let line = '';
emulator.add_listener('serial0-output-byte', (byte) => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  process.stdout.write(line);
  line = '';
});

process.stdin.on('data', (bytes) => emulator.serial0_send(bytes.toString('latin1')));

function writeAll(path, bytes) {
  const fd = openSync(path, 'w');
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, Math.min(1 << 26, bytes.length - done));
  fsyncSync(fd);
  closeSync(fd);
}

const commands = {
  savevm: async (tag) => writeAll(`${spec.state}.${tag}`, new Uint8Array(await emulator.save_state())),
  loadvm: async (tag) => emulator.restore_state(buffer(`${spec.state}.${tag}`).buffer),
  quit: () => process.exit(0),
};

if (spec.monitor) {
  createServer((socket) => {
    socket.setEncoding('utf8');
    socket.on('error', () => {});
    socket.write('(v86) ');
    socket.on('data', async (text) => {
      const [name, argument] = text.trim().split(' ');
      await commands[name](argument);
      socket.write('(v86) ');
    });
  }).listen(spec.monitor);
}
