/** Debian's gdb against our gdb server: breakpoints by symbol, steps, watchpoints, backwards; and hostile packets. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { buildMachine } from '../../src/cli/build-machine.ts';
import { parseCommandLine } from '../../src/cli/options.ts';
import { encodePacket } from '../../src/host/gdb/packet.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { expectFlatMemory, heldBytes } from '../support/held-bytes.ts';
import { requireProgram } from '../support/programs.ts';
import { run } from '../support/qemu-img.ts';
import { type Debugged, runGdb, serveGdb } from './debugger.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-gdb-'));
const ELF = join(folder, 'guest.elf');
const DISK = join(folder, 'guest.img');
const hasTools = requireProgram('gdb') && requireProgram('nasm') && requireProgram('ld');
const opened: { machine: Machine; server: Debugged }[] = [];

beforeAll(() => {
  if (!hasTools) return;
  const source = fileURLToPath(new URL('guest.asm', import.meta.url));
  run('nasm', '-f', 'elf32', '-o', `${ELF}.o`, source);
  run('ld', '-m', 'elf_i386', '-Ttext', '0x7c00', '-e', 'start', '-o', ELF, `${ELF}.o`);
  run('objcopy', '-O', 'binary', '-j', '.text', ELF, `${DISK}.boot`);
  const disk = Buffer.alloc(1 << 20);
  readFileSync(`${DISK}.boot`).copy(disk);
  disk.writeUInt16LE(0xaa55, 510);
  writeFileSync(DISK, disk);
});

afterEach(async () => {
  for (const { machine, server } of opened.splice(0)) {
    await server[Symbol.asyncDispose]();
    await machine.close();
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The guest with a gdb server; `icount`: with counted instructions and a qcow2 disk for snapshots. */
async function serve(icount = false): Promise<{ machine: Machine; port: number; failures: unknown[] }> {
  const overlay = join(folder, `disk${Math.random()}.qcow2`);
  await createQcow2(overlay, { sizeBytes: 1 << 20, backingFile: DISK, backingFormat: 'raw' });
  const counted = icount ? ['-icount', 'shift=3,sleep=off'] : [];
  const config = parseCommandLine(['-m', '4', '-bios', 'amberbios.bin', '-hda', overlay, ...counted]);
  const machine = await buildMachine(config, { serials: [], notice: () => {} });
  const server = await serveGdb(machine);
  opened.push({ machine, server });
  return { machine, port: server.port, failures: server.failures };
}

/** The first answer of a session of its own; empty if it is not let in. */
function ask(port: number, packet: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(encodePacket(packet)));
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      text += bytes;
      if (text.includes('#')) socket.destroy();
    });
    socket.on('close', () => resolve(text));
  });
}

const gdb = (port: number, ...commands: readonly string[]) => runGdb(ELF, port, commands);

describe.skipIf(!hasTools)('real gdb (skipped without gdb, nasm, ld)', () => {
  test('boots to a breakpoint by symbol, steps 1,000 instructions, watches a variable', async () => {
    const { machine, port, failures } = await serve();
    const output = await gdb(
      port,
      'break work',
      'continue',
      'printf "ebx=%d counter=%d\\n", $ebx, *(int*)&counter',
      'delete',
      'stepi 1000',
      'printf "stepped eip in guest: %d\\n", $eip >= (int)&main && $eip < (int)&counter',
      'printf "st0=%.5f fctrl=%x\\n", $st0, $fctrl',
      'watch *(int*)&counter',
      'continue',
      'continue',
      'print $xmm0.uint128',
      'set *(int*)&counter = 1000000',
      'set $ebx = 77',
      'delete',
      'stepi 12',
      'printf "counter now %d ebx %d\\n", *(int*)&counter, $ebx',
      'monitor info status',
      'info registers cr0',
      'detach',
    );
    expect(output).toMatch(/Breakpoint 1, 0x\w+ in work \(\)/);
    expect(output).toContain('ebx=1 counter=0');
    expect(output).toContain('stepped eip in guest: 1');
    expect(output).toContain('st0=3.14159 fctrl=37f');
    const values = [...output.matchAll(/Old value = (\d+)\s+New value = (\d+)/g)];
    expect(values).toHaveLength(2);
    for (const [, old, value] of values) expect(Number(value)).toBe(Number(old) + 1);
    expect(output).toMatch(/counter now 100000[12] ebx 7[789]/);
    expect(output).toContain('VM status: paused');
    expect(output).toMatch(/cr0\s+0x\w*11\b/);
    expect(machine.running).toBe(true);
    expect(failures).toEqual([]);
  });

  test('a guest that runs is stopped by attaching, and by Ctrl-C', async () => {
    const { machine, port } = await serve();
    machine.start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const output = await gdb(port, 'printf "stopped\\n"', 'info registers eip');
    expect(output).toContain('stopped');
    machine.start();
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes;
    });
    socket.write(encodePacket('c'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    socket.write(Buffer.from([3]));
    await expect.poll(() => text, { timeout: 20_000 }).toContain('T02');
    socket.destroy();
  });

  test('backwards with -icount: reverse-stepi, reverse-continue', async () => {
    const { machine, port } = await serve(true);
    await machine.runTo(400_000);
    await machine.savevm('start');
    const output = await gdb(
      port,
      'break work',
      'continue',
      'printf "at %d\\n", *(int*)&counter',
      'continue',
      'continue',
      'printf "then %d\\n", *(int*)&counter',
      'stepi',
      'stepi',
      'reverse-stepi',
      'reverse-stepi',
      'printf "back %d %d\\n", *(int*)&counter, $eip == (int)&work',
      'reverse-continue',
      'printf "earlier %d\\n", *(int*)&counter',
      'reverse-continue',
      'reverse-continue',
      'printf "ends\\n"',
    );
    const first = Number(/at (\d+)/.exec(output)![1]);
    expect(output).toContain(`then ${first + 2}`);
    expect(output).toContain(`back ${first + 2} 1`);
    expect(output).toContain(`earlier ${first + 1}`);
    expect(output).toMatch(/Reached end of reverse-execution history|No more reverse-execution history/);
    expect(output).toContain('ends');
  });
});

test.skipIf(!hasTools)(
  'packets of strangers: an answer or none, and the server lives (skipped without nasm, ld)',
  async () => {
    const { port, failures, machine } = await serve();
    const runs = process.env['AMBERVM_LONG'] === undefined ? 300 : 10_000;
    const letters = fc.constantFrom(...'?gGpPmMXZzHTDqQvkbcsfFxjA');
    const text = fc.string({ unit: 'binary-ascii', maxLength: 40 });
    const hexish = fc.stringMatching(/^[0-9a-f,:;=]{0,30}$/);
    const packets = fc.sample(fc.tuple(letters, fc.oneof(text, hexish)), runs);
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    let onAnswer = () => {};
    socket.on('data', (bytes) => {
      if (bytes.includes('$')) onAnswer();
    });
    const before = await heldBytes();
    for (const [letter, rest] of packets) {
      // Runs would not end by themselves.
      if (/^([cCsS]|vCont;|bc|bs|k|vKill|D)/.test(letter + rest)) continue;
      const answer = new Promise<void>((resolve, reject) => {
        const late = setTimeout(
          () => reject(new Error(`no answer to ${JSON.stringify(letter + rest)}`)),
          20_000,
        );
        onAnswer = () => {
          clearTimeout(late);
          resolve();
        };
      });
      socket.write(encodePacket(letter + rest));
      await answer;
    }
    socket.write(
      Buffer.from(fc.sample(fc.uint8Array({ maxLength: 100 }), 50).flatMap((bytes) => [...bytes])),
    );
    socket.destroy();
    await expectFlatMemory(before);
    // One gdb at a time: the next is let in when the server has seen this one go.
    await expect.poll(() => ask(port, '?'), { timeout: 30_000 }).toContain('thread:1');
    expect(failures).toEqual([]);
    expect(machine.state).not.toBe('internal-error');
  },
);
