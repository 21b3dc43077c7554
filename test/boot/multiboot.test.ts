// -kernel with multiboot kernels: what a kernel finds, to the letter what it finds in QEMU; its snapshot in QEMU.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Machine } from '../../src/index.ts';
import { requireProgram } from '../support/programs.ts';
import { hasQemu, hasSeabios, Qemu, SEABIOS } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';

vi.setConfig({ testTimeout: 120_000 });

const hasNasm = requireProgram('nasm');
const SOURCE = fileURLToPath(new URL('multiboot.asm', import.meta.url));
const END = /THE END\n/;
const APPEND = 'a=b c';

let folder: ReturnType<typeof temporaryFolder>;
const at = (name: string) => join(folder.path, name);
const modules = () => `${at('one')} with arguments,${at('two')},,`;
beforeAll(() => {
  folder = temporaryFolder();
  writeFileSync(at('one'), 'module one');
  writeFileSync(at('two,'), Buffer.alloc(5000, 'x'));
});
afterAll(() => folder[Symbol.dispose]());

function assemble(kind: string): string {
  const define = kind === 'ELF' ? ['-DELF'] : [];
  const run = spawnSync('nasm', ['-f', 'bin', ...define, SOURCE, '-o', at(kind)], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr);
  return at(kind);
}

/** Boots the kernel; returns what it printed. `image`: saves it there as `booted`. */
async function bootOurs(kernel: string, bios: string, image?: string): Promise<string> {
  await using machine = await Machine.create({
    memory: '64M',
    ...{ kernel, initrd: modules(), append: APPEND, bios },
    ...(image === undefined ? {} : { hda: image }),
  });
  await machine.start();
  await machine.serial(0).waitFor(END);
  if (image !== undefined) await machine.savevm('booted');
  return machine.serial(0).text;
}

const kernelIn = (file: string) => ({ file, initrd: modules(), append: APPEND });

describe.skipIf(!hasNasm).each(['ELF', 'with-addresses'])('multiboot kernel, %s', (kind) => {
  test('on amberbios', async () => {
    const printed = await bootOurs(assemble(kind), 'amberbios.bin');
    expect(printed).toMatch(/^2BADB002 00000001 00000000 \n0000024F 0000027F 0000FB.. 8000FFFF \n/);
    expect(printed).toContain(`${kind} a=b c\nqemu\n0000000A 75646F6D 00000000 `);
    expect(printed).toContain(`one with arguments\n00001388 78787878 00000000 `);
    expect(printed).toContain('00000014 00000000 00000000 0009FC00 00000000 00000001 \n');
  });

  test.skipIf(!hasQemu || !hasSeabios)('finds what it finds in QEMU, which loads its snapshot', async () => {
    const kernel = assemble(kind);
    const image = at(`${kind}.qcow2`);
    qemuImg('create', '-q', '-f', 'qcow2', image, '64M');
    const printed = await bootOurs(kernel, SEABIOS, image);
    qemuCheck(image);
    await using qemu = await Qemu.start({ memoryMiB: 64, kernel: kernelIn(kernel) });
    await qemu.serial.waitFor(END, 60_000);
    expect(printed).toBe(qemu.serial.text);
    await using loaded = await Qemu.start({
      memoryMiB: 64,
      kernel: kernelIn(kernel),
      image,
      loadvm: 'booted',
    });
    const registers = await loaded.hmp('info registers');
    expect(registers).toMatch(/CS =0008 00000000 ffffffff 00cf9b00[\s\S]*HLT=1|HLT=1[\s\S]*CS =0008/);
  });
});
