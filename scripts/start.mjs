/**
 * `npm start`: boots the demo disk in an empty clone with nothing but Node. Installs, builds, makes a working qcow2 copy of
 * images/demo/demo.img (kept: snapshots survive), and runs ambervm on this terminal. Arguments are passed on to it.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { buildIfNeeded, installIfNeeded, ROOT, say } from './prepare.mjs';

const DEMO_IMAGE = join(ROOT, 'images/demo/demo.img');
const OWN_BIOS = join(ROOT, 'images/firmware/amberbios.bin');

/** The user's copy of the demo disk, made by our own qcow2 code. `--fresh` throws it away first. */
async function demoDisk(fresh) {
  const folder = process.env.AMBERVM_DATA ?? join(homedir(), '.cache', 'ambervm');
  mkdirSync(folder, { recursive: true });
  const disk = join(folder, 'demo.qcow2');
  if (fresh) rmSync(disk, { force: true });
  if (existsSync(disk)) return disk;
  const { createQcow2 } = await import(new URL('../dist/block/qcow2/create.js', import.meta.url).href);
  const { openImage } = await import(new URL('../dist/block/open.js', import.meta.url).href);
  const data = readFileSync(DEMO_IMAGE);
  const partial = `${disk}.new`;
  rmSync(partial, { force: true });
  await createQcow2(partial, { sizeBytes: data.length });
  const node = await openImage(partial, { format: 'qcow2' });
  await node.write(0, data);
  await node.close();
  renameSync(partial, disk);
  return disk;
}

const args = process.argv.slice(2);
const fresh = args.includes('--fresh');
installIfNeeded();
buildIfNeeded();
const disk = await demoDisk(fresh);

say(`
  ambervm: the demo disk ${disk}
  (npm start -- --fresh begins with a new copy)

  Ctrl-a c         switches between the guest's serial port and the monitor   (Ctrl-a x quits)
  in the monitor:  savevm a      keeps the whole machine;  loadvm a  goes back;  info snapshots  lists
                   screendump s.png      writes what is on the guest's screen
`);

const bios = existsSync(OWN_BIOS) ? ['-bios', OWN_BIOS] : [];
const child = spawn(
  process.execPath,
  [
    join(ROOT, 'bin/ambervm.js'),
    ...['-m', '32', '-nodefaults', '-vga', 'std', '-serial', 'mon:stdio'],
    ...['-drive', `file=${disk.replaceAll(',', ',,')},format=qcow2`],
    ...bios,
    ...args.filter((argument) => argument !== '--fresh'),
  ],
  { stdio: 'inherit' },
);
// The terminal's keys reach the child by themselves; we only wait.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)));
