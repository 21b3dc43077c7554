import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryFile } from '../../test/support/memory-file.ts';
import { writeGathered } from './gathered-write.ts';

const KIB = 1024;

describe('parts written side by side', () => {
  it('are in the file as if written one by one', async () => {
    const sizes = fc.array(fc.constantFrom(1, 512, 4 * KIB, 64 * KIB, 700 * KIB, 2048 * KIB), {
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(sizes, fc.constantFrom(0, 512, 4096), async (lengths, offset) => {
        const parts = lengths.map((bytes, i) => Buffer.alloc(bytes, `part ${i}, `));
        const file = new MemoryFile(new Uint8Array(0));
        await writeGathered(file, offset, parts);
        expect(
          Buffer.concat([Buffer.alloc(parts.length === 0 ? 0 : offset), ...parts]).equals(file.bytes),
        ).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it('no more of them once one has failed', async () => {
    const writes: number[] = [];
    class Full extends MemoryFile {
      override async write(offset: number): Promise<void> {
        writes.push(offset);
        throw new Error(`no room at ${offset}`);
      }
    }
    const parts = Array.from({ length: 512 }, () => Buffer.alloc(64 * KIB));
    await expect(writeGathered(new Full(new Uint8Array(0)), 0, parts)).rejects.toThrow('no room at 0');
    expect(writes.length).toBeLessThan(6);
  });
});
