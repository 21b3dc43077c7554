/**
 * The commands in README and docs, run as they stand on a terminal of their own: they go on until they are told to end. The
 * session of README's "Snapshot in 30 seconds" is typed line by line, and QEMU goes on from its snapshot.
 */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createQcow2 } from '../src/block/qcow2/create.ts';
import { openImage } from '../src/block/open.ts';
import { ROOT } from './support/bundle.ts';
import { findGuest } from './support/guests.ts';
import { requireProgram } from './support/programs.ts';
import { buildProgram } from './support/program-run.ts';

const pty = await import('node-pty').catch(() => undefined);
const folder = mkdtempSync(join(tmpdir(), 'ambervm-docs-'));
const terminals: Terminal[] = [];
const START_MS = 60_000;

class Terminal {
  output = '';
  readonly exit: Promise<number>;
  isOver = false;
  readonly #process: ReturnType<NonNullable<typeof pty>['spawn']>;

  constructor(line: string) {
    const env = { ...process.env, AMBERVM_DATA: folder, TERM: 'xterm' };
    // Removed by the shell, so that the signal reaches the program itself.
    this.#process = pty!.spawn('sh', ['-c', `exec ${line}`], { cwd: folder, env, cols: 100, rows: 40 });
    this.#process.onData((text) => {
      this.output += text;
    });
    this.exit = new Promise((resolve) =>
      this.#process.onExit(({ exitCode }) => {
        this.isOver = true;
        resolve(exitCode);
      }),
    );
    terminals.push(this);
  }

  type(text: string): void {
    this.#process.write(text);
  }

  async until(wanted: string | RegExp, from = 0): Promise<void> {
    await expect.poll(() => this.output.slice(from), { timeout: START_MS, interval: 20 }).toMatch(wanted);
  }

  end(signal: string): void {
    if (!this.isOver) this.#process.kill(signal);
  }
}

/** Files that the commands name, under the names that they have there. */
const GUESTS = {
  vmlinuz: 'vmlinuz-686',
  'initrd.gz': 'initramfs-686.gz',
  'grub.iso': 'grub-rescue-cd.iso',
} as const;

beforeAll(async () => {
  buildProgram();
  for (const name of ['bin', 'images']) symlinkSync(join(ROOT, name), join(folder, name));
  const demo = readFileSync(join(ROOT, 'images/demo/demo.img'));
  await createQcow2(join(folder, 'disk.qcow2'), { sizeBytes: demo.length });
  const disk = await openImage(join(folder, 'disk.qcow2'));
  await disk.write(0, demo);
  await disk.close();
  for (const [name, guest] of Object.entries(GUESTS)) {
    const found = findGuest(guest as (typeof GUESTS)[keyof typeof GUESTS]);
    if (found !== undefined) symlinkSync(found, join(folder, name));
  }
});
afterAll(() => {
  for (const terminal of terminals) terminal.end('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const PAGES = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');

/** Without the remark that stands behind several blanks. */
const withoutRemark = (line: string) => line.trim().replace(/(\S) {3,}.*/, '$1');

const COMMANDS = PAGES.flatMap((page) =>
  readFileSync(join(ROOT, page), 'utf8')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => /^ {4}node bin\/ambervm\.js -/.test(line))
    .map((line) => [page, withoutRemark(line)] as const),
);

test('there are commands', () => {
  expect(COMMANDS.length).toBeGreaterThan(8);
});

describe.skipIf(pty === undefined)('on a terminal (skipped without node-pty)', () => {
  test.each(COMMANDS)('%s: %s', { timeout: 120_000 }, async (_page, line) => {
    const missing = Object.keys(GUESTS).filter(
      (name) => line.includes(name) && !readdirSync(folder).includes(name),
    );
    if (missing.length > 0) return;
    const own = `work${terminals.length}.qcow2`;
    copyFileSync(join(folder, 'disk.qcow2'), join(folder, own));
    const terminal = new Terminal(line.replace('disk.qcow2', own));
    await terminal.until(/\S/);
    await new Promise((resolve) => setTimeout(resolve, 300));
    // Ports of fixed numbers may be somebody else's.
    if (terminal.output.includes('Address already in use')) return;
    expect(terminal.isOver, terminal.output).toBe(false);
    terminal.end('SIGTERM');
    expect(await terminal.exit, terminal.output).toBe(0);
    expect(terminal.output).not.toMatch(/^ambervm: -/m);
  });

  test('README: snapshot in 30 seconds, in a new process, in QEMU', { timeout: 300_000 }, async () => {
    // `npm start` is this script; npm would go to the project's folder.
    const start = `node ${join(ROOT, 'scripts/start.mjs')}`;
    const section = /## Snapshot in 30 seconds\n([\s\S]*?)\n## /.exec(readme)![1]!;
    const first = new Terminal(start);
    await first.until('tick 0001');
    for (const line of section.split('\n').filter((text) => text.startsWith('    '))) {
      const typed = withoutRemark(line);
      const from = first.output.length;
      if (typed === 'Ctrl-a c') first.type('\x01c');
      else if (typed.startsWith('(qemu) ')) first.type(`${typed.slice('(qemu) '.length)}\r`);
      else break;
      if (typed === '(qemu) quit') break;
      await first.until(/\(qemu\) $/, from);
      expect(first.output.slice(from)).not.toMatch(/Error|unknown command/);
    }
    expect(await first.exit).toBe(0);
    expect(readFileSync(join(folder, 's.png')).subarray(1, 4).toString()).toBe('PNG');

    const again = /npm start -- (-loadvm a)/.exec(section)![1];
    const second = new Terminal(`${start} ${again}`);
    await second.until(/tick \d+/);
    second.type('\x01x');
    expect(await second.exit).toBe(0);

    if (!requireProgram('qemu-system-i386')) return;
    const theirs = readme.replaceAll('\\\n', ' ').match(/^ {4}qemu-system-i386 .*demo\.qcow2.*$/m)![0];
    const qemu = new Terminal(
      `${theirs.trim().replace('~/.cache/ambervm/demo.qcow2', join(folder, 'demo.qcow2'))} -display none`,
    );
    await qemu.until(/tick \d+/);
    expect(qemu.output).not.toMatch(/^qemu-system-i386: /m);
    qemu.end('SIGTERM');
    await qemu.exit;
  });
});
