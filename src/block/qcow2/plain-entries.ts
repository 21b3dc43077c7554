/**
 * The loops that a snapshot costs, over the entries that nearly all of a disk consists of: plain data clusters below 2^44
 * bytes. Whatever is something else is left to the caller. No allocation, small integers only: 2 TiB have 32 million entries.
 */
import { countWords, entryRun, flagRun, sameWords, swap16 } from './entry-runs.ts';
import type { Qcow2Image } from './image.ts';
import { getRefcount, type Refcounts, setRefcount } from './refcount.ts';

/** Bits of an entry's upper half that such an entry has clear (COPIED apart). */
const PLAIN_HI_MASK = 0x7fff_f000;
/** Farther from the block's first cluster than any block reaches, and a small integer still. */
const FAR = 2 ** 29;
/** Shorter runs are as quick entry by entry. */
const MIN_RUN = 8;
/** A 16-bit count of 1, as in memory. */
const ONE = swap16(1);

export function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Cluster of the entry at byte `at` if it is plain; 0: it names none; else -1. */
export function plainCluster(table: DataView, at: number, clusterBits: number): number {
  const hi = table.getUint32(at);
  const lo = table.getUint32(at + 4);
  if ((hi & PLAIN_HI_MASK) !== 0 || (lo & ((1 << clusterBits) - 1)) !== 0) return -1;
  return (hi & 0xfff) * 2 ** (32 - clusterBits) + (lo >>> clusterBits);
}

/** A refcount block that is in memory, and the cluster of its first entry. */
export interface CountBlock {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Its counts, where they are of 16 bits, as in memory. */
  readonly words: Uint16Array | undefined;
  readonly first: number;
}

export function countBlock({ refcounts }: Qcow2Image, index: number, bytes: Buffer): CountBlock {
  const words = refcounts.order === 4 ? countWords(bytes) : undefined;
  return { bytes, view: viewOf(bytes), words, first: index * refcounts.blockEntries };
}

/**
 * Adds `delta` to the counts that entries from `from` on name, as long as they are plain and counted in `block`. Gives the
 * first that is not; clusters that come to 0 are added to `freed`.
 */
export function changePlain(
  image: Qcow2Image,
  table: DataView,
  from: number,
  block: CountBlock,
  delta: number,
  freed: number[],
): number {
  const { clusterBits, entryBytes, l2Entries, refcounts } = image;
  const { blockEntries, max, order } = refcounts;
  const { bytes, first, view } = block;
  const words = entryBytes === 8 ? block.words : undefined;
  const inCluster = (1 << clusterBits) - 1;
  let lastHi = -1;
  let start = 0;
  let entry = from;
  for (; entry < l2Entries; entry++) {
    const hi = table.getUint32(entry * entryBytes) & 0x7fff_ffff;
    const lo = table.getUint32(entry * entryBytes + 4);
    if ((hi | lo) === 0) continue;
    if (hi !== lastHi) {
      lastHi = hi;
      start = startOf(hi, clusterBits, first);
    }
    const at = (start + (lo >>> clusterBits)) | 0;
    if (at < 0 || at >= blockEntries || (lo & inCluster) !== 0) break;
    if (words !== undefined) {
      const run = entryRun(table, entry, Math.min(l2Entries, entry + blockEntries - at), 1 << clusterBits);
      if (run >= MIN_RUN) {
        changeWords(refcounts, words, first, at, at + run, delta, freed);
        entry += run - 1;
        continue;
      }
    }
    const value = (order === 4 ? view.getUint16(at << 1) : getRefcount(bytes, at, order)) + delta;
    if (value < 0) throw refcounts.underflow(first + at);
    if (value > max) throw refcounts.overflow(first + at);
    if (order === 4) view.setUint16(at << 1, value);
    else setRefcount(bytes, at, order, value);
    if (value === 0) freed.push(first + at);
  }
  return entry;
}

/** The same for neighbouring clusters, as far as their counts are alike in one step. */
function changeWords(
  refcounts: Refcounts,
  words: Uint16Array,
  first: number,
  from: number,
  end: number,
  delta: number,
  freed: number[],
): void {
  for (let at = from; at < end; ) {
    const next = at + sameWords(words, at, end);
    const value = swap16(words[at]!) + delta;
    if (value < 0) throw refcounts.underflow(first + at);
    if (value > refcounts.max) throw refcounts.overflow(first + at);
    const word = swap16(value);
    if (next - at >= MIN_RUN) words.fill(word, at, next);
    else for (let i = at; i < next; i++) words[i] = word;
    if (value === 0) for (let i = at; i < next; i++) freed.push(first + i);
    at = next;
  }
}

/**
 * The first entry from `from` on that is not plain, or not counted in `block`, or whose COPIED flag is not what its count
 * says; with `put` the flag is put right instead.
 */
export function checkCopied(
  image: Qcow2Image,
  table: DataView,
  from: number,
  block: CountBlock,
  put: boolean,
): number {
  const { clusterBits, entryBytes, l2Entries, refcounts } = image;
  const { blockEntries, order } = refcounts;
  const { bytes, first, view } = block;
  const words = entryBytes === 8 ? block.words : undefined;
  const inCluster = (1 << clusterBits) - 1;
  let lastHi = -1;
  let start = 0;
  let entry = from;
  const tableBytes = new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
  for (; entry < l2Entries; entry++) {
    const flags = table.getUint32(entry * entryBytes) | 0;
    const hi = flags & 0x7fff_ffff;
    const lo = table.getUint32(entry * entryBytes + 4);
    if ((hi | lo) === 0) continue;
    if (hi !== lastHi) {
      lastHi = hi;
      start = startOf(hi, clusterBits, first);
    }
    const at = (start + (lo >>> clusterBits)) | 0;
    if (at < 0 || at >= blockEntries || (lo & inCluster) !== 0) break;
    if (words !== undefined) {
      let run = entryRun(table, entry, Math.min(l2Entries, entry + blockEntries - at), 1 << clusterBits);
      if (run >= MIN_RUN) {
        run = sameWords(words, at, at + run);
        const isAlone = words[at] === ONE;
        if (isAlone !== flags < 0 && !put) break;
        if (isAlone !== flags < 0) flagRun(tableBytes, entry, entry + run, isAlone);
        entry += run - 1;
        continue;
      }
    }
    const alone = (order === 4 ? view.getUint16(at << 1) : getRefcount(bytes, at, order)) === 1;
    if (alone === flags < 0) continue;
    if (!put) break;
    table.setUint32(entry * entryBytes, alone ? hi | 0x8000_0000 : hi);
  }
  return entry;
}

/** Cluster 0 of an upper half `hi`, counted from the block's first; -FAR if it is out of reach, or `hi` not plain. */
function startOf(hi: number, clusterBits: number, first: number): number {
  if ((hi & PLAIN_HI_MASK) !== 0) return -FAR;
  const start = hi * 2 ** (32 - clusterBits) - first;
  return start < -FAR || start > FAR ? -FAR : start;
}
