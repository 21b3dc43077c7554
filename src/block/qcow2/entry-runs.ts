/**
 * Runs of entries that name one cluster after another, and of counts that are alike: what a disk that was written in order
 * consists of. They are found and changed by short loops, a few times as quick as entry by entry.
 */

/** Typed arrays see words as on disk on no other host. */
const IS_LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * Entries from `from` to `end` - 1 at most whose upper half is the first one's and whose lower half grows by a cluster each.
 * 8-byte entries.
 */
export function entryRun(table: DataView, from: number, end: number, clusterBytes: number): number {
  const hi = table.getInt32(from * 8);
  let lo = table.getInt32(from * 8 + 4);
  let entry = from + 1;
  for (; entry < end; entry++) {
    lo = (lo + clusterBytes) | 0;
    // The carry is in the upper half of this one.
    if (lo === 0 || table.getInt32(entry * 8 + 4) !== lo || table.getInt32(entry * 8) !== hi) break;
  }
  return entry - from;
}

/** 16-bit counts as they lie in memory, or undefined where they cannot be looked at so. */
export function countWords(block: Uint8Array): Uint16Array | undefined {
  if (!IS_LITTLE || block.byteOffset % 2 !== 0) return undefined;
  return new Uint16Array(block.buffer, block.byteOffset, block.length >> 1);
}

/** A 16-bit word from disk to memory, or back. */
export function swap16(word: number): number {
  return ((word & 0xff) << 8) | (word >> 8);
}

/** Words from `from` to `end` - 1 at most that are like the first. */
export function sameWords(words: Uint16Array, from: number, end: number): number {
  const first = words[from]!;
  let at = from + 1;
  while (at < end && words[at] === first) at++;
  return at - from;
}

/** The COPIED flag of entries `from` … `end` - 1, 8 bytes each. */
export function flagRun(table: Uint8Array, from: number, end: number, isCopied: boolean): void {
  for (let at = from * 8; at < end * 8; at += 8) {
    table[at] = isCopied ? table[at]! | 0x80 : table[at]! & 0x7f;
  }
}
