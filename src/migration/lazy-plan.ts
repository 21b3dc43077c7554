/**
 * In which order the rest of a lazily loaded RAM is read: the working set first, then all else, both by place in the file,
 * neighbours in one request. Small gaps within the working set are read too and thrown away: cheaper than a seek.
 */
import { CLUSTER_ZERO, type VmStateHandle } from '../block/block-node.ts';
import type { RamIndex } from './trailer.ts';

/** Gap between two clusters of the working set that is read over, bytes. */
const MAX_GAP_BYTES = 256 * 1024;

export interface ReadRequest {
  /** Place in the file; 0: units that do not lie there as they are (compressed), read one by one through the image. */
  readonly hostOffset: number;
  readonly bytes: number;
  /** Groups (of all blocks) that it brings, and where each one's unit begins in it. */
  readonly groups: number[];
  readonly at: number[];
  /** Unit of the first group. */
  readonly unit: number;
}

/** File offset of a unit whose clusters lie side by side; 0 if they do not, or are not plain data. */
export function unitHostOffset(handle: VmStateHandle, unitBytes: number, unit: number): number {
  const { clusterBytes, hostOffsets } = handle;
  const clusters = unitBytes / clusterBytes;
  const first = hostOffsets[unit * clusters] ?? CLUSTER_ZERO;
  if (first <= 0) return 0;
  for (let i = 1; i < clusters; i++) {
    if (hostOffsets[unit * clusters + i] !== first + i * clusterBytes) return 0;
  }
  return first;
}

/** Whether two units of one image are the same clusters, compressed or not. */
export function isSameUnit(
  a: VmStateHandle,
  unitOfA: number,
  b: VmStateHandle,
  unitOfB: number,
  unitBytes: number,
): boolean {
  const clusters = unitBytes / a.clusterBytes;
  for (let i = 0; i < clusters; i++) {
    const place = a.hostOffsets[unitOfA * clusters + i] ?? CLUSTER_ZERO;
    if (place === CLUSTER_ZERO || place !== b.hostOffsets[unitOfB * clusters + i]) return false;
  }
  return true;
}

/** `wanted`: groups with a unit. `workingSet`: rank by group, 0 for none. */
export function* planReads(
  index: RamIndex,
  handle: VmStateHandle,
  wanted: readonly number[],
  workingSet: Uint8Array,
  readBytes: number,
): Generator<ReadRequest, void, undefined> {
  const limit = Math.max(readBytes, index.geometry.unitBytes);
  const first = wanted.filter((group) => workingSet[group] !== 0);
  const rest = first.length === 0 ? wanted : wanted.filter((group) => workingSet[group] === 0);
  yield* requests(index, byPlace(index, handle, first), limit, MAX_GAP_BYTES);
  yield* requests(index, byPlace(index, handle, rest), limit, 0);
}

interface Places {
  readonly groups: ArrayLike<number>;
  /** File offset of each group's unit, ascending. */
  readonly hosts: Float64Array;
}

function byPlace(index: RamIndex, handle: VmStateHandle, groups: readonly number[]): Places {
  const { unitBytes } = index.geometry;
  const hosts = new Float64Array(groups.length);
  let sorted = true;
  for (let i = 0; i < groups.length; i++) {
    hosts[i] = unitHostOffset(handle, unitBytes, index.unitOfGroup[groups[i]!]!);
    if (i > 0 && hosts[i]! < hosts[i - 1]!) sorted = false;
  }
  // As a full save leaves it.
  if (sorted) return { groups, hosts };
  const order = Uint32Array.from(groups.keys()).sort((a, b) => hosts[a]! - hosts[b]!);
  return {
    groups: order.map((i) => groups[i]!),
    hosts: Float64Array.from(order, (i) => hosts[i]!),
  };
}

function* requests(
  index: RamIndex,
  { groups: order, hosts }: Places,
  readBytes: number,
  maxGap: number,
): Generator<ReadRequest, void, undefined> {
  const { unitBytes } = index.geometry;
  for (let i = 0; i < order.length; ) {
    const start = hosts[i]!;
    const [groups, at] = [[order[i]!], [0]];
    let end = start + unitBytes;
    for (i++; start !== 0 && i < order.length; i++) {
      const host = hosts[i]!;
      if (host > end + maxGap || host + unitBytes > start + readBytes) break;
      groups.push(order[i]!);
      at.push(host - start);
      end = host + unitBytes;
    }
    const unit = index.unitOfGroup[groups[0]!]!;
    yield { hostOffset: start, bytes: end - start, groups, at, unit };
  }
}
