/** Compresses the VM state of a snapshot that is there already, QEMU's or ours, cluster by cluster. */
import { CLUSTER_ZERO, type SnapshotInfo } from '../../block/block-node.ts';
import { BlockError } from '../../block/errors.ts';
import type { SnapshotNode, ToolOutput } from './tool.ts';

/** Bytes read and handed over at a time, and how many of them at once. */
const PIECE_BYTES = 1 << 20;
const DEPTH = 4;

export async function compressSnapshot(
  node: SnapshotNode,
  info: SnapshotInfo,
  out: ToolOutput,
): Promise<{ readonly clusters: number; readonly already: number }> {
  const handle = await node.openVmState?.(info.id);
  const writer = await node.createVmState({ compress: {} });
  try {
    if (handle === undefined || writer.replace === undefined) {
      throw new BlockError('unsupported', `'${node.filename}' cannot hold compressed VM state`, {
        file: node.filename,
      });
    }
    const { clusterBytes, hostOffsets } = handle;
    const todo: number[] = [];
    const already: number[] = [];
    for (const [index, host] of hostOffsets.entries()) {
      if (host < 0) already.push(index);
      else if (host !== CLUSTER_ZERO) todo.push(index);
    }
    await writer.shareClusters(already, info.id, already);
    const step = Math.max(1, Math.floor(PIECE_BYTES / clusterBytes));
    let next = 0;
    const lane = async (): Promise<void> => {
      const buffer = new Uint8Array(step * clusterBytes);
      while (next < todo.length) {
        const indices = todo.slice(next, next + step);
        next += indices.length;
        for (const [i, index] of indices.entries()) {
          const bytes = Math.min(clusterBytes, info.vmStateBytes - index * clusterBytes);
          const cluster = buffer.subarray(i * clusterBytes, (i + 1) * clusterBytes);
          await handle.read(index * clusterBytes, cluster.subarray(0, bytes));
          cluster.fill(0, bytes);
        }
        await writer.writeScattered(indices, buffer.subarray(0, indices.length * clusterBytes));
        out.progress(Math.min(100, (next / todo.length) * 100));
      }
    };
    await Promise.all(Array.from({ length: DEPTH }, lane));
    await writer.replace(info.id, info.vmStateBytes);
    out.progress(undefined);
    return { clusters: todo.length, already: already.length };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}
