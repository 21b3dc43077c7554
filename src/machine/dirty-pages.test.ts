import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ramGeometry } from '../migration/ram-layout.ts';
import { DirtyPages } from './dirty-pages.ts';
import { GUARD_ABSENT, GUARD_CODE, GUARD_DISPLAY, PhysicalMemory } from './memory.ts';
import { UndoJournal } from './undo-journal.ts';

function machine() {
  const memory = new PhysicalMemory(new WebAssembly.Memory({ initial: 64, maximum: 64 }), 0x100000, 0x200000);
  const block = (name: string, address: number, sizeBytes: number) => ({
    name,
    sizeBytes,
    bytes: new Uint8Array(memory.memory.buffer, address, sizeBytes),
  });
  const blocks = [block('pc.ram', 0x100000, 0x200000), block('odd', 0x3000, 0x7000)];
  return { memory, blocks, dirty: new DirtyPages(memory, blocks) };
}

describe('dirty pages', () => {
  it('are those that were written, whoever writes them', () => {
    const { memory, blocks, dirty } = machine();
    expect(dirty.count()).toBe(512 + 7);
    dirty.markAllClean();
    expect(dirty.count()).toBe(0);
    memory.write8(0x5123, 1);
    memory.write32(0x20000, 2);
    memory.write(0x30ffe, new Uint8Array(4096));
    memory.noteWrite(0x4000, 1);
    expect(dirty.count()).toBe(5);
    const geometry = ramGeometry(blocks, 65536);
    const flags = dirty.dirtyGroups(geometry);
    const groups = [...flags.keys()].filter((group) => flags[group]);
    expect(groups).toEqual([0, 2, 3, geometry.firstGroup[1]]);
  });

  it('make their group dirty, whatever else is guarded', () => {
    const bytes = fc.uint8Array({ minLength: 519, maxLength: 519, max: 15 });
    const sparse = bytes.map((all) => all.map((bits, i) => (i % 41 === 0 ? bits : bits | 1)));
    fc.assert(
      fc.property(fc.oneof(bytes, sparse), (guards) => {
        const { memory, blocks, dirty } = machine();
        memory.guard.set(guards.subarray(0, 512), 256);
        memory.guard.set(guards.subarray(512), 3);
        const geometry = ramGeometry(blocks, 65536);
        const expected = new Uint8Array(geometry.firstGroup.at(-1)!);
        for (const [i, bits] of guards.entries()) {
          if ((bits & 1) !== 0) continue;
          const group = i < 512 ? Math.floor(i / 15) : geometry.firstGroup[1]! + Math.floor((i - 512) / 15);
          expected[group] = 1;
        }
        expect(dirty.dirtyGroups(geometry)).toEqual(expected);
      }),
    );
  });

  it('leave other guards alone', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 511 }), { maxLength: 40 }),
        fc.constantFrom(GUARD_CODE, GUARD_DISPLAY, GUARD_ABSENT),
        (pages, bit) => {
          const { memory, dirty } = machine();
          for (const page of pages) memory.guard[256 + page]! |= bit;
          dirty.markAllClean();
          const kept = [...memory.guard.keys()].filter((page) => (memory.guard[page]! & bit) !== 0);
          return (
            JSON.stringify(kept) ===
            JSON.stringify([...new Set(pages.map((p) => 256 + p))].sort((a, b) => a - b))
          );
        },
      ),
    );
  });
});

describe('the journal', () => {
  it('puts back what changed, as often as asked', () => {
    const { memory, dirty } = machine();
    for (let i = 0; i < 0x200000; i += 4) memory.view.setUint32(0x100000 + i, i * 2654435761, true);
    const before = Buffer.from(memory.u8);
    dirty.markAllClean();
    const journal = new UndoJournal(memory);
    journal.start();
    for (let round = 0; round < 3; round++) {
      memory.write(0x1ff0 + round * 4096, new Uint8Array(10_000).fill(round + 1));
      memory.write8(0x1ff000, 7);
      expect(journal.count).toBe(5);
      journal.restore();
      expect(Buffer.compare(before, memory.u8)).toBe(0);
      expect(dirty.count()).toBe(0);
      expect(journal.complete).toBe(true);
    }
  });

  it('gives up beyond its limit', () => {
    const { memory, dirty } = machine();
    dirty.markAllClean();
    const journal = new UndoJournal(memory, 3 * 4096);
    journal.start();
    for (let page = 0; page < 3; page++) memory.write8(page * 4096, 1);
    expect(journal.complete).toBe(true);
    memory.write8(3 * 4096, 1);
    expect(journal.complete).toBe(false);
    expect(memory.onFirstWrite).toBeUndefined();
    dirty.markAllClean();
    journal.start();
    memory.write8(0, 1);
    expect([journal.complete, journal.count]).toEqual([true, 1]);
  });

  it('tells of code that changes back', () => {
    const { memory, dirty } = machine();
    dirty.markAllClean();
    const journal = new UndoJournal(memory);
    journal.start();
    memory.write8(0x2000, 1);
    const told: number[] = [];
    memory.onCodeWrite = (address) => told.push(address);
    memory.guard[0x102]! |= GUARD_CODE;
    journal.restore();
    expect(told).toEqual([0x102000]);
  });
});
