/**
 * The program is killed at a random moment while its guest writes its disk and the monitor saves, replaces and deletes
 * snapshots; again and again on the same image. Whatever was reported as done is there, loads here and in QEMU, and the image
 * has leaks at worst. AMBERVM_LONG=1: 60 times.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { random } from '../support/crash/points.ts';
import { isLongRun } from '../support/guests.ts';
import { requireProgram } from '../support/programs.ts';
import { hasQemu, Qemu } from '../support/qemu.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { emptyImage, moreRounds, openGuest, RAM_BYTES, romFile, romOf } from './torture-guests.ts';

const KILLS = isLongRun ? 60 : 4;
const QEMU_EVERY = isLongRun ? 5 : 2;
/** The program lives for at most this long after its first command, ms. */
const LIFE_MS = 1500;
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let folder: ReturnType<typeof temporaryFolder>;
let program: ChildProcess | undefined;
beforeAll(() => {
  folder = temporaryFolder();
  if (existsSync(join(ROOT, 'dist/cli/main.js'))) return;
  const { status } = spawnSync('npm', ['run', 'build'], { cwd: ROOT });
  expect(status).toBe(0);
});
afterAll(() => {
  program?.kill('SIGKILL');
  folder?.[Symbol.dispose]();
});

/** The program with its monitor on a pipe. */
class Victim {
  text = '';
  readonly child: ChildProcess;
  readonly gone: Promise<void>;

  constructor(image: string, rom: string, loadvm: string | undefined) {
    const args = ['-bios', rom, '-m', '2', '-vga', 'none', '-nodefaults', '-display', 'none'];
    args.push('-hda', image, '-monitor', 'stdio', ...(loadvm === undefined ? [] : ['-loadvm', loadvm]));
    this.child = spawn(process.execPath, [join(ROOT, 'bin/ambervm.js'), ...args], { stdio: 'pipe' });
    program = this.child;
    this.child.stdout!.on('data', (data) => {
      this.text += data;
    });
    this.child.stderr!.on('data', (data) => {
      this.text += data;
    });
    this.child.stdin!.on('error', () => {});
    this.gone = new Promise((resolve) => this.child.on('close', () => resolve()));
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Undefined: it was dead before it answered. */
  async command(line: string): Promise<string | undefined> {
    const from = this.text.length;
    this.child.stdin!.write(`${line}\n`);
    return this.prompt(from);
  }

  async prompt(from = 0): Promise<string | undefined> {
    for (let tries = 0; tries < 24_000; tries++) {
      const answer = this.text.slice(from);
      if (answer.endsWith('(qemu) ')) return answer;
      if (!this.isAlive) return undefined;
      await delay(5);
    }
    throw new Error(`no answer: ${this.text}`);
  }
}

/** Tags that must be there; those that may be there or not, since the last command did not end. */
interface Book {
  readonly certain: Set<string>;
  readonly open: Set<string>;
}

const TAGS = ['a', 'b', 'c', 'd'];

async function live(victim: Victim, book: Book, next: () => number): Promise<void> {
  for (;;) {
    const tag = TAGS[Math.floor(next() * TAGS.length)]!;
    const remove = next() < 0.2 && book.certain.size > 1;
    const line = remove ? `delvm ${tag}` : next() < 0.3 ? `savevm -z ${tag}` : `savevm ${tag}`;
    book.open.add(tag);
    // Being deleted: there or not. Being replaced: the old one or the new one, but there.
    const was = remove && book.certain.delete(tag);
    const answer = await victim.command(line);
    if (answer === undefined) return;
    const failed = /Error/.test(answer);
    if (remove ? failed && was : !failed) book.certain.add(tag);
    book.open.delete(tag);
  }
}

async function judge(image: string, book: Book, nth: number): Promise<string[]> {
  const copy = join(folder.path, `judged${nth}.qcow2`);
  copyFileSync(image, copy);
  if (hasQemuImg) expect(qemuCheck(copy).corruptions).toBe(0);
  const node = (await openImage(copy)) as Qcow2;
  expect((await checkImage(node.image)).corruptions).toBe(0);
  const tags = node.listSnapshots().map((info) => info.tag);
  // A tag whose replacing was begun has the old or the new snapshot.
  for (const tag of book.certain) expect(tags, `kill ${nth}`).toContain(tag);
  for (const tag of tags) expect([...book.certain, ...book.open], `kill ${nth}`).toContain(tag);
  {
    await using machine = await openGuest(romOf('DMA', folder.path), {
      moreDrives: [{ device: 'ide0-hd0', kind: 'disk', index: 0, node }],
    });
    for (const tag of tags) {
      await machine.loadvm(tag);
      await machine.finishLoad();
      machine.start();
      await moreRounds(machine, 2);
      await machine.pause();
    }
  }
  if (hasQemu && nth % QEMU_EVERY === 0 && tags.length > 0) await loadInQemu(image, tags.at(-1)!, nth);
  return tags;
}

async function loadInQemu(image: string, tag: string, nth: number): Promise<void> {
  const copy = join(folder.path, `qemu${nth}.qcow2`);
  copyFileSync(image, copy);
  const more = ['-bios', romFile('DMA', folder.path), '-vga', 'none'];
  await using qemu = await Qemu.start({
    memoryMiB: RAM_BYTES >> 20,
    image: copy,
    loadvm: tag,
    stopped: true,
    more,
  });
  const words = async (): Promise<Uint32Array> =>
    new Uint32Array(Uint8Array.from(await qemu.readMemory(0x9000, 8)).buffer);
  const before = (await words())[0]!;
  await qemu.resume();
  for (let tries = 0; tries < 400 && (await words())[0]! < before + 3; tries++) await delay(25);
  const now = await words();
  expect(now[0]).toBeGreaterThanOrEqual(before + 3);
  expect(now[1]).toBe(0);
}

describe.skipIf(!requireProgram('nasm'))('SIGKILL', () => {
  it(`${KILLS} times in the life of an image`, { timeout: KILLS * 60_000 }, async () => {
    const image = join(folder.path, 'image.qcow2');
    writeFileSync(image, emptyImage().bytes);
    const rom = romFile('DMA', folder.path);
    const next = random(Date.now());
    const book: Book = { certain: new Set(), open: new Set() };
    let saved = 0;
    for (let nth = 0; nth < KILLS; nth++) {
      const [from] = book.certain;
      const victim = new Victim(image, rom, from);
      expect(await victim.prompt(), victim.text).toBeDefined();
      const life = live(victim, book, next);
      // At least something must have been saved once.
      while (book.certain.size === 0 && victim.isAlive) await delay(5);
      await delay(next() * LIFE_MS);
      victim.child.kill('SIGKILL');
      await Promise.all([life, victim.gone]);
      const tags = await judge(image, book, nth);
      saved += tags.length;
      book.certain.clear();
      book.open.clear();
      for (const tag of tags) book.certain.add(tag);
    }
    expect(saved).toBeGreaterThan(0);
  });
});
