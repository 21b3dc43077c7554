import { describe, expect, it } from 'vitest';
import { MemoryFile } from '../../../test/support/memory-file.ts';
import { Lru } from '../lru.ts';
import { TableCache } from './cache.ts';

const BYTES = 512;

class CountingFile extends MemoryFile {
  reads = 0;
  readonly writes: number[] = [];
  override async read(offset: number, target: Uint8Array): Promise<void> {
    this.reads++;
    await super.read(offset, target);
  }
  override async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    this.writes.push(offset, parts.length);
    await super.writev(offset, parts);
  }
}

const make = (): { file: CountingFile; cache: TableCache } => {
  const file = new CountingFile(Buffer.alloc(BYTES * 100));
  return { file, cache: new TableCache(file, BYTES, new Lru(BYTES * 4)) };
};

describe('table cache', () => {
  it('reads a table once, even when asked twice at the same time', async () => {
    const { file, cache } = make();
    const [a, b] = await Promise.all([cache.get(BYTES), cache.get(BYTES)]);
    expect(a).toBe(b);
    expect(cache.get(BYTES)).toBe(a);
    expect(file.reads).toBe(1);
  });

  it('evicts the least recently used, never the dirty', async () => {
    const { file, cache } = make();
    const dirty = await cache.get(0);
    dirty[0] = 1;
    cache.markDirty(0, dirty);
    for (let i = 1; i <= 4; i++) await cache.get(i * BYTES);
    cache.get(BYTES);
    for (let i = 5; i <= 6; i++) await cache.get(i * BYTES);
    expect(file.reads).toBe(7);
    expect(cache.get(BYTES)).toBeInstanceOf(Buffer);
    expect(cache.get(0)).toBe(dirty);
    await cache.get(2 * BYTES);
    expect(file.reads).toBe(8);
  });

  it('writes neighbours together, in order', async () => {
    const { file, cache } = make();
    for (const i of [7, 3, 2, 9, 8]) cache.markDirty(i * BYTES, Buffer.alloc(BYTES, i));
    expect(cache.wantsWriteBack).toBe(true);
    await cache.writeBack();
    expect(file.writes).toEqual([2 * BYTES, 2, 7 * BYTES, 3]);
    expect(cache.hasDirty).toBe(false);
    expect(file.bytes[8 * BYTES]).toBe(8);
  });

  it('a table put while an older one is being read wins', async () => {
    const { cache } = make();
    const reading = cache.get(BYTES);
    const newer = Buffer.alloc(BYTES, 5);
    cache.markDirty(BYTES, newer);
    expect(await reading).toBe(newer);
  });
});
