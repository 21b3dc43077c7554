/**
 * In which order the rest of a lazily loaded RAM is read: the working set first, then all else, both by place in the file,
 * neighbours in one request. Small gaps within the working set are read too and thrown away: cheaper than a seek.
 */
import { CLUSTER_COMPRESSED, CLUSTER_ZERO, type VmStateHandle } from '../block/block-node.ts';
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
  if (first === CLUSTER_ZERO || first === CLUSTER_COMPRESSED) return 0;
  for (let i = 1; i < clusters; i++) {
    if (hostOffsets[unit * clusters + i] !== first + i * clusterBytes) return 0;
  }
  return first;
}

/** `wanted`: groups with a unit. `workingSet`: rank by group, 0 for none. */
export function* planReads(
  index: RamIndex,
  handle: VmStateHandle,
  wanted: readonly number[],
  workingSet: Uint8Array,
  readBytes: number,
): Generator<ReadRequest, void, undefined> {
  const { unitBytes } = index.geometry;
  const place = (group: number): number => unitHostOffset(handle, unitBytes, index.unitOfGroup[group]!);
  const first: [number, number][] = [];
  const rest: [number, number][] = [];
  for (const group of wanted) (workingSet[group] !== 0 ? first : rest).push([place(group), group]);
  const byPlace = (a: [number, number], b: [number, number]): number => a[0] - b[0];
  yield* requests(index, first.sort(byPlace), Math.max(readBytes, unitBytes), MAX_GAP_BYTES);
  yield* requests(index, rest.sort(byPlace), Math.max(readBytes, unitBytes), 0);
}

function* requests(
  index: RamIndex,
  places: readonly [number, number][],
  readBytes: number,
  maxGap: number,
): Generator<ReadRequest, void, undefined> {
  const { unitBytes } = index.geometry;
  for (let i = 0; i < places.length; ) {
    const [start, group] = places[i]!;
    const [groups, at] = [[group], [0]];
    let end = start + unitBytes;
    for (i++; start !== 0 && i < places.length; i++) {
      const [host, next] = places[i]!;
      if (host > end + maxGap || host + unitBytes > start + readBytes) break;
      groups.push(next);
      at.push(host - start);
      end = host + unitBytes;
    }
    const unit = index.unitOfGroup[group]!;
    yield { hostOffset: start, bytes: end - start, groups, at, unit };
  }
}
