import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { RamBlock } from './ram-block.ts';
import { NotedRam, SortedRam, SwappedRam, type UndoableRam } from './ram-sinks.ts';
import { PAGE_BYTES } from './stream-format.ts';
import { isZeroRange } from './zero-page.ts';

const PAGES = 4;
const RECORD_BYTES = PAGE_BYTES + 8;

/** Records of a stream: a page (of the record's number), or one filled with a value. */
const records = fc.array(
  fc.record({
    block: fc.nat(1),
    page: fc.nat(PAGES - 1),
    fill: fc.option(fc.constantFrom(0, 0, 7), { nil: undefined }),
  }),
  { maxLength: 24 },
);
type Records = typeof records extends fc.Arbitrary<infer T> ? T : never;

function makeBlocks(zeroPages: readonly number[]): RamBlock[] {
  return ['a', 'b'].map((name, block) => {
    const bytes = new Uint8Array(PAGES * PAGE_BYTES);
    for (let page = 0; page < PAGES; page++) {
      if (zeroPages.includes(block * PAGES + page)) continue;
      bytes.fill(100 + block * PAGES + page, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    }
    return { name, sizeBytes: bytes.length, bytes };
  });
}

const copy = (blocks: readonly RamBlock[]): Buffer => Buffer.concat(blocks.map(({ bytes }) => bytes));

function sinksOf(blocks: readonly RamBlock[], stream: Uint8Array): UndoableRam[] {
  const [noted, swapped] = [
    new NotedRam(blocks, stream, isZeroRange),
    new SwappedRam(blocks, stream, isZeroRange),
  ];
  return [noted, swapped, new SortedRam([swapped, new NotedRam(blocks, stream, isZeroRange)])];
}

function play(sink: UndoableRam, stream: Uint8Array, all: Records): void {
  for (const [i, { block, page, fill }] of all.entries()) {
    const offset = page * PAGE_BYTES;
    if (fill !== undefined) sink.fill(block, offset, fill);
    else sink.page(block, offset, stream, i * RECORD_BYTES + 8);
  }
}

const makeStream = (all: Records): Buffer =>
  Buffer.concat(all.map((_, i) => Buffer.alloc(RECORD_BYTES, 1 + i)));

test('the last record of a page counts, also of pages that come twice; undone, all is as it was', () => {
  const zeroPages = fc.uniqueArray(fc.nat(2 * PAGES - 1));
  fc.assert(
    fc.property(records, zeroPages, (all, zero) => {
      const wanted = makeBlocks(zero);
      const before = copy(wanted);
      for (const [i, { block, page, fill }] of all.entries()) {
        wanted[block]!.bytes.fill(fill ?? 1 + i, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      }
      for (const which of [0, 1, 2]) {
        for (const end of ['commit', 'undo'] as const) {
          const blocks = makeBlocks(zero);
          const stream = makeStream(all);
          const sink = sinksOf(blocks, stream)[which]!;
          play(sink, stream, all);
          sink[end]();
          expect(copy(blocks).equals(end === 'commit' ? copy(wanted) : before)).toBe(true);
        }
      }
    }),
    { numRuns: 60 },
  );
});
