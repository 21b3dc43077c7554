/** What a get and a put (with eviction) of the metadata cache cost, by the number of entries: it must not grow. `npx tsx bench/block/cache.ts`. */
import type { BlockFile } from '../../src/block/file.ts';
import { Lru } from '../../src/block/lru.ts';
import { TableCache } from '../../src/block/qcow2/cache.ts';

const TABLE_BYTES = 512;
const ROUNDS = 9;
const OPERATIONS = 400_000;

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

console.log('entries   get, ns   put with eviction, ns');
for (let entries = 64; entries <= 65_536; entries *= 4) {
  const cache = new TableCache(file, TABLE_BYTES, new Lru(entries * TABLE_BYTES));
  const table = Buffer.alloc(TABLE_BYTES);
  let next = 0;
  const put = (): void => cache.putClean(next++ * TABLE_BYTES, table);
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
  console.log(
    `${String(entries).padStart(7)}   ${median(gets).toFixed(0).padStart(7)}   ${median(puts).toFixed(0).padStart(7)}`,
  );
}
