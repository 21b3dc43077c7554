/** VM state in other places than a snapshot: a plain migration stream, RAM as a disk image of its own. */
import { supportsSnapshots } from '../../block/block-node.ts';
import { createFile, openFile } from '../../block/file.ts';
import { openImage } from '../../block/open.ts';
import { createQcow2 } from '../../block/qcow2/create.ts';
import { MigrationError } from '../../migration/errors.ts';
import type { RamBlock } from '../../migration/ram-block.ts';
import type { VmStateSource } from '../../migration/stream-input.ts';
import { isZeroRange } from '../../migration/zero-page.ts';
import type { ToolOutput } from './tool.ts';

const COPY_BYTES = 2 << 20;
/** RAM is looked at for zeros, and written, in pieces of this size: the cluster size of new images. */
const PIECE_BYTES = 64 * 1024;

/** Runs `task` with a file as a source. */
export async function withStreamFile<T>(
  filename: string,
  task: (source: VmStateSource) => Promise<T>,
): Promise<T> {
  const file = await openFile(filename, { readOnly: true, lock: false });
  try {
    const sizeBytes = await file.size();
    return await task({ sizeBytes, read: (offset, target) => file.read(offset, target) });
  } finally {
    await file.close();
  }
}

/** The first `bytes` of a source into a file. */
export async function copyToFile(
  source: VmStateSource,
  bytes: number,
  filename: string,
  out: ToolOutput,
): Promise<void> {
  const file = await createFile(filename, false);
  try {
    const buffer = new Uint8Array(COPY_BYTES);
    for (let at = 0; at < bytes; at += COPY_BYTES) {
      const part = buffer.subarray(0, Math.min(COPY_BYTES, bytes - at));
      await source.read(at, part);
      await file.write(at, part);
      out.progress((at / bytes) * 100);
    }
    await file.flush();
  } finally {
    await file.close();
  }
  out.progress(undefined);
}

export async function bytesToFile(bytes: Uint8Array, filename: string): Promise<void> {
  const file = await createFile(filename, false);
  try {
    await file.write(0, bytes);
    await file.flush();
  } finally {
    await file.close();
  }
}

/**
 * A new qcow2 image with the block's byte n at offset n; zeros are holes. With `rest`, the image's one snapshot of that
 * tag has it as VM state: then the image alone is the whole snapshot.
 */
export async function exportRam(
  block: RamBlock,
  filename: string,
  rest?: { readonly tag: string; readonly bytes: Uint8Array; readonly dateSec: number },
): Promise<void> {
  await createQcow2(filename, { sizeBytes: block.sizeBytes });
  const node = await openImage(filename, { format: 'qcow2' });
  try {
    for (let at = 0; at < block.sizeBytes; ) {
      const start = at;
      while (at < block.sizeBytes && at - start < COPY_BYTES && !isZeroPiece(block, at)) at += PIECE_BYTES;
      const end = Math.min(at, block.sizeBytes);
      if (end > start) await node.write(start, block.bytes.subarray(start, end));
      else at += PIECE_BYTES;
    }
    if (rest === undefined || !supportsSnapshots(node)) return;
    const writer = await node.createVmState();
    const { clusterBytes } = writer;
    const padded = new Uint8Array(Math.ceil(rest.bytes.length / clusterBytes) * clusterBytes);
    padded.set(rest.bytes);
    await writer.writeClusters(0, padded);
    const { tag, dateSec } = rest;
    const vmStateBytes = rest.bytes.length;
    await writer.commit({ tag, dateSec, dateNsec: 0, vmClockNs: 0, icount: -1, vmStateBytes });
  } finally {
    await node.close();
  }
}

function isZeroPiece({ bytes, sizeBytes }: RamBlock, at: number): boolean {
  return isZeroRange(bytes, at, Math.min(PIECE_BYTES, sizeBytes - at));
}

/** Fills a block from an image, qcow2 or raw. */
export async function importRam(block: RamBlock, filename: string): Promise<void> {
  const node = await openImage(filename, { readOnly: true });
  try {
    if (node.sizeBytes !== block.sizeBytes) {
      throw new MigrationError('mismatch', `'${filename}' is not the RAM of this VM state`, {
        file: filename,
        field: block.name,
        expected: `${block.sizeBytes} bytes`,
        found: `${node.sizeBytes} bytes`,
      });
    }
    for (let at = 0; at < block.sizeBytes; at += COPY_BYTES) {
      await node.read(at, block.bytes.subarray(at, Math.min(at + COPY_BYTES, block.sizeBytes)));
    }
  } finally {
    await node.close();
  }
}
