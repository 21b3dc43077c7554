/** Gives every cluster of a new disk its place, so that no later write has to allocate. */
import type { BlockFile } from '../file.ts';
import { ownL2 } from './allocate.ts';
import { unitOf } from './mapping.ts';
import { NOTHING, putEntry, WHOLE } from './references.ts';
import type { Qcow2 } from './qcow2.ts';

const ZERO_BYTES = 1024 * 1024;

/** The image is new: nothing is in it, nobody else uses it. `write`: zeroes as well, so that the host has the space. */
export function preallocate(node: Qcow2, write: boolean): Promise<void> {
  return preallocateFrom(node, 0, write);
}

/** The same for what lies behind `start`, of a disk that was just made longer: that reads zero, whatever is below. */
export async function preallocateFrom(node: Qcow2, start: number, write: boolean): Promise<void> {
  const { image } = node;
  if (start > 0 && (write || !image.hasDataFile)) {
    const zeroes = new Uint8Array(ZERO_BYTES);
    for (let at = start; at < node.sizeBytes; at += ZERO_BYTES) {
      await node.write(at, zeroes.subarray(0, Math.min(ZERO_BYTES, node.sizeBytes - at)));
    }
    return;
  }
  const { clusterSize, l2Span } = image;
  // Subclusters have a place, and no more: what is below shows through. Nothing is below a raw data file.
  const masks = image.unitsPerCluster > 1 && !image.isRawData ? NOTHING : WHOLE;
  const from = Math.ceil(start / clusterSize) * clusterSize;
  for (let first = Math.floor(from / l2Span) * l2Span; first < node.sizeBytes; first += l2Span) {
    await image.mutex.run(async () => {
      await image.writeBackIfFull();
      const l2 = await ownL2(image, first / l2Span);
      const table = await image.l2Cache.get(l2);
      const end = Math.min(first + l2Span, node.sizeBytes);
      for (let at = Math.max(first, from); at < end; ) {
        const entry = Math.floor(unitOf(image, at) / image.unitsPerCluster);
        const left = Math.ceil((end - at) / clusterSize);
        const room = image.hasDataFile
          ? { offset: at, count: left, fresh: true }
          : await image.allocate(left);
        // Clusters that were used before (for a shorter refcount table) hold something.
        const bytes = room.count * clusterSize;
        // A data file is as long as the disk.
        const length = image.hasDataFile ? Math.min(bytes, node.sizeBytes - at) : bytes;
        if (write || !room.fresh) await writeZeroes(image.data, room.offset, length);
        for (let i = 0; i < room.count; i++) {
          putEntry(image, table, entry + i, room.offset + i * clusterSize, true, masks);
        }
        at += room.count * clusterSize;
      }
      image.l2Cache.markDirty(l2, table);
    });
  }
  await node.flush();
  // What lies behind the last write reads zero only if the file is that long.
  if (!image.hasDataFile && (await image.file.size()) < image.fileEnd)
    await image.file.truncate(image.fileEnd);
}

async function writeZeroes(file: BlockFile, offset: number, length: number): Promise<void> {
  const zeroes = new Uint8Array(Math.min(length, ZERO_BYTES));
  for (let at = 0; at < length; at += zeroes.length) {
    await file.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)));
  }
}
