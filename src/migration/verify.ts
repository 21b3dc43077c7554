/**
 * Checks a VM state by what our trailer says of it: every unit and the device part by their checksums. QEMU's own streams
 * have none: of them only the grammar can be checked (describe.ts reads it from end to end).
 */
import { type Crc32, crc32 as defaultCrc32 } from './crc32.ts';
import type { VmStateSource } from './stream-input.ts';
import { readTrailer } from './trailer.ts';

/** Bytes a read, rounded to whole units. */
const READ_BYTES = 2 << 20;
/** Damaged units that are named. */
const MAX_DAMAGED = 20;

export type Verification =
  /** No trailer of ours. */
  | { readonly kind: 'unchecked' }
  /** There is one, but it does not check, and so nothing of the rest can be said. */
  | { readonly kind: 'bad-trailer'; readonly problem: string }
  | {
      readonly kind: 'checked';
      readonly units: number;
      readonly damagedCount: number;
      /** Offsets in the VM state of the first damaged units. */
      readonly damaged: readonly number[];
    };

export async function verifyVmState(
  source: VmStateSource,
  crc32: Crc32 = defaultCrc32,
): Promise<Verification> {
  const trailer = await readTrailer(source, crc32);
  if (trailer === undefined) return { kind: 'unchecked' };
  if ('problem' in trailer) return { kind: 'bad-trailer', problem: trailer.problem };
  const { checksums, geometry } = trailer.index;
  const { unitBytes } = geometry;
  const damaged: number[] = [];
  let damagedCount = 0;
  const buffer = new Uint8Array(Math.max(unitBytes, READ_BYTES));
  const units = Math.floor(buffer.length / unitBytes);
  for (let first = 0; first < checksums.length; first += units) {
    const count = Math.min(units, checksums.length - first);
    await source.read(first * unitBytes, buffer.subarray(0, count * unitBytes));
    for (let i = 0; i < count; i++) {
      if (crc32(buffer.subarray(i * unitBytes, (i + 1) * unitBytes)) === checksums[first + i]) continue;
      if (damagedCount++ < MAX_DAMAGED) damaged.push((first + i) * unitBytes);
    }
  }
  return { kind: 'checked', units: checksums.length, damagedCount, damaged };
}

/** In words, a line each, and whether all is well (or nothing is known to be wrong). */
export function verificationText(result: Verification): {
  readonly ok: boolean;
  readonly lines: readonly string[];
} {
  switch (result.kind) {
    case 'unchecked':
      return { ok: true, lines: ['checksums: none, saved by QEMU'] };
    case 'bad-trailer':
      return { ok: false, lines: [`checksums: not usable: ${result.problem}`] };
    case 'checked': {
      const { units, damaged, damagedCount } = result;
      if (damagedCount === 0)
        return { ok: true, lines: [`checksums: ${units} units and the device part are good`] };
      const lines = [`checksums: ${damagedCount} of ${units} units are DAMAGED`];
      for (const offset of damaged) lines.push(`  damaged: VM state offset 0x${offset.toString(16)}`);
      if (damagedCount > damaged.length) lines.push('  …');
      return { ok: false, lines };
    }
  }
}
