/**
 * What a get and a put (with eviction) of the metadata cache cost, by the number of entries: it must not grow, but for what
 * a bare Map of as many entries costs more in the same run. `npx tsx bench/block/cache.ts`.
 */
import type { BlockFile } from '../../src/block/file.ts';
import { Lru } from '../../src/block/lru.ts';
import { TableCache } from '../../src/block/qcow2/cache.ts';

const TABLE_BYTES = 512;
const ROUNDS = 9;
const OPERATIONS = 400_000;
const EMPTY = Buffer.alloc(TABLE_BYTES);

const nothing = async (): Promise<void> => {};
const file: BlockFile = {
  filename: 'none',
  readOnly: false,
  size: async () => 0,
  read: nothing,
  write: nothing,
  writev: nothing,
  truncate: nothing,
  flush: nothing,
  close: nothing,
};

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

/** The same number of tables in a bare Map, found and looked at in the same order: what the processor's own caches let one reach. */
function bareGets(entries: number): number {
  const map = new Map<number, { table: Buffer; isUsed: boolean }>();
  for (let i = 0; i < entries; i++)
    map.set(i * TABLE_BYTES, { table: Buffer.alloc(TABLE_BYTES), isUsed: false });
  const rounds: number[] = [];
  let found = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < OPERATIONS; i++) {
      const entry = map.get(((i * 7919) % entries) * TABLE_BYTES)!;
      entry.isUsed = true;
      found += entry.table.length;
    }
    rounds.push(((performance.now() - start) * 1e6) / OPERATIONS);
  }
  if (found === 0) throw new Error('nothing found');
  return median(rounds);
}

/** Put and taken out again, first in, first out. */
function barePuts(entries: number): number {
  const map = new Map<number, Buffer>();
  const table = Buffer.alloc(TABLE_BYTES);
  let next = 0;
  while (next < entries) map.set(next++ * TABLE_BYTES, table);
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < OPERATIONS; i++) {
      map.delete((next - entries) * TABLE_BYTES);
      map.set(next++ * TABLE_BYTES, table);
    }
    rounds.push(((performance.now() - start) * 1e6) / OPERATIONS);
  }
  return median(rounds);
}

console.log('entries   get, ns   bare Map   put with eviction, ns   bare Map');
for (let entries = 64; entries <= 65_536; entries *= 4) {
  const cache = new TableCache(file, TABLE_BYTES, new Lru(entries * TABLE_BYTES));
  let next = 0;
  const put = (): void => cache.putClean(next++ * TABLE_BYTES, EMPTY);
  for (let i = 0; i < entries; i++) put();
  const gets: number[] = [];
  const puts: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const first = next - entries;
    let start = performance.now();
    for (let i = 0; i < OPERATIONS; i++) void cache.get((first + ((i * 7919) % entries)) * TABLE_BYTES);
    gets.push(((performance.now() - start) * 1e6) / OPERATIONS);
    start = performance.now();
    for (let i = 0; i < OPERATIONS; i++) put();
    puts.push(((performance.now() - start) * 1e6) / OPERATIONS);
  }
  const figures = [median(gets), bareGets(entries), median(puts), barePuts(entries)];
  console.log(
    [entries, ...figures.map((ns) => ns.toFixed(0))].map((text) => `${text}`.padStart(9)).join(' '),
  );
}
