/**
 * A backing chain's contents come into an image that is in use, piece by piece, until it needs the chain no more. Requests
 * wait while a piece is copied, so that none of their writes is overwritten. Not here: streaming down to a base.
 */
import { isZero, runsOf } from '../copy.ts';
import { BlockError } from '../errors.ts';
import { writeRange } from './allocate.ts';
import { extentsOf } from './mapping.ts';
import type { Qcow2 } from './qcow2.ts';
import { UNALLOCATED } from './references.ts';
import { changeBackingFile } from './rewrite-header.ts';

/** Throws BlockError where the chain cannot be left behind. */
export function assertStreamable({ image }: Qcow2): void {
  image.assertWritable();
  if (image.snapshots.length === 0) return;
  throw new BlockError('unsupported', `'${image.filename}': its internal snapshots need the backing file`, {
    file: image.filename,
    section: 'snapshot table',
    found: image.snapshots.length,
    expected: 'no snapshots',
  });
}

/** Copies what holes of a piece show, zeroes left out: holes they can stay. */
export async function copyUp(disk: Qcow2, offset: number, length: number): Promise<void> {
  const { image } = disk;
  await image.gate.exclusive(async () => {
    image.assertWritable();
    const { backing } = disk;
    if (backing === undefined) return;
    for await (const extent of extentsOf(image, image.l1, offset, length)) {
      const bytes = Math.min(extent.offset + extent.bytes, backing.sizeBytes) - extent.offset;
      if (extent.kind !== UNALLOCATED || bytes <= 0) continue;
      const data = new Uint8Array(bytes);
      await backing.read(extent.offset, data);
      if (isZero(data)) continue;
      for (const { at, end, zero } of runsOf(data, extent.offset, image.clusterSize)) {
        if (!zero) await writeRange(image, extent.offset + at, data.subarray(at, end), backing);
      }
    }
  });
}

/** All pieces are copied: the chain is taken out of the header, and closed. */
export async function leaveBacking(disk: Qcow2): Promise<void> {
  assertStreamable(disk);
  await disk.flush();
  await changeBackingFile(disk.image, { file: undefined, format: undefined });
  const { backing } = disk;
  await disk.image.gate.exclusive(async () => {
    disk.backing = undefined;
  });
  await backing?.close();
}
