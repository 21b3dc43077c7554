/**
 * Which parts of RAM a guest needs first after a load: the groups it waited for within the first second, kept in the
 * snapshot's trailer as a byte a group (1 … 255 by order of first touch). A hint: wrong or torn, it costs time only.
 */
import type { OpenSnapshot } from '../migration/lazy-load.ts';

/** For how long after a load touches are recorded, ms. */
export const RECORDING_MS = 1000;
const LAST_RANK = 255;
/** What is prefetched stops being a gain when it is all of RAM: 64 MiB of the usual groups. */
const MAX_GROUPS = 1024;

/** Adds what was touched to the snapshot's working set, in memory and in the image. */
export async function storeWorkingSet(snapshot: OpenSnapshot, touched: readonly number[]): Promise<void> {
  const { workingSet, workingSetOffset } = snapshot.trailer;
  let known = 0;
  for (const rank of workingSet) if (rank !== 0) known++;
  const fresh = touched.filter((group) => workingSet[group] === 0).slice(0, Math.max(0, MAX_GROUPS - known));
  if (fresh.length === 0 || workingSetOffset < 0) return;
  let first = workingSet.length;
  let last = 0;
  for (const [i, group] of fresh.entries()) {
    workingSet[group] = rankOf(known + i, known + fresh.length);
    first = Math.min(first, group);
    last = Math.max(last, group);
  }
  await snapshot.handle.overwrite(workingSetOffset + first, workingSet.subarray(first, last + 1));
}

function rankOf(position: number, count: number): number {
  return 1 + Math.floor((position * (LAST_RANK - 1)) / Math.max(1, count - 1));
}
