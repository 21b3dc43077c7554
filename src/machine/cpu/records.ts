/**
 * Decoded records: which code pages have them, filling, invalidation, recycling. A page has one
 * set of records for each code mode and privilege: compiled units know both.
 * Pages are named by their address in the WebAssembly.Memory, so that aliases of one page share records.
 */
import { GUARD_CODE, type PhysicalMemory } from '../memory.ts';
import * as L from './layout.ts';

/** Granules of 64 bytes in which code was decoded are remembered: writes elsewhere in the page cost no records. */
const GRANULE_SHIFT = 6;
const GRANULES = 4096 >> GRANULE_SHIFT;
/** Writes to a code page that may go the slow way before its records are dropped, so that it becomes a plain data page. */
const WRITES_BEFORE_DROP = 512;
/** What a write counts that hit decoded code. */
const HIT_WEIGHT = 16;

export class RecordPool {
  readonly #mem: PhysicalMemory;
  readonly #i32: Int32Array;
  /** By page of the WebAssembly.Memory × set: address of its records, or 0. */
  readonly #records: Int32Array;
  /** By record page: the page it belongs to × RECORD_SETS + set, or -1. */
  readonly #owner = new Int32Array(L.RECORD_PAGES).fill(-1);
  readonly #granules = new Uint8Array(L.RECORD_PAGES * GRANULES);
  readonly #versions = new Uint32Array(L.RECORD_PAGES);
  readonly #writes = new Uint16Array(L.RECORD_PAGES);
  /** By record page: 1 if looked up since the hand passed. */
  readonly #entered = new Uint8Array(L.RECORD_PAGES);
  #hand = 0;
  /** Called when records that generated code may be in or jump to are gone: code TLBs must be flushed and the slice ended. */
  onDrop: () => void = () => {};
  /** Called when a page began to be guarded: direct write paths to it must be forgotten. */
  onGuard: () => void = () => {};
  /** Called when decoded code of a record page changed, or the record page is about to serve another code page. */
  onInvalidate: (records: number, forget: boolean) => void = () => {};
  /** Statistics for `info jit`. */
  decodes = 0;
  invalidations = 0;
  recycled = 0;

  constructor(mem: PhysicalMemory) {
    this.#mem = mem;
    this.#i32 = mem.i32;
    this.#records = new Int32Array(mem.guard.length * L.RECORD_SETS);
  }

  /** Records of a code page (made if need be). `page`: address / 4096 in the WebAssembly.Memory. */
  pageRecords(page: number, set: number): number {
    const key = page * L.RECORD_SETS + set;
    const found = this.#records[key]!;
    const records = found !== 0 ? found : this.#allocate(key, page);
    this.#entered[(records - L.RECORDS) >>> 17] = 1;
    return records;
  }

  /** Like pageRecords, for a page looked at while the instruction at `pinned` is under way: its own records stay. */
  pageRecordsBeside(page: number, set: number, pinned: number): number {
    this.#pinned = (pinned - L.RECORDS) >>> 17;
    const records = this.pageRecords(page, set);
    this.#pinned = -1;
    return records;
  }
  #pinned = -1;

  #allocate(key: number, page: number): number {
    this.#mem.ensurePresent(page * 4096);
    const index = this.#choose();
    if (this.#owner[index] !== -1) {
      this.#release(index);
      this.recycled++;
      this.onDrop();
    }
    const address = L.RECORDS + index * L.RECORD_PAGE_BYTES;
    // Nothing was written behind granules that were never decoded, marks of jumps to them excepted.
    const granules = this.#granules.subarray(index * GRANULES, (index + 1) * GRANULES);
    for (let g = 0; g < GRANULES; g++) {
      const from = address + ((g << GRANULE_SHIFT) << L.RECORD_SHIFT);
      const bytes = (1 << GRANULE_SHIFT) << L.RECORD_SHIFT;
      if (granules[g] !== 0) this.#i32.fill(0, from >> 2, (from + bytes) >> 2);
    }
    granules.fill(0);
    this.#owner[index] = key;
    this.#writes[index] = 0;
    this.#records[key] = address;
    const guard = this.#mem.guard[page]!;
    if ((guard & GUARD_CODE) === 0) {
      this.#mem.guard[page] = guard | GUARD_CODE;
      this.onGuard();
    }
    return address;
  }

  /** A record page to use (again): one that was not entered since the hand passed it last. */
  #choose(): number {
    for (;;) {
      const index = this.#hand;
      this.#hand = (this.#hand + 1) % L.RECORD_PAGES;
      if (this.#entered[index] === 0 && index !== this.#pinned) return index;
      this.#entered[index] = 0;
    }
  }

  #release(index: number): void {
    this.#versions[index]!++;
    const key = this.#owner[index]!;
    const page = Math.floor(key / L.RECORD_SETS);
    this.onInvalidate(this.#records[key]!, true);
    this.#records[key] = 0;
    this.#owner[index] = -1;
    for (let set = 0; set < L.RECORD_SETS; set++) if (this.#records[page * L.RECORD_SETS + set] !== 0) return;
    this.#mem.guard[page] = this.#mem.guard[page]! & ~GUARD_CODE;
  }

  /** Changes when the records that `rec` is one of begin to serve another page. */
  owner(rec: number): number {
    return this.#owner[(rec - L.RECORDS) >>> 17]!;
  }

  /** Address in the WebAssembly.Memory of the code byte that a record stands for. */
  codeAddress(rec: number): number {
    const index = (rec - L.RECORDS) >>> 17;
    const page = Math.floor(this.#owner[index]! / L.RECORD_SETS);
    return page * 4096 + ((rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT);
  }

  /** Notes that `bytes` bytes from a record's code address on were decoded. */
  noteDecoded(rec: number, bytes: number): void {
    this.decodes++;
    const index = (rec - L.RECORDS) >>> 17;
    const offset = (rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT;
    const last = Math.min(4095, offset + bytes - 1);
    for (let g = offset >> GRANULE_SHIFT; g <= last >> GRANULE_SHIFT; g++)
      this.#granules[index * GRANULES + g] = 1;
  }

  /** Before `bytes` bytes at `address` (within one page) change: forgets what was decoded from them. */
  invalidate(address: number, bytes: number): void {
    const page = address >>> 12;
    const offset = address & 0xfff;
    for (let set = 0; set < L.RECORD_SETS; set++) {
      const records = this.#records[page * L.RECORD_SETS + set]!;
      if (records !== 0) this.#invalidateRange(records, offset, Math.min(4096, offset + bytes));
    }
  }

  /** Changes whenever code decoded from the page of these records may have changed. */
  version(records: number): number {
    return this.#versions[(records - L.RECORDS) >>> 17]!;
  }

  #invalidateRange(records: number, from: number, to: number): void {
    const index = (records - L.RECORDS) >>> 17;
    let hit = false;
    for (let g = from >> GRANULE_SHIFT; g <= (to - 1) >> GRANULE_SHIFT; g++) {
      if (this.#granules[index * GRANULES + g] !== 0) hit = true;
    }
    if (hit) this.#forgetRange(records, index, from, to);
    this.#writes[index]! += hit ? HIT_WEIGHT : 1;
    if (this.#writes[index]! < WRITES_BEFORE_DROP) return;
    this.#writes[index] = 0;
    // A page that was executed since the last look keeps its records; one that is only written was code once, and is data now.
    if (this.#entered[index] !== 0) this.#entered[index] = 0;
    else this.#release(index);
    this.onDrop();
  }

  /**
   * An instruction that reaches into the bytes may begin up to 14 bytes before them. Only the handler is cleared: the instruction
   * that is writing still needs its own record.
   */
  #forgetRange(records: number, index: number, from: number, to: number): void {
    this.invalidations++;
    this.#versions[index]!++;
    this.onInvalidate(records, false);
    for (let o = Math.max(0, from - 14); o < to; o++) this.#i32[(records + (o << L.RECORD_SHIFT)) >> 2] = 0;
  }

  /** Forgets everything (a snapshot was loaded). */
  clear(): void {
    for (let i = 0; i < L.RECORD_PAGES; i++) if (this.#owner[i] !== -1) this.#release(i);
    this.onDrop();
  }
}
