/**
 * A Linux boot with -icount, units compiled and not: the machine is the same at a row of instructions, RAM and every device.
 * Two boots of the interpreter alone take a while: only with AMBERVM_LONG=1.
 */
import { expect, it } from 'vitest';
import { findGuest, isLongRun } from '../support/guests.ts';
import { startDeterministic } from './deterministic-pc.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';

const POINTS = [
  100_000_007, 500_000_003, 900_000_123, 1_700_000_011, 2_400_000_000, 2_650_000_001, 2_810_526_316,
  2_900_000_000, 2_973_684_211,
];
const [file, initrd] = [findGuest('vmlinuz-686'), findGuest('initramfs-686.gz')];

async function boot(jit: boolean): Promise<{ prints: Fingerprint[]; compiled: number }> {
  const append = 'console=tty0 console=ttyS0 cryptomgr.notests';
  await using pc = await startDeterministic({
    memoryMiB: 96,
    kernel: { file: file!, initrd: initrd!, append },
  });
  pc.machine.cpu.jit.enabled = jit;
  // More is compiled than a user's machine would.
  pc.machine.cpu.jit.patience = 12;
  pc.machine.cpu.jit.regionPatience = 200;
  const prints: Fingerprint[] = [];
  for (const point of POINTS) {
    await pc.machine.runTo(point);
    prints.push(await fingerprint(pc));
  }
  const { compiled } = pc.machine.cpu.jit.statistics;
  return { prints, compiled };
}

it.skipIf(!isLongRun || file === undefined || initrd === undefined)(
  'a Linux boot is the same with and without compiled code',
  async () => {
    const on = await boot(true);
    const off = await boot(false);
    expect(on.compiled).toBeGreaterThan(100);
    expect(off.compiled).toBe(0);
    for (const [i, print] of on.prints.entries()) {
      expect(print, `at instruction ${POINTS[i]}`).toEqual(off.prints[i]);
    }
  },
  3_600_000,
);
