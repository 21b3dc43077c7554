/**
 * Page-aligned buffers for large reads and writes, which a file may then do without the page cache (O_DIRECT wants memory,
 * offset and length aligned). Node's Buffers lie anywhere; a WebAssembly.Memory begins on a page.
 *
 * Taken, and given back: what is not given back is lost to the pool, no more.
 */

/** What O_DIRECT wants of every device there is. */
export const DIRECT_ALIGNMENT = 4096;
const WASM_PAGE_BYTES = 65536;
/** The first bytes of each WebAssembly.Memory of the pool, which no buffer gets: room to compute checksums in. */
export const SCRATCH_BYTES = 128 * 1024;
/** Bytes for buffers in a WebAssembly.Memory of the pool. Few of those: each one reserves gigabytes of address space. */
const ARENA_BYTES = 16 << 20;
/** Beyond that buffers are ordinary ones, and files are read and written the ordinary way. */
const MAX_ARENAS = 8;
/** Most of a WebAssembly.Memory. */
const MAX_MEMORY_BYTES = 2 ** 32;

/** Those of the pool, and those of large buffers as long as these are in use. */
const memories = new WeakMap<ArrayBufferLike, WebAssembly.Memory>();
let arenaCount = 0;
const free = new Map<number, Uint8Array[]>();
let arena: WebAssembly.Memory | undefined;
let used = ARENA_BYTES;

/** A buffer of `bytes`, with anything in it. One that is larger than the pool has has a memory of its own, which goes with it. */
export function takeAligned(bytes: number): Uint8Array {
  const size = Math.ceil(bytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
  if (size > ARENA_BYTES) return takeLarge(bytes, size);
  const whole = free.get(size)?.pop() ?? carve(size);
  return whole === undefined ? new Uint8Array(bytes) : whole.subarray(0, bytes);
}

function takeLarge(bytes: number, size: number): Uint8Array {
  if (SCRATCH_BYTES + size > MAX_MEMORY_BYTES) return new Uint8Array(bytes);
  return new Uint8Array(newMemory(size).buffer, SCRATCH_BYTES, bytes);
}

/** Without room to grow, and with room to compute checksums in. */
function newMemory(bytes: number): WebAssembly.Memory {
  const pages = (SCRATCH_BYTES + bytes) / WASM_PAGE_BYTES;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  memories.set(memory.buffer, memory);
  return memory;
}

function carve(size: number): Uint8Array | undefined {
  if (used + size > ARENA_BYTES) {
    if (arenaCount === MAX_ARENAS) return undefined;
    arenaCount++;
    arena = newMemory(ARENA_BYTES);
    used = 0;
  }
  const start = SCRATCH_BYTES + used;
  used += size;
  return new Uint8Array(arena!.buffer, start, size);
}

/** Gives back what {@link takeAligned} gave; nobody reads or writes it any more. */
export function giveAligned(buffer: Uint8Array): void {
  const size = Math.ceil(buffer.length / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
  if (size > ARENA_BYTES || !memories.has(buffer.buffer)) return;
  const list = free.get(size);
  const whole = new Uint8Array(buffer.buffer, buffer.byteOffset, size);
  if (list === undefined) free.set(size, [whole]);
  else list.push(whole);
}

/** The memory that a buffer of the pool, or part of one, lies in. */
export function memoryOf(buffer: Uint8Array): WebAssembly.Memory | undefined {
  return memories.get(buffer.buffer);
}

/** Whether O_DIRECT takes it, as far as memory goes. */
export function isAligned(buffer: Uint8Array): boolean {
  return (
    buffer.byteOffset % DIRECT_ALIGNMENT === 0 &&
    buffer.length % DIRECT_ALIGNMENT === 0 &&
    memories.has(buffer.buffer)
  );
}
