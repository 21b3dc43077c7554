/**
 * CRC-32 by folding, several times as fast as zlib's: a function of WebAssembly's vector operations over the memory that the
 * bytes lie in. WebAssembly has no carry-less multiplication; but a multiple of CRC-32's polynomial whose few terms are all
 * powers of x^128 lets a word of 128 bits be added (by XOR) to some words further on instead of being divided: the remainder stays the
 * same. So all words but the last 300 are folded away, with five loads and a store each, then all but 137 of these; only
 * those are divided the ordinary way.
 *
 * The multiples are x^(128 · 300) + x^(128 · 155) + x^(128 · 117) + x^(128 · 89) + 1 and
 * x^(128 · 137) + … + 1, the shortest with five and with seven terms (fold-crc32.test.ts divides them).
 */
import type { Crc32 } from '../migration/crc32.ts';
import { CodeBuffer } from './cpu/wasm/code-buffer.ts';
import { I32, ModuleWriter } from './cpu/wasm/module-writer.ts';

const WORD = 16;
/** How many words further on a word is added, for each of the two multiples: their degree less that of each other term. */
export const LONG_STEPS = [145, 183, 211, 300] as const;
export const SHORT_STEPS = [53, 57, 67, 108, 129, 137] as const;
const LONG = 300;
const SHORT = 137;
/** Words a turn of the loop over most of the bytes. */
const UNROLL = 4;
/** Bytes folded at one go. */
const BLOCK_BYTES = 64 * 1024;
/** Shorter ones are left to the ordinary way. */
const MIN_BYTES = 16 * 1024;

/** Where in the scratch area, bytes: words folded so far, before them those that stand for words that are not there. */
const LONG_AT = 0;
const REST_AT = LONG_AT + LONG * WORD + BLOCK_BYTES;
const SHORT_AT = REST_AT + (LONG + UNROLL) * WORD;
const LAST_AT = SHORT_AT + SHORT * WORD + (LONG + UNROLL) * WORD;
/** Bytes that a fold needs at the beginning of the memory. */
export const FOLD_SCRATCH_BYTES = LAST_AT + SHORT * WORD;

/** WebAssembly opcodes used here (core specification 2.0, chapter 5.4). */
const LOOP = 0x03;
const END = 0x0b;
const BR_IF = 0x0d;
const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const I32_CONST = 0x41;
const I32_LT_U = 0x49;
const I32_ADD = 0x6a;
const EMPTY = 0x40;
const SIMD = 0xfd;
const V128_LOAD = 0x00;
const V128_STORE = 0x0b;
const V128_XOR = 0x51;

/** Parameters: the words, the words folded, `reach` before them, where the sums go, the end of the words. Not for none. */
type Fold = (words: number, folded: number, target: number, end: number) => void;

function foldBody(steps: readonly number[], unroll: number): CodeBuffer {
  const code = new CodeBuffer();
  const bytes = (...values: number[]): void => {
    for (const value of values) code.u8(value);
  };
  const access = (op: number, offset: number): void => {
    bytes(SIMD, op, 4);
    code.leb(offset);
  };
  const reach = steps.at(-1)!;
  bytes(LOOP, EMPTY);
  for (let word = 0; word < unroll; word++) {
    bytes(LOCAL_GET, 2, LOCAL_GET, 0);
    access(V128_LOAD, word * WORD);
    for (const step of steps) {
      bytes(LOCAL_GET, 1);
      access(V128_LOAD, (reach - step + word) * WORD);
      bytes(SIMD, V128_XOR);
    }
    access(V128_STORE, word * WORD);
  }
  for (const pointer of [0, 1, 2]) {
    bytes(LOCAL_GET, pointer, I32_CONST);
    code.sleb(unroll * WORD);
    bytes(I32_ADD, LOCAL_SET, pointer);
  }
  bytes(LOCAL_GET, 0, LOCAL_GET, 3, I32_LT_U, BR_IF, 0, END);
  return code;
}

let compiled: WebAssembly.Module | undefined | 'none';

/** Undefined on a host CPU without SSE4.1. */
function foldModule(): WebAssembly.Module | undefined {
  if (compiled === undefined) {
    const writer = new ModuleWriter(1);
    const type = writer.type([I32, I32, I32, I32], []);
    writer.function(type, [], foldBody(LONG_STEPS, UNROLL), 'long');
    writer.function(type, [], foldBody(LONG_STEPS, 1), 'longRest');
    writer.function(type, [], foldBody(SHORT_STEPS, 1), 'short');
    try {
      compiled = new WebAssembly.Module(writer.finish());
    } catch {
      compiled = 'none';
    }
  }
  return compiled === 'none' ? undefined : compiled;
}

/** Divides the ordinary way, going on from the CRC-32 `before`: portable, or zlib's. */
type PlainCrc32 = (bytes: Uint8Array, before: number) => number;

class Folder {
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #long: Fold;
  readonly #longRest: Fold;
  readonly #short: Fold;
  readonly #last: Uint8Array;
  readonly #plain: PlainCrc32;

  constructor(module: WebAssembly.Module, memory: WebAssembly.Memory, plain: PlainCrc32) {
    const { long, longRest, short } = new WebAssembly.Instance(module, { e: { m: memory } }).exports;
    this.#long = long as Fold;
    this.#longRest = longRest as Fold;
    this.#short = short as Fold;
    this.#u8 = new Uint8Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    this.#last = this.#u8.subarray(LAST_AT, LAST_AT + SHORT * WORD);
    this.#plain = plain;
    this.#u8.fill(0, 0, FOLD_SCRATCH_BYTES);
  }

  /** CRC-32 of `length` bytes at `at`: whole words, MIN_BYTES to BLOCK_BYTES of them. */
  crc32(at: number, length: number, before: number): number {
    const u8 = this.#u8;
    const words = length / WORD;
    // The word before the first one by the whole reach is added to the first word alone: the value to go on from.
    this.#u32[LONG_AT / 4] = ~before;
    const folded = Math.floor((words - LONG) / UNROLL) * UNROLL;
    const rest = words - folded;
    const foldedEnd = LONG_AT + (LONG + folded) * WORD;
    this.#long(at, LONG_AT, LONG_AT + LONG * WORD, at + folded * WORD);
    // The rest is not folded: it adds to nothing.
    u8.fill(0, foldedEnd, foldedEnd + rest * WORD);
    this.#longRest(at + folded * WORD, LONG_AT + folded * WORD, REST_AT, at + length);
    const again = rest - SHORT;
    this.#short(REST_AT, SHORT_AT, SHORT_AT + SHORT * WORD, REST_AT + again * WORD);
    u8.fill(0, SHORT_AT + (SHORT + again) * WORD, SHORT_AT + (SHORT + again + SHORT) * WORD);
    this.#short(REST_AT + again * WORD, SHORT_AT + again * WORD, LAST_AT, REST_AT + rest * WORD);
    // What the division begins with is in the words already.
    return this.#plain(this.#last, 0xffff_ffff);
  }
}

/**
 * CRC-32, quick for bytes in a WebAssembly.Memory that `memoryOf` knows, whose first {@link FOLD_SCRATCH_BYTES} bytes nobody
 * else uses.
 */
export function foldingCrc32(
  memoryOf: (bytes: Uint8Array) => WebAssembly.Memory | undefined,
  plain: PlainCrc32,
): Crc32 {
  const folders = new WeakMap<WebAssembly.Memory, Folder>();
  return (bytes) => {
    const memory = bytes.length < MIN_BYTES ? undefined : memoryOf(bytes);
    const module = memory && foldModule();
    if (memory === undefined || module === undefined) return plain(bytes, 0);
    let folder = folders.get(memory);
    if (folder === undefined) {
      folder = new Folder(module, memory, plain);
      folders.set(memory, folder);
    }
    let crc = 0;
    let done = 0;
    for (let left = bytes.length; left >= MIN_BYTES; left = bytes.length - done) {
      const block = Math.min(BLOCK_BYTES, left - (left % WORD));
      crc = folder.crc32(bytes.byteOffset + done, block, crc);
      done += block;
    }
    return done === bytes.length ? crc : plain(bytes.subarray(done), crc);
  };
}
