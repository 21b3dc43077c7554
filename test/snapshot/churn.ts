/** A small guest that keeps changing memory, screen and disk (churn.asm), with or without counted instructions. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { requireProgram } from '../support/programs.ts';
import { Pc } from '../support/pc.ts';
import { hasSeabios } from '../support/qemu.ts';
import { run } from '../support/qemu-img.ts';

export const CHURN_MIB = 32;
export const hasChurn: boolean =
  hasSeabios && requireProgram('nasm') && requireProgram('qemu-img') && requireProgram('qemu-io');

/** A qcow2 disk of 8 MiB that boots it. */
export function makeChurnImage(image: string, clusterBytes = 65536): void {
  const source = fileURLToPath(new URL('churn.asm', import.meta.url));
  run('nasm', '-f', 'bin', source, '-o', `${image}.boot`);
  writeFileSync(`${image}.raw`, Buffer.alloc(8 << 20));
  run('dd', `if=${image}.boot`, `of=${image}.raw`, 'conv=notrunc', 'status=none');
  run('qemu-img', 'convert', '-O', 'qcow2', '-o', `cluster_size=${clusterBytes}`, `${image}.raw`, image);
}

export const ICOUNT = { shift: 3, sleep: false } as const;

export interface ChurnOptions {
  readonly icount?: boolean;
  readonly loadvm?: string;
}

/** From power-on until the guest runs; stopped. */
export async function bootChurn(image: string, options: ChurnOptions = {}): Promise<Pc> {
  const pc = await openChurn(image, options);
  pc.machine.start();
  await pc.serial.waitFor('C', 60_000);
  await pc.machine.pause();
  return pc;
}

/** Not started; loaded if asked for. */
export function openChurn(image: string, { icount = true, loadvm }: ChurnOptions = {}): Promise<Pc> {
  return Pc.start({
    memoryMiB: CHURN_MIB,
    image,
    stopped: true,
    date: 1_700_000_000,
    ...(icount ? { icount: ICOUNT } : {}),
    ...(loadvm === undefined ? {} : { loadvm }),
  });
}

/** Lets the stopped guest execute `instructions` more. */
export async function runFor(pc: Pc, instructions: number): Promise<void> {
  await pc.machine.runTo(pc.machine.cpu.instructions + instructions);
}
