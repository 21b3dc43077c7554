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
  wanted: Uint32Array,
  workingSet: Uint8Array,
  readBytes: number,
): Generator<ReadRequest, void, undefined> {
  const limit = Math.max(readBytes, index.geometry.unitBytes);
  const first = wanted.filter((group) => workingSet[group] !== 0);
  const rest = first.length === 0 ? wanted : wanted.filter((group) => workingSet[group] === 0);
  yield* planWorkingSet(index, handle, first, readBytes, MAX_GAP_BYTES);
  yield* requests(index, byPlace(index, handle, rest), limit, 0);
}

/** All of `groups` by place in the file, `maxGap` bytes between two of them read over. */
export function planWorkingSet(
  index: RamIndex,
  handle: VmStateHandle,
  groups: Uint32Array,
  readBytes: number,
  maxGap: number,
): Generator<ReadRequest, void, undefined> {
  const limit = Math.max(readBytes, index.geometry.unitBytes);
  return requests(index, byPlace(index, handle, groups), limit, maxGap);
}

interface Places {
  readonly groups: Uint32Array;
  /** File offset of each group's unit, ascending. */
  readonly hosts: Float64Array;
}

function byPlace(index: RamIndex, handle: VmStateHandle, groups: Uint32Array): Places {
  const { unitBytes } = index.geometry;
  const hosts = new Float64Array(groups.length);
  let sorted = true;
  const isOneCluster = handle.clusterBytes === unitBytes;
  for (let i = 0; i < groups.length; i++) {
    const unit = index.unitOfGroup[groups[i]!]!;
    hosts[i] = isOneCluster
      ? Math.max(handle.hostOffsets[unit]!, CLUSTER_ZERO)
      : unitHostOffset(handle, unitBytes, unit);
    if (i > 0 && hosts[i]! < hosts[i - 1]!) sorted = false;
  }
  // As a full save leaves it.
  if (sorted) return { groups, hosts };
  return sortByPlace(groups, hosts, Math.min(unitBytes, handle.clusterBytes));
}

/**
 * Place and position in one number, so that the sort needs no function to compare: 35,000 groups in 3 ms instead of 25. A
 * place is a multiple of a cluster, hence below 2^53 with 20 bits of position beside it in all but absurd files.
 */
function sortByPlace(groups: Uint32Array, hosts: Float64Array, clusterBytes: number): Places {
  const count = groups.length;
  const keys = new Float64Array(count);
  let largest = 0;
  for (let i = 0; i < count; i++) {
    keys[i] = (hosts[i]! / clusterBytes) * count + i;
    largest = Math.max(largest, keys[i]!);
  }
  const sorted = { groups: new Uint32Array(count), hosts: new Float64Array(count) };
  if (largest <= Number.MAX_SAFE_INTEGER) {
    keys.sort();
    for (let i = 0; i < count; i++) keys[i] = keys[i]! % count;
  } else {
    for (let i = 0; i < count; i++) keys[i] = i;
    keys.sort((a, b) => hosts[a]! - hosts[b]!);
  }
  for (let i = 0; i < count; i++) {
    sorted.groups[i] = groups[keys[i]!]!;
    sorted.hosts[i] = hosts[keys[i]!]!;
  }
  return sorted;
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
